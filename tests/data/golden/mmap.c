// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/mmap.toml and its template: do not edit.
 *
 * The processor's view of a buffer: mmap() of a dma-buf shows the exported
 * pages, all of them, in order, and nothing else.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "ram_disk.h"

#include <elf.h>
#include <sys/resource.h>

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

FIXTURE_VARIANT_ADD(map, thp_one)
{
	.layout = {
		.backing = THP,
		.pages = 512,
		.nr_runs = 1,
		.runs = { { 200, 5 } },
	},
};

FIXTURE_VARIANT_ADD(map, thp_many)
{
	.layout = {
		.backing = THP,
		.pages = 512,
		.nr_runs = 4,
		.runs = { { 300, 2 }, { 257, 3 }, { 100, 1 }, { 258, 1 } },
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
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

FIXTURE_VARIANT_ADD(map, hugetlb_twice)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 600, 3 }, { 600, 3 }, { 511, 2 }, { 601, 1 } },
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
	char byte = 0;
	struct iovec local = { .iov_base = &byte, .iov_len = 1 }, remote = { .iov_len = 1 };
	void *map;

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	ASSERT_EQ(0, touch(map));
	remote.iov_base = map;
	EXPECT_EQ(-1, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
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

FIXTURE(large)
{
	struct source source;
	const struct layout *layout;
	int dmabuf;
	size_t pages;
	size_t bytes;
	char *map;
};

/*
 * A buffer of several page tables, and how many pages its mapping starts behind
 * a multiple of 2 MiB. Where huge pages lie at aligned addresses, the kernel
 * may map them whole.
 */
FIXTURE_VARIANT(large)
{
	struct layout layout;
	size_t skew;
};

FIXTURE_VARIANT_ADD(large, anon)
{
	.layout = {
		.backing = ANON,
		.pages = 512,
		.nr_runs = 3,
		.runs = { { 256, 256 }, { 0, 512 }, { 0, 256 } },
	},
	.skew = 3,
};

FIXTURE_VARIANT_ADD(large, hugetlb)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 2,
		.runs = { { 512, 512 }, { 0, 512 } },
	},
	.skew = 0,
};

/*
 * Guards: a huge page that is mapped because the first of its pages is aligned
 */
FIXTURE_VARIANT_ADD(large, hugetlb_scattered)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 3,
		.runs = { { 0, 256 }, { 512, 512 }, { 256, 256 } },
	},
	.skew = 0,
};

FIXTURE_VARIANT_ADD(large, hugetlb_skewed)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 2,
		.runs = { { 512, 512 }, { 0, 512 } },
	},
	.skew = 3,
};

#define GIB	(1UL << 30)

/* Return: an address for @bytes, @skew pages behind a multiple of 2 MiB, in room of its own. */
static char *find_room(struct __test_metadata *_metadata, size_t bytes, size_t skew)
{
	char *room = find_aligned_room(bytes + skew * PAGE_BYTES);

	ASSERT_NE(NULL, room);
	return room + skew * PAGE_BYTES;
}

static void map_part(struct __test_metadata *_metadata, const FIXTURE_DATA(large) *self,
		     size_t first, size_t count)
{
	ASSERT_EQ(self->map, mmap(self->map, count * PAGE_BYTES, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, self->dmabuf, first * PAGE_BYTES));
}

FIXTURE_SETUP(large)
{
	int device;

	self->layout = &variant->layout;
	self->pages = layout_pages(self->layout);
	self->bytes = self->pages * PAGE_BYTES;
	if (!source_open(_metadata, &self->source, self->layout))
		return;
	device = open_device(_metadata);
	self->dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, self->dmabuf);
	close(device);
	self->map = find_room(_metadata, self->bytes, variant->skew);
	map_part(_metadata, self, 0, self->pages);
}

FIXTURE_TEARDOWN(large)
{
	munmap(self->map, self->bytes);
	close(self->dmabuf);
	source_unmap(&self->source);
	source_close_memfd(&self->source);
}

/* Check that what is mapped at @address is page @number of the buffer. */
static void check_mapped(struct __test_metadata *_metadata, const FIXTURE_DATA(large) *self,
			 const void *address, size_t number)
{
	ASSERT_TRUE(page_is_stamped(address, SEED_SOURCE,
				    layout_source_page(self->layout, number))) {
		TH_LOG("page %zu of the buffer", number);
	}
}

