// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/iommu.toml and its template: do not edit.
 *
 * A device behind an IOMMU: scattered pages are one piece for it, so that its
 * table has fewer segments than pages have pieces, and what is unmapped it
 * cannot reach any more.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"

#define DEVICE	DMABUF_IMPORTER_DEV_PCI

FIXTURE(behind)
{
	struct imported imported;
};

/* What is exported. */
FIXTURE_VARIANT(behind)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(behind, anon_many)
{
	.layout = {
		.backing = ANON,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(behind, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(behind, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

FIXTURE_VARIANT_ADD(behind, shmem_twice)
{
	.layout = {
		.backing = SHMEM,
		.pages = 3,
		.nr_runs = 3,
		.runs = { { 1, 1 }, { 1, 1 }, { 0, 2 } },
	},
};

/* Return: what the device reaches by a DMA address, 0 for nothing, or a negative errno. */
static long long translate(int importer, __u64 dma_addr)
{
	struct dmabuf_importer_translate argument = { .device = DEVICE, .dma_addr = dma_addr };
	int error = call(importer, DMABUF_IMPORTER_TRANSLATE, &argument);

	return error ? error : (long long)argument.phys;
}

FIXTURE_SETUP(behind)
{
	struct imported *in = &self->imported;
	long long found;

	if (!import_layout(_metadata, in, &variant->layout))
		return;
	found = translate(in->importer, 0);
	if (found == -EINVAL)
		SKIP(return, "this machine has no device for it");
	if (found == -ENODEV)
		SKIP(return, "this kernel or machine has no IOMMU");
	ASSERT_EQ(0, found);
}

FIXTURE_TEARDOWN(behind)
{
	struct imported *in = &self->imported;

	close(in->dmabuf);
	close(in->importer);
	EXPECT_TRUE(check_baseline(_metadata, &in->before));
}

static int map_for_device(struct __test_metadata *_metadata, const struct imported *in,
			  unsigned int direction, struct dmabuf_importer_map *map)
{
	int handle = attach(in->importer, in->dmabuf, DEVICE, 0);

	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(in->importer, handle, direction, map));
	EXPECT_EQ(in->bytes, map->bytes);
	return handle;
}

static __u64 first_address(struct __test_metadata *_metadata, const struct imported *in, int handle)
{
	struct dmabuf_importer_entry entry;

	ASSERT_LE(1, read_table(in->importer, handle, &entry, 1));
	return entry.dma_addr;
}

/*
 * Guards: B02: a number of segments that is that of the entries, or the other
 * way round
 */
TEST_F(behind, one_piece)
{
	struct imported *in = &self->imported;
	struct dmabuf_importer_entry entries[64];
	struct dmabuf_importer_map map;
	unsigned int i;
	__u64 next;
	int handle;

	handle = map_for_device(_metadata, in, DMABUF_IMPORTER_BIDIRECTIONAL, &map);
	ASSERT_EQ(map.orig_nents, read_table(in->importer, handle, entries, ARRAY_SIZE(entries)));
	/* The pages are not contiguous; 7.3 may hide that from importers (sg.c.j2, "shape"). */
	if (entries[0].length)
		EXPECT_LT(1, map.orig_nents);
	/* The DMA operations that Intel's driver had of its own did not merge. */
	if (!kernel_before(5, 11))
		EXPECT_EQ(1, map.nents);
	next = entries[0].dma_addr;
	for (i = 0; i < map.nents; i++) {
		EXPECT_EQ(next, entries[i].dma_addr) TH_LOG("segment %u", i);
		next += entries[i].dma_len;
	}
	EXPECT_EQ(in->bytes, next - entries[0].dma_addr);
	for (; i < map.orig_nents; i++)
		EXPECT_EQ(0, entries[i].dma_len);
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: a table of the wrong pages, or of addresses that are not the device's
 */
TEST_F(behind, frames)
{
	struct imported *in = &self->imported;
	size_t page, pages = in->bytes / PAGE_BYTES;
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	struct dmabuf_importer_map map;
	int handle;

	ASSERT_NE(NULL, pfns);
	handle = map_for_device(_metadata, in, DMABUF_IMPORTER_TO_DEVICE, &map);
	ASSERT_EQ(0, read_pfns(in->importer, handle, pfns, pages));
	for (page = 0; page < pages; page++) {
		size_t from = layout_source_page(&variant->layout, page);

		EXPECT_EQ(page_frame(in->source.map + from * PAGE_BYTES), pfns[page]) {
			TH_LOG("page %zu of the buffer", page);
		}
	}
	/* The addresses are the IOMMU's, not the memory's. */
	EXPECT_NE(pfns[0] * PAGE_BYTES, first_address(_metadata, in, handle));
	free(pfns);
	EXPECT_EQ(0, detach_all(in->importer));
}

/* Guards: a table whose lengths are the pages', not the segments' */
TEST_F(behind, read)
{
	struct imported *in = &self->imported;
	struct dmabuf_importer_map map;
	int handle = map_for_device(_metadata, in, DMABUF_IMPORTER_TO_DEVICE, &map);

	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_SOURCE);
	fill_pages(in->source.map, SEED_BUFFER, variant->layout.pages);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_BUFFER);
	EXPECT_EQ(0, detach_all(in->importer));
}

/* Guards: data of a device that never reaches the pages */
TEST_F(behind, write)
{
	struct imported *in = &self->imported;
	struct dmabuf_importer_map map;
	int handle = map_for_device(_metadata, in, DMABUF_IMPORTER_FROM_DEVICE, &map);

	write_data(_metadata, in, DMABUF_IMPORTER_WRITE, handle);
	check_source(_metadata, in);
	EXPECT_EQ(0, detach_all(in->importer));
	check_source(_metadata, in);
}

/* Check that the device reaches nothing of a buffer by the addresses that it once had. */
static void check_closed(struct __test_metadata *_metadata, int importer, __u64 first,
			 size_t bytes)
{
	size_t offset;

	for (offset = 0; offset < bytes; offset += PAGE_BYTES)
		EXPECT_EQ(0, translate(importer, first + offset)) TH_LOG("offset %zu", offset);
}

/* Guards: B01: addresses that the device can use after they were unmapped */
TEST_F(behind, unmapped)
{
	static const unsigned int directions[] = {
		DMABUF_IMPORTER_TO_DEVICE,
		DMABUF_IMPORTER_FROM_DEVICE,
		DMABUF_IMPORTER_BIDIRECTIONAL,
	};
	struct imported *in = &self->imported;
	struct dmabuf_importer_map map;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(directions); i++) {
		int handle = map_for_device(_metadata, in, directions[i], &map);
		__u64 first = first_address(_metadata, in, handle);

		EXPECT_LT(0, translate(in->importer, first));
		EXPECT_LT(0, translate(in->importer, first + in->bytes - 1));
		ASSERT_EQ(0, unmap_dma(in->importer, handle));
		check_closed(_metadata, in->importer, first, in->bytes);
		ASSERT_EQ(0, detach(in->importer, handle));
	}
}

/* Guards: a mapping that the end of the session leaves to the device */
TEST_F(behind, detached)
{
	struct imported *in = &self->imported;
	int session = open_importer(_metadata);
	struct imported other = *in;
	struct dmabuf_importer_map map;
	__u64 first;

	other.importer = session;
	first = first_address(_metadata, &other,
			      map_for_device(_metadata, &other, DMABUF_IMPORTER_BIDIRECTIONAL,
					     &map));
	EXPECT_LT(0, translate(in->importer, first));
	close(session);
	check_closed(_metadata, in->importer, first, in->bytes);
}

/*
 * Guards: M20: one table for two attachments of a device, which undoes the
 * other's addresses
 */
TEST_F(behind, two_mappings)
{
	struct imported *in = &self->imported;
	struct dmabuf_importer_map map;
	int one = map_for_device(_metadata, in, DMABUF_IMPORTER_TO_DEVICE, &map);
	int two = map_for_device(_metadata, in, DMABUF_IMPORTER_BIDIRECTIONAL, &map);
	__u64 first = first_address(_metadata, in, one);

	EXPECT_NE(first, first_address(_metadata, in, two));
	ASSERT_EQ(0, unmap_dma(in->importer, one));
	check_closed(_metadata, in->importer, first, in->bytes);
	check_data(_metadata, in, DMABUF_IMPORTER_READ, two, SEED_SOURCE);
	EXPECT_EQ(0, detach_all(in->importer));
}

/*
 * Guards: a sync of what is not mapped. By how many entries (M17) it goes, x86
 * does not tell behind an IOMMU: its DMA is coherent there, and swiotlb:bounce,
 * where it is not, maps entry by entry
 */
TEST_F(behind, synced)
{
	struct imported *in = &self->imported;
	struct dmabuf_importer_map map;
	int handle = map_for_device(_metadata, in, DMABUF_IMPORTER_BIDIRECTIONAL, &map);

	ASSERT_EQ(0, sync_buffer(in->dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW));
	fill_pages(in->source.map, SEED_BUFFER, variant->layout.pages);
	ASSERT_EQ(0, sync_buffer(in->dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW));
	check_data(_metadata, in, DMABUF_IMPORTER_READ, handle, SEED_BUFFER);
	EXPECT_EQ(0, detach_all(in->importer));
}

TEST_HARNESS_MAIN
