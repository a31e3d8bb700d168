/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kselftest_dirt.h: what a test must leave in the kernel as it found it. Part of our
 * kselftest_harness.h, and asleep unless KSFT_SUITE is in the environment, which names the suite.
 * Then
 *
 *  - /dev/kmsg is told of each test before it starts: "harness: test SUITE:ID". What the kernel
 *    says from there on is the test's.
 *  - after each test, warnings and worse of the kernel become diagnostics, "# KERNEL: <4>text".
 *  - the state of the kernel is compared with that at the start of the program: taint, users of the
 *    modules that KSFT_MODULES names, and the numbers that the tests declare with KSFT_WATCH().
 *    What differs is dirt, "# DIRTY: what before -> now", and the program stops with KSFT_DIRTY:
 *    in such a kernel no later result means anything.
 *
 * All this is done by the runner, between two tests. A test sees none of it.
 */
#ifndef KSELFTEST_DIRT_H
#define KSELFTEST_DIRT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

/* A folder that stands for the root, to test this header. */
#ifndef KSFT_ROOT
#define KSFT_ROOT ""
#endif

/* Exit status beside those of kselftest.h: stopped, because the kernel is not as it was. */
#define KSFT_DIRTY		5

/*
 * How long the kernel may take to give back what a process had (RCU, work queues, descriptors in
 * flight), in microseconds and before scaling; and how often to look.
 */
#define __KSFT_SETTLE_US	200000LL
#define __KSFT_LOOK_US		500

/* Bytes to read at a time. */
#define __KSFT_CHUNK		1024UL

#define __KSFT_MODULES		8
/* More lines of the kernel than this are counted only. */
#define __KSFT_MESSAGES		50
/* Warnings are 4; 0 is worst. */
#define __KSFT_WARNING		4

/*
 * A number that must come back to what it was: the first word of the file, or the first word behind
 * @key at the start of a line; less the one behind @minus. Reading @refresh first makes it exact.
 */
struct __ksft_watch {
	const char *what;
	const char *path;
	const char *key;
	const char *minus;
	const char *refresh;
	bool final;		/* never comes back, so it is not waited for */
	bool keep;		/* keep files open: no module has to stay for them */
	int file;		/* descriptors that are kept, 0 for none */
	int refresh_file;
	long long before;
	long long now;
	struct __ksft_watch *next;
};

struct __ksft_module {
	struct __ksft_watch watch;
	char what[80];
	char path[96];
};

static struct {
	const char *suite;	/* NULL: all this is asleep */
	int log;		/* /dev/kmsg */
	int journal;		/* of the tests' processes, where the environment asks for it */
	struct __ksft_watch *watches;
	struct __ksft_module modules[__KSFT_MODULES];
} __ksft_dirt = { .log = -1, .journal = -1 };

static inline void __ksft_watch_add(struct __ksft_watch *watch)
{
	struct __ksft_watch **end = &__ksft_dirt.watches;

	while (*end)
		end = &(*end)->next;
	*end = watch;
}

/* Declare a number: KSFT_WATCH(bufs, "buffers", .path = "/...", .key = "Total "); */
#define KSFT_WATCH(_symbol, _what, ...) \
	static struct __ksft_watch _symbol##_watch = { .what = _what, __VA_ARGS__ }; \
	static void __attribute__((constructor)) _symbol##_watch_register(void) \
	{ \
		__ksft_watch_add(&_symbol##_watch); \
	}

KSFT_WATCH(__ksft_taint, "taint", .path = "/proc/sys/kernel/tainted", .final = true, .keep = true)

/* Whether the runner compares after each test what KSFT_WATCH() declares. */
static inline bool ksft_watches(void)
{
	return __ksft_dirt.suite;
}

static inline int __ksft_open(const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", KSFT_ROOT, path);
	return open(full, O_RDONLY | O_CLOEXEC);
}

/* Return: what is behind the first @key that starts a line, up to whose end @text goes; or NULL. */
static inline const char *__ksft_value(const char *text, const char *key)
{
	const char *line;

	for (line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, strlen(key)))
			return strchr(line, '\n') ? line + strlen(key) : NULL;
	}
	return NULL;
}

/* Return: whether @text has what is wanted of the file of @watch, by those behind it, too. */
static inline bool __ksft_enough(const char *text, const struct __ksft_watch *watch)
{
	const char *path = watch->path;

	for (; watch && !strcmp(watch->path, path); watch = watch->next)
		if (!__ksft_value(text, watch->key ? watch->key : "") ||
		    (watch->minus && !__ksft_value(text, watch->minus)))
			return false;
	return true;
}