#ifdef UDMABUF_IOV_CREATE
/* How fast a mapping is; what is slow is not wrong, so that mainline is not held to it. */

/* Counted by the page tables that a sweep needs, with a few faults of the test's own. */
#define OWN_FAULTS	4

static long count_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* The page tables below the mapping: one for each 2 MiB that it touches. */
static long count_tables(const FIXTURE_DATA(large) *self)
{
	uintptr_t start = (uintptr_t)self->map, end = start + self->bytes - 1;

	return end / HUGE_PAGE_BYTES - start / HUGE_PAGE_BYTES + 1;
}

/*
 * Guards: 2.4i: a fault for each page, or a fault that maps the whole buffer
 * and takes its time
 */
TEST_F(large, forward)
{
	long before = count_faults(), page;

	for (page = 0; page < self->pages; page++)
		check_mapped(_metadata, self, self->map + page * PAGE_BYTES, page);
	EXPECT_GE(count_tables(self) + OWN_FAULTS, count_faults() - before);
	/* What is mapped for reading may have to be mapped again for writing. */
	before = count_faults();
	for (page = 0; page < self->pages; page++)
		stamp_page(self->map + page * PAGE_BYTES, SEED_BUFFER,
			   layout_source_page(self->layout, page));
	EXPECT_GE(count_tables(self) + OWN_FAULTS, count_faults() - before);
	for (page = 0; page < self->layout->pages; page++)
		ASSERT_TRUE(page_is_stamped(self->source.map + page * PAGE_BYTES, SEED_BUFFER,
					    page));
}

/* Guards: a fault that maps what follows the page and nothing before it */
TEST_F(large, backward)
{
	long before = count_faults(), page;

	for (page = self->pages - 1; page >= 0; page--)
		stamp_page(self->map + page * PAGE_BYTES, SEED_BUFFER,
			   layout_source_page(self->layout, page));
	EXPECT_GE(count_tables(self) + OWN_FAULTS, count_faults() - before);
	for (page = 0; page < self->layout->pages; page++)
		ASSERT_TRUE(page_is_stamped(self->source.map + page * PAGE_BYTES, SEED_BUFFER,
					    page));
}

/* KiB that this process has in page tables. */
static long long count_table_memory(void)
{
	return read_field("/proc/self/status", "VmPTE:");
}

/*
 * A fault fills one page table and leaves the others alone; a huge page that is mapped whole needs
 * none.
 */
/*
 * Guards: 2.4i: a fault that maps the whole buffer, however large; a huge page
 * that is mapped page by page
 */
TEST_F(large, tables)
{
	/* Two huge pages, in the other order. */
	bool huge = self->layout->backing == HUGETLB && self->layout->nr_runs == 2;
	char *second = self->map + HUGE_PAGE_BYTES;
	long long before;

	if ((uintptr_t)self->map / GIB != (uintptr_t)second / GIB)
		SKIP(return, "the mapping is in two tables of 1 GiB");
	ASSERT_EQ(0, touch(self->map));
	before = count_table_memory();
	ASSERT_LT(0, before);
	ASSERT_EQ(0, touch(second));
	if (!huge || variant->skew || kernel_before(6, 12))
		before += PAGE_BYTES / 1024;
	EXPECT_EQ(before, count_table_memory());
	if (!huge || variant->skew || kernel_before(6, 12))
		return;
	/* Nor does the first, with the tables above it still there. */
	munmap(self->map, HUGE_PAGE_BYTES);
	ASSERT_EQ(self->map, mmap(self->map, HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, self->dmabuf, 0));
	before = count_table_memory();
	ASSERT_EQ(0, touch(self->map));
	EXPECT_EQ(before, count_table_memory());
}
#endif

/*
 * Guards: a fault around the first page that is off by one at the ends of a
 * mapping or a page table
 */
TEST_F(large, first_touch)
{
	size_t pages[] = { 0, 1, 255, 508, 509, 510, 511, 512, 513, self->pages - 1 }, i, page;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		map_part(_metadata, self, 0, self->pages);
		check_mapped(_metadata, self, self->map + pages[i] * PAGE_BYTES, pages[i]);
		for (page = 0; page < self->pages; page += 17)
			check_mapped(_metadata, self, self->map + page * PAGE_BYTES, page);
	}
}

