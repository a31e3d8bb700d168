// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/swiotlb.toml and its template: do not edit.
 *
 * Devices that cannot reach memory themselves: swiotlb gives them copies of it,
 * bounce buffers, and only what the driver maps, synchronises and unmaps is
 * ever copied.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"
#include "sync_race.h"

#define SLOTS_USED	"/sys/kernel/debug/swiotlb/io_tlb_used"
#define SLOT_BYTES	2048
/* A begin, an end, and one that comes at a wrong time: what they do depends on no more. */
#define CALLS_IN_ORDER	3

FIXTURE(bounce)
{
	struct imported imported;
	long long slots;
};

/* What is exported. The largest bounce buffer is 256 KiB. */
FIXTURE_VARIANT(bounce)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(bounce, anon)
{
	.layout = {
		.backing = ANON,
		.pages = 6,
		.nr_runs = 2,
		.runs = { { 4, 1 }, { 1, 3 } },
	},
};

FIXTURE_VARIANT_ADD(bounce, shmem)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(bounce, hugetlb)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 1,
		.runs = { { 510, 5 } },
	},
};

/* Guards: segments that are built without dma_max_mapping_size() */
FIXTURE_VARIANT_ADD(bounce, large)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 512,
		.nr_runs = 1,
		.runs = { { 13, 200 } },
	},
};

FIXTURE_SETUP(bounce)
{
	self->slots = read_number(SLOTS_USED);
	if (self->slots < 0)
		SKIP(return, "no %s: kernel without swiotlb or debugfs", SLOTS_USED);
	import_layout(_metadata, &self->imported, &variant->layout);
}

FIXTURE_TEARDOWN(bounce)
{
	struct imported *in = &self->imported;

	close(in->dmabuf);
	close(in->importer);
	EXPECT_EQ(self->slots, read_number(SLOTS_USED));
	EXPECT_TRUE(check_baseline(_metadata, &in->before));
}

static void sync_start(struct __test_metadata *_metadata, const struct imported *in, __u64 flags)
{
	ASSERT_EQ(0, sync_buffer(in->dmabuf, DMA_BUF_SYNC_START | flags));
}

static void sync_end(struct __test_metadata *_metadata, const struct imported *in, __u64 flags)
{
	ASSERT_EQ(0, sync_buffer(in->dmabuf, DMA_BUF_SYNC_END | flags));
}

static size_t source_changes(struct __test_metadata *_metadata, const struct imported *in)
{
	return check_pages(_metadata, in->source.map, SEED_SOURCE, in->source.layout->pages);
}

/* Guards: a DMA mapping that is not undone by unmap */
TEST_F(bounce, used)
{
	struct imported *in = &self->imported;
	size_t page, pages = in->bytes / PAGE_BYTES;
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	int handle;

	ASSERT_NE(NULL, pfns);
	handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				DMABUF_IMPORTER_BIDIRECTIONAL);
	EXPECT_LE(self->slots + (long long)in->bytes / SLOT_BYTES, read_number(SLOTS_USED));
	ASSERT_EQ(0, read_pfns(in->importer, handle, pfns, pages));
	for (page = 0; page < pages; page++) {
		size_t from = layout_source_page(&variant->layout, page);

		EXPECT_NE(page_frame(in->source.map + from * PAGE_BYTES), pfns[page]);
	}
	free(pfns);
	EXPECT_EQ(0, unmap_dma(in->importer, handle));
	EXPECT_EQ(self->slots, read_number(SLOTS_USED));
	EXPECT_EQ(0, detach(in->importer, handle));
}

/*
 * Guards: an end of CPU access that does not give the attached devices what was
 * written
 */
TEST_F(bounce, to_device)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_TO_DEVICE);

	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	sync_start(_metadata, in, DMA_BUF_SYNC_WRITE);
	fill_pages(in->source.map, SEED_BUFFER, variant->layout.pages);
	/* A copy: it is the end of the access, and nothing else, that reaches the device. */
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	sync_end(_metadata, in, DMA_BUF_SYNC_WRITE);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_BUFFER);
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: what a device wrote through a mapping for reading, copied over the
 * pages
 */
TEST_F(bounce, not_back)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_TO_DEVICE);

	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	sync_start(_metadata, in, DMA_BUF_SYNC_READ);
	EXPECT_EQ(0, source_changes(_metadata, in));
	sync_end(_metadata, in, DMA_BUF_SYNC_READ);
	EXPECT_EQ(0, unmap_dma(in->importer, handle));
	EXPECT_EQ(0, source_changes(_metadata, in));
	EXPECT_EQ(0, detach(in->importer, handle));
}

/*
 * Guards: a begin of CPU access that does not take from the attached devices
 * what they wrote
 */
