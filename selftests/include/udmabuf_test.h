/* SPDX-License-Identifier: GPL-2.0 */
/*
 * udmabuf_test.h: what the udmabuf tests share: memory to export, patterns, ioctl wrappers that
 * return -errno, and readers of the kernel's counters. Include kselftest_harness.h first: this
 * header takes the kernel's or ours, whichever the test is built with.
 */
#ifndef UDMABUF_TEST_H
#define UDMABUF_TEST_H

#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/memfd.h>
#include <linux/udmabuf.h>
#include <linux/udmabuf_iov.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#define UDMABUF_DEVICE		"/dev/udmabuf"
#ifdef UDMABUF_IOV_CREATE
#define UDMABUF_IOV_MODULE	"/sys/module/udmabuf_iov"
#define UDMABUF_IOV_TOTALS	"/sys/kernel/debug/udmabuf_iov/totals"
#define UDMABUF_IOV_BUFFERS	"/sys/kernel/debug/udmabuf_iov/buffers"
#define UDMABUF_IOV_CHARGES	"/sys/kernel/debug/udmabuf_iov/charges"
#endif

#define PAGE_BYTES		((size_t)getpagesize())
#define HUGE_PAGE_BYTES		((size_t)2 << 20)

/* Patterns differ by seed, so that old content cannot pass for new. */
#define SEED_SOURCE		0xa5
#define SEED_BUFFER		0x5b
#define SEED_CHILD		0xc3

#define MAX_RUNS		16

enum backing {
#ifdef UDMABUF_IOV_CREATE
	ANON,		/* anonymous private memory, exported with UDMABUF_IOV_CREATE */
	THP,		/* the same, of transparent huge pages, 2 MiB each */
#endif
	SHMEM,		/* sealed memfd */
	HUGETLB,	/* sealed memfd of 2 MiB pages */
};

/* A range of the source, in pages. */
struct run {
	size_t first;
	size_t count;
};

/* What is exported: @runs of a source of @pages, in the order in which the buffer has them. */
struct layout {
	enum backing backing;
	size_t pages;
	size_t nr_runs;
	struct run runs[MAX_RUNS];
};

/* Memory to export. @memfd is -1 for anonymous memory. */
struct source {
	const struct layout *layout;
	int memfd;
	unsigned char *map;
	size_t bytes;
};

/* ---- Patterns: each 64-bit word tells the seed, the source page and its place in the page. */

static inline __u64 pattern_word(unsigned int seed, size_t page, size_t word)
{
	return (__u64)seed << 48 | (__u64)page << 16 | word;
}

static inline void fill_page(void *page, unsigned int seed, size_t number)
{
	__u64 *words = page;
	size_t i;

	for (i = 0; i < PAGE_BYTES / sizeof(*words); i++)
		words[i] = pattern_word(seed, number, i);
}

static inline void fill_pages(void *pages, unsigned int seed, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		fill_page((char *)pages + i * PAGE_BYTES, seed, i);
}

/* Return: whether the page holds this pattern; the first word that differs is logged. */
static inline bool check_page(struct __test_metadata *_metadata, const void *page,
			      unsigned int seed, size_t number)
{
	const __u64 *words = page;
	size_t i;

	for (i = 0; i < PAGE_BYTES / sizeof(*words); i++) {
		__u64 want = pattern_word(seed, number, i), got = words[i];

		if (got == want)
			continue;
		TH_LOG("word %zu of source page %zu: expected %#llx, got %#llx", i, number,
		       (unsigned long long)want, (unsigned long long)got);
		return false;
	}
	return true;
}

/* Return: how many of these pages do not hold the pattern; the first few are logged. */
static inline size_t check_pages(struct __test_metadata *_metadata, const void *pages,
				 unsigned int seed, size_t count)
{
	size_t i, wrong = 0;

	for (i = 0; i < count && wrong < 4; i++)
		wrong += !check_page(_metadata, (const char *)pages + i * PAGE_BYTES, seed, i);
	return wrong;
}