/* Mappings that start or end inside a huge page, at the same address. */
/*
 * Guards: a fault that forgets vm_pgoff, or maps a huge page that only lies
 * half in the mapping
 */
TEST_F(large, inner)
{
	size_t firsts[] = { 1, 256, 511, 512 }, i, page;

	for (i = 0; i < ARRAY_SIZE(firsts); i++) {
		munmap(self->map, self->bytes);
		map_part(_metadata, self, firsts[i], self->pages - firsts[i] - 1);
		for (page = firsts[i]; page < self->pages - 1; page++)
			check_mapped(_metadata, self,
				     self->map + (page - firsts[i]) * PAGE_BYTES, page);
		EXPECT_EQ(SIGSEGV, touch(self->map + (page - firsts[i]) * PAGE_BYTES));
	}
}

/*
 * Guards: a VMA that keeps its start for the page offset although munmap() has
 * moved it
 */
TEST_F(large, split)
{
	size_t holes[] = { 700, 300, 512, 0 }, i, page;

	ASSERT_EQ(0, touch(self->map));
	for (i = 0; i < ARRAY_SIZE(holes); i++)
		munmap(self->map + holes[i] * PAGE_BYTES, PAGE_BYTES);
	for (i = 0; i < ARRAY_SIZE(holes); i++)
		EXPECT_EQ(SIGSEGV, touch(self->map + holes[i] * PAGE_BYTES));
	for (page = 1; page < self->pages; page++)
		if (page != 300 && page != 512 && page != 700)
			check_mapped(_metadata, self, self->map + page * PAGE_BYTES, page);
}

/* One page table has been filled when the mapping moves, the others have not. */
/* Guards: a fault that computes the page from where the mapping once was */
TEST_F(large, moved)
{
	char *target = find_room(_metadata, self->bytes, 7), *old = self->map;
	size_t page;

	ASSERT_EQ(0, touch(self->map));
	ASSERT_EQ(target, mremap(self->map, self->bytes, self->bytes,
				 MREMAP_MAYMOVE | MREMAP_FIXED, target));
	self->map = target;
	EXPECT_EQ(SIGSEGV, touch(old));
	for (page = 0; page < self->pages; page++)
		check_mapped(_metadata, self, self->map + page * PAGE_BYTES, page);
}

static void expect_no_growth(struct __test_metadata *_metadata, const FIXTURE_DATA(large) *self,
			     size_t old_bytes)
{
	EXPECT_EQ(MAP_FAILED, mremap(self->map, old_bytes, self->bytes + PAGE_BYTES,
				     MREMAP_MAYMOVE)) {
		TH_LOG("from %zu bytes", old_bytes);
	}
}

/*
 * Guards: M2: mmap without VM_DONTEXPAND and VM_PFNMAP, each of which keeps a
 * mapping from growing
 */
TEST_F(large, grown)
{
	expect_no_growth(_metadata, self, self->bytes);
	expect_no_growth(_metadata, self, PAGE_BYTES);
	/* This is how a shared mapping is doubled. */
	expect_no_growth(_metadata, self, 0);
	check_mapped(_metadata, self, self->map, 0);
}