TEST_F(bounce, from_device)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_FROM_DEVICE);

	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	EXPECT_EQ(0, source_changes(_metadata, in));
	sync_start(_metadata, in, DMA_BUF_SYNC_READ);
	check_source(_metadata, in);
	sync_end(_metadata, in, DMA_BUF_SYNC_READ);
	EXPECT_EQ(0, detach_all(in->importer));
	check_source(_metadata, in);
}

/*
 * Guards: a DMA mapping that is undone with another direction, or not at all
 */
TEST_F(bounce, unmap)
{
	static const unsigned int directions[] = {
		DMABUF_IMPORTER_FROM_DEVICE,
		DMABUF_IMPORTER_BIDIRECTIONAL,
	};
	struct imported *in = &self->imported;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(directions); i++) {
		int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
					    directions[i]);

		write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
		EXPECT_EQ(0, source_changes(_metadata, in));
		EXPECT_EQ(0, unmap_dma(in->importer, handle));
		check_source(_metadata, in);
		EXPECT_EQ(0, detach(in->importer, handle));
		fill_pages(in->source.map, SEED_SOURCE, variant->layout.pages);
	}
}

/* Guards: 2.4g: CPU access in one direction only for a mapping in both */
TEST_F(bounce, both)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_BIDIRECTIONAL);

	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	sync_start(_metadata, in, DMA_BUF_SYNC_RW);
	check_source(_metadata, in);
	fill_pages(in->source.map, SEED_SOURCE, variant->layout.pages);
	sync_end(_metadata, in, DMA_BUF_SYNC_RW);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	EXPECT_EQ(0, detach_all(in->importer));
	EXPECT_EQ(0, source_changes(_metadata, in));
}

/*
 * Guards: an end after mere reading that overwrites what the device wrote
 * meanwhile
 */
TEST_F(bounce, read_keeps)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_BIDIRECTIONAL);

	sync_start(_metadata, in, DMA_BUF_SYNC_READ);
	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	sync_end(_metadata, in, DMA_BUF_SYNC_READ);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_BUFFER);
	EXPECT_EQ(0, detach_all(in->importer));
	check_source(_metadata, in);
}

/*
 * Guards: an end that is refused, and overwrites what the device wrote all the
 * same
 */
TEST_F(bounce, end_first)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_BIDIRECTIONAL);

	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	EXPECT_EQ(-EINVAL, sync_buffer(in->dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_BUFFER);
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: a begin for writing that does not take what the device wrote, so that
 * end undoes it
 */
TEST_F(bounce, write_part)
{
	struct imported *in = &self->imported;
	size_t written = layout_source_page(&variant->layout, 1);
	unsigned char *page = in->source.map + written * PAGE_BYTES;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_BIDIRECTIONAL);
	char data[4096];

	ASSERT_EQ(sizeof(data), PAGE_BYTES);
	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	sync_start(_metadata, in, DMA_BUF_SYNC_WRITE);
	fill_page(page, SEED_SOURCE, written);
	sync_end(_metadata, in, DMA_BUF_SYNC_WRITE);
	ASSERT_EQ(0, copy_data(in->importer, DMABUF_IMPORTER_READ, handle, PAGE_BYTES, data,
			       PAGE_BYTES));
	EXPECT_TRUE(check_page(_metadata, data, SEED_SOURCE, written));
	EXPECT_EQ(0, detach_all(in->importer));
	/* With that page as the device had it, all is as the device had it. */
	EXPECT_TRUE(check_page(_metadata, page, SEED_SOURCE, written));
	fill_page(page, SEED_BUFFER, written);
	check_source(_metadata, in);
}

/*
 * Guards: a sync of the last mapping, or the first, alone; one in the direction
 * of the access, not of the mapping
 */
TEST_F(bounce, two_devices)
{
	struct imported *in = &self->imported;
	int writer, first, last;

	first = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_SEG64K,
			       DMABUF_IMPORTER_TO_DEVICE);
	writer = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				DMABUF_IMPORTER_BIDIRECTIONAL);
	last = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_SEG4K,
			      DMABUF_IMPORTER_TO_DEVICE);
	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, writer);
	/* Memory has changed for the others, although the program only reads. */
	sync_start(_metadata, in, DMA_BUF_SYNC_READ);
	sync_end(_metadata, in, DMA_BUF_SYNC_READ);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, first, SEED_BUFFER);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, last, SEED_BUFFER);
	EXPECT_EQ(0, detach_all(in->importer));
}