/* The first and the last word of the pattern: enough to tell pages apart, where they are many. */
static inline void stamp_page(void *page, unsigned int seed, size_t number)
{
	__u64 *words = page;
	size_t last = PAGE_BYTES / sizeof(*words) - 1;

	words[0] = pattern_word(seed, number, 0);
	words[last] = pattern_word(seed, number, last);
}

static inline bool page_is_stamped(const void *page, unsigned int seed, size_t number)
{
	const __u64 *words = page;
	size_t last = PAGE_BYTES / sizeof(*words) - 1;

	return words[0] == pattern_word(seed, number, 0) &&
	       words[last] == pattern_word(seed, number, last);
}

/* ---- Layouts */

static inline size_t layout_pages(const struct layout *layout)
{
	size_t i, pages = 0;

	for (i = 0; i < layout->nr_runs; i++)
		pages += layout->runs[i].count;
	return pages;
}

/* Return: the source page that is page @number of the buffer. */
static inline size_t layout_source_page(const struct layout *layout, size_t number)
{
	const struct run *run = layout->runs;

	while (number >= run->count)
		number -= run++->count;
	return run->first + number;
}

/* Return: whether a source page is in the buffer more than once. */
static inline bool layout_repeats(const struct layout *layout)
{
	size_t i, j;

	for (i = 0; i < layout->nr_runs; i++)
		for (j = 0; j < i; j++)
			if (layout->runs[i].first < layout->runs[j].first + layout->runs[j].count &&
			    layout->runs[j].first < layout->runs[i].first + layout->runs[i].count)
				return true;
	return false;
}

static inline bool layout_exports(const struct layout *layout, size_t source_page)
{
	size_t i;

	for (i = 0; i < layout->nr_runs; i++)
		if (source_page - layout->runs[i].first < layout->runs[i].count)
			return true;
	return false;
}

/* Fill a whole buffer as if its source had been filled. */
static inline void fill_buffer(void *buffer, unsigned int seed, const struct layout *layout)
{
	size_t i;

	for (i = 0; i < layout_pages(layout); i++)
		fill_page((char *)buffer + i * PAGE_BYTES, seed, layout_source_page(layout, i));
}

/* Return: how many pages of a buffer do not hold the pattern of their source page. */
static inline size_t check_buffer(struct __test_metadata *_metadata, const void *buffer,
				  unsigned int seed, const struct layout *layout)
{
	size_t i, wrong = 0;

	for (i = 0; i < layout_pages(layout) && wrong < 4; i++) {
		if (check_page(_metadata, (const char *)buffer + i * PAGE_BYTES, seed,
			       layout_source_page(layout, i)))
			continue;
		TH_LOG("that was page %zu of the buffer", i);
		wrong++;
	}
	return wrong;
}

/*
 * What each test must leave as it found it, where the runner looks (kselftest_dirt.h). Each CPU
 * counts pins for itself; reading stat_refresh folds all counts into /proc/vmstat.
 */
#define DMABUF_INFO		"/sys/kernel/debug/dma_buf/bufinfo"
#define STAT_REFRESH		"/proc/sys/vm/stat_refresh"

#ifdef KSFT_WATCH
KSFT_WATCH(dmabufs, "dma-bufs", .path = DMABUF_INFO, .key = "Total ", .keep = true)
KSFT_WATCH(pins, "pinned pages", .path = "/proc/vmstat", .key = "nr_foll_pin_acquired ",
	   .minus = "nr_foll_pin_released ", .refresh = STAT_REFRESH, .keep = true)
KSFT_WATCH(buffers, "buffers of the driver", .path = UDMABUF_IOV_TOTALS, .key = "buffers ")
KSFT_WATCH(charged, "charged pages", .path = UDMABUF_IOV_TOTALS, .key = "charged_pages ")
#endif

