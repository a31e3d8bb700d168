/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kselftest_harness.h: a test runner with the API of the kernel's header of this name.
 *
 * Written from the documented API (Documentation/dev-tools/kselftest.rst), so that the same tests
 * compile against either. What differs is what happens around a test:
 *
 *  - Each test is one process in a group of its own. When the test ends, however it ends, what is
 *    left of the group is killed and reaped before the next test starts.
 *  - A test that is over its time is killed, and the report says where in the kernel it was. One
 *    that SIGKILL does not end is reported as stuck instead of being taken for dead.
 *  - -l prints one id a line, and -r with an unknown id fails.
 *  - Every line of output is one write(2), so nothing is lost or mixed when the kernel dies.
 *  - "# DURATION id microseconds" precedes each result.
 *  - Where the environment asks for it, each test is named in the kernel's log, and must leave the
 *    kernel as it found it (kselftest_dirt.h).
 *
 * KSFT_TIMEOUT_SCALE in the environment multiplies all timeouts: emulated machines are slow.
 */
#ifndef KSELFTEST_HARNESS_H
#define KSELFTEST_HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <asm/types.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"

/* ASSERT_EQ(a, b) means what a == b means in C, and a test may compare an int with a size_t. */
#pragma GCC diagnostic ignored "-Wsign-compare"

/*
 * Seconds on a real machine. The longest of our tests takes a tenth of one there, and a busy host may
 * let it wait ten times as long.
 */
#define TEST_TIMEOUT_DEFAULT	5

/* How long a killed process may take to die before it counts as stuck; microseconds, scaled. */
#define __KSFT_REAP_US		1000000LL

#define __ksft_unused		__attribute__((__unused__))
#define __ksft_constructor	__attribute__((constructor))

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#endif

/* Constructors run in no promised order: what they register is sorted by place in the source. */
struct __ksft_node {
	int place;
	struct __ksft_node *next;
};

struct __fixture_variant_metadata {
	struct __ksft_node node;
	const char *name;
	const void *data;
};

struct __fixture_metadata {
	struct __ksft_node node;
	const char *name;
	struct __ksft_node *tests;
	struct __ksft_node *variants;
};

/* Shared by the runner, the test and everything that the test forks. */
struct __ksft_outcome {
	bool failed;
	bool told;		/* what failed has been printed */
	bool skipped;
	char reason[256];
};

struct __test_metadata {
	struct __ksft_node node;
	const char *name;
	void (*run)(struct __test_metadata *_metadata, const void *variant);
	int termsig;			/* signal that the test must die of, 0 for none */
	int timeout;			/* seconds */
	struct __ksft_outcome *outcome;
	/* What a failed ASSERT has to run first; only the process that did the set-up does. */
	void (*teardown)(struct __test_metadata *_metadata, void *self, const void *variant);
	void *self;
	const void *variant;
	pid_t owner;
};

/* The CPUs that tests may use. */
static cpu_set_t __ksft_cpus;

static struct __ksft_node *__ksft_fixtures;
static struct __fixture_metadata __ksft_global_fixture = { .name = "global" };

static inline void __ksft_register(struct __ksft_node **head, struct __ksft_node *node)
{
	while (*head && (*head)->place < node->place)
		head = &(*head)->next;
	node->next = *head;
	*head = node;
}

/* What the runner has to say that can wait: no other process is told anything meanwhile. */
static struct {
	char text[2048];
	size_t length;
} __ksft_held;

/* Format one line; what a test prints cannot forge a line of its own. Return: its length. */
static inline size_t __ksft_line(char *line, size_t size, const char *format, va_list args)
{
	int length = vsnprintf(line, size - 1, format, args), i;

	if (length < 0)
		return 0;
	length = MIN(length, (int)size - 2);
	for (i = 0; i < length; i++)
		if (iscntrl((unsigned char)line[i]))
			line[i] = ' ';
	line[length++] = '\n';
	return length;
}

