// SPDX-License-Identifier: GPL-2.0
/*
 * The canaries' suite, run in the guest like any other: makes the kernel quick to notice, provokes
 * what the test is named after, and waits until it could be noticed. These tests pass, if they come
 * to their end: that something happened is for the harness to find out (canaries.toml).
 */
#include "kselftest_harness.h"

#define DOOR	"/sys/kernel/debug/canary/provoke"
/* Seconds: longer than the kernel's limits below, and much longer than any test's timeout. */
#define LONG_ENOUGH	"12"
#define FOR_EVER	"600"
#define PATIENCE	60
#define MANY_LINES	500000

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written;

	if (fd < 0)
		return -errno;
	written = write(fd, text, strlen(text));
	close(fd);
	return written < 0 ? -errno : 0;
}

/* What not every kernel has need not be there. */
static void set(const char *path, const char *text)
{
	write_file(path, text);
}

FIXTURE(canary) {
};

FIXTURE_SETUP(canary)
{
	if (access(DOOR, W_OK))
		SKIP(return, "the canary module is not loaded");
}

FIXTURE_TEARDOWN(canary)
{
}

/* The silent one: shows that the others do not turn red by themselves. */
TEST_F(canary, nothing)
{
	ASSERT_EQ(-ENOENT, write_file(DOOR, "nothing"));
}

TEST_F(canary, warn)
{
	ASSERT_EQ(0, write_file(DOOR, "warn"));
}

TEST_F(canary, oops)
{
	ASSERT_EQ(0, write_file(DOOR, "oops"));
}

TEST_F(canary, wild)
{
	ASSERT_EQ(0, write_file(DOOR, "wild"));
}

TEST_F(canary, panic)
{
	ASSERT_EQ(0, write_file(DOOR, "panic"));
}

TEST_F(canary, refcount)
{
	ASSERT_EQ(0, write_file(DOOR, "refcount"));
}

TEST_F(canary, list)
{
	ASSERT_EQ(0, write_file(DOOR, "list"));
}

TEST_F(canary, atomic_sleep)
{
	ASSERT_EQ(0, write_file(DOOR, "atomic-sleep"));
}

TEST_F(canary, inversion)
{
	ASSERT_EQ(0, write_file(DOOR, "inversion"));
}

TEST_F(canary, unlock)
{
	ASSERT_EQ(0, write_file(DOOR, "unlock"));
}

TEST_F_TIMEOUT(canary, soft_lockup, PATIENCE)
{
	/* A CPU is stuck after twice that many seconds. */
	set("/proc/sys/kernel/watchdog_thresh", "2");
	ASSERT_EQ(0, write_file(DOOR, "soft-lockup " LONG_ENOUGH));
}

TEST_F_TIMEOUT(canary, rcu_stall, PATIENCE)
{
	set("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "3");
	ASSERT_EQ(0, write_file(DOOR, "rcu-stall " LONG_ENOUGH));
}

TEST_F_TIMEOUT(canary, hung_task, PATIENCE)
{
	set("/proc/sys/kernel/hung_task_timeout_secs", "2");
	ASSERT_EQ(0, write_file(DOOR, "stuck " LONG_ENOUGH));
}

/* It cannot be killed when its time is over, and nobody but the test's own timeout notices. */
TEST_F_TIMEOUT(canary, stuck, 1)
{
	set("/proc/sys/kernel/hung_task_timeout_secs", "0");
	ASSERT_EQ(0, write_file(DOOR, "stuck " FOR_EVER));
}

TEST_F(canary, leak)
{
	ASSERT_EQ(0, write_file(DOOR, "leak"));
}

TEST_F_TIMEOUT(canary, use_after_free, PATIENCE)
{
	set("/sys/module/kfence/parameters/sample_interval", "10");
	ASSERT_EQ(0, write_file(DOOR, "use-after-free"));
}

TEST_F(canary, bounds)
{
	ASSERT_EQ(0, write_file(DOOR, "bounds"));
}

TEST_F(canary, rcu_usage)
{
	ASSERT_EQ(0, write_file(DOOR, "rcu-usage"));
}

TEST_F_TIMEOUT(canary, race, PATIENCE)
{
	pid_t other = fork();

	ASSERT_LE(0, other);
	ASSERT_EQ(0, write_file(DOOR, "race 3"));
	if (!other)
		_exit(0);
	ASSERT_EQ(other, waitpid(other, NULL, 0));
}

TEST_F_TIMEOUT(canary, flood, PATIENCE)
{
	/* A slow console keeps its CPU, which may well come first. */
	set("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "300");
	set("/proc/sys/kernel/watchdog_thresh", "60");
	ASSERT_EQ(0, write_file(DOOR, "flood"));
}

TEST_F(canary, out_of_memory)
{
	ASSERT_EQ(0, write_file(DOOR, "out-of-memory"));
}

TEST_F(canary, reboot)
{
	ASSERT_EQ(0, write_file(DOOR, "reboot"));
}

/* The harness kills QEMU meanwhile. */
TEST_F_TIMEOUT(canary, killed_qemu, PATIENCE)
{
	sleep(PATIENCE);
}

TEST_F_TIMEOUT(canary, full_channel, PATIENCE)
{
	int line;

	for (line = 0; line < MANY_LINES; line++)
		TH_LOG("line %d of a test that talks too much", line);
}

TEST_HARNESS_MAIN