/* ---- Files in /proc and /sys */

/*
 * Read a file as far as it fits. Not with stdio: under TCG its buffers cost more than the reading,
 * and most tests read several files. Little at a time, because a sysctl file clears as much memory
 * as one asks for.
 *
 * Return: whether it could be read.
 */
static inline bool read_text(const char *path, char *text, size_t size)
{
	size_t length = 0, left;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	do {
		left = size - 1 - length;
		got = read(fd, text + length, left < 1024 ? left : 1024);
		if (got > 0)
			length += got;
	} while (got > 0);
	close(fd);
	text[length] = '\0';
	return got == 0;
}

/* Return: the number at the start of a file, or -1. */
static inline long long read_number(const char *path)
{
	char text[64], *end;
	long long value;

	if (!read_text(path, text, sizeof(text)))
		return -1;
	value = strtoll(text, &end, 10);
	return end == text ? -1 : value;
}

static inline bool write_number(const char *path, long long value)
{
	FILE *file = fopen(path, "w");
	bool good;

	if (!file)
		return false;
	good = fprintf(file, "%lld\n", value) > 0;
	/* The kernel's verdict on a write to /proc comes when the buffer is flushed. */
	return fclose(file) == 0 && good;
}

/* Return: the number behind the last occurrence of @word at a line's start, or -1. */
static inline long long field_of(const char *text, const char *word)
{
	long long value = -1;
	const char *line;

	for (line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, word, strlen(word)))
			value = atoll(line + strlen(word));
	}
	return value;
}

static inline long long read_field(const char *path, const char *word)
{
	char text[1 << 16];

	return read_text(path, text, sizeof(text)) ? field_of(text, word) : -1;
}

/* Read the two-letter VmFlags of the mapping at @address, with a blank around each. */
static inline bool read_vm_flags(const void *address, char *flags, size_t size)
{
	unsigned long start, end;
	bool here = false, found = false;
	FILE *file = fopen("/proc/self/smaps", "r");

	if (!file)
		return false;
	while (!found && fgets(flags, size, file)) {
		if (sscanf(flags, "%lx-%lx", &start, &end) == 2)
			here = start == (uintptr_t)address;
		else
			found = here && !strncmp(flags, "VmFlags:", strlen("VmFlags:"));
	}
	fclose(file);
	return found;
}

/* Return: the number of dma-bufs that exist, or -1 without debugfs. */
static inline long long count_dmabufs(void)
{
	return read_field(DMABUF_INFO, "Total ");
}

/* Wait up to five seconds until so many dma-bufs are left. Return: whether it came to that. */
static inline bool await_dmabufs(long long count)
{
	int milliseconds;

	for (milliseconds = 0; milliseconds < 5000; milliseconds++) {
		if (count_dmabufs() == count)
			return true;
		usleep(1000);
	}
	return false;
}

/* Return: long-term pins that somebody holds, in pages, or -1 for who is not root. */
static inline long long count_pins(void)
{
	int refresh = open(STAT_REFRESH, O_RDONLY);
	char byte;

	if (refresh < 0)
		return -1;
	/* What it returns is a complaint about other counters. */
	if (read(refresh, &byte, 1) < 0)
		errno = 0;
	close(refresh);
	return read_field("/proc/vmstat", "nr_foll_pin_acquired ") -
	       read_field("/proc/vmstat", "nr_foll_pin_released ");
}

/* Of an entry of pagemap: Documentation/admin-guide/mm/pagemap.rst. */
#define PAGEMAP_PRESENT		(1ULL << 63)
#define PAGEMAP_SWAPPED		(1ULL << 62)
#define PAGEMAP_FRAME		((1ULL << 55) - 1)

/* Read the entries of consecutive pages, 0 where they cannot be read. */
static inline void read_pagemap(const void *address, size_t count, __u64 *entries)
{
	off_t offset = (uintptr_t)address / PAGE_BYTES * sizeof(*entries);
	int fd = open("/proc/self/pagemap", O_RDONLY);
	ssize_t bytes = count * sizeof(*entries);

	if (pread(fd, entries, bytes, offset) != bytes)
		memset(entries, 0, bytes);
	close(fd);
}

