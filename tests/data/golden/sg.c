// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/sg.toml and its template: do not edit.
 *
 * A device's view of a buffer, through the test importer: the shape of the
 * table, the pages behind it, the data through it, and the kernel's own
 * mapping.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"

#define MAX_ENTRIES	64

FIXTURE(table)
{
	struct imported imported;
};

/* What is exported, to a device without limits. */
FIXTURE_VARIANT(table)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(table, anon_one)
{
	.layout = {
		.backing = ANON,
		.pages = 1,
		.nr_runs = 1,
		.runs = { { 0, 1 } },
	},
};

FIXTURE_VARIANT_ADD(table, anon_inner)
{
	.layout = {
		.backing = ANON,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
};

FIXTURE_VARIANT_ADD(table, anon_many)
{
	.layout = {
		.backing = ANON,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(table, anon_twice)
{
	.layout = {
		.backing = ANON,
		.pages = 3,
		.nr_runs = 3,
		.runs = { { 1, 1 }, { 1, 1 }, { 0, 2 } },
	},
};

FIXTURE_VARIANT_ADD(table, thp_one)
{
	.layout = {
		.backing = THP,
		.pages = 512,
		.nr_runs = 1,
		.runs = { { 200, 5 } },
	},
};

FIXTURE_VARIANT_ADD(table, thp_many)
{
	.layout = {
		.backing = THP,
		.pages = 512,
		.nr_runs = 4,
		.runs = { { 300, 2 }, { 257, 3 }, { 100, 1 }, { 258, 1 } },
	},
};

FIXTURE_VARIANT_ADD(table, shmem_one)
{
	.layout = {
		.backing = SHMEM,
		.pages = 1,
		.nr_runs = 1,
		.runs = { { 0, 1 } },
	},
};

FIXTURE_VARIANT_ADD(table, shmem_inner)
{
	.layout = {
		.backing = SHMEM,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
};

FIXTURE_VARIANT_ADD(table, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(table, shmem_twice)
{
	.layout = {
		.backing = SHMEM,
		.pages = 3,
		.nr_runs = 3,
		.runs = { { 1, 1 }, { 1, 1 }, { 0, 2 } },
	},
};

FIXTURE_VARIANT_ADD(table, hugetlb_one)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 1,
		.runs = { { 510, 5 } },
	},
};

FIXTURE_VARIANT_ADD(table, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

FIXTURE_VARIANT_ADD(table, hugetlb_twice)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 600, 3 }, { 600, 3 }, { 511, 2 }, { 601, 1 } },
	},
};

FIXTURE_SETUP(table)
{
	import_layout(_metadata, &self->imported, &variant->layout);
}

/* Closing the session drops what a test that failed has left mapped. */
FIXTURE_TEARDOWN(table)
{
	int users;

	close(self->imported.dmabuf);
	users = read_number("/sys/module/dmabuf_importer/refcnt");
	close(self->imported.importer);
	EXPECT_EQ(1, users);
	EXPECT_TRUE(check_baseline(_metadata, &self->imported.before));
}

/*
 * Guards: M10: entries whose offset is beyond their page, or that are empty or
 * overlap; a table that is too short
 */
TEST_F(table, shape)
{
	struct dmabuf_importer_entry entries[MAX_ENTRIES];
	struct imported *in = &self->imported;
	size_t dma_bytes = 0, bytes = 0;
	int handle, count, i, hidden = 0;

	handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				DMABUF_IMPORTER_BIDIRECTIONAL);
	count = read_table(in->importer, handle, entries, MAX_ENTRIES);
	ASSERT_LT(0, count);
	ASSERT_GE(MAX_ENTRIES, count);
	for (i = 0; i < count; i++) {
		EXPECT_EQ(0, entries[i].offset);
		EXPECT_EQ(0, entries[i].length % PAGE_BYTES);
		EXPECT_EQ(0, entries[i].dma_addr % PAGE_BYTES);
		bytes += entries[i].length;
		dma_bytes += entries[i].dma_len;
		hidden += entries[i].pfn == DMABUF_IMPORTER_NO_PFN;
	}
	/*
	 * To hide the pages of a table from importers (CONFIG_DMABUF_DEBUG), 7.3 gives them a copy
	 * that has the device's side only; 6.12 hides nothing but the pages.
	 */
	if (!hidden || bytes)
		EXPECT_EQ(in->bytes, bytes);
	EXPECT_EQ(in->bytes, dma_bytes);
	EXPECT_EQ(0, unmap_dma(in->importer, handle));
	EXPECT_EQ(0, detach(in->importer, handle));
}