/* Print one line, behind those that are held, with one write(2). */
static void __attribute__((format(printf, 1, 2))) __ksft_print(const char *format, ...)
{
	char text[sizeof(__ksft_held.text) + 1024];
	size_t length = __ksft_held.length;
	va_list args;

	memcpy(text, __ksft_held.text, length);
	__ksft_held.length = 0;
	va_start(args, format);
	length += __ksft_line(text + length, sizeof(text) - length, format, args);
	va_end(args);
	while (write(STDOUT_FILENO, text, length) < 0 && errno == EINTR)
		;
}

/*
 * Hold one line for the next __ksft_print(): each write from a virtual machine wakes the emulator,
 * and then the reader.
 */
static inline void __attribute__((format(printf, 1, 2))) __ksft_hold(const char *format, ...)
{
	size_t length = __ksft_held.length;
	va_list args;

	va_start(args, format);
	length += __ksft_line(__ksft_held.text + length, sizeof(__ksft_held.text) - length,
			      format, args);
	va_end(args);
	__ksft_held.length = length;
}

static inline long long __ksft_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

#include "kselftest_dirt.h"

#define TH_LOG(fmt, ...) \
	__ksft_print("# %s:%d:%s:" fmt, __FILE__, __LINE__, _metadata->name, ##__VA_ARGS__)

/* Report the test as skipped for this reason, then run @statement, usually "return". */
#define SKIP(statement, fmt, ...) do { \
	snprintf(_metadata->outcome->reason, sizeof(_metadata->outcome->reason), \
		 fmt, ##__VA_ARGS__); \
	_metadata->outcome->skipped = true; \
	statement; \
} while (0)

static inline void __ksft_teardown(struct __test_metadata *_metadata)
{
	void (*teardown)(struct __test_metadata *, void *, const void *) = _metadata->teardown;

	/* First of all, so that an ASSERT that fails in a teardown does not start it again. */
	_metadata->teardown = NULL;
	if (teardown && _metadata->owner == getpid())
		teardown(_metadata, _metadata->self, _metadata->variant);
}

/* The end of the block behind an ASSERT or EXPECT that failed: an ASSERT ends the process. */
static inline bool __ksft_handled(struct __test_metadata *_metadata, bool assert)
{
	if (assert) {
		__ksft_teardown(_metadata);
		_exit(KSFT_FAIL);
	}
	return false;
}

struct __ksft_value {
	uintmax_t bits;
	bool is_signed;
};

#define __KSFT_VALUE(value) \
	((struct __ksft_value) { (uintmax_t)(value), \
				 (__typeof__(value))-1 < (__typeof__(value))1 })

static inline const char *__ksft_format(struct __ksft_value value, char text[24])
{
	if (value.is_signed)
		snprintf(text, 24, "%jd", (intmax_t)value.bits);
	else
		snprintf(text, 24, "%ju", value.bits);
	return text;
}

static inline void __ksft_differ(struct __test_metadata *_metadata, const char *file, int line,
				 const char *expected, struct __ksft_value expected_value,
				 const char *relation, const char *seen,
				 struct __ksft_value seen_value)
{
	char left[24], right[24];

	_metadata->outcome->failed = true;
	__ksft_print("# %s:%d:%s:Expected %s (%s) %s %s (%s)", file, line, _metadata->name,
		     expected, __ksft_format(expected_value, left), relation,
		     seen, __ksft_format(seen_value, right));
	_metadata->outcome->told = true;
}

static inline bool __ksft_strings(struct __test_metadata *_metadata, const char *file, int line,
				  const char *expected, bool equal, const char *seen)
{
	if ((strcmp(expected, seen) == 0) == equal)
		return false;
	_metadata->outcome->failed = true;
	__ksft_print("# %s:%d:%s:Expected '%s' %s '%s'", file, line, _metadata->name,
		     expected, equal ? "==" : "!=", seen);
	_metadata->outcome->told = true;
	return true;
}

/* The loop runs at most once: its body is the optional block behind the ASSERT or EXPECT. */
#define __KSFT_COMPARE(_expected, _expected_text, _relation, _seen, _seen_text, _assert) \
	for (bool __failed = ({ \
		__typeof__(_expected) __expected = (_expected); \
		__typeof__(_seen) __seen = (_seen); \
		bool __differ = !(__expected _relation __seen); \
		if (__differ) \
			__ksft_differ(_metadata, __FILE__, __LINE__, \
				      _expected_text, __KSFT_VALUE(__expected), #_relation, \
				      _seen_text, __KSFT_VALUE(__seen)); \
		__differ; }); \
	     __failed; __failed = __ksft_handled(_metadata, _assert))

#define __KSFT_STRINGS(_expected, _equal, _seen, _assert) \
	for (bool __failed = __ksft_strings(_metadata, __FILE__, __LINE__, \
					    _expected, _equal, _seen); \
	     __failed; __failed = __ksft_handled(_metadata, _assert))

#define ASSERT_EQ(expected, seen) __KSFT_COMPARE(expected, #expected, ==, seen, #seen, true)
#define ASSERT_NE(expected, seen) __KSFT_COMPARE(expected, #expected, !=, seen, #seen, true)
#define ASSERT_LT(expected, seen) __KSFT_COMPARE(expected, #expected, <, seen, #seen, true)
#define ASSERT_LE(expected, seen) __KSFT_COMPARE(expected, #expected, <=, seen, #seen, true)
#define ASSERT_GT(expected, seen) __KSFT_COMPARE(expected, #expected, >, seen, #seen, true)
#define ASSERT_GE(expected, seen) __KSFT_COMPARE(expected, #expected, >=, seen, #seen, true)
#define ASSERT_NULL(seen) __KSFT_COMPARE(NULL, "NULL", ==, seen, #seen, true)
#define ASSERT_TRUE(seen) __KSFT_COMPARE(0, "0", !=, seen, #seen, true)
#define ASSERT_FALSE(seen) __KSFT_COMPARE(0, "0", ==, seen, #seen, true)
#define ASSERT_STREQ(expected, seen) __KSFT_STRINGS(expected, true, seen, true)
#define ASSERT_STRNE(expected, seen) __KSFT_STRINGS(expected, false, seen, true)

#define EXPECT_EQ(expected, seen) __KSFT_COMPARE(expected, #expected, ==, seen, #seen, false)
#define EXPECT_NE(expected, seen) __KSFT_COMPARE(expected, #expected, !=, seen, #seen, false)
#define EXPECT_LT(expected, seen) __KSFT_COMPARE(expected, #expected, <, seen, #seen, false)
#define EXPECT_LE(expected, seen) __KSFT_COMPARE(expected, #expected, <=, seen, #seen, false)
#define EXPECT_GT(expected, seen) __KSFT_COMPARE(expected, #expected, >, seen, #seen, false)
#define EXPECT_GE(expected, seen) __KSFT_COMPARE(expected, #expected, >=, seen, #seen, false)
#define EXPECT_NULL(seen) __KSFT_COMPARE(NULL, "NULL", ==, seen, #seen, false)
#define EXPECT_TRUE(seen) __KSFT_COMPARE(0, "0", !=, seen, #seen, false)
#define EXPECT_FALSE(seen) __KSFT_COMPARE(0, "0", ==, seen, #seen, false)
#define EXPECT_STREQ(expected, seen) __KSFT_STRINGS(expected, true, seen, false)
#define EXPECT_STRNE(expected, seen) __KSFT_STRINGS(expected, false, seen, false)

#define __KSFT_REGISTER_TEST(_symbol, _name, _fixture, _run, _signal, _seconds) \
	static struct __test_metadata _symbol##_test = { \
		.node.place = __COUNTER__, \
		.name = _name, \
		.run = _run, \
		.termsig = _signal, \
		.timeout = _seconds, \
	}; \
	static void __ksft_constructor _symbol##_register(void) \
	{ \
		__ksft_register(&(_fixture)->tests, &_symbol##_test.node); \
	}

#define TEST(test_name) __KSFT_TEST(test_name, 0)
#define TEST_SIGNAL(test_name, signal) __KSFT_TEST(test_name, signal)

#define __KSFT_TEST(test_name, _signal) \
	static void test_name(struct __test_metadata *_metadata); \
	static void test_name##_run(struct __test_metadata *_metadata, \
				    const void *variant __ksft_unused) \
	{ \
		test_name(_metadata); \
	} \
	__KSFT_REGISTER_TEST(test_name, #test_name, &__ksft_global_fixture, test_name##_run, \
			     _signal, TEST_TIMEOUT_DEFAULT) \
	static void test_name(struct __test_metadata *_metadata __ksft_unused)