/* Read the frames of consecutive pages, 0 for one that is not in memory. */
static inline void page_frames(const void *address, size_t count, __u64 *frames)
{
	size_t i;

	read_pagemap(address, count, frames);
	for (i = 0; i < count; i++)
		frames[i] = frames[i] & PAGEMAP_PRESENT ? frames[i] & PAGEMAP_FRAME : 0;
}

static inline __u64 page_frame(const void *address)
{
	__u64 frame;

	page_frames(address, 1, &frame);
	return frame;
}

/* Return: whether the memory at @address, a multiple of 2 MiB, is one huge page. */
static inline bool is_huge(const void *address)
{
	size_t i, count = HUGE_PAGE_BYTES / PAGE_BYTES;
	__u64 frames[count];

	page_frames(address, count, frames);
	for (i = 1; i < count; i++)
		if (frames[i] != frames[0] + i)
			return false;
	return frames[0] && frames[0] % count == 0;
}

static inline bool are_huge(const void *address, size_t bytes)
{
	const char *memory = address;
	size_t offset;

	for (offset = 0; offset < bytes; offset += HUGE_PAGE_BYTES)
		if (!is_huge(memory + offset))
			return false;
	return true;
}

/* What must be as before once nobody uses a buffer any more; -1 where it cannot be read. */
struct baseline {
	long long dmabufs;
	long long pins;
#ifdef UDMABUF_IOV_CREATE
	long long buffers;
	long long charged;
	long long module_users;
#endif
};

static inline void baseline_take(struct baseline *now)
{
#ifdef UDMABUF_IOV_CREATE
	char totals[512] = "";

#endif
	now->dmabufs = count_dmabufs();
#ifdef KSFT_WATCH
	/* To count takes a round over all CPUs, 2 ms in TCG; the runner does it after each test. */
	now->pins = ksft_watches() ? 0 : count_pins();
#else
	now->pins = count_pins();
#endif
#ifdef UDMABUF_IOV_CREATE
	read_text(UDMABUF_IOV_TOTALS, totals, sizeof(totals));
	now->buffers = field_of(totals, "buffers ");
	now->charged = field_of(totals, "charged_pages ");
	now->module_users = read_number(UDMABUF_IOV_MODULE "/refcnt");
#endif
}

static inline bool check_counter(struct __test_metadata *_metadata, const char *what,
				 long long before, long long now)
{
	if (before == now)
		return true;
	TH_LOG("%s: %lld before, %lld now", what, before, now);
	return false;
}

/* Return: whether all counters are as they were; those that are not are logged. */
static inline bool check_baseline(struct __test_metadata *_metadata,
				  const struct baseline *before)
{
	struct baseline now;
	bool good;

	baseline_take(&now);
	good = check_counter(_metadata, "dma-bufs", before->dmabufs, now.dmabufs);
	good &= check_counter(_metadata, "pinned pages", before->pins, now.pins);
#ifdef UDMABUF_IOV_CREATE
	good &= check_counter(_metadata, "buffers of the driver", before->buffers, now.buffers);
	good &= check_counter(_metadata, "charged pages", before->charged, now.charged);
	good &= check_counter(_metadata, "users of the module", before->module_users,
			      now.module_users);
#endif
	return good;
}

#ifdef UDMABUF_IOV_CREATE
/* Return: whether the driver under test is ours, which offers more than the kernel's own. */
static inline bool driver_is_udmabuf_iov(void)
{
	return access(UDMABUF_IOV_MODULE, F_OK) == 0;
}

static inline FILE *open_parameter(const char *name, const char *mode)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s",
		 driver_is_udmabuf_iov() ? "udmabuf_iov" : "udmabuf", name);
	return fopen(path, mode);
}