/*
 * Guards: a table with an entry for each page although neighbours are
 * contiguous
 */
TEST_F(table, merged)
{
	struct dmabuf_importer_entry entries[MAX_ENTRIES];
	struct imported *in = &self->imported;
	int handle, count, i;

	handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				DMABUF_IMPORTER_BIDIRECTIONAL);
	count = read_table(in->importer, handle, entries, MAX_ENTRIES);
	ASSERT_LT(0, count);
	ASSERT_GE(MAX_ENTRIES, count);
	for (i = 1; i < count && entries[i].dma_len; i++)
		EXPECT_NE(entries[i - 1].dma_addr + entries[i - 1].dma_len, entries[i].dma_addr);
	EXPECT_EQ(0, detach_all(in->importer));
}

/* Guards: a table of the wrong pages, or of the right ones out of order */
TEST_F(table, frames)
{
	struct imported *in = &self->imported;
	size_t page, pages = in->bytes / PAGE_BYTES;
	__u64 pfns[MAX_ENTRIES];
	int handle;

	ASSERT_GE(MAX_ENTRIES, pages);
	handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				DMABUF_IMPORTER_BIDIRECTIONAL);
	ASSERT_EQ(0, read_pfns(in->importer, handle, pfns, pages));
	for (page = 0; page < pages; page++) {
		size_t from = layout_source_page(&variant->layout, page);

		EXPECT_EQ(page_frame(in->source.map + from * PAGE_BYTES), pfns[page]) {
			TH_LOG("page %zu of the buffer, %zu of the source", page, from);
		}
	}
	EXPECT_EQ(0, detach_all(in->importer));
}

/* Guards: a table of the wrong pages, or of copies */
TEST_F(table, read)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_TO_DEVICE);

	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	EXPECT_EQ(0, detach_all(in->importer));
}

/* Guards: B01: data of a device that never reaches the pages */
TEST_F(table, write)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_FROM_DEVICE);

	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	EXPECT_EQ(0, unmap_dma(in->importer, handle));
	check_source(_metadata, in);
	EXPECT_EQ(0, detach(in->importer, handle));
}

/*
 * Guards: a direction that map refuses, M6: a mapping that is undone with
 * another direction
 */
TEST_F(table, directions)
{
	static const unsigned int directions[] = {
		DMABUF_IMPORTER_BIDIRECTIONAL,
		DMABUF_IMPORTER_TO_DEVICE,
		DMABUF_IMPORTER_FROM_DEVICE,
	};
	struct imported *in = &self->imported;
	__u32 before, mapped;
	size_t i;

	/* This device counts what is mapped for it, in each direction, a page an entry. */
	fail_mappings(in->importer, 0, &before);
	for (i = 0; i < ARRAY_SIZE(directions); i++) {
		int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_FAILING,
					    directions[i]);
		int counted = fail_mappings(in->importer, 0, &mapped);

		if (counted != -EOPNOTSUPP)
			EXPECT_EQ(before + in->bytes / PAGE_BYTES, mapped);
		EXPECT_EQ(0, unmap_dma(in->importer, handle));
		EXPECT_EQ(counted, fail_mappings(in->importer, 0, &mapped));
		if (counted != -EOPNOTSUPP)
			EXPECT_EQ(before, mapped);
		EXPECT_EQ(0, detach(in->importer, handle));
	}
}

/*
 * Guards: M15, M20: a table that is kept after it was unmapped, or used twice
 */
TEST_F(table, remap)
{
	struct imported *in = &self->imported;
	struct dmabuf_importer_map map;
	int handle;

	handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				DMABUF_IMPORTER_TO_DEVICE);
	ASSERT_EQ(0, unmap_dma(in->importer, handle));
	EXPECT_EQ(-EBUSY, unmap_dma(in->importer, handle));
	ASSERT_EQ(0, map_dma(in->importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	EXPECT_EQ(0, unmap_dma(in->importer, handle));
	EXPECT_EQ(0, detach(in->importer, handle));
}

/* Guards: M20: one table for all attachments, freed by the first */
TEST_F(table, two_devices)
{
	struct imported *in = &self->imported;
	int first, second;

	first = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
			       DMABUF_IMPORTER_BIDIRECTIONAL);
	second = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_SEG4K,
				DMABUF_IMPORTER_TO_DEVICE);
	EXPECT_EQ(0, unmap_dma(in->importer, first));
	EXPECT_EQ(0, detach(in->importer, first));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, second, SEED_SOURCE);
	EXPECT_EQ(0, unmap_dma(in->importer, second));
	EXPECT_EQ(0, detach(in->importer, second));
}