#define FIXTURE_DATA(fixture_name) struct __ksft_##fixture_name##_data
#define FIXTURE_VARIANT(fixture_name) struct __ksft_##fixture_name##_variant

#define FIXTURE(fixture_name) \
	FIXTURE_VARIANT(fixture_name); \
	static struct __fixture_metadata fixture_name##_fixture = { \
		.node.place = __COUNTER__, \
		.name = #fixture_name, \
	}; \
	static void __ksft_constructor fixture_name##_fixture_register(void) \
	{ \
		__ksft_register(&__ksft_fixtures, &fixture_name##_fixture.node); \
	} \
	FIXTURE_DATA(fixture_name)

#define FIXTURE_VARIANT_ADD(fixture_name, variant_name) \
	static const FIXTURE_VARIANT(fixture_name) fixture_name##_##variant_name##_data; \
	static struct __fixture_variant_metadata fixture_name##_##variant_name##_variant = { \
		.node.place = __COUNTER__, \
		.name = #variant_name, \
		.data = &fixture_name##_##variant_name##_data, \
	}; \
	static void __ksft_constructor fixture_name##_##variant_name##_variant_register(void) \
	{ \
		__ksft_register(&fixture_name##_fixture.variants, \
				&fixture_name##_##variant_name##_variant.node); \
	} \
	static const FIXTURE_VARIANT(fixture_name) fixture_name##_##variant_name##_data =

#define __KSFT_FIXTURE_ARGS(fixture_name) \
	struct __test_metadata *_metadata __ksft_unused, \
	FIXTURE_DATA(fixture_name) *self __ksft_unused, \
	const FIXTURE_VARIANT(fixture_name) *variant __ksft_unused

#define FIXTURE_SETUP(fixture_name) \
	static void fixture_name##_setup(__KSFT_FIXTURE_ARGS(fixture_name))

#define FIXTURE_TEARDOWN(fixture_name) \
	static void fixture_name##_teardown(__KSFT_FIXTURE_ARGS(fixture_name)); \
	static void fixture_name##_any_teardown(struct __test_metadata *_metadata, void *self, \
						const void *variant) \
	{ \
		fixture_name##_teardown(_metadata, self, variant); \
	} \
	static void fixture_name##_teardown(__KSFT_FIXTURE_ARGS(fixture_name))

