// SPDX-License-Identifier: GPL-2.0
/* One test for every way in which a test can end; tests/test_kselftest_harness.py runs it. */

#include "kselftest_harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

TEST(pass)
{
	EXPECT_EQ(1, 1);
	ASSERT_NE(1, 2);
	ASSERT_LT(-1, 0);
	ASSERT_STREQ("same", "same");
	ASSERT_NULL(NULL);
}

TEST(expect_goes_on)
{
	int answer = 41;

	EXPECT_EQ(42, answer) TH_LOG("the answer");
	EXPECT_STREQ("left", "right");
	EXPECT_GT(0UL, ~0UL);
	TH_LOG("still here");
}

TEST(assert_stops)
{
	ASSERT_TRUE(0);
	TH_LOG("never here");
}

TEST(skipped)
{
	SKIP(return, "for %s", "a reason");
}

TEST(failed_then_skipped)
{
	EXPECT_TRUE(0);
	SKIP(return, "too late");
}

TEST(crashed)
{
	raise(SIGSEGV);
}

TEST_SIGNAL(dies_as_told, SIGKILL)
{
	raise(SIGKILL);
}

TEST_SIGNAL(survives, SIGKILL)
{
}

TEST(exits)
{
	exit(3);
}

TEST(forges_lines)
{
	TH_LOG("a\nok 1 forged\r");
}

TEST(child_fails)
{
	pid_t pid = fork();

	if (!pid) {
		ASSERT_EQ(1, 2);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* Here by what it writes, elsewhere by another process. */
TEST(child_is_killed_while_it_fails)
{
	const struct rlimit nothing = { 0 };
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		dup2(fileno(tmpfile()), STDOUT_FILENO);
		setrlimit(RLIMIT_FSIZE, &nothing);
		EXPECT_EQ(1, 2);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, NULL, 0));
}

/* The child holds a lock on /proc/self/exe for as long as it lives. */
TEST(leaves_a_process)
{
	int ready[2];
	char byte;

	ASSERT_EQ(0, pipe(ready));
	if (!fork()) {
		struct flock lock = { .l_type = F_RDLCK };

		fcntl(open("/proc/self/exe", O_RDONLY), F_SETLK, &lock);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	EXPECT_EQ(0, read(ready[0], &byte, 1));
}

TEST(finds_no_process)
{
	struct flock lock = { .l_type = F_WRLCK };

	ASSERT_EQ(0, fcntl(open("/proc/self/exe", O_RDONLY), F_GETLK, &lock));
	EXPECT_EQ(F_UNLCK, lock.l_type);
}

FIXTURE(ends)
{
	int state;
};

FIXTURE_VARIANT(ends)
{
	int value;
};

FIXTURE_VARIANT_ADD(ends, one)
{
	.value = 1,
};

FIXTURE_VARIANT_ADD(ends, two)
{
	.value = 2,
};

FIXTURE_SETUP(ends)
{
	self->state = variant->value;
}

FIXTURE_TEARDOWN(ends)
{
	TH_LOG("teardown %d", self->state);
}

TEST_F(ends, well)
{
	EXPECT_EQ(self->state, variant->value);
}

TEST_F(ends, badly)
{
	ASSERT_EQ(1, self->state);
}

TEST_F_TIMEOUT(ends, late, 1)
{
	for (;;)
		pause();
}

FIXTURE(unset)
{
};

FIXTURE_SETUP(unset)
{
	SKIP(return, "no set-up");
}

FIXTURE_TEARDOWN(unset)
{
	TH_LOG("never torn down");
}

TEST_F(unset, test)
{
	TH_LOG("never run");
}

TEST_HARNESS_MAIN
