// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/module.toml and its template: do not edit.
 *
 * The module comes and goes while nobody uses it, and leaves nothing behind.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#define MODULE_FILE	"/harness/udmabuf_iov.ko"
#define DEBUGFS_FOLDER	"/sys/kernel/debug/udmabuf_iov"
#define OTHER_DEVICE	"/dev/udmabuf-test"

FIXTURE(load)
{
	int file;
};

static int load(int file, const char *parameters)
{
	return syscall(SYS_finit_module, file, parameters, 0) ? -errno : 0;
}

static int unload(void)
{
	return syscall(SYS_delete_module, "udmabuf_iov", O_NONBLOCK) ? -errno : 0;
}

FIXTURE_SETUP(load)
{
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver is not a module");
	self->file = open(MODULE_FILE, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, unload());
}

/* The tests to come need the driver. */
FIXTURE_TEARDOWN(load)
{
	if (!driver_is_udmabuf_iov())
		EXPECT_EQ(0, load(self->file, ""));
	close(self->file);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void check_call(struct __test_metadata *_metadata, const char *path)
{
	int memfd = make_memfd(0, PAGE_BYTES, F_SEAL_SHRINK), device, dmabuf;

	device = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, device);
	dmabuf = create(device, memfd, 0, PAGE_BYTES, 0);
	ASSERT_LE(0, dmabuf);
	close(dmabuf);
	close(device);
	close(memfd);
}

/*
 * @log is /dev/kmsg, one message a read. Return: 1 if the kernel has said this since, 0 if not, -errno
 * where nobody knows.
 */
static int has_said(int log, const char *words)
{
	char line[4096];
	ssize_t got;

	while ((got = read(log, line, sizeof(line) - 1)) > 0) {
		line[got] = '\0';
		if (strstr(line, words))
			return 1;
	}
	return got < 0 && errno == EAGAIN ? 0 : -errno;
}

static int open_log(struct __test_metadata *_metadata)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	ASSERT_LE(0, lseek(log, 0, SEEK_END)) TH_LOG("/dev/kmsg: %s", strerror(errno));
	return log;
}

/*
 * Guards: a device or files of debugfs that outlive the module, whose code is
 * gone; a complaint about nothing
 */
TEST_F(load, again)
{
	int log = open_log(_metadata);

	EXPECT_FALSE(exists(UDMABUF_DEVICE));
	EXPECT_FALSE(exists(DEBUGFS_FOLDER));
	ASSERT_EQ(0, load(self->file, ""));
	EXPECT_EQ(0, has_said(log, "udmabuf_iov: "));
	close(log);
	EXPECT_TRUE(exists(UDMABUF_IOV_TOTALS));
	check_call(_metadata, UDMABUF_DEVICE);
}

/* Write "device_name=" and the name of some misc device. Return: whether there is one. */
static bool take_name(char *parameter, size_t size)
{
	DIR *devices = opendir("/sys/class/misc");
	struct dirent *entry = NULL;

	while (devices && (entry = readdir(devices)) && entry->d_name[0] == '.')
		;
	if (entry)
		snprintf(parameter, size, "device_name=%s", entry->d_name);
	if (devices)
		closedir(devices);
	return entry;
}

/*
 * Guards: a name for the device that another one has, at which the kernel
 * prints a stack trace, and nobody says why
 */
TEST_F(load, name_taken)
{
	char parameter[300], words[330];
	int log = open_log(_metadata), error;

	if (!take_name(parameter, sizeof(parameter)))
		SKIP(return, "no device whose name could be taken");
	error = load(self->file, parameter);
	snprintf(words, sizeof(words), "a device called %s exists already",
		 strchr(parameter, '=') + 1);
	EXPECT_EQ(1, has_said(log, words));
	close(log);
	/* 7.3 keeps EEXIST for modules that are loaded already, and says EBUSY here. */
	EXPECT_TRUE(error == -EEXIST || error == -EBUSY);
	EXPECT_FALSE(driver_is_udmabuf_iov());
	EXPECT_FALSE(exists(DEBUGFS_FOLDER));
}

/*
 * Guards: limits that are not those of the documentation when nobody has set
 * any
 */
TEST_F(load, defaults)
{
	char value[16];

	ASSERT_EQ(0, load(self->file, ""));
	ASSERT_TRUE(read_parameter("size_limit_mb", value));
	EXPECT_STREQ("1024", value);
	ASSERT_TRUE(read_parameter("list_limit", value));
	EXPECT_STREQ("1024", value);
	ASSERT_TRUE(read_parameter("memlock", value));
	EXPECT_STREQ("iovecs", value);
	EXPECT_EQ(0, unload());
}