#define TEST_F(fixture_name, test_name) \
	__KSFT_TEST_F(fixture_name, test_name, 0, TEST_TIMEOUT_DEFAULT)
#define TEST_F_SIGNAL(fixture_name, test_name, signal) \
	__KSFT_TEST_F(fixture_name, test_name, signal, TEST_TIMEOUT_DEFAULT)
#define TEST_F_TIMEOUT(fixture_name, test_name, timeout) \
	__KSFT_TEST_F(fixture_name, test_name, 0, timeout)

/* A test whose set-up failed or skipped does not run, and there is nothing to tear down. */
#define __KSFT_TEST_F(fixture_name, test_name, _signal, _seconds) \
	static void fixture_name##_##test_name(__KSFT_FIXTURE_ARGS(fixture_name)); \
	static void fixture_name##_##test_name##_run(struct __test_metadata *_metadata, \
						     const void *variant) \
	{ \
		static FIXTURE_DATA(fixture_name) self; \
		\
		fixture_name##_setup(_metadata, &self, variant); \
		if (_metadata->outcome->failed || _metadata->outcome->skipped) \
			return; \
		_metadata->self = &self; \
		_metadata->variant = variant; \
		_metadata->owner = getpid(); \
		_metadata->teardown = fixture_name##_any_teardown; \
		fixture_name##_##test_name(_metadata, &self, variant); \
		__ksft_teardown(_metadata); \
	} \
	__KSFT_REGISTER_TEST(fixture_name##_##test_name, #test_name, &fixture_name##_fixture, \
			     fixture_name##_##test_name##_run, _signal, _seconds) \
	static void fixture_name##_##test_name(__KSFT_FIXTURE_ARGS(fixture_name))

/*
 * Wait until the processes that waitid(@type, @id) names give an event or the deadline passes.
 * SIGCHLD is blocked in the runner, so that one that arrives before the wait is not lost.
 *
 * Return: 1 with @info filled in, 0 at the deadline, -1 when there is no such child.
 */
static inline int __ksft_wait(idtype_t type, id_t id, int options, siginfo_t *info,
			      long long deadline_us)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		struct timespec left;
		long long us;

		info->si_pid = 0;
		if (waitid(type, id, info, WEXITED | WNOHANG | options) < 0)
			return -1;
		if (info->si_pid)
			return 1;
		us = deadline_us - __ksft_now_us();
		if (us <= 0)
			return 0;
		left.tv_sec = us / 1000000;
		left.tv_nsec = us % 1000000 * 1000;
		sigtimedwait(&child, NULL, &left);
	}
}