/* Guards: begin and end in the kernel that do less than those of programs */
TEST_F(bounce, kernel)
{
	struct imported *in = &self->imported;
	unsigned int both = DMABUF_IMPORTER_BIDIRECTIONAL;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT, both);
	__u64 address;
	int vmap;

	vmap = vmap_buffer(in->importer, in->dmabuf, &address);
	ASSERT_LE(0, vmap);
	ASSERT_EQ(0, cpu_access(in->importer, DMABUF_IMPORTER_BEGIN, in->dmabuf, both));
	write_data(_metadata, in, DMABUF_IMPORTER_VWRITE, vmap);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	ASSERT_EQ(0, cpu_access(in->importer, DMABUF_IMPORTER_END, in->dmabuf, both));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_BUFFER);

	fill_pages(in->source.map, SEED_SOURCE, variant->layout.pages);
	ASSERT_EQ(0, cpu_access(in->importer, DMABUF_IMPORTER_BEGIN, in->dmabuf, both));
	check_data(_metadata, in, DMABUF_IMPORTER_VREAD, vmap, SEED_BUFFER);
	ASSERT_EQ(0, cpu_access(in->importer, DMABUF_IMPORTER_END, in->dmabuf, both));
	EXPECT_EQ(0, detach_all(in->importer));
}

/* Guards: an attachment with move notifications that is left out */
TEST_F(bounce, dynamic)
{
	struct imported *in = &self->imported;
	struct dmabuf_importer_map map;
	int handle;

	handle = attach(in->importer, in->dmabuf, DMABUF_IMPORTER_DEV_DEFAULT,
			DMABUF_IMPORTER_ATTACH_DYNAMIC);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(in->importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map));
	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	sync_start(_metadata, in, DMA_BUF_SYNC_READ);
	check_source(_metadata, in);
	sync_end(_metadata, in, DMA_BUF_SYNC_READ);
	fill_pages(in->source.map, SEED_SOURCE, variant->layout.pages);
	EXPECT_EQ(0, unmap_dma(in->importer, handle));
	EXPECT_EQ(0, detach(in->importer, handle));
	/* Kernels up to 6.12 unmap it when it is detached. */
	check_source(_metadata, in);
}

/*
 * Guards: a bounce buffer that stays, or is not copied back, when the importer
 * goes
 */
TEST_F(bounce, session_closed)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_FROM_DEVICE);

	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	EXPECT_EQ(0, source_changes(_metadata, in));
	close(in->importer);
	in->importer = -1;
	check_source(_metadata, in);
	EXPECT_EQ(self->slots, read_number(SLOTS_USED));
}

struct sync_call {
	const char *name;
	__u64 flags;
};

static const struct sync_call sync_calls[] = {
	{ "start_read", DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ },
	{ "start_write", DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE },
	{ "start_both", DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW },
	{ "end_read", DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ },
	{ "end_write", DMA_BUF_SYNC_END | DMA_BUF_SYNC_WRITE },
	{ "end_both", DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW },
};

/* Orders have numbers. Put the calls of this one in @order. Return: false if there are no more. */
static bool order_calls(size_t number, const struct sync_call *order[CALLS_IN_ORDER])
{
	size_t i;

	for (i = 0; i < CALLS_IN_ORDER; i++) {
		order[i] = &sync_calls[number % ARRAY_SIZE(sync_calls)];
		number /= ARRAY_SIZE(sync_calls);
	}
	return !number;
}

static bool is_end(const struct sync_call *call)
{
	return call->flags & DMA_BUF_SYNC_END;
}

/* Return: whether the call worked, or was refused, as it must: no end before a begin. */
static bool call_in_order(struct __test_metadata *_metadata, int dmabuf,
			  const struct sync_call *const order[CALLS_IN_ORDER], size_t nth)
{
	int got = sync_buffer(dmabuf, order[nth]->flags), expected = -EINVAL;
	size_t i;

	for (i = 0; i <= nth; i++)
		if (!is_end(order[i]))
			expected = 0;
	if (got == expected)
		return true;
	TH_LOG("call %zu returned %d, not %d", nth + 1, got, expected);
	return false;
}

static void log_order(struct __test_metadata *_metadata,
		      const struct sync_call *const order[CALLS_IN_ORDER])
{
	TH_LOG("in the order %s, %s, %s", order[0]->name, order[1]->name, order[2]->name);
}

FIXTURE(order)
{
	struct imported imported;
	int device;
};

/*
 * How a device has the buffer mapped while calls come in every order of three.
 */
FIXTURE_VARIANT(order)
{
	int direction;
};

FIXTURE_VARIANT_ADD(order, both)
{
	.direction = DMABUF_IMPORTER_BIDIRECTIONAL,
};

FIXTURE_VARIANT_ADD(order, to_device)
{
	.direction = DMABUF_IMPORTER_TO_DEVICE,
};

FIXTURE_VARIANT_ADD(order, from_device)
{
	.direction = DMABUF_IMPORTER_FROM_DEVICE,
};