/* A sysfs of our own can be unmounted again only when nobody holds what he has found there. */
/* Guards: a path that was looked up and is held for ever */
TEST_F(load, name_let_go)
{
	char parameter[300];

	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	ASSERT_EQ(0, umount2("/sys", MNT_DETACH));
	ASSERT_EQ(0, mount("sysfs", "/sys", "sysfs", 0, NULL));
	if (!take_name(parameter, sizeof(parameter)))
		SKIP(return, "no device whose name could be taken");
	EXPECT_GT(0, load(self->file, parameter));
	EXPECT_EQ(0, umount2("/sys", 0)) TH_LOG("%s", strerror(errno));
}

/*
 * Guards: a parameter memlock that says another mode than it is in, or takes
 * any word for one
 */
TEST_F(load, memlock)
{
	static const char * const modes[] = { "none", "iovecs", "all" };
	char parameter[32], value[16];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		snprintf(parameter, sizeof(parameter), "memlock=%s", modes[i]);
		ASSERT_EQ(0, load(self->file, parameter));
		ASSERT_TRUE(read_parameter("memlock", value));
		EXPECT_STREQ(modes[i], value);
		EXPECT_FALSE(write_parameter("memlock", "some"));
		ASSERT_TRUE(read_parameter("memlock", value));
		EXPECT_STREQ(modes[i], value);
		ASSERT_EQ(0, unload());
	}
}

/* Guards: a parameter device_name without effect */
TEST_F(load, other_name)
{
	ASSERT_EQ(0, load(self->file, "device_name=udmabuf-test"));
	EXPECT_FALSE(exists(UDMABUF_DEVICE));
	check_call(_metadata, OTHER_DEVICE);
	EXPECT_EQ(0, unload());
	EXPECT_FALSE(exists(OTHER_DEVICE));
}

#define ROUNDS	5

struct opener {
	int stop;
	int turn;	/* odd while the device is open */
	int attempts;	/* to unload */
	int used;
};

static int turn_of(const struct opener *opener)
{
	return __atomic_load_n(&opener->turn, __ATOMIC_ACQUIRE);
}

/* Use the device whenever it is there, which can be gone the next moment. */
static void *open_until_stopped(void *argument)
{
	struct opener *opener = argument;
	int memfd = make_memfd(0, PAGE_BYTES, F_SEAL_SHRINK), device, dmabuf, attempts;

	while (!__atomic_load_n(&opener->stop, __ATOMIC_RELAXED)) {
		/* Long enough for the module to come or go. */
		usleep(1000);
		device = open(UDMABUF_DEVICE, O_RDWR | O_CLOEXEC);
		if (device < 0)
			continue;
		__atomic_add_fetch(&opener->turn, 1, __ATOMIC_RELEASE);
		attempts = __atomic_load_n(&opener->attempts, __ATOMIC_ACQUIRE);
		while (attempts == __atomic_load_n(&opener->attempts, __ATOMIC_ACQUIRE))
			sched_yield();
		dmabuf = create(device, memfd, 0, PAGE_BYTES, 0);
		opener->used += dmabuf >= 0;
		__atomic_add_fetch(&opener->turn, 1, __ATOMIC_RELEASE);
		close(device);
		if (dmabuf >= 0)
			close(dmabuf);
	}
	close(memfd);
	return NULL;
}

/*
 * Guards: M24: a device whose open files do not hold the module, so that it
 * goes while one is used
 */
TEST_F_TIMEOUT(load, opened_meanwhile, 10)
{
	struct opener opener = { 0 };
	int round, error, turn;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, open_until_stopped, &opener));
	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, load(self->file, ""));
		while (turn_of(&opener) % 2 == 0)
			sched_yield();
		/* In use is what it may be, and only for a moment. */
		do {
			turn = turn_of(&opener);
			error = unload();
			ASSERT_FALSE(!error && turn % 2 && turn == turn_of(&opener));
			__atomic_add_fetch(&opener.attempts, 1, __ATOMIC_RELEASE);
		} while (error == -EWOULDBLOCK);
		ASSERT_EQ(0, error);
	}
	__atomic_store_n(&opener.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_LT(0, opener.used);
}

TEST_HARNESS_MAIN