/* Read the first line of a file in /proc. Return: whether it could be read. */
static inline bool __ksft_read_line(const char *folder, const char *name, char *line, size_t size)
{
	char path[320];
	FILE *file;
	bool good;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	good = fgets(line, size, file);
	fclose(file);
	line[good ? strcspn(line, "\n") : 0] = '\0';
	return good;
}

/* Say where in the kernel a thread is: for a test that hangs this is half of the answer. */
static inline void __ksft_print_thread(const char *label, const char *folder)
{
	char stat[512], wchan[128], path[320], line[256], state;
	FILE *stack;

	/* "17 (name with ) in it) D ..." */
	if (!__ksft_read_line(folder, "stat", stat, sizeof(stat)) || !strrchr(stat, ')'))
		return;
	state = strrchr(stat, ')')[2];
	*(strrchr(stat, ')') + 1) = '\0';
	if (!__ksft_read_line(folder, "wchan", wchan, sizeof(wchan)))
		strcpy(wchan, "?");
	__ksft_print("# %s: thread %s in state %c at %s", label, stat, state, wchan);
	snprintf(path, sizeof(path), "%s/stack", folder);
	stack = fopen(path, "re");
	while (stack && fgets(line, sizeof(line), stack)) {
		line[strcspn(line, "\n")] = '\0';
		__ksft_print("# %s:   %s", label, line);
	}
	if (stack)
		fclose(stack);
}

/* Call __ksft_print_thread() for all threads of a process. */
static inline void __ksft_print_threads(const char *label, const char *process)
{
	char tasks[300], folder[300];
	struct dirent *task;
	DIR *dir;

	snprintf(tasks, sizeof(tasks), "/proc/%s/task", process);
	dir = opendir(tasks);
	while (dir && (task = readdir(dir))) {
		if (!isdigit((unsigned char)task->d_name[0]))
			continue;
		snprintf(folder, sizeof(folder), "/proc/%.20s/task/%.20s", process, task->d_name);
		__ksft_print_thread(label, folder);
	}
	if (dir)
		closedir(dir);
}

/* Say where all processes of a test are. */
static inline void __ksft_print_group(const char *label, pid_t group)
{
	DIR *dir = opendir("/proc");
	struct dirent *process;

	while (dir && (process = readdir(dir))) {
		if (isdigit((unsigned char)process->d_name[0]) &&
		    getpgid(atoi(process->d_name)) == group)
			__ksft_print_threads(label, process->d_name);
	}
	if (dir)
		closedir(dir);
}