/*
 * Read a file from its start, as far as it fits and @watch, if not NULL, needs it: a file in /proc
 * is written as it is read. @kept, if not NULL, is its descriptor or 0, and is kept: to open a file
 * in /proc takes longer than to read it. One that has become stale, because its module was loaded
 * anew, is opened once more.
 *
 * Return: whether it could be read.
 */
static inline bool __ksft_read(const char *path, int *kept, const struct __ksft_watch *watch,
			       char *text, size_t size)
{
	bool again = kept && *kept;
	size_t length = 0;
	ssize_t got = 0;
	int fd;

	text[0] = '\0';
	fd = again ? *kept : __ksft_open(path);
	while (fd >= 0) {
		/* Little at a time: sysctl files clear as much memory as one asks for. */
		got = pread(fd, text + length, MIN(size - 1 - length, __KSFT_CHUNK), length);
		if (got > 0) {
			length += got;
			text[length] = '\0';
			if (watch && __ksft_enough(text, watch))
				break;
		} else if (got < 0 && errno == ENODEV && again) {
			again = false;
			close(fd);
			fd = __ksft_open(path);
		} else if (got == 0 || errno != EINTR) {
			break;
		}
	}
	if (kept)
		*kept = fd < 0 ? 0 : fd;
	else if (fd >= 0)
		close(fd);
	return fd >= 0 && got >= 0;
}

/* Return: the number behind the first @key that starts a line, or -1. */
static inline long long __ksft_number(const char *text, const char *key)
{
	const char *value = __ksft_value(text, key);

	return value ? strtoll(value, NULL, 10) : -1;
}

/*
 * Return: the number that is watched, or -1 where it cannot be read. @last, if it has the same file,
 * was looked at just before.
 */
static inline long long __ksft_look(struct __ksft_watch *watch, const struct __ksft_watch *last)
{
	static char text[1 << 16];
	static bool good;
	long long number, minus;

	if (!last || strcmp(last->path, watch->path)) {
		/* What it returns is its opinion of other numbers. */
		if (watch->refresh)
			__ksft_read(watch->refresh, watch->keep ? &watch->refresh_file : NULL, NULL,
				    text, sizeof(text));
		good = __ksft_read(watch->path, watch->keep ? &watch->file : NULL, watch, text,
				   sizeof(text));
	}
	if (!good)
		return -1;
	number = __ksft_number(text, watch->key ? watch->key : "");
	minus = watch->minus ? __ksft_number(text, watch->minus) : 0;
	return number < 0 || minus < 0 ? -1 : number - minus;
}

/* Watch the users of the modules in a list with blanks. */
static inline void __ksft_watch_modules(const char *names)
{
	struct __ksft_module *module = __ksft_dirt.modules;
	const char *name;
	int length;

	for (name = names; *(name += strspn(name, " ")); name += length) {
		length = strcspn(name, " ");
		if (module == __ksft_dirt.modules + __KSFT_MODULES) {
			__ksft_print("# UNWATCHED: users of %s: too many modules", name);
			return;
		}
		snprintf(module->what, sizeof(module->what), "users of %.*s", length, name);
		snprintf(module->path, sizeof(module->path), "/sys/module/%.*s/refcnt", length,
			 name);
		module->watch.what = module->what;
		module->watch.path = module->path;
		module->watch.keep = true;
		__ksft_watch_add(&module->watch);
		module++;
	}
}

/* Before the first test: note how things are. Return: whether that is possible. */
static inline bool __ksft_dirt_start(void)
{
	const char *modules = getenv("KSFT_MODULES");
	const char *journal = getenv("KSFT_JOURNAL");
	struct __ksft_watch *watch, *last = NULL;

	__ksft_dirt.suite = getenv("KSFT_SUITE");
	if (!__ksft_dirt.suite)
		return true;
	__ksft_dirt.log = open(KSFT_ROOT "/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (__ksft_dirt.log < 0) {
		__ksft_print("Bail out! /dev/kmsg: %s", strerror(errno));
		return false;
	}
	lseek(__ksft_dirt.log, 0, SEEK_END);
	if (journal)
		__ksft_dirt.journal = open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	__ksft_watch_modules(modules ? modules : "");
	for (watch = __ksft_dirt.watches; watch; watch = watch->next) {
		watch->before = __ksft_look(watch, last);
		last = watch;
		if (watch->before < 0)
			__ksft_print("# UNWATCHED: %s: not in %s", watch->what, watch->path);
	}
	return true;
}