/* Guards: a mapping of copies */
TEST_F(table, source_write)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_BIDIRECTIONAL);

	ASSERT_EQ(0, sync_buffer(in->dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW));
	fill_pages(in->source.map, SEED_BUFFER, variant->layout.pages);
	ASSERT_EQ(0, sync_buffer(in->dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_BUFFER);
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: a buffer, or its hold on the module, that goes when its descriptor is
 * closed although a device uses it
 */
TEST_F(table, outlives_descriptor)
{
	struct imported *in = &self->imported;
	int handle = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
				    DMABUF_IMPORTER_BIDIRECTIONAL);

	close(in->dmabuf);
	source_unmap(&in->source);
	source_close_memfd(&in->source);
	EXPECT_EQ(in->before.dmabufs + 1, count_dmabufs());
	if (driver_is_udmabuf_iov())
		EXPECT_EQ(in->before.module_users + 1,
			  read_number(UDMABUF_IOV_MODULE "/refcnt"));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: an attachment with move notifications that is refused, or notified of
 * moves that never happen
 */
TEST_F(table, dynamic)
{
	struct imported *in = &self->imported;
	struct dmabuf_importer_count moves = { .count = ~0ULL };
	struct dmabuf_importer_map map;
	int handle;

	handle = attach(in->importer, in->dmabuf, DMABUF_IMPORTER_DEV_DEFAULT,
			DMABUF_IMPORTER_ATTACH_DYNAMIC);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(in->importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	source_unmap(&in->source);
	moves.handle = handle;
	ASSERT_EQ(0, call(in->importer, DMABUF_IMPORTER_MOVES, &moves));
	EXPECT_EQ(0, moves.count);
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: B11, M9: a kernel mapping of the head of a huge page again and again;
 * no vmap at all
 */
TEST_F(table, vmap)
{
	struct imported *in = &self->imported;
	__u64 address;
	int handle;

	handle = vmap_buffer(in->importer, in->dmabuf, &address);
	ASSERT_LE(0, handle);
	check_data(_metadata, in, DMABUF_IMPORTER_VREAD, handle, SEED_SOURCE);
	EXPECT_EQ(0, vunmap_buffer(in->importer, handle));
}

/* Guards: a kernel mapping of copies */
TEST_F(table, vmap_write)
{
	struct imported *in = &self->imported;
	__u64 address;
	int handle;

	handle = vmap_buffer(in->importer, in->dmabuf, &address);
	ASSERT_LE(0, handle);
	write_data(_metadata, in, DMABUF_IMPORTER_VWRITE, handle);
	EXPECT_EQ(0, vunmap_buffer(in->importer, handle));
	check_source(_metadata, in);
}

/*
 * Guards: a second kernel mapping that replaces the first, or is undone with it
 */
TEST_F(table, vmap_nested)
{
	struct imported *in = &self->imported;
	__u64 first_address, second_address;
	int first, second;

	first = vmap_buffer(in->importer, in->dmabuf, &first_address);
	ASSERT_LE(0, first);
	second = vmap_buffer(in->importer, in->dmabuf, &second_address);
	ASSERT_LE(0, second);
	EXPECT_EQ(first_address, second_address);
	EXPECT_EQ(0, vunmap_buffer(in->importer, first));
	check_data(_metadata, in, DMABUF_IMPORTER_VREAD, second, SEED_SOURCE);
	EXPECT_EQ(0, vunmap_buffer(in->importer, second));
}

/* Return: the kernel's mappings that the driver has made and not undone; proc(5), vmallocinfo. */
static int count_kernel_mappings(void)
{
	FILE *file = fopen("/proc/vmallocinfo", "r");
	char line[512];
	int count = 0;

	while (file && fgets(line, sizeof(line), file))
		count += strstr(line, "[udmabuf_iov]") != NULL;
	if (file)
		fclose(file);
	return count;
}

/* Guards: B11: a kernel mapping that is never undone */
TEST_F(table, vunmap)
{
	struct imported *in = &self->imported;
	int before = count_kernel_mappings(), handle;
	__u64 address;

	handle = vmap_buffer(in->importer, in->dmabuf, &address);
	ASSERT_LE(0, handle);
	if (driver_is_udmabuf_iov())
		EXPECT_EQ(before + 1, count_kernel_mappings());
	EXPECT_EQ(0, vunmap_buffer(in->importer, handle));
	EXPECT_EQ(before, count_kernel_mappings());
}

/* Two runs of a huge page: 260 KiB from an odd place, then 8 KiB. */
static const struct layout contiguous = {
	.backing = HUGETLB, .pages = 512, .nr_runs = 2, .runs = { { 13, 65 }, { 510, 2 } },
};

FIXTURE(device)
{
	struct imported imported;
};

/*
 * Devices with limits, and a buffer that is contiguous enough to break them.
 */
FIXTURE_VARIANT(device)
{
	int index;
};

FIXTURE_VARIANT_ADD(device, default)
{
	.index = DMABUF_IMPORTER_DEV_DEFAULT,
};

FIXTURE_VARIANT_ADD(device, mask32)
{
	.index = DMABUF_IMPORTER_DEV_MASK32,
};

/* Guards: a table that is built without the device's limits */
FIXTURE_VARIANT_ADD(device, segment_4k)
{
	.index = DMABUF_IMPORTER_DEV_SEG4K,
};

FIXTURE_VARIANT_ADD(device, segment_64k)
{
	.index = DMABUF_IMPORTER_DEV_SEG64K,
};

FIXTURE_VARIANT_ADD(device, boundary)
{
	.index = DMABUF_IMPORTER_DEV_BOUNDARY,
};

FIXTURE_SETUP(device)
{
	import_layout(_metadata, &self->imported, &contiguous);
}

FIXTURE_TEARDOWN(device)
{
	close(self->imported.dmabuf);
	close(self->imported.importer);
	EXPECT_TRUE(check_baseline(_metadata, &self->imported.before));
}

/* Guards: segments that are larger than the device's limit */
TEST_F(device, limits)
{
	struct dmabuf_importer_info info = { .device = variant->index };
	struct dmabuf_importer_entry entries[2 * MAX_ENTRIES];
	struct imported *in = &self->imported;
	size_t bytes = 0;
	int handle, count, i;

	ASSERT_EQ(0, call(in->importer, DMABUF_IMPORTER_INFO, &info));
	handle = attach_and_map(_metadata, in, variant->index, DMABUF_IMPORTER_BIDIRECTIONAL);
	count = read_table(in->importer, handle, entries, ARRAY_SIZE(entries));
	ASSERT_LT(0, count);
	ASSERT_GE(ARRAY_SIZE(entries), count);
	for (i = 0; i < count && entries[i].dma_len; i++) {
		__u64 first = entries[i].dma_addr, last = first + entries[i].dma_len - 1;

		EXPECT_GE(info.max_seg_size, entries[i].dma_len);
		EXPECT_GE(info.dma_mask, last);
		EXPECT_EQ(first & ~info.seg_boundary, last & ~info.seg_boundary);
		bytes += entries[i].dma_len;
	}
	EXPECT_EQ(in->bytes, bytes);
	EXPECT_EQ(0, detach_all(in->importer));
}

/* Guards: offsets that are lost where a segment is cut */
TEST_F(device, content)
{
	struct imported *in = &self->imported;
	int handle;

	handle = attach_and_map(_metadata, in, variant->index, DMABUF_IMPORTER_TO_DEVICE);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	EXPECT_EQ(0, unmap_dma(in->importer, handle));
	EXPECT_EQ(0, detach(in->importer, handle));

	handle = attach_and_map(_metadata, in, variant->index, DMABUF_IMPORTER_FROM_DEVICE);
	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	EXPECT_EQ(0, unmap_dma(in->importer, handle));
	EXPECT_EQ(0, detach(in->importer, handle));
	check_source(_metadata, in);
}

FIXTURE(failing)
{
	struct imported imported;
	__u32 mapped;
	int expected;
};

/* A device that nothing can be mapped for, and why. */
FIXTURE_VARIANT(failing)
{
	int error;
	__u32 flags;
};

/* Guards: a failure of dma_map_sgtable() that is not looked at */
FIXTURE_VARIANT_ADD(failing, no_memory)
{
	.error = ENOMEM,
	.flags = 0,
};

/* Guards: an error that becomes another one */
FIXTURE_VARIANT_ADD(failing, io)
{
	.error = EIO,
	.flags = 0,
};

FIXTURE_VARIANT_ADD(failing, invalid)
{
	.error = EINVAL,
	.flags = 0,
};

FIXTURE_VARIANT_ADD(failing, dynamic)
{
	.error = EIO,
	.flags = DMABUF_IMPORTER_ATTACH_DYNAMIC,
};

FIXTURE_SETUP(failing)
{
	static const struct layout layout = {
		.backing = SHMEM, .pages = 4, .nr_runs = 2, .runs = { { 2, 2 }, { 0, 1 } },
	};

	if (!import_layout(_metadata, &self->imported, &layout))
		return;
	self->expected = fail_mappings(self->imported.importer, variant->error, &self->mapped);
	if (self->expected == -EOPNOTSUPP)
		SKIP(return, "this kernel has no DMA operations of a device's own");
	ASSERT_LT(0, self->expected);
}

FIXTURE_TEARDOWN(failing)
{
	__u32 mapped;

	EXPECT_EQ(0, fail_mappings(self->imported.importer, 0, &mapped));
	EXPECT_EQ(self->mapped, mapped);
	close(self->imported.dmabuf);
	close(self->imported.importer);
	EXPECT_TRUE(check_baseline(_metadata, &self->imported.before));
}

/*
 * Attach the device and map the buffer. Kernels up to 6.12 map it for an importer that
 * wants to hear of moves when it attaches. Return: what failed first, or 0.
 */
static int try_device(const struct imported *in, __u32 flags, int *handle)
{
	struct dmabuf_importer_map map;

	*handle = attach(in->importer, in->dmabuf, DMABUF_IMPORTER_DEV_FAILING, flags);
	if (*handle < 0)
		return *handle;
	return map_dma(in->importer, *handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map);
}

/*
 * Guards: dma_map errors that importers do not get; an attachment that is no
 * good after one
 */
TEST_F(failing, error)
{
	long long mappings = read_field(UDMABUF_IOV_TOTALS, "mappings ");
	struct imported *in = &self->imported;
	struct dmabuf_importer_map map;
	int handle, again;

	EXPECT_EQ(-self->expected, try_device(in, variant->flags, &handle));
	EXPECT_EQ(-self->expected, try_device(in, variant->flags, &again));
	EXPECT_EQ(mappings, read_field(UDMABUF_IOV_TOTALS, "mappings "));
	EXPECT_EQ(0, fail_mappings(in->importer, 0, NULL));
	if (handle >= 0) {
		ASSERT_EQ(0, map_dma(in->importer, handle, DMABUF_IMPORTER_TO_DEVICE, &map));
		check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	}
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: a mapping that failed among those that begin and end of CPU access
 * walk
 */
TEST_F(failing, others)
{
	struct imported *in = &self->imported;
	int good, handle;
	__u64 address;

	good = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT,
			      DMABUF_IMPORTER_FROM_DEVICE);
	EXPECT_EQ(-self->expected, try_device(in, variant->flags, &handle));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, good, SEED_SOURCE);
	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, good);
	EXPECT_EQ(0, cpu_access(in->importer, DMABUF_IMPORTER_BEGIN, in->dmabuf,
				DMABUF_IMPORTER_BIDIRECTIONAL));
	EXPECT_EQ(0, cpu_access(in->importer, DMABUF_IMPORTER_END, in->dmabuf,
				DMABUF_IMPORTER_BIDIRECTIONAL));
	ASSERT_LE(0, vmap_buffer(in->importer, in->dmabuf, &address));
	EXPECT_EQ(0, unmap_dma(in->importer, good));
	check_source(_metadata, in);
	good = attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_SEG64K,
			      DMABUF_IMPORTER_TO_DEVICE);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, good, SEED_BUFFER);
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: the table of a mapping that failed is not freed; the mapping itself
 * is unmapped
 */
