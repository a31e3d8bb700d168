/* SPDX-License-Identifier: GPL-2.0 */
/*
 * memlock_test.h: callers that RLIMIT_MEMLOCK applies to. Include udmabuf_test.h first. All of it
 * changes the calling process only, which is the test's.
 *
 * After each test the runner looks, with the importer's help, at the kernel's own counts of what
 * root and every user of set_user() have locked: not at what the driver says of them.
 */
#ifndef MEMLOCK_TEST_H
#define MEMLOCK_TEST_H

#include <linux/capability.h>
#include <sys/syscall.h>

#define LOCKED_PAGES	"/sys/kernel/debug/dmabuf_importer/locked_pages"

#ifdef KSFT_WATCH
KSFT_WATCH(locked, "locked pages", .path = LOCKED_PAGES)
#endif

static inline long long count_charged(void)
{
	return read_field(UDMABUF_IOV_TOTALS, "charged_pages ");
}

/* Raise or drop a capability of the caller's. Return: 0 or -errno. */
static inline int set_capability(int capability, bool capable)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	__u32 bit = CAP_TO_MASK(capability), *word;

	if (syscall(SYS_capget, &header, data))
		return -errno;
	word = &data[CAP_TO_INDEX(capability)].effective;
	*word = capable ? *word | bit : *word & ~bit;
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

static inline int set_capable(bool capable)
{
	return set_capability(CAP_IPC_LOCK, capable);
}

static inline int set_limit(rlim_t bytes)
{
	struct rlimit limit = { .rlim_cur = bytes, .rlim_max = RLIM_INFINITY };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : 0;
}

/* Be charged as another user, one that has charged nothing yet, and stay root otherwise. */
static inline int set_user(uid_t uid)
{
	if (setresuid(uid, 0, 0))
		return -errno;
	/* Who has read it is watched. */
	read_number(LOCKED_PAGES);
	return 0;
}

#endif /* MEMLOCK_TEST_H */
