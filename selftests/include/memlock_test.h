/* SPDX-License-Identifier: GPL-2.0 */
/*
 * memlock_test.h: callers that RLIMIT_MEMLOCK applies to. Include udmabuf_test.h first. All of it
 * changes the calling process only, which is the test's.
 */
#ifndef MEMLOCK_TEST_H
#define MEMLOCK_TEST_H

#include <linux/capability.h>
#include <sys/syscall.h>

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
	return setresuid(uid, 0, 0) ? -errno : 0;
}

#endif /* MEMLOCK_TEST_H */