/* Kill what is left of a test's process group. Return: whether all of it is gone. */
static inline bool __ksft_kill_group(pid_t group, int scale)
{
	long long deadline_us = __ksft_now_us() + __KSFT_REAP_US * scale;
	siginfo_t info;
	int event;

	kill(-group, SIGKILL);
	do {
		event = __ksft_wait(P_PGID, group, 0, &info, deadline_us);
	} while (event > 0);
	return event < 0;
}

enum __ksft_verdict {
	__KSFT_OK,
	__KSFT_NOT_OK,
	__KSFT_SKIPPED,
	__KSFT_TIMEOUT,
	__KSFT_DIRTY,
};

static inline enum __ksft_verdict __ksft_judge(const struct __test_metadata *test,
					       const siginfo_t *info)
{
	if (info->si_code != CLD_EXITED) {
		if (info->si_status == test->termsig && !test->outcome->failed)
			return __KSFT_OK;
		__ksft_print("# %s: Test terminated unexpectedly by signal %d (%s)",
			     test->name, info->si_status, strsignal(info->si_status));
		return __KSFT_NOT_OK;
	}
	if (test->outcome->failed && !test->outcome->told)
		__ksft_print("# %s: Test failed in a process that was killed before it said why",
			     test->name);
	if (test->outcome->failed)
		return __KSFT_NOT_OK;
	if (test->outcome->skipped || info->si_status == KSFT_SKIP)
		return __KSFT_SKIPPED;
	if (info->si_status != KSFT_PASS) {
		__ksft_print("# %s: Test exited with code %d", test->name, info->si_status);
		return __KSFT_NOT_OK;
	}
	if (test->termsig) {
		__ksft_print("# %s: Test was not terminated by signal %d (%s)",
			     test->name, test->termsig, strsignal(test->termsig));
		return __KSFT_NOT_OK;
	}
	return __KSFT_OK;
}

/*
 * Run one test in its own process and leave none of its processes behind, unless they are @stuck.
 */
static inline enum __ksft_verdict __ksft_supervise(struct __test_metadata *test,
						   const void *variant, int scale, const char *id,
						   bool *stuck)
{
	enum __ksft_verdict verdict = __KSFT_TIMEOUT;
	long long start_us = __ksft_now_us();
	sigset_t none;
	siginfo_t info;
	pid_t pid;

	memset(test->outcome, 0, sizeof(*test->outcome));
	pid = fork();
	if (pid < 0) {
		__ksft_print("# %s: fork: %s", test->name, strerror(errno));
		return __KSFT_NOT_OK;
	}
	if (pid == 0) {
		setpgid(0, 0);
		__ksft_dirt_forget();
		sched_setaffinity(0, sizeof(__ksft_cpus), &__ksft_cpus);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		test->run(test, variant);
		_exit(test->outcome->failed ? KSFT_FAIL : KSFT_PASS);
	}
	/* Twice, because nobody knows which of the two processes runs first. */
	setpgid(pid, pid);
	__ksft_dirt_born(pid, id);

	/* WNOWAIT: while the zombie is there, nobody else gets the number of its group. */
	if (__ksft_wait(P_PID, pid, WNOWAIT, &info,
			start_us + test->timeout * 1000000LL * scale) > 0) {
		__ksft_hold("# DURATION %s %lld", id, __ksft_now_us() - start_us);
		verdict = __ksft_judge(test, &info);
	} else {
		__ksft_hold("# DURATION %s %lld", id, __ksft_now_us() - start_us);
		__ksft_print("# %s: Test terminated by timeout", test->name);
		__ksft_print_group("STACK", pid);
		snprintf(test->outcome->reason, sizeof(test->outcome->reason),
			 "after %d s", test->timeout * scale);
	}
	*stuck = !__ksft_kill_group(pid, scale);
	if (*stuck) {
		__ksft_print_group("STUCK", pid);
		snprintf(test->outcome->reason, sizeof(test->outcome->reason),
			 "stuck in the kernel");
		verdict = __KSFT_TIMEOUT;
	}
	return verdict;
}