/* Read one of the driver's module parameters, without the newline. */
static inline bool read_parameter(const char *name, char value[16])
{
	FILE *file = open_parameter(name, "r");
	bool good;

	if (!file)
		return false;
	good = fscanf(file, "%15s", value) == 1;
	fclose(file);
	return good;
}

static inline bool write_parameter(const char *name, const char *value)
{
	FILE *file = open_parameter(name, "w");
	bool good;

	if (!file)
		return false;
	good = fputs(value, file) >= 0;
	return fclose(file) == 0 && good;
}
#endif

/*
 * What random choices start from: KSFT_SEED of the environment, so that they can be made again, or
 * the time. It is said before anything can go wrong.
 */
static inline unsigned int random_seed(struct __test_metadata *_metadata)
{
	const char *word = getenv("KSFT_SEED");
	struct timespec now;
	unsigned int seed;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seed = word ? strtoul(word, NULL, 10) : now.tv_nsec;
	TH_LOG("KSFT_SEED=%u", seed);
	return seed;
}

/* For what a kernel cannot do before a release; say in the reason what that is. */
static inline bool kernel_before(int major, int minor)
{
	int have_major, have_minor;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%d.%d", &have_major, &have_minor) != 2)
		return false;
	return have_major < major || (have_major == major && have_minor < minor);
}

/* ---- Sources */

/*
 * Make sure that @count huge pages are free. The pool only grows: shrinking it after each test
 * would fragment memory until a later test cannot be run.
 */
static inline bool reserve_huge_pages(size_t count)
{
	const char *path = "/proc/sys/vm/nr_hugepages";
	long long available = read_field("/proc/meminfo", "HugePages_Free:") -
			      read_field("/proc/meminfo", "HugePages_Rsvd:");

	if (available < (long long)count)
		write_number(path, read_number(path) + count - available);
	available = read_field("/proc/meminfo", "HugePages_Free:") -
		    read_field("/proc/meminfo", "HugePages_Rsvd:");
	return available >= (long long)count;
}

/* Return: an address for @bytes that huge pages can have, in room of its own, or NULL. */
static inline char *find_aligned_room(size_t bytes)
{
	char *room = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t next = (uintptr_t)room + HUGE_PAGE_BYTES - 1;

	return room == MAP_FAILED ? NULL : (char *)(next / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES);
}

/* Map @fd, or anonymous memory, at an address that huge pages can have. */
static inline char *map_aligned(struct __test_metadata *_metadata, size_t bytes, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	char *map = find_aligned_room(bytes);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(map, mmap(map, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0));
	return map;
}

/* Return: a memfd of this many bytes with these seals, or -errno. */
static inline int make_memfd(unsigned int flags, size_t bytes, int seals)
{
	int error, fd = memfd_create("udmabuf-test", flags | MFD_ALLOW_SEALING | MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, bytes) || (seals && fcntl(fd, F_ADD_SEALS, seals))) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

#ifdef UDMABUF_IOV_CREATE
/* Return: whether the source is of transparent huge pages now; else the test is skipped. */
static inline bool fill_huge_pages(struct __test_metadata *_metadata, struct source *source)
{
	source->map = (unsigned char *)map_aligned(_metadata, source->bytes, -1);
	madvise(source->map, source->bytes, MADV_HUGEPAGE);
	fill_pages(source->map, SEED_SOURCE, source->layout->pages);
	if (!are_huge(source->map, source->bytes))
		SKIP(return false, "no transparent huge pages to be had");
	return true;
}
#endif

/*
 * Allocate and fill the memory of a layout.
 *
 * Return: false when this machine cannot, in which case the test is marked as skipped.
 */
