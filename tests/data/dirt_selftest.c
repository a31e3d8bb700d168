// SPDX-License-Identifier: GPL-2.0
/* One test for each kind of dirt; tests/test_dirt.py runs it on files that stand for the kernel. */

#include "kselftest_harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ptrace.h>

#define BUFINFO		"/sys/kernel/debug/dma_buf/bufinfo"
#define VMSTAT		"/proc/vmstat"

KSFT_WATCH(bufs, "dma-bufs", .path = BUFINFO, .key = "Total ", .keep = true)
KSFT_WATCH(pins, "pinned pages", .path = VMSTAT, .key = "acquired ", .minus = "released ",
	   .refresh = VMSTAT, .keep = true)
KSFT_WATCH(charges, "charges", .path = VMSTAT, .key = "charged ", .keep = true)
KSFT_WATCH(absent, "unicorns", .path = "/sys/unicorns")

static void write_file(const char *path, int flags, const char *text)
{
	char full[256];
	int fd;

	snprintf(full, sizeof(full), "%s%s", KSFT_ROOT, path);
	fd = open(full, O_WRONLY | flags);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
}

static void put(const char *path, const char *text)
{
	write_file(path, O_TRUNC, text);
}

static void say(const char *record)
{
	write_file("/dev/kmsg", O_APPEND, record);
}

/* Become somebody whom the runner neither kills nor waits for. */
static void leave(void)
{
	setsid();
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
}

TEST(clean)
{
	put(VMSTAT, "released 7\nacquired 9\ncharged 4\n");
	say("6,1,1,-;fine\n");
	say("12,2,1,-;a warning of some process\n");
}

TEST(leaks_charge)
{
	put(VMSTAT, "acquired 5\nreleased 3\ncharged 1\n");
}

TEST(taints)
{
	put("/proc/sys/kernel/tainted", "4608\n");
}

TEST(leaks_buffer)
{
	put(BUFINFO, "size count\n4096 Total 3\nTotal 1 objects, 4096 bytes\n");
}

TEST(leaks_pin)
{
	put(VMSTAT, "acquired 10\nreleased 7\ncharged 4\n");
}

TEST(unpins_twice)
{
	put(VMSTAT, "acquired 9\nreleased 8\ncharged 4\n");
}

TEST(leaks_user)
{
	put("/sys/module/second/refcnt", "4\n");
}

TEST(taints_and_leaks)
{
	put("/proc/sys/kernel/tainted", "4608\n");
	put("/sys/module/first/refcnt", "3\n");
}

TEST(fails_and_leaks)
{
	put("/sys/module/first/refcnt", "3\n");
	EXPECT_TRUE(false);
}

TEST(skips_and_leaks)
{
	put("/sys/module/first/refcnt", "3\n");
	SKIP(return, "because");
}

/* Given back by somebody else, a moment after the test. */
TEST(leaks_for_a_moment)
{
	int gone[2];
	char byte;

	ASSERT_EQ(0, pipe(gone));
	put("/sys/module/first/refcnt", "3\n");
	if (!fork()) {
		leave();
		close(gone[1]);
		usleep(50000);
		put("/sys/module/first/refcnt", "2\n");
		_exit(0);
	}
	close(gone[1]);
	EXPECT_EQ(0, read(gone[0], &byte, 1));
}

TEST(warns)
{
	say("4,3,1,-;udmabuf_iov: odd; very\n SUBSYSTEM=x\n");
	say("6,4,1,-;fine\n");
	say("3,5,1,c;worse\n");
}

TEST(floods)
{
	int i;

	for (i = 0; i < 60; i++)
		say("4,3,1,-;again\n");
}

TEST(has_standard_descriptors_only)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir))
			EXPECT_GE(STDERR_FILENO, atoi(entry->d_name));
	closedir(dir);
}

TEST(last)
{
}

static cpu_set_t cpus_of_program;

static void __attribute__((constructor)) note_cpus(void)
{
	sched_getaffinity(0, sizeof(cpus_of_program), &cpus_of_program);
}

TEST(has_all_cpus)
{
	cpu_set_t cpus;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(cpus), &cpus));
	EXPECT_TRUE(CPU_EQUAL(&cpus_of_program, &cpus));
}

FIXTURE(hang)
{
};

FIXTURE_SETUP(hang)
{
}

FIXTURE_TEARDOWN(hang)
{
}

/* A dead process that is being traced cannot be waited for, as if it had not died. */
TEST_F_TIMEOUT(hang, unkillable, 1)
{
	pid_t test = getpid();

	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	if (fork())
		for (;;)
			pause();
	leave();
	if (ptrace(PTRACE_SEIZE, test, NULL, NULL))
		abort();
	sleep(4);
	_exit(0);
}

TEST_F(hang, last)
{
}

TEST_HARNESS_MAIN
