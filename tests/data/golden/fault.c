// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/fault.toml and its template: do not edit.
 *
 * Every allocation and copy of a call fails once, the first, the second, until
 * none is left: each time the call ends in a clean error and leaves nothing
 * behind, or does without. Only on kernels that can inject faults
 * (Documentation/fault-injection).
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"
#include "memlock_test.h"

#include <sys/file.h>

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"
#define COPIES_TO_FAIL	DEBUGFS "fail_usercopy/times"
/* No call of ours takes so many allocations: the count does not come to its end. */
#define MOST_FAULTS	2000
#define TEST_UID	61193

struct victim {
	struct baseline before;
	struct source source;
	size_t bytes;
	bool holes;	/* each attempt finds no page */
	int device;
	int importer;
	int dmabuf;
	int fail_nth;
	char *room;	/* for a mapping, and of which nothing else has the page table */
};

/*
 * Let allocations fail that can sleep, and single pages, which kernels leave out unless they are
 * told otherwise; and without a trace each time, which the runner would take for a complaint.
 */
static void set_faults_up(void)
{
	static const struct {
		const char *path;
		const char *value;
	} settings[] = {
		{ DEBUGFS "failslab/ignore-gfp-wait", "N" },
		{ DEBUGFS "failslab/verbose", "0" },
		{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N" },
		{ DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ DEBUGFS "fail_page_alloc/min-order", "0" },
		{ DEBUGFS "fail_page_alloc/verbose", "0" },
		{ DEBUGFS "fail_usercopy/verbose", "0" },
		{ COPIES_TO_FAIL, "1000000" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		FILE *file = fopen(settings[i].path, "w");

		if (!file)
			continue;
		fputs(settings[i].value, file);
		fclose(file);
	}
}

/* Return: false if the test is marked as skipped. */
static bool victim_open(struct __test_metadata *_metadata, struct victim *self,
			const struct layout *layout)
{
	self->fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->fail_nth < 0)
		SKIP(return false, "this kernel injects no faults");
	set_faults_up();
	/* The harness excuses what the kernel says of failures that are provoked (judge.py). */
	TH_LOG("FAULTS: allocations fail on purpose");
	if (!source_open(_metadata, &self->source, layout))
		return false;
	self->bytes = layout_pages(layout) * PAGE_BYTES;
	self->device = open_device(_metadata);
	ASSERT_EQ(0, set_user(TEST_UID));
	ASSERT_EQ(0, set_capable(false));
	/* This buffer and another: no room for what a call that failed would keep. */
	ASSERT_EQ(0, set_limit(2 * self->bytes));
	self->dmabuf = -1;
	baseline_take(&self->before);
	return true;
}

static bool set_fault(int fail_nth, int nth)
{
	char number[16];
	int length = snprintf(number, sizeof(number), "%d", nth);

	/* A fault that is still to come may be met here; then there is none any more. */
	return pwrite(fail_nth, number, length, 0) == length ||
	       pwrite(fail_nth, number, length, 0) == length;
}

/* Return: whether the fault that was set has been met; not if this read meets it. */
static bool was_met(int fail_nth)
{
	char number[16] = "";

	return pread(fail_nth, number, sizeof(number) - 1, 0) > 0 && !atoi(number);
}

/*
 * Let the first, second... allocation or copy of a call fail, until there is none that could. Only
 * of a copy it may say EFAULT: the kernel counts how many of these it has let fail.
 */
static void fail_each(struct __test_metadata *_metadata, struct victim *self,
		      int (*attempt)(struct victim *self))
{
	struct baseline before;
	int nth, result;
	long long copies;
	bool met;

	baseline_take(&before);
	for (nth = 1; nth <= MOST_FAULTS; nth++) {
		if (self->holes)
			ASSERT_EQ(0, discard_pages(&self->source));
		copies = read_number(COPIES_TO_FAIL);
		ASSERT_TRUE(set_fault(self->fail_nth, nth));
		result = attempt(self);
		met = was_met(self->fail_nth);
		ASSERT_TRUE(set_fault(self->fail_nth, 0));
		if (result)
			ASSERT_EQ(read_number(COPIES_TO_FAIL) < copies ? -EFAULT : -ENOMEM, result)
				TH_LOG("fault %d: %s", nth, strerror(-result));
		ASSERT_TRUE(check_baseline(_metadata, &before)) TH_LOG("fault %d", nth);
		if (!met)
			break;
	}
	EXPECT_EQ(0, result) TH_LOG("without a fault: %s", strerror(-result));
	/* The interface works: a call that allocates has met some. */
	EXPECT_LT(1, nth);
	EXPECT_GE(MOST_FAULTS, nth);
}

/* What is tried undoes what it has made. Return: 0 or -errno. */
static int create_buffer(struct victim *self)
{
	int dmabuf = export_source(self->device, &self->source);

	return dmabuf < 0 ? dmabuf : close(dmabuf);
}

FIXTURE(nth)
{
	struct victim victim;
};

/* What is exported. */
FIXTURE_VARIANT(nth)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(nth, anon_many)
{
	.layout = {
		.backing = ANON,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(nth, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(nth, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

FIXTURE_SETUP(nth)
{
	struct victim *victim = &self->victim;

	if (!victim_open(_metadata, victim, &variant->layout))
		return;
	victim->importer = open_importer(_metadata);
	if (victim->importer < 0)
		return;
	victim->dmabuf = export_source(victim->device, &victim->source);
	ASSERT_LE(0, victim->dmabuf);
}

FIXTURE_TEARDOWN(nth)
{
	close(self->victim.dmabuf);
	EXPECT_TRUE(check_baseline(_metadata, &self->victim.before));
}

/*
 * Guards: B23, B24, B25: an error path that keeps pages, charge or file, or
 * ends in another errno than ENOMEM
 */
TEST_F_TIMEOUT(nth, create, 20)
{
	/* Whose first buffer it is, for that one there is more to allocate. */
	close(self->victim.dmabuf);
	self->victim.dmabuf = -1;
	fail_each(_metadata, &self->victim, create_buffer);
}

static int map_static(struct victim *self)
{
	return map_once(self->importer, self->dmabuf, 0);
}

static int map_dynamic(struct victim *self)
{
	return map_once(self->importer, self->dmabuf, DMABUF_IMPORTER_ATTACH_DYNAMIC);
}

static void check_unmapped(struct __test_metadata *_metadata, const struct victim *self)
{
	__u32 mapped;

	if (!fail_mappings(self->importer, 0, &mapped))
		EXPECT_EQ(0, mapped);
}

/*
 * Guards: M15, B02: a table or mapping that stays, or is used, when a later
 * allocation fails
 */
TEST_F_TIMEOUT(nth, map, 20)
{
	fail_each(_metadata, &self->victim, map_static);
	check_unmapped(_metadata, &self->victim);
}

/* Guards: the same in an attachment with move notifications */
TEST_F_TIMEOUT(nth, dynamic, 20)
{
	fail_each(_metadata, &self->victim, map_dynamic);
	check_unmapped(_metadata, &self->victim);
}

static int vmap_once(struct victim *self)
{
	struct dmabuf_importer_vmap vmap = { .fd = self->dmabuf };

	return call(self->importer, DMABUF_IMPORTER_TRY_VMAP, &vmap);
}

/* Guards: a kernel mapping that is half made */
TEST_F_TIMEOUT(nth, vmap, 20)
{
	fail_each(_metadata, &self->victim, vmap_once);
}

static int map_to_process(struct victim *self)
{
	void *map;
	int error = map_shared(self->dmabuf, self->bytes, &map);

	if (!error)
		munmap(map, self->bytes);
	return error;
}

/* Guards: a mapping that holds the buffer although mmap() failed */
TEST_F_TIMEOUT(nth, mmap, 20)
{
	fail_each(_metadata, &self->victim, map_to_process);
}

/* Of a new buffer each time: a begin that failed must not be remembered. */
static int sync_new(struct victim *self)
{
	int dmabuf = export_source(self->device, &self->source), error;

	if (dmabuf < 0)
		return dmabuf;
	error = sync_buffer(dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	if (error)
		error = sync_buffer(dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	if (!error)
		error = sync_buffer(dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
	close(dmabuf);
	return error;
}

/*
 * Guards: an error of begin that is kept where the next begin takes it for a
 * table
 */
TEST_F_TIMEOUT(nth, sync, 20)
{
	fail_each(_metadata, &self->victim, sync_new);
}

static int access_by_kernel(struct victim *self)
{
	int error = cpu_access(self->importer, DMABUF_IMPORTER_BEGIN, self->dmabuf,
			       DMABUF_IMPORTER_BIDIRECTIONAL);

	if (error)
		return error;
	return cpu_access(self->importer, DMABUF_IMPORTER_END, self->dmabuf,
			  DMABUF_IMPORTER_BIDIRECTIONAL);
}

/*
 * Guards: a begin or end of the kernel's, with a device that has the buffer
 * mapped, that keeps what it took
 */
TEST_F_TIMEOUT(nth, access, 20)
{
	struct victim *victim = &self->victim;
	int handle = attach(victim->importer, victim->dmabuf, DMABUF_IMPORTER_DEV_DEFAULT, 0);
	struct dmabuf_importer_map map;
	char data[victim->bytes];

	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(victim->importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map));
	fail_each(_metadata, victim, access_by_kernel);
	ASSERT_EQ(0, copy_data(victim->importer, DMABUF_IMPORTER_READ, handle, 0, data,
			       sizeof(data)));
	EXPECT_EQ(0, check_buffer(_metadata, data, SEED_SOURCE, &variant->layout));
	EXPECT_EQ(0, detach_all(victim->importer));
}

/* Return: 0 or -errno; -EIO: it is not the buffer that is there. */
static int read_first_word(struct victim *self)
{
	volatile __u64 *word = (__u64 *)self->room;
	size_t page = layout_source_page(self->source.layout, 0);
	int error = 0;

	if (mmap(self->room, self->bytes, PROT_READ, MAP_SHARED | MAP_FIXED, self->dmabuf, 0) ==
	    MAP_FAILED)
		return -errno;
	/* Without memory for a page table the program does this again, and sees nothing of it. */
	if (*word != pattern_word(SEED_SOURCE, page, 0))
		error = -EIO;
	munmap(self->room, self->bytes);
	return error;
}

/*
 * Guards: a page fault that kills the program where it should be tried again
 */
TEST_F_TIMEOUT(nth, fault, 20)
{
	self->victim.room = find_aligned_room(HUGE_PAGE_BYTES);
	ASSERT_NE(NULL, self->victim.room);
	ASSERT_EQ(0, munmap(self->victim.room, HUGE_PAGE_BYTES));
	fail_each(_metadata, &self->victim, read_first_word);
}

FIXTURE(creation)
{
	struct victim victim;
	int again;	/* the source, opened once more */
};

/*
 * What a call exports; with holes, there are no pages yet, and each call has to
 * fill them.
 */
FIXTURE_VARIANT(creation)
{
	struct layout layout;
	bool holes;
};

FIXTURE_VARIANT_ADD(creation, shmem)
{
	.layout = {
		.backing = SHMEM,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
	.holes = false,
};

FIXTURE_VARIANT_ADD(creation, hugetlb)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 1,
		.runs = { { 510, 5 } },
	},
	.holes = false,
};

FIXTURE_VARIANT_ADD(creation, anon_holes)
{
	.layout = {
		.backing = ANON,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
	.holes = true,
};

FIXTURE_VARIANT_ADD(creation, shmem_holes)
{
	.layout = {
		.backing = SHMEM,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
	.holes = true,
};

FIXTURE_VARIANT_ADD(creation, shmem_list_holes)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 3,
		.runs = { { 6, 1 }, { 0, 2 }, { 3, 1 } },
	},
	.holes = true,
};

FIXTURE_VARIANT_ADD(creation, hugetlb_holes)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 1,
		.runs = { { 510, 5 } },
	},
	.holes = true,
};

FIXTURE_SETUP(creation)
{
	struct victim *victim = &self->victim;
	char path[64];

	if (!victim_open(_metadata, victim, &variant->layout))
		return;
	victim->holes = variant->holes;
	if (victim->source.memfd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", victim->source.memfd);
	self->again = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->again);
	ASSERT_EQ(0, flock(victim->source.memfd, LOCK_EX | LOCK_NB));
}

FIXTURE_TEARDOWN(creation)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->victim.before));
}

/*
 * Guards: an error path that keeps the file, or the pages that came before the
 * one that is missing
 */
TEST_F_TIMEOUT(creation, fails, 20)
{
	struct source *source = &self->victim.source;

	fail_each(_metadata, &self->victim, create_buffer);
	if (source->memfd < 0)
		return;
	source_unmap(source);
	source_close_memfd(source);
	/* The lock goes with the last reference to the open file, ... */
	EXPECT_EQ(0, flock(self->again, LOCK_EX | LOCK_NB));
	/* ... and this counts the references to all pages. */
	EXPECT_EQ(0, fcntl(self->again, F_ADD_SEALS, F_SEAL_WRITE));
}

FIXTURE(pieces)
{
	struct victim victim;
};

FIXTURE_SETUP(pieces)
{
	/* Of many pages: what lists them is larger than a page by far. */
	static const struct layout layout = {
		.backing = SHMEM, .pages = 4096, .nr_runs = 1, .runs = { { 0, 4096 } },
	};

	victim_open(_metadata, &self->victim, &layout);
}

FIXTURE_TEARDOWN(pieces)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->victim.before));
}

/*
 * Guards: B30: a list of pages that has to be in one piece, which large memory
 * seldom is after a while
 */
TEST_F_TIMEOUT(pieces, create, 20)
{
	struct victim *victim = &self->victim;
	int filter = open("/proc/thread-self/make-it-fail", O_WRONLY | O_CLOEXEC), result;

	if (filter < 0 || !write_number(DEBUGFS "fail_page_alloc/task-filter", 1))
		SKIP(return, "this kernel does not let allocations of pages fail");
	/* 32 KiB: slabs do with less when they must, the list of the pages takes that. */
	ASSERT_TRUE(write_number(DEBUGFS "fail_page_alloc/min-order", 3));
	ASSERT_TRUE(write_number(DEBUGFS "fail_page_alloc/times", -1));
	ASSERT_TRUE(write_number(DEBUGFS "fail_page_alloc/probability", 100));
	ASSERT_EQ(1, write(filter, "1", 1));
	result = create_buffer(victim);
	ASSERT_EQ(1, pwrite(filter, "0", 1, 0));
	EXPECT_TRUE(write_number(DEBUGFS "fail_page_alloc/probability", 0));
	EXPECT_EQ(0, result);
}

TEST_HARNESS_MAIN