static inline bool source_open(struct __test_metadata *_metadata, struct source *source,
			       const struct layout *layout)
{
	int flags = MAP_SHARED;

	source->layout = layout;
	source->bytes = layout->pages * PAGE_BYTES;
	source->memfd = -1;
	source->map = MAP_FAILED;
	switch (layout->backing) {
#ifdef UDMABUF_IOV_CREATE
	case ANON:
	case THP:
		if (!driver_is_udmabuf_iov())
			SKIP(return false, "this driver does not take iovecs");
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
		break;
#endif
	case SHMEM:
		source->memfd = make_memfd(0, source->bytes, F_SEAL_SHRINK);
		ASSERT_LE(0, source->memfd);
		break;
	case HUGETLB:
		if (!reserve_huge_pages(source->bytes / HUGE_PAGE_BYTES))
			SKIP(return false, "not enough memory for %zu huge pages",
			     source->bytes / HUGE_PAGE_BYTES);
		source->memfd = make_memfd(MFD_HUGETLB | MFD_HUGE_2MB, source->bytes,
					   F_SEAL_SHRINK);
		ASSERT_LE(0, source->memfd);
		break;
	}
#ifdef UDMABUF_IOV_CREATE
	if (layout->backing == THP)
		return fill_huge_pages(_metadata, source);
#endif
	source->map = mmap(NULL, source->bytes, PROT_READ | PROT_WRITE, flags, source->memfd, 0);
	ASSERT_NE(MAP_FAILED, source->map);
	fill_pages(source->map, SEED_SOURCE, layout->pages);
	return true;
}

static inline void source_unmap(struct source *source)
{
	if (source->map != MAP_FAILED)
		munmap(source->map, source->bytes);
	source->map = MAP_FAILED;
}

static inline void source_close_memfd(struct source *source)
{
	if (source->memfd >= 0)
		close(source->memfd);
	source->memfd = -1;
}

/* Take the pages of a source away. What is mapped there next reads as zeros. */
static inline int discard_pages(const struct source *source)
{
	if (source->memfd < 0)
		return madvise(source->map, source->bytes, MADV_DONTNEED);
	return fallocate(source->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 source->bytes);
}

/* ---- The device; all of these return what the ioctl returned, or -errno. */

static inline int open_device(struct __test_metadata *_metadata)
{
	int fd = open(UDMABUF_DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd) TH_LOG("%s: %s", UDMABUF_DEVICE, strerror(errno));
	return fd;
}

static inline int call(int fd, unsigned long request, const void *argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

static inline int create(int device, int memfd, __u64 offset, __u64 size, __u32 flags)
{
	struct udmabuf_create create = {
		.memfd = memfd,
		.flags = flags,
		.offset = offset,
		.size = size,
	};

	return call(device, UDMABUF_CREATE, &create);
}

static inline int create_list(int device, int memfd, const struct layout *layout, __u32 flags)
{
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item items[MAX_RUNS];
	} list = { .head = { .flags = flags, .count = layout->nr_runs } };
	size_t i;

	for (i = 0; i < layout->nr_runs; i++) {
		list.items[i].memfd = memfd;
		list.items[i].offset = layout->runs[i].first * PAGE_BYTES;
		list.items[i].size = layout->runs[i].count * PAGE_BYTES;
	}
	return call(device, UDMABUF_CREATE_LIST, &list);
}

#ifdef UDMABUF_IOV_CREATE
static inline int create_iov(int device, const void *base, const struct layout *layout,
			     __u32 flags)
{
	struct {
		struct udmabuf_iov_create head;
		struct udmabuf_iov_entry entries[MAX_RUNS];
	} iov = { .head = { .flags = flags, .niov = layout->nr_runs } };
	size_t i;

	for (i = 0; i < layout->nr_runs; i++) {
		iov.entries[i].base = (uintptr_t)base + layout->runs[i].first * PAGE_BYTES;
		iov.entries[i].len = layout->runs[i].count * PAGE_BYTES;
	}
	return call(device, UDMABUF_IOV_CREATE, &iov);
}
#endif