TEST_F(failing, memory)
{
	/* Each failure would lose a table of 1024 entries, 32 bytes each: 8 MiB in all. */
	enum { PAGES = 1024, FAILURES = 256, MOST_KIB = 3 << 10 };
	static const struct layout large = {
		.backing = SHMEM, .pages = PAGES, .nr_runs = 1, .runs = { { 0, PAGES } },
	};
	struct imported *in = &self->imported;
	struct imported many = *in;
	long long available;
	int device, handle, i;

	/* Where there is KASAN as well, what is freed is not free before long. */
	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		SKIP(return, "kmemleak looks for what is lost");
	ASSERT_TRUE(source_open(_metadata, &many.source, &large));
	device = open_device(_metadata);
	many.dmabuf = export_source(device, &many.source);
	ASSERT_LE(0, many.dmabuf);
	close(device);
	available = read_field("/proc/meminfo", "MemAvailable:");
	ASSERT_LT(0, available);
	for (i = 0; i < FAILURES; i++) {
		ASSERT_EQ(-self->expected, try_device(&many, variant->flags, &handle));
		if (handle >= 0)
			ASSERT_EQ(0, detach(in->importer, handle));
	}
	EXPECT_GE(MOST_KIB, available - read_field("/proc/meminfo", "MemAvailable:"));
	close(many.dmabuf);
}

