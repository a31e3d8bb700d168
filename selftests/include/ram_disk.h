/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ram_disk.h: the guest's disk in memory, which tests may overwrite, and swap on it. Include
 * udmabuf_test.h first. Not for a machine that somebody uses: there the disk may be in use.
 */
#ifndef RAM_DISK_H
#define RAM_DISK_H

#include <sys/swap.h>

#define RAM_DISK		"/dev/ram0"

/* Swap that a test left behind, because it was killed: later ones would find their memory gone. */
#ifdef KSFT_WATCH
KSFT_WATCH(swap, "KiB of swap", .path = "/proc/meminfo", .key = "SwapTotal:", .keep = true)
#endif

/* Return: the disk, or -1 after marking the test as skipped where there is none. */
static inline int open_ram_disk(struct __test_metadata *_metadata, int flags)
{
	int fd = open(RAM_DISK, O_RDWR | O_CLOEXEC | flags);

	if (fd < 0 && errno == ENOENT)
		SKIP(return -1, "no %s", RAM_DISK);
	ASSERT_LE(0, fd) TH_LOG("%s: %s", RAM_DISK, strerror(errno));
	return fd;
}

/* What mkswap(8) writes: a version, the last page, and at the end of the page the magic. */
static inline void make_swap_header(void *page, size_t disk_bytes)
{
	struct {
		__u32 version;
		__u32 last_page;
	} info = { .version = 1, .last_page = disk_bytes / PAGE_BYTES - 1 };
	static const char magic[] = "SWAPSPACE2";
	size_t length = strlen(magic);

	memset(page, 0, PAGE_BYTES);
	memcpy((char *)page + 1024, &info, sizeof(info));
	memcpy((char *)page + PAGE_BYTES - length, magic, length);
}

/*
 * Give the kernel the disk to swap on, and stay on this CPU: what another one has touched is not
 * paged out until that puts it on the list of what can be.
 *
 * Return: false when this machine cannot, in which case the test is marked as skipped. Otherwise
 * stop_swap() has to follow, however the test ends.
 */
static inline bool start_swap(struct __test_metadata *_metadata)
{
	int disk = open_ram_disk(_metadata, 0);
	char page[PAGE_BYTES];
	cpu_set_t cpus;

	if (disk < 0)
		return false;
	make_swap_header(page, lseek(disk, 0, SEEK_END));
	ASSERT_EQ(PAGE_BYTES, pwrite(disk, page, PAGE_BYTES, 0));
	close(disk);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	stay_on_cpu(&cpus, 0);
	if (swapon(RAM_DISK, 0) && errno == ENOSYS)
		SKIP(return false, "this kernel does not swap");
	ASSERT_LT(0, read_field("/proc/meminfo", "SwapTotal:")) {
		TH_LOG("swapon: %s", strerror(errno));
	}
	return true;
}

/* Bring everything back that was paged out. */
static inline void stop_swap(struct __test_metadata *_metadata)
{
	EXPECT_EQ(0, swapoff(RAM_DISK)) TH_LOG("swapoff: %s", strerror(errno));
}

/* Return: how many of these pages are on the disk. */
static inline size_t count_swapped(const void *address, size_t count)
{
	size_t i, swapped = 0;
	__u64 entries[count];

	read_pagemap(address, count, entries);
	for (i = 0; i < count; i++)
		swapped += !!(entries[i] & PAGEMAP_SWAPPED);
	return swapped;
}

#endif /* RAM_DISK_H */