/* Export a source as its layout says, with the call that fits. Return: the dma-buf, or -errno. */
static inline int export_source(int device, const struct source *source)
{
	const struct layout *layout = source->layout;

#ifdef UDMABUF_IOV_CREATE
	if (source->memfd < 0)
		return create_iov(device, source->map, layout, UDMABUF_IOV_FLAGS_CLOEXEC);
#endif
	if (layout->nr_runs > 1)
		return create_list(device, source->memfd, layout, UDMABUF_FLAGS_CLOEXEC);
	return create(device, source->memfd, layout->runs[0].first * PAGE_BYTES,
		      layout->runs[0].count * PAGE_BYTES, UDMABUF_FLAGS_CLOEXEC);
}

/* What brackets the accesses of a program. */
static inline int sync_buffer(int dmabuf, __u64 flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	return call(dmabuf, DMA_BUF_IOCTL_SYNC, &sync);
}

/* ---- Other processes */

/* Send a descriptor over a socket. Return: 0 or -errno. */
static inline int send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = { 0 }, byte = 0;
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	return sendmsg(socket, &message, 0) == 1 ? 0 : -errno;
}

/* Return: the descriptor that was sent, or -errno; -EPIPE when the sender is gone. */
static inline int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte;
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t got = recvmsg(socket, &message, 0);
	struct cmsghdr *header;
	int fd;

	if (got < 0)
		return -errno;
	header = CMSG_FIRSTHDR(&message);
	if (!got || !header)
		return -EPIPE;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

/* One byte each way is how a test and its child take turns. */
static inline bool tell(int socket)
{
	return write(socket, "", 1) == 1;
}

static inline bool hear(int socket)
{
	char byte;

	return read(socket, &byte, 1) == 1;
}

/* Return: the exit code of a child, or -1 when a signal ended it. */
static inline int join(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* Return: the letter that tells what a process is doing, proc(5), or 0 if there is none. */
static inline char read_state(pid_t process)
{
	char path[32], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", process);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(file);
	return state;
}

/* Stay on the @nth CPU of @cpus, if there are so many: two that race must not take turns on one. */
static inline void stay_on_cpu(const cpu_set_t *cpus, int nth)
{
	cpu_set_t one;
	int cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, cpus) || nth--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/* ---- Memory access that may fail */

/* Map part of a file. Return: 0 and the address in @map, or -errno and a poisoned @map. */
static inline int map_file(int fd, size_t offset, size_t bytes, int protection, int flags,
			   void **map)
{
	*map = (void *)0xcccccccccccccccc;
	void *address = mmap(NULL, bytes, protection, flags, fd, offset);

	if (address == MAP_FAILED)
		return -errno;
	*map = address;
	return 0;
}

static inline int map_shared(int fd, size_t bytes, void **map)
{
	return map_file(fd, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map);
}

/* Return: an address where nothing is, behind a page that can be written. */
static inline char *map_hole(struct __test_metadata *_metadata)
{
	char *map = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, map);
	munmap(map + PAGE_BYTES, PAGE_BYTES);
	return map + PAGE_BYTES;
}

static sigjmp_buf touch_return;

static inline void touch_handler(int signal)
{
	siglongjmp(touch_return, signal);
}

/* Read one byte, and write it back if @write. Return: 0, or the signal that it took. */
static inline int access_byte(volatile char *address, bool write)
{
	struct sigaction action = { .sa_handler = touch_handler }, bus, segv;
	int got;

	sigaction(SIGBUS, &action, &bus);
	sigaction(SIGSEGV, &action, &segv);
	got = sigsetjmp(touch_return, 1);
	if (!got) {
		char byte = *address;

		if (write)
			*address = byte;
	}
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return got;
}

static inline int touch(const volatile void *address)
{
	return access_byte((volatile char *)address, false);
}

static inline int touch_for_write(volatile void *address)
{
	return access_byte(address, true);
}

#endif /* UDMABUF_TEST_H */