FIXTURE_SETUP(order)
{
	static const struct layout layout = {
		.backing = SHMEM, .pages = 3, .nr_runs = 2, .runs = { { 2, 1 }, { 0, 1 } },
	};
	struct imported *in = &self->imported;

	if (access(SLOTS_USED, F_OK))
		SKIP(return, "no %s: kernel without swiotlb or debugfs", SLOTS_USED);
	if (!import_layout(_metadata, in, &layout))
		return;
	/* Each order has a buffer of its own, in which nothing was begun. */
	close(in->dmabuf);
	self->device = open_device(_metadata);
}

FIXTURE_TEARDOWN(order)
{
	struct imported *in = &self->imported;

	close(self->device);
	close(in->importer);
	EXPECT_TRUE(check_baseline(_metadata, &in->before));
}

/* What processor and device have in the same place: they have a copy each. */
struct sides {
	__u64 cpu;
	__u64 device;
};

/* Change what both see as a call must that is taken. */
static void share(struct sides *sides, unsigned int direction, const struct sync_call *call)
{
	bool changed = call->flags & DMA_BUF_SYNC_WRITE;

	if (!is_end(call) && direction != DMABUF_IMPORTER_TO_DEVICE)
		sides->cpu = sides->device;
	/* What was read only, a device may have changed meanwhile that writes, too. */
	if (is_end(call) && (direction == DMABUF_IMPORTER_TO_DEVICE ||
			     (direction == DMABUF_IMPORTER_BIDIRECTIONAL && changed)))
		sides->device = sides->cpu;
}

/* Return: whether both see what they must after each call. */
static bool sides_agree(struct __test_metadata *_metadata, const struct imported *in, int handle,
			unsigned int direction, const struct sync_call *const order[])
{
	volatile __u64 *word = (__u64 *)in->source.map;
	size_t offset = PAGE_BYTES, i;
	struct sides want, got;
	bool begun = false;

	for (i = 0; i < CALLS_IN_ORDER; i++) {
		want.cpu = pattern_word(SEED_SOURCE, 0, i);
		want.device = pattern_word(SEED_BUFFER, 0, i);
		*word = want.cpu;
		if (copy_data(in->importer, DMABUF_IMPORTER_WRITE, handle, offset, &want.device,
			      sizeof(want.device)) ||
		    !call_in_order(_metadata, in->dmabuf, order, i))
			return false;
		begun |= !is_end(order[i]);
		if (begun)
			share(&want, direction, order[i]);
		got.cpu = *word;
		if (copy_data(in->importer, DMABUF_IMPORTER_READ, handle, offset, &got.device,
			      sizeof(got.device)))
			return false;
		if (got.cpu == want.cpu && got.device == want.device)
			continue;
		TH_LOG("after call %zu the processor has %#llx, not %#llx; the device %#llx, not %#llx",
		       i + 1, got.cpu, want.cpu, got.device, want.device);
		return false;
	}
	return true;
}

/*
 * Guards: an order after which one side has not what the other gave it, or has
 * what it did not give
 */
TEST_F(order, every)
{
	const struct sync_call *order[CALLS_IN_ORDER];
	struct imported *in = &self->imported;
	size_t number;
	int handle;

	for (number = 0; order_calls(number, order); number++) {
		in->dmabuf = export_source(self->device, &in->source);
		ASSERT_LE(0, in->dmabuf);
		handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
					variant->direction);
		ASSERT_TRUE(sides_agree(_metadata, in, handle, variant->direction, order)) {
			log_order(_metadata, order);
		}
		ASSERT_EQ(0, detach_all(in->importer));
		close(in->dmabuf);
	}
	EXPECT_EQ(6 * 6 * 6, number);
}

FIXTURE(threads)
{
	struct baseline before;
	struct source source;
	long long slots;
	int device;
};

FIXTURE_SETUP(threads)
{
	/* To map so many pages takes long enough for another to come in between. */
	static const struct layout layout = {
		.backing = SHMEM, .pages = 256, .nr_runs = 1, .runs = { { 0, 256 } },
	};

	self->slots = read_number(SLOTS_USED);
	if (self->slots < 0)
		SKIP(return, "no %s: kernel without swiotlb or debugfs", SLOTS_USED);
	if (!source_open(_metadata, &self->source, &layout))
		return;
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(threads)
{
	/* Each mapping that is lost keeps its bounce buffers. */
	EXPECT_EQ(self->slots, read_number(SLOTS_USED));
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/*
 * Guards: 2.4a, M16: a begin that maps the buffer without a lock, so that one
 * of two mappings is lost
 */
TEST_F(threads, user)
{
	race_for_first_sync(_metadata, self->device, &self->source);
}

TEST_HARNESS_MAIN