/* Guards: a fault that maps pages writable whatever the mapping allows */
TEST_F(large, protected)
{
	char *last = self->map + self->bytes - PAGE_BYTES;

	ASSERT_EQ(0, mprotect(self->map, self->bytes, PROT_READ));
	EXPECT_EQ(SIGSEGV, touch_for_write(self->map));
	check_mapped(_metadata, self, self->map, 0);
	EXPECT_EQ(SIGSEGV, touch_for_write(self->map + PAGE_BYTES));
	ASSERT_EQ(0, mprotect(self->map, self->bytes, PROT_NONE));
	EXPECT_EQ(SIGSEGV, touch(self->map));
	EXPECT_EQ(SIGSEGV, touch(last));
	ASSERT_EQ(0, mprotect(self->map, self->bytes, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, touch_for_write(self->map));
	EXPECT_EQ(0, touch_for_write(last));
	check_mapped(_metadata, self, self->map, 0);
	check_mapped(_metadata, self, last, self->pages - 1);
}

/* Guards: B08: a mapping that madvise() can put into core dumps, or empty */
TEST_F(large, advised)
{
	char flags[256];

	ASSERT_EQ(0, touch(self->map));
	EXPECT_EQ(-1, madvise(self->map, self->bytes, MADV_DODUMP));
	EXPECT_EQ(-1, madvise(self->map, self->bytes, MADV_DONTNEED));
	ASSERT_TRUE(read_vm_flags(self->map, flags, sizeof(flags)));
	EXPECT_NE(NULL, strstr(flags, " dd ")) TH_LOG("in core dumps: %s", flags);
	check_mapped(_metadata, self, self->map, 0);
	check_mapped(_metadata, self, self->map + PAGE_BYTES, 1);
}

/*
 * Guards: VM_DONTCOPY, or a private mapping: a child without the buffer, or
 * with a copy of it
 */
TEST_F(large, forked)
{
	size_t last = (self->pages - 1) * PAGE_BYTES;
	pid_t child;

	ASSERT_EQ(0, touch_for_write(self->map));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		check_mapped(_metadata, self, self->map, 0);
		check_mapped(_metadata, self, self->map + last, self->pages - 1);
		stamp_page(self->map, SEED_CHILD, 0);
		stamp_page(self->map + last, SEED_CHILD, 1);
		_exit(0);
	}
	EXPECT_EQ(0, join(child));
	EXPECT_TRUE(page_is_stamped(self->map, SEED_CHILD, 0));
	EXPECT_TRUE(page_is_stamped(self->map + last, SEED_CHILD, 1));
}

/* As O_DIRECT takes its memory, where there is no disk either: the pages would go into a pipe. */
/*
 * Guards: B05: page table entries that are not special, so that direct I/O
 * takes references on the pages
 */
