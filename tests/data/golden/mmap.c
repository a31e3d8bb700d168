// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/mmap.toml and its template: do not edit.
 *
 * The processor's view of a buffer: mmap() of a dma-buf shows the exported
 * pages, all of them, in order, and nothing else.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"

FIXTURE(map)
{
	struct source source;
	int dmabuf;
	size_t bytes;
};

/* What is exported. */
FIXTURE_VARIANT(map)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(map, anon_one)
{
	.layout = {
		.backing = ANON,
		.pages = 1,
		.nr_runs = 1,
		.runs = { { 0, 1 } },
	},
};

FIXTURE_VARIANT_ADD(map, anon_inner)
{
	.layout = {
		.backing = ANON,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
};

FIXTURE_VARIANT_ADD(map, anon_many)
{
	.layout = {
		.backing = ANON,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(map, anon_twice)
{
	.layout = {
		.backing = ANON,
		.pages = 3,
		.nr_runs = 3,
		.runs = { { 1, 1 }, { 1, 1 }, { 0, 2 } },
	},
};

FIXTURE_VARIANT_ADD(map, shmem_one)
{
	.layout = {
		.backing = SHMEM,
		.pages = 1,
		.nr_runs = 1,
		.runs = { { 0, 1 } },
	},
};

FIXTURE_VARIANT_ADD(map, shmem_inner)
{
	.layout = {
		.backing = SHMEM,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
};

FIXTURE_VARIANT_ADD(map, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(map, shmem_twice)
{
	.layout = {
		.backing = SHMEM,
		.pages = 3,
		.nr_runs = 3,
		.runs = { { 1, 1 }, { 1, 1 }, { 0, 2 } },
	},
};

FIXTURE_VARIANT_ADD(map, hugetlb_one)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 1,
		.runs = { { 510, 5 } },
	},
};

FIXTURE_VARIANT_ADD(map, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 0, 1 }, { 700, 3 } },
	},
};

FIXTURE_SETUP(map)
{
	int device;

	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	device = open_device(_metadata);
	self->dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, self->dmabuf);
	close(device);
	self->bytes = layout_pages(&variant->layout) * PAGE_BYTES;
}

FIXTURE_TEARDOWN(map)
{
	close(self->dmabuf);
	source_unmap(&self->source);
	source_close_memfd(&self->source);
}

/* Guards: an exp_info.size that is not the sum of the entries */
TEST_F(map, size)
{
	EXPECT_EQ(self->bytes, lseek(self->dmabuf, 0, SEEK_END));
	EXPECT_EQ(0, lseek(self->dmabuf, 0, SEEK_SET));
}

/*
 * Guards: a fault handler that maps pages[0], the neighbour or the head of a
 * huge page; entries pinned out of order
 */
TEST_F(map, content)
{
	void *map;

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_SOURCE, &variant->layout));
	munmap(map, self->bytes);
}

/* Guards: a driver that copies the memory at creation instead of sharing it */
TEST_F(map, source_write)
{
	void *map;

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	fill_pages(self->source.map, SEED_BUFFER, variant->layout.pages);
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_BUFFER, &variant->layout));
	munmap(map, self->bytes);
}

/* Guards: a fault handler that maps a copy, or a page that was not exported */
TEST_F(map, write_through)
{
	size_t page;
	void *map;

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	fill_buffer(map, SEED_BUFFER, &variant->layout);
	munmap(map, self->bytes);
	for (page = 0; page < variant->layout.pages; page++) {
		unsigned int seed = layout_exports(&variant->layout, page) ? SEED_BUFFER :
									     SEED_SOURCE;

		ASSERT_TRUE(check_page(_metadata, self->source.map + page * PAGE_BYTES, seed,
				       page));
	}
}

/*
 * Guards: a fault handler that computes the page from the address and forgets
 * vm_pgoff
 */
