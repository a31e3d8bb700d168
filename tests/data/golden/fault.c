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

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"
/* No call of ours takes so many allocations: the count does not come to its end. */
#define MOST_FAULTS	2000
#define TEST_UID	61193

FIXTURE(nth)
{
	struct baseline before;
	struct source source;
	size_t bytes;
	int device;
	int importer;
	int dmabuf;
	int fail_nth;
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

FIXTURE_SETUP(nth)
{
	self->fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->fail_nth < 0)
		SKIP(return, "this kernel injects no faults");
	set_faults_up();
	/* The harness excuses what the kernel says of failures that are provoked (judge.py). */
	TH_LOG("FAULTS: allocations fail on purpose");
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	self->importer = open_importer(_metadata);
	if (self->importer < 0)
		return;
	self->bytes = layout_pages(&variant->layout) * PAGE_BYTES;
	self->device = open_device(_metadata);
	ASSERT_EQ(0, set_user(TEST_UID));
	ASSERT_EQ(0, set_capable(false));
	/* This buffer and another: no room for what a call that failed would keep. */
	ASSERT_EQ(0, set_limit(2 * self->bytes));
	baseline_take(&self->before);
	self->dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, self->dmabuf);
}

FIXTURE_TEARDOWN(nth)
{
	close(self->dmabuf);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
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

/* Let the first, second... allocation of a call fail, until there is none that could. */
static void fail_each(struct __test_metadata *_metadata, FIXTURE_DATA(nth) *self,
		      int (*attempt)(FIXTURE_DATA(nth) *self))
{
	struct baseline before;
	int nth, result;
	bool met;

	baseline_take(&before);
	for (nth = 1; nth <= MOST_FAULTS; nth++) {
		ASSERT_TRUE(set_fault(self->fail_nth, nth));
		result = attempt(self);
		met = was_met(self->fail_nth);
		ASSERT_TRUE(set_fault(self->fail_nth, 0));
		/* A copy of arguments may fail, too. */
		ASSERT_TRUE(!result || result == -ENOMEM || result == -EFAULT) {
			TH_LOG("fault %d: %s", nth, strerror(-result));
		}
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
static int create_buffer(FIXTURE_DATA(nth) *self)
{
	int dmabuf = export_source(self->device, &self->source);

	return dmabuf < 0 ? dmabuf : close(dmabuf);
}

/*
 * Guards: B23, B24, B25: an error path that keeps pages, charge or file, or
 * ends in another errno than ENOMEM
 */
TEST_F_TIMEOUT(nth, create, 20)
{
	/* Whose first buffer it is, for that one there is more to allocate. */
	close(self->dmabuf);
	self->dmabuf = -1;
	fail_each(_metadata, self, create_buffer);
}

static int map_static(FIXTURE_DATA(nth) *self)
{
	return map_once(self->importer, self->dmabuf, 0);
}

static int map_dynamic(FIXTURE_DATA(nth) *self)
{
	return map_once(self->importer, self->dmabuf, DMABUF_IMPORTER_ATTACH_DYNAMIC);
}

static void check_unmapped(struct __test_metadata *_metadata, const FIXTURE_DATA(nth) *self)
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
	fail_each(_metadata, self, map_static);
	check_unmapped(_metadata, self);
}

/* Guards: the same in an attachment with move notifications */
TEST_F_TIMEOUT(nth, dynamic, 20)
{
	fail_each(_metadata, self, map_dynamic);
	check_unmapped(_metadata, self);
}

static int vmap_once(FIXTURE_DATA(nth) *self)
{
	struct dmabuf_importer_vmap vmap = { .fd = self->dmabuf };

	return call(self->importer, DMABUF_IMPORTER_TRY_VMAP, &vmap);
}

/* Guards: a kernel mapping that is half made */
TEST_F_TIMEOUT(nth, vmap, 20)
{
	fail_each(_metadata, self, vmap_once);
}

static int map_to_process(FIXTURE_DATA(nth) *self)
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
	fail_each(_metadata, self, map_to_process);
}

/* Of a new buffer each time: a begin that failed must not be remembered. */
static int sync_new(FIXTURE_DATA(nth) *self)
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
	fail_each(_metadata, self, sync_new);
}

TEST_HARNESS_MAIN