/*
 * Run one test, look at what it left behind, and report. @over is set when no test may follow: in a
 * kernel with dirt, or beside processes that cannot be killed.
 */
static inline enum __ksft_verdict
__ksft_run(struct __test_metadata *test, const void *variant, int scale, const char *id,
	   int number, bool *over)
{
	const char *reason = test->outcome->reason;
	enum __ksft_verdict verdict;
	char dirt[256];
	bool stuck = false;

	__ksft_print("#  RUN           %s ...", id);
	/* Whoever waits for the next line need not expect it sooner. */
	if (test->timeout > TEST_TIMEOUT_DEFAULT && ksft_watches())
		__ksft_print("#  PATIENCE      %s %d", id, test->timeout);
	__ksft_dirt_mark(id);
	verdict = __ksft_supervise(test, variant, scale, id, &stuck);
	*over = stuck && ksft_watches();
	/* What a stuck process holds is no news. */
	if (!stuck && __ksft_dirt_found(scale, dirt, sizeof(dirt))) {
		*over = true;
		if (verdict == __KSFT_OK || verdict == __KSFT_SKIPPED) {
			verdict = __KSFT_DIRTY;
			reason = dirt;
		}
	}
	__ksft_report_log();
	switch (verdict) {
	case __KSFT_OK:
		__ksft_hold("#            OK  %s", id);
		__ksft_print("ok %d %s", number, id);
		break;
	case __KSFT_SKIPPED:
		__ksft_hold("#          SKIP  %s", id);
		__ksft_print("ok %d %s # SKIP %s", number, id, reason);
		break;
	case __KSFT_NOT_OK:
		__ksft_hold("#          FAIL  %s", id);
		__ksft_print("not ok %d %s", number, id);
		break;
	case __KSFT_TIMEOUT:
		__ksft_hold("#          FAIL  %s", id);
		__ksft_print("not ok %d %s # TIMEOUT %s", number, id, reason);
		break;
	case __KSFT_DIRTY:
		__ksft_hold("#          FAIL  %s", id);
		__ksft_print("not ok %d %s # DIRTY %s", number, id, reason);
		break;
	}
	return verdict;
}

/* What to do with each test, and the tally. */
struct __ksft_plan {
	enum { __KSFT_COUNT, __KSFT_LIST, __KSFT_RUN } action;
	char **wanted;		/* ids, NULL after the last; NULL for all tests */
	int scale;
	int number;
	int tally[5];		/* by verdict */
	bool over;		/* no test may follow */
};

static inline bool __ksft_wanted(const struct __ksft_plan *plan, const char *id)
{
	char **wanted;

	if (!plan->wanted)
		return true;
	for (wanted = plan->wanted; *wanted; wanted++)
		if (!strcmp(*wanted, id))
			return true;
	return false;
}

static inline void __ksft_visit(struct __ksft_plan *plan, const struct __fixture_metadata *fixture,
				const struct __fixture_variant_metadata *variant,
				struct __test_metadata *test)
{
	char id[512];

	snprintf(id, sizeof(id), "%s%s%s.%s", fixture->name, variant ? "." : "",
		 variant ? variant->name : "", test->name);
	if (plan->over || !__ksft_wanted(plan, id))
		return;
	plan->number++;
	if (plan->action == __KSFT_LIST)
		__ksft_print("%s", id);
	else if (plan->action == __KSFT_RUN)
		plan->tally[__ksft_run(test, variant ? variant->data : NULL, plan->scale, id,
				       plan->number, &plan->over)]++;
}