FIXTURE(abandon)
{
	struct imported imported;
};

/* The order in which devices let go of everything that they have. */
FIXTURE_VARIANT(abandon)
{
	__u32 order;
	__u32 flags;
};

FIXTURE_VARIANT_ADD(abandon, oldest)
{
	.order = DMABUF_IMPORTER_ORDER_OLDEST,
	.flags = 0,
};

FIXTURE_VARIANT_ADD(abandon, newest)
{
	.order = DMABUF_IMPORTER_ORDER_NEWEST,
	.flags = 0,
};

FIXTURE_VARIANT_ADD(abandon, phases)
{
	.order = DMABUF_IMPORTER_ORDER_PHASES,
	.flags = 0,
};

FIXTURE_VARIANT_ADD(abandon, shuffled)
{
	.order = DMABUF_IMPORTER_ORDER_SHUFFLED,
	.flags = 0,
};

FIXTURE_VARIANT_ADD(abandon, kernel_thread)
{
	.order = DMABUF_IMPORTER_ORDER_SHUFFLED,
	.flags = DMABUF_IMPORTER_ABANDON_WORKER,
};

/* A session with three devices, mapped and not, and two kernel mappings of one buffer. */
FIXTURE_SETUP(abandon)
{
	static const struct layout layout = {
		.backing = SHMEM, .pages = 4, .nr_runs = 2, .runs = { { 2, 2 }, { 0, 1 } },
	};
	struct imported *in = &self->imported;
	__u64 address;

	if (!import_layout(_metadata, in, &layout))
		return;
	attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_DEFAULT, DMABUF_IMPORTER_TO_DEVICE);
	ASSERT_LE(0, vmap_buffer(in->importer, in->dmabuf, &address));
	ASSERT_LE(0, attach(in->importer, in->dmabuf, DMABUF_IMPORTER_DEV_MASK32, 0));
	attach_and_map(_metadata, in, DMABUF_IMPORTER_DEV_SEG4K, DMABUF_IMPORTER_FROM_DEVICE);
	ASSERT_LE(0, vmap_buffer(in->importer, in->dmabuf, &address));
	close(in->dmabuf);
	EXPECT_EQ(in->before.dmabufs + 1, count_dmabufs());
}

FIXTURE_TEARDOWN(abandon)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->imported.before));
}

/*
 * Guards: a table, attachment or kernel mapping that only goes in the order in
 * which it came
 */
TEST_F(abandon, whole)
{
	struct dmabuf_importer_abandon abandon = {
		.order = variant->order,
		.flags = variant->flags,
	};

	ASSERT_EQ(0, call(self->imported.importer, DMABUF_IMPORTER_ABANDON, &abandon));
	EXPECT_EQ(5, abandon.dropped);
	/* A kernel thread's last reference is dropped by a worker that nobody can wait for. */
	EXPECT_TRUE(await_dmabufs(self->imported.before.dmabufs));
}

/* Guards: a release that needs a process */
TEST_F(abandon, session_closed)
{
	close(self->imported.importer);
}

TEST_HARNESS_MAIN