TEST_F(map, offset)
{
	size_t first, page, pages = self->bytes / PAGE_BYTES;
	char *map;

	for (first = 0; first < pages; first++) {
		ASSERT_EQ(0, map_file(self->dmabuf, first * PAGE_BYTES, self->bytes -
				      first * PAGE_BYTES, PROT_READ, MAP_SHARED, (void **)&map));
		for (page = first; page < pages; page++)
			EXPECT_TRUE(check_page(_metadata, map + (page - first) * PAGE_BYTES,
					       SEED_SOURCE,
					       layout_source_page(&variant->layout, page)));
		munmap(map, self->bytes - first * PAGE_BYTES);
	}
}

/*
 * Guards: B07: a check of VM_SHARED that refuses shared mappings without write
 * permission
 */
TEST_F(map, read_only)
{
	void *map;

	ASSERT_EQ(0, map_file(self->dmabuf, 0, self->bytes, PROT_READ, MAP_SHARED, &map));
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_SOURCE, &variant->layout));
	munmap(map, self->bytes);
}

/*
 * Guards: M3: mmap without the check of VM_SHARED, which hits a BUG_ON at the
 * first fault
 */
TEST_F(map, private)
{
	void *map;

	EXPECT_EQ(-EINVAL, map_file(self->dmabuf, 0, self->bytes, PROT_READ, MAP_PRIVATE, &map));
	EXPECT_EQ(-EINVAL, map_file(self->dmabuf, 0, self->bytes, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE, &map));
}

/*
 * Guards: M1, M2, CVE-2023-2008: mmap without VM_DONTEXPAND, a fault handler
 * without a bound
 */
TEST_F(map, past_end)
{
	void *map, *grown;

	EXPECT_EQ(-EINVAL, map_shared(self->dmabuf, self->bytes + PAGE_BYTES, &map));
	EXPECT_EQ(-EINVAL, map_file(self->dmabuf, self->bytes, PAGE_BYTES, PROT_READ, MAP_SHARED,
				    &map));

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	grown = mremap(map, self->bytes, self->bytes + PAGE_BYTES, MREMAP_MAYMOVE);
	EXPECT_EQ(MAP_FAILED, grown) {
		EXPECT_EQ(SIGBUS, touch((char *)grown + self->bytes));
		map = grown;
	}
	EXPECT_EQ(0, touch((char *)map + self->bytes - 1));
}

/*
 * Guards: a VMA that keeps its start for the page offset although munmap() has
 * moved it
 */
TEST_F(map, partial_munmap)
{
	size_t page, pages = self->bytes / PAGE_BYTES;
	char *map;

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, (void **)&map));
	for (page = 0; page < pages - 1; page++) {
		munmap(map + page * PAGE_BYTES, PAGE_BYTES);
		EXPECT_EQ(SIGSEGV, touch(map + page * PAGE_BYTES));
		EXPECT_TRUE(check_page(_metadata, map + (page + 1) * PAGE_BYTES, SEED_SOURCE,
				       layout_source_page(&variant->layout, page + 1)));
	}
	munmap(map + (pages - 1) * PAGE_BYTES, PAGE_BYTES);
}

/*
 * Guards: B05: mmap without VM_PFNMAP, so that others can take references on
 * the pages
 */
TEST_F(map, gup)
{
	char byte;
	struct iovec local = { .iov_base = &byte, .iov_len = 1 }, remote = { .iov_len = 1 };
	void *map;

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	ASSERT_EQ(0, touch(map));
	remote.iov_base = map;
	EXPECT_EQ(-1, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	munmap(map, self->bytes);
}

/*
 * Guards: B08: mmap without VM_DONTDUMP, so that core dumps contain device
 * memory
 */
TEST_F(map, vm_flags)
{
	char flags[256];
	void *map;

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	ASSERT_TRUE(read_vm_flags(map, flags, sizeof(flags)));
	EXPECT_NE(NULL, strstr(flags, " sh ")) TH_LOG("not shared: %s", flags);
	EXPECT_NE(NULL, strstr(flags, " pf ")) TH_LOG("not PFNMAP: %s", flags);
	EXPECT_NE(NULL, strstr(flags, " de ")) TH_LOG("not DONTEXPAND: %s", flags);
	EXPECT_NE(NULL, strstr(flags, " dd ")) TH_LOG("not DONTDUMP: %s", flags);
	munmap(map, self->bytes);
}

TEST_HARNESS_MAIN