/* Visit every test of every variant of every fixture, in the order of the source. */
static inline void __ksft_walk(struct __ksft_plan *plan, struct __ksft_outcome *outcome)
{
	struct __ksft_node *f, *v, *t;

	plan->number = 0;
	for (f = __ksft_fixtures; f; f = f->next) {
		struct __fixture_metadata *fixture = (struct __fixture_metadata *)f;

		v = fixture->variants;
		do {
			for (t = fixture->tests; t; t = t->next) {
				struct __test_metadata *test = (struct __test_metadata *)t;

				test->outcome = outcome;
				__ksft_visit(plan, fixture,
					     (struct __fixture_variant_metadata *)v, test);
			}
			v = v ? v->next : NULL;
		} while (v);
	}
}

/*
 * Have the runner stay on one CPU, where its tests start: they take turns, and to wake somebody on
 * another CPU is what takes an emulated machine longest.
 */
static inline void __ksft_stay(void)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	sched_getaffinity(0, sizeof(__ksft_cpus), &__ksft_cpus);
	sched_setaffinity(0, sizeof(here), &here);
}

static inline int __ksft_usage(const char *program, int status)
{
	fprintf(stderr, "usage: %s [-h] [-l] [-r ID]...\n"
		"  -h     show this help\n"
		"  -l     list the ids of the tests, one a line\n"
		"  -r ID  run this test only; may be given several times\n"
		"KSFT_TIMEOUT_SCALE in the environment multiplies the timeouts (1 to 1000).\n",
		program);
	return status;
}

static inline int test_harness_run(int argc, char **argv)
{
	struct __ksft_plan plan = { .action = __KSFT_RUN, .scale = 1 };
	char *scale = getenv("KSFT_TIMEOUT_SCALE");
	char *wanted[argc + 1];
	struct __ksft_outcome *outcome;
	bool list = false;
	sigset_t child;
	int option, count = 0;

	while ((option = getopt(argc, argv, "hlr:")) != -1) {
		switch (option) {
		case 'l':
			list = true;
			break;
		case 'r':
			wanted[count++] = optarg;
			wanted[count] = NULL;
			plan.wanted = wanted;
			break;
		default:
			return __ksft_usage(argv[0], option == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
	if (scale)
		plan.scale = atoi(scale);
	if (optind < argc || plan.scale < 1 || plan.scale > 1000)
		return __ksft_usage(argv[0], KSFT_FAIL);

	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcome == MAP_FAILED) {
		perror("mmap");
		return KSFT_FAIL;
	}
	__ksft_global_fixture.node.place = -1;
	__ksft_register(&__ksft_fixtures, &__ksft_global_fixture.node);
	plan.action = list ? __KSFT_LIST : __KSFT_COUNT;
	__ksft_walk(&plan, outcome);
	if (plan.number < count) {
		fprintf(stderr, "%s: no such test among those that -r names\n", argv[0]);
		return KSFT_FAIL;
	}
	if (list)
		return KSFT_PASS;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	/* What a test leaves behind becomes a child of the runner, which can wait for it. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	__ksft_print("TAP version 13");
	__ksft_print("1..%d", plan.number);
	if (!__ksft_dirt_start())
		return KSFT_FAIL;
	__ksft_stay();
	plan.action = __KSFT_RUN;
	__ksft_walk(&plan, outcome);
	__ksft_print("# Totals: pass:%d fail:%d skip:%d timeout:%d dirty:%d",
		     plan.tally[__KSFT_OK], plan.tally[__KSFT_NOT_OK],
		     plan.tally[__KSFT_SKIPPED], plan.tally[__KSFT_TIMEOUT],
		     plan.tally[__KSFT_DIRTY]);
	if (plan.over)
		return KSFT_DIRTY;
	return plan.tally[__KSFT_NOT_OK] || plan.tally[__KSFT_TIMEOUT] ? KSFT_FAIL : KSFT_PASS;
}

#define TEST_HARNESS_MAIN \
	int main(int argc, char **argv) \
	{ \
		return test_harness_run(argc, argv); \
	}

#endif /* KSELFTEST_HARNESS_H */