TEST_F(large, fast_gup)
{
	struct iovec page = { .iov_base = self->map, .iov_len = PAGE_BYTES };
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, touch_for_write(self->map));
	EXPECT_EQ(-1, vmsplice(pipes[1], &page, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	close(pipes[0]);
	close(pipes[1]);
}

#ifdef RAM_DISK
/*
 * Guards: B05: direct I/O of a disk that takes references on the pages, and
 * reads or writes them after the buffer
 */
TEST_F(large, direct_io)
{
	int disk = open_ram_disk(_metadata, O_DIRECT);

	if (disk < 0)
		return;
	ASSERT_EQ(0, touch_for_write(self->map));
	EXPECT_EQ(-1, pread(disk, self->map, PAGE_BYTES, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(disk, self->map, PAGE_BYTES, 0));
	EXPECT_EQ(EFAULT, errno);
	check_mapped(_metadata, self, self->map, 0);
	close(disk);
}
#endif

FIXTURE(neighbours)
{
	struct layout layout;
	struct source source;
};

/* The allocator halves blocks of 4 MiB: among so many there are two from one block. */
#define HUGE_PAGES	8
#define PAGES_IN_HUGE	(HUGE_PAGE_BYTES / PAGE_BYTES)

/* Find two that follow each other, and make them the layout. Return: whether there are such. */
static bool find_neighbours(FIXTURE_DATA(neighbours) *self)
{
	__u64 frames[HUGE_PAGES];
	size_t i, j;

	for (i = 0; i < HUGE_PAGES; i++)
		frames[i] = page_frame(self->source.map + i * HUGE_PAGE_BYTES);
	for (i = 0; i < HUGE_PAGES; i++) {
		for (j = 0; j < HUGE_PAGES; j++) {
			if (!frames[i] || frames[j] != frames[i] + PAGES_IN_HUGE)
				continue;
			self->layout.nr_runs = 2;
			self->layout.runs[0] = (struct run){ i * PAGES_IN_HUGE, PAGES_IN_HUGE };
			self->layout.runs[1] = (struct run){ j * PAGES_IN_HUGE, PAGES_IN_HUGE };
			return true;
		}
	}
	return false;
}

FIXTURE_SETUP(neighbours)
{
	self->layout.backing = HUGETLB;
	self->layout.pages = HUGE_PAGES * PAGES_IN_HUGE;
	if (source_open(_metadata, &self->source, &self->layout) && !find_neighbours(self))
		SKIP(return, "no two huge pages are neighbours");
}

FIXTURE_TEARDOWN(neighbours)
{
	source_unmap(&self->source);
	source_close_memfd(&self->source);
}

/*
 * Guards: a huge page that is mapped where the buffer's pages are contiguous
 * but not aligned for it
 */
TEST_F(neighbours, skewed)
{
	size_t pages = 2 * PAGES_IN_HUGE, bytes = pages * PAGE_BYTES, page;
	int device = open_device(_metadata), dmabuf;
	char *map = find_room(_metadata, bytes, 3);

	dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(map, mmap(map, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, dmabuf, 0));
	for (page = 0; page < pages; page++) {
		ASSERT_TRUE(page_is_stamped(map + page * PAGE_BYTES, SEED_SOURCE,
					    layout_source_page(&self->layout, page))) {
			TH_LOG("page %zu of the buffer", page);
		}
	}
	munmap(map, bytes);
	close(dmabuf);
	close(device);
}

/* Where the first huge page would begin there is memory of somebody else, which is still untouched. */
/*
 * Guards: a huge page that is mapped although its mapping begins behind where
 * that would
 */
TEST_F(neighbours, below)
{
	size_t half = HUGE_PAGE_BYTES / 2, bytes = HUGE_PAGE_BYTES + half, page;
	char *below = find_aligned_room(2 * HUGE_PAGE_BYTES), *map = below + half;
	int device = open_device(_metadata), dmabuf;

	ASSERT_EQ(below, mmap(below, half, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(map, mmap(map, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, dmabuf,
			    half));
	for (page = 0; page < bytes / PAGE_BYTES; page++)
		ASSERT_TRUE(page_is_stamped(map + page * PAGE_BYTES, SEED_SOURCE,
					    layout_source_page(&self->layout,
							       half / PAGE_BYTES + page)));
	EXPECT_EQ(0, *below);
	munmap(below, half + bytes);
	close(dmabuf);
	close(device);
}

#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"
#define CORE		"/tmp/ksft-core"

FIXTURE(core)
{
	struct source source;
	char pattern[256];
	size_t bytes;
	int dmabuf;
};

static bool write_core_pattern(const char *pattern)
{
	FILE *file = fopen(CORE_PATTERN, "w");
	bool good = file && fputs(pattern, file) >= 0;

	return file && fclose(file) == 0 && good;
}

FIXTURE_SETUP(core)
{
	static const struct layout layout = {
		.backing = SHMEM, .pages = 4, .nr_runs = 1, .runs = { { 0, 4 } },
	};
	int device;

	if (!source_open(_metadata, &self->source, &layout))
		return;
	device = open_device(_metadata);
	self->dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, self->dmabuf);
	close(device);
	self->bytes = layout_pages(&layout) * PAGE_BYTES;
	ASSERT_TRUE(read_text(CORE_PATTERN, self->pattern, sizeof(self->pattern)));
	ASSERT_TRUE(write_core_pattern(CORE));
}

FIXTURE_TEARDOWN(core)
{
	EXPECT_TRUE(write_core_pattern(self->pattern));
	unlink(CORE);
}

/* Return: how much of the mapping at an address a core dump has; -1 if it does not tell. */
static ssize_t dumped_bytes(const void *address)
{
	int fd = open(CORE, O_RDONLY | O_CLOEXEC), i;
	ssize_t bytes = -1;
	Elf64_Phdr segment;
	Elf64_Ehdr header;

	if (fd < 0 || pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return -1;
	for (i = 0; i < header.e_phnum; i++) {
		if (pread(fd, &segment, sizeof(segment),
			  header.e_phoff + i * sizeof(segment)) != sizeof(segment))
			break;
		if (segment.p_type == PT_LOAD && segment.p_vaddr == (uintptr_t)address)
			bytes = segment.p_filesz;
	}
	close(fd);
	return bytes;
}

/* Guards: B08: device memory in a core dump */
TEST_F(core, dump)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char *control = mmap(NULL, self->bytes, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;
	void *map;

	ASSERT_NE(MAP_FAILED, control);
	control[0] = 1;
	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		/* All kinds of mappings, not only those that are dumped unless one asks for more. */
		if (write_number("/proc/self/coredump_filter", 0xff) &&
		    !setrlimit(RLIMIT_CORE, &unlimited))
			abort();
		_exit(1);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status) && WCOREDUMP(status));
	EXPECT_EQ((ssize_t)self->bytes, dumped_bytes(control));
	EXPECT_EQ(0, dumped_bytes(map));
	munmap(map, self->bytes);
	munmap(control, self->bytes);
	close(self->dmabuf);
}

TEST_HARNESS_MAIN