/* Before each test: tell the kernel's log. */
static inline void __ksft_dirt_mark(const char *id)
{
	char line[600];
	int length;

	if (!__ksft_dirt.suite)
		return;
	length = snprintf(line, sizeof(line), "<6>harness: test %s:%s\n", __ksft_dirt.suite, id);
	if (write(__ksft_dirt.log, line, length) != length)
		__ksft_print("# KERNEL: <4>no mark in /dev/kmsg: %s", strerror(errno));
}

/* When a test's process has started: what the kernel says of later ones, too, is about this test. */
static inline void __ksft_dirt_born(pid_t pid, const char *id)
{
	if (__ksft_dirt.journal >= 0)
		dprintf(__ksft_dirt.journal, "%d %s:%s\n", pid, __ksft_dirt.suite, id);
}

/* In the process of a test: leave no trace. */
static inline void __ksft_dirt_forget(void)
{
	struct __ksft_watch *watch;

	if (!__ksft_dirt.suite)
		return;
	close(__ksft_dirt.log);
	if (__ksft_dirt.journal >= 0)
		close(__ksft_dirt.journal);
	for (watch = __ksft_dirt.watches; watch; watch = watch->next) {
		if (watch->file)
			close(watch->file);
		if (watch->refresh_file)
			close(watch->refresh_file);
	}
}

/* Return: whether a line of /dev/kmsg is a warning of the kernel's own; @text is what it says. */
static inline bool __ksft_warning(const char *line, unsigned int *priority, const char **text)
{
	unsigned long long sequence;

	if (sscanf(line, "%u,%llu,", priority, &sequence) != 2)
		return false;
	*text = strchr(line, ';');
	/* The facility, which stands above the level, is 0 for the kernel. */
	return *text && *priority <= __KSFT_WARNING;
}

/* After each test: report what the kernel complained of. A read(2) gives one message. */
static inline void __ksft_report_log(void)
{
	char record[8192], *line, *rest;
	unsigned int priority;
	const char *text;
	int count = 0;
	ssize_t got;

	while (__ksft_dirt.suite) {
		got = read(__ksft_dirt.log, record, sizeof(record) - 1);
		if (got < 0 && errno == EPIPE)
			__ksft_print("# KERNEL: <4>messages were overwritten before they were read");
		else if (got <= 0)
			break;
		record[got > 0 ? got : 0] = '\0';
		for (line = strtok_r(record, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
			if (__ksft_warning(line, &priority, &text) && count++ < __KSFT_MESSAGES)
				__ksft_print("# KERNEL: <%u>%s", priority, text + 1);
	}
	if (count > __KSFT_MESSAGES)
		__ksft_print("# KERNEL: <4>%d more messages", count - __KSFT_MESSAGES);
}

/* Return: whether all is as it was, but for what never will be. */
static inline bool __ksft_settled(void)
{
	struct __ksft_watch *watch, *last = NULL;
	bool settled = true;

	for (watch = __ksft_dirt.watches; watch; watch = watch->next) {
		watch->now = __ksft_look(watch, last);
		last = watch;
		settled &= watch->now == watch->before || watch->final;
	}
	return settled;
}

/*
 * After each test: compare.
 *
 * Return: whether there is dirt; @reason then says what, in one line.
 */
static inline bool __ksft_dirt_found(int scale, char *reason, size_t size)
{
	long long deadline_us = __ksft_now_us() + __KSFT_SETTLE_US * scale;
	struct __ksft_watch *watch;
	size_t length = 0;

	if (!__ksft_dirt.suite)
		return false;
	while (!__ksft_settled() && __ksft_now_us() < deadline_us)
		usleep(__KSFT_LOOK_US);
	for (watch = __ksft_dirt.watches; watch; watch = watch->next) {
		if (watch->now == watch->before)
			continue;
		__ksft_print("# DIRTY: %s %lld -> %lld", watch->what, watch->before, watch->now);
		if (length < size)
			length += snprintf(reason + length, size - length, "%s%s %lld -> %lld",
					   length ? ", " : "", watch->what, watch->before,
					   watch->now);
	}
	return length;
}

#endif /* KSELFTEST_DIRT_H */
