// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/fork.toml and its template: do not edit.
 *
 * After fork() the parent and the buffer stay together: what the parent writes
 * is in the buffer, what the child writes to private memory is not. Memory that
 * is shared stays shared by all three.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"
#include "ram_disk.h"

#include <sys/prctl.h>

#ifdef UDMABUF_IOV_CREATE
#define PAGES	4

enum kind { SMALL_PAGES, TRANSPARENT_HUGE, HUGE_PAGES, PRIVATE_FILE };

/* What happens to the memory between its creation and the writes; SWAPPED: before its creation. */
enum change { NOTHING, PROTECT, PAGE_OUT, SWAPPED };

static bool change_swaps(enum change change)
{
	return change == PAGE_OUT || change == SWAPPED;
}

FIXTURE(cow)
{
	struct baseline before;
	int device;
	int sockets[2];
	char *memory;
	size_t bytes;
	size_t guarded;	/* what mprotect() can change: pages of hugetlb as a whole only */
	void *buffer;
	int importer;
	int vmap;	/* the buffer, mapped by the importer's kernel */
};

/* Memory of the parent, and what the child does with it. */
FIXTURE_VARIANT(cow)
{
	int kind;
	int change;
};

FIXTURE_VARIANT_ADD(cow, anon)
{
	.kind = SMALL_PAGES,
	.change = NOTHING,
};

/*
 * Guards: memory that is write-protected and made writable again is copied away
 * from the buffer
 */
FIXTURE_VARIANT_ADD(cow, anon_mprotect)
{
	.kind = SMALL_PAGES,
	.change = PROTECT,
};

/*
 * Guards: reclaim that takes a page of the buffer away from its owner, who gets
 * a copy back
 */
FIXTURE_VARIANT_ADD(cow, anon_pageout)
{
	.kind = SMALL_PAGES,
	.change = PAGE_OUT,
};

/*
 * Guards: memory that is on the disk refused, or the page in the swap cache
 * taken that the child has, too
 */
FIXTURE_VARIANT_ADD(cow, anon_swapped)
{
	.kind = SMALL_PAGES,
	.change = SWAPPED,
};

FIXTURE_VARIANT_ADD(cow, file)
{
	.kind = PRIVATE_FILE,
	.change = NOTHING,
};

FIXTURE_VARIANT_ADD(cow, file_mprotect)
{
	.kind = PRIVATE_FILE,
	.change = PROTECT,
};

FIXTURE_VARIANT_ADD(cow, file_pageout)
{
	.kind = PRIVATE_FILE,
	.change = PAGE_OUT,
};

FIXTURE_VARIANT_ADD(cow, file_swapped)
{
	.kind = PRIVATE_FILE,
	.change = SWAPPED,
};

FIXTURE_VARIANT_ADD(cow, thp)
{
	.kind = TRANSPARENT_HUGE,
	.change = NOTHING,
};

FIXTURE_VARIANT_ADD(cow, thp_mprotect)
{
	.kind = TRANSPARENT_HUGE,
	.change = PROTECT,
};

/* Guards: reclaim that splits a huge page of the buffer and takes its parts */
FIXTURE_VARIANT_ADD(cow, thp_pageout)
{
	.kind = TRANSPARENT_HUGE,
	.change = PAGE_OUT,
};

FIXTURE_VARIANT_ADD(cow, thp_swapped)
{
	.kind = TRANSPARENT_HUGE,
	.change = SWAPPED,
};

FIXTURE_VARIANT_ADD(cow, hugetlb)
{
	.kind = HUGE_PAGES,
	.change = NOTHING,
};

FIXTURE_VARIANT_ADD(cow, hugetlb_mprotect)
{
	.kind = HUGE_PAGES,
	.change = PROTECT,
};

/* What the kernel does to a page that nobody holds tells whether it takes any. */
static void check_swapping(struct __test_metadata *_metadata)
{
	char *control = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, control);
	fill_page(control, SEED_SOURCE, 0);
	ASSERT_EQ(0, madvise(control, PAGE_BYTES, MADV_PAGEOUT));
	ASSERT_EQ(1, count_swapped(control, 1));
	EXPECT_TRUE(check_page(_metadata, control, SEED_SOURCE, 0));
	munmap(control, PAGE_BYTES);
}

/* Have the kernel take the memory away, and find it gone, or there as it is @pinned. */
static void page_out(struct __test_metadata *_metadata, void *memory, bool pinned)
{
	ASSERT_EQ(0, madvise(memory, PAGES * PAGE_BYTES, MADV_PAGEOUT));
	check_swapping(_metadata);
	EXPECT_EQ(pinned ? 0 : PAGES, count_swapped(memory, PAGES));
}

/* Map the memory, with nothing in it yet. Return: false after marking the test as skipped. */
static bool map_memory(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self,
		       enum kind kind)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;
	size_t room = PAGES * PAGE_BYTES;

	switch (kind) {
	case SMALL_PAGES:
		break;
	case TRANSPARENT_HUGE:
		room = 2 * HUGE_PAGE_BYTES;
		break;
	case HUGE_PAGES:
		flags |= MAP_HUGETLB | MFD_HUGE_2MB;
		room = HUGE_PAGE_BYTES;
		break;
	case PRIVATE_FILE:
		flags = MAP_PRIVATE;
		fd = open("/proc/self/exe", O_RDONLY);
		break;
	}
	self->memory = mmap(NULL, room, PROT_READ | PROT_WRITE, flags, fd, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	self->bytes = PAGES * PAGE_BYTES;
	self->guarded = kind == HUGE_PAGES ? HUGE_PAGE_BYTES : self->bytes;
	if (kind == TRANSPARENT_HUGE) {
		uintptr_t next = (uintptr_t)self->memory + HUGE_PAGE_BYTES - 1;

		self->memory = (char *)(next / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES);
		madvise(self->memory, HUGE_PAGE_BYTES, MADV_HUGEPAGE);
		self->memory[0] = 1;
		if (!is_huge(self->memory))
			SKIP(return false, "no transparent huge page to be had");
	}
	return true;
}

FIXTURE_SETUP(cow)
{
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	if (variant->kind == HUGE_PAGES && kernel_before(5, 12))
		SKIP(return, "fork() takes pinned hugetlb pages away before 5.12");
	/* One for the test, one for a parent that it forks, one for the copy of a child. */
	if (variant->kind == HUGE_PAGES && !reserve_huge_pages(3))
		SKIP(return, "not enough memory for 3 huge pages");
	if (!map_memory(_metadata, self, variant->kind))
		return;
	self->importer = open_importer(_metadata);
	if (self->importer < 0)
		return;
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sockets));
	self->device = open_device(_metadata);
	baseline_take(&self->before);
	if (change_swaps(variant->change) && !start_swap(_metadata))
		return;
	fill_pages(self->memory, SEED_SOURCE, PAGES);
}

FIXTURE_TEARDOWN(cow)
{
	munmap(self->buffer, self->bytes);
	close(self->importer);
	if (change_swaps(variant->change))
		stop_swap(_metadata);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Return: a buffer of the memory. */
static int export_memory(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self)
{
	static const struct layout layout = { .nr_runs = 1, .runs = { { 0, PAGES } } };
	int dmabuf = create_iov(self->device, self->memory, &layout, 0);

	ASSERT_LE(0, dmabuf);
	return dmabuf;
}

/* Find a pattern in the buffer, as the process that has mapped it sees it, and as the kernel does. */
static void check_seen(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self,
		       unsigned int seed)
{
	char seen[PAGES * PAGE_BYTES];

	EXPECT_EQ(0, check_pages(_metadata, self->buffer, seed, PAGES));
	ASSERT_EQ(0, copy_data(self->importer, DMABUF_IMPORTER_VREAD, self->vmap, 0, seen,
			       sizeof(seen)));
	EXPECT_EQ(0, check_pages(_metadata, seen, seed, PAGES));
}

/*
 * Map a buffer; the mappings are all that is left of it. What was in the memory is in the buffer,
 * wherever the memory was.
 */
static void map_buffer(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self, int dmabuf)
{
	__u64 address;

	ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &self->buffer));
	self->vmap = vmap_buffer(self->importer, dmabuf, &address);
	ASSERT_LE(0, self->vmap);
	close(dmabuf);
	check_seen(_metadata, self, SEED_SOURCE);
}

/* The first thing of each test. In the set-up nothing would end the swapping if this failed. */
static void prepare_memory(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self,
			   enum change change)
{
	if (change == SWAPPED)
		page_out(_metadata, self->memory, false);
}

static void change_memory(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self,
			  enum change change)
{
	switch (change) {
	case NOTHING:
	case SWAPPED:
		break;
	case PROTECT:
		ASSERT_EQ(0, mprotect(self->memory, self->guarded, PROT_READ));
		ASSERT_EQ(0, mprotect(self->memory, self->guarded, PROT_READ | PROT_WRITE));
		break;
	case PAGE_OUT:
		page_out(_metadata, self->memory, true);
		break;
	}
}

/* A child that finds the pattern @seed in its copy and writes its own when it is told to. */
static pid_t fork_writer(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self,
			 unsigned int seed)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (child)
		return child;
	ASSERT_TRUE(hear(self->sockets[1]));
	EXPECT_EQ(0, check_pages(_metadata, self->memory, seed, PAGES));
	fill_pages(self->memory, SEED_CHILD, PAGES);
	ASSERT_TRUE(tell(self->sockets[1]));
	/* Stay alive: a page that only one process has is not copied. */
	ASSERT_TRUE(hear(self->sockets[1]));
	EXPECT_EQ(0, check_pages(_metadata, self->memory, SEED_CHILD, PAGES));
	_exit(0);
}

static void let_child_write(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self)
{
	ASSERT_TRUE(tell(self->sockets[0]));
	ASSERT_TRUE(hear(self->sockets[0]));
}

static void end_child(struct __test_metadata *_metadata, FIXTURE_DATA(cow) *self, pid_t child)
{
	ASSERT_TRUE(tell(self->sockets[0]));
	EXPECT_EQ(0, join(child));
}

/*
 * Guards: B10: references that fork() does not take for pins, so that the
 * parent gets the copy
 */
TEST_F(cow, parent_writes_first)
{
	pid_t child;

	if (variant->change == PROTECT && kernel_before(5, 19))
		SKIP(return, "mprotect() after fork() copies pinned pages before 5.19");
	prepare_memory(_metadata, self, variant->change);
	map_buffer(_metadata, self, export_memory(_metadata, self));
	child = fork_writer(_metadata, self, SEED_SOURCE);
	change_memory(_metadata, self, variant->change);
	fill_pages(self->memory, SEED_BUFFER, PAGES);
	check_seen(_metadata, self, SEED_BUFFER);
	let_child_write(_metadata, self);
	check_seen(_metadata, self, SEED_BUFFER);
	EXPECT_EQ(0, check_pages(_metadata, self->memory, SEED_BUFFER, PAGES));
	end_child(_metadata, self, child);
}

/* Guards: B10: a child that keeps the buffer's page and writes to it */
TEST_F(cow, child_writes_first)
{
	pid_t child;

	if (variant->change == PROTECT && kernel_before(5, 19))
		SKIP(return, "mprotect() after fork() copies pinned pages before 5.19");
	prepare_memory(_metadata, self, variant->change);
	map_buffer(_metadata, self, export_memory(_metadata, self));
	child = fork_writer(_metadata, self, SEED_SOURCE);
	change_memory(_metadata, self, variant->change);
	let_child_write(_metadata, self);
	check_seen(_metadata, self, SEED_SOURCE);
	fill_pages(self->memory, SEED_BUFFER, PAGES);
	check_seen(_metadata, self, SEED_BUFFER);
	end_child(_metadata, self, child);
}

/* Guards: B10: a buffer whose page has become the child's */
TEST_F(cow, buffer_writes)
{
	pid_t child;

	prepare_memory(_metadata, self, variant->change);
	map_buffer(_metadata, self, export_memory(_metadata, self));
	child = fork_writer(_metadata, self, SEED_SOURCE);
	change_memory(_metadata, self, variant->change);
	fill_pages(self->buffer, SEED_BUFFER, PAGES);
	EXPECT_EQ(0, check_pages(_metadata, self->memory, SEED_BUFFER, PAGES));
	let_child_write(_metadata, self);
	EXPECT_EQ(0, check_pages(_metadata, self->memory, SEED_BUFFER, PAGES));
	end_child(_metadata, self, child);
}

/*
 * Guards: pins without FOLL_WRITE, of pages that are still shared with the
 * child
 */
TEST_F(cow, forked_before)
{
	pid_t child;

	if (variant->change == PROTECT && kernel_before(5, 19))
		SKIP(return, "mprotect() after fork() copies pinned pages before 5.19");
	prepare_memory(_metadata, self, variant->change);
	child = fork_writer(_metadata, self, SEED_SOURCE);
	map_buffer(_metadata, self, export_memory(_metadata, self));
	change_memory(_metadata, self, variant->change);
	fill_pages(self->memory, SEED_BUFFER, PAGES);
	check_seen(_metadata, self, SEED_BUFFER);
	let_child_write(_metadata, self);
	check_seen(_metadata, self, SEED_BUFFER);
	end_child(_metadata, self, child);
}

/*
 * Guards: B10: a buffer whose page becomes the child's when nobody else maps it
 * any more
 */
TEST_F(cow, parent_exits_first)
{
	int status;
	pid_t parent;

	/* What has lost its parent becomes a child of the test, which can wait for it. */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	parent = fork();
	ASSERT_LE(0, parent);
	if (!parent) {
		/* Memory that the test has never seen. */
		ASSERT_TRUE(map_memory(_metadata, self, variant->kind));
		fill_pages(self->memory, SEED_SOURCE, PAGES);
		prepare_memory(_metadata, self, variant->change);
		ASSERT_EQ(0, send_fd(self->sockets[1], export_memory(_metadata, self)));
		fork_writer(_metadata, self, SEED_SOURCE);
		change_memory(_metadata, self, variant->change);
		_exit(0);
	}
	map_buffer(_metadata, self, receive_fd(self->sockets[0]));
	EXPECT_EQ(0, join(parent));
	let_child_write(_metadata, self);
	check_seen(_metadata, self, SEED_SOURCE);
	ASSERT_TRUE(tell(self->sockets[0]));
	ASSERT_LT(0, wait(&status));
	EXPECT_EQ(0, status);
}
#endif

FIXTURE(shared)
{
	struct baseline before;
	struct source source;
	size_t bytes;
};

/* Shared memory. */
FIXTURE_VARIANT(shared)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(shared, shmem_inner)
{
	.layout = {
		.backing = SHMEM,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
};

FIXTURE_VARIANT_ADD(shared, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(shared, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

FIXTURE_SETUP(shared)
{
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	self->bytes = layout_pages(&variant->layout) * PAGE_BYTES;
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(shared)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Guards: a copy of the memory where it is meant to be shared */
TEST_F(shared, all_see_all)
{
	int device = open_device(_metadata);
	int dmabuf = export_source(device, &self->source);
	pid_t child;
	void *map;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &map));
	close(dmabuf);
	close(device);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		fill_pages(self->source.map, SEED_CHILD, variant->layout.pages);
		EXPECT_EQ(0, check_buffer(_metadata, map, SEED_CHILD, &variant->layout));
		_exit(0);
	}
	EXPECT_EQ(0, join(child));
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_CHILD, &variant->layout));
	fill_buffer(map, SEED_BUFFER, &variant->layout);
	EXPECT_TRUE(check_page(_metadata, self->source.map +
			       layout_source_page(&variant->layout, 0) * PAGE_BYTES, SEED_BUFFER,
			       layout_source_page(&variant->layout, 0)));
	munmap(map, self->bytes);
}

/* Write as the parent, with a child that has both mappings; it sees what the buffer sees. */
static void write_as_parent(struct __test_metadata *_metadata, struct source *source,
			    const struct layout *layout, void *map)
{
	size_t page = layout_source_page(layout, 0);
	int go[2], done;
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		close(go[1]);
		/* The end of the pipe: the parent has written. */
		done = read(go[0], &byte, 1);
		_exit(done || check_buffer(_metadata, map, SEED_CHILD, layout) ||
		      !check_page(_metadata, source->map + page * PAGE_BYTES, SEED_CHILD, page));
	}
	close(go[0]);
	ASSERT_EQ(0, mprotect(source->map, source->bytes, PROT_READ));
	ASSERT_EQ(0, mprotect(source->map, source->bytes, PROT_READ | PROT_WRITE));
	fill_pages(source->map, SEED_CHILD, layout->pages);
	close(go[1]);
	EXPECT_EQ(0, join(child));
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_CHILD, layout));
}

/*
 * Guards: the same the other way round, and with the rights of the mapping
 * changed in between
 */
TEST_F(shared, parent_writes)
{
	int device = open_device(_metadata);
	int dmabuf = export_source(device, &self->source);
	void *map;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &map));
	write_as_parent(_metadata, &self->source, &variant->layout, map);
	munmap(map, self->bytes);
	close(dmabuf);
	close(device);
}

#ifdef UDMABUF_IOV_CREATE

FIXTURE(paged)
{
	struct baseline before;
	struct source source;
};

/* Shared memory that the kernel wants back between export and fork(). */
FIXTURE_VARIANT(paged)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(paged, shmem_inner)
{
	.layout = {
		.backing = SHMEM,
		.pages = 6,
		.nr_runs = 1,
		.runs = { { 1, 4 } },
	},
};

FIXTURE_VARIANT_ADD(paged, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_SETUP(paged)
{
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	baseline_take(&self->before);
	start_swap(_metadata);
}

FIXTURE_TEARDOWN(paged)
{
	stop_swap(_metadata);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/*
 * Guards: a buffer that is left behind when its pages are swapped out, and in
 * again elsewhere
 */
TEST_F(paged, parent_writes)
{
	size_t bytes = layout_pages(&variant->layout) * PAGE_BYTES;
	int device = open_device(_metadata);
	int dmabuf = export_source(device, &self->source);
	void *map;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, bytes, &map));
	/* What the buffer has stays: it could not follow what comes back. */
	ASSERT_EQ(0, madvise(self->source.map, self->source.bytes, MADV_PAGEOUT));
	check_swapping(_metadata);
	write_as_parent(_metadata, &self->source, &variant->layout, map);
	munmap(map, bytes);
	close(dmabuf);
	close(device);
}

#endif

TEST_HARNESS_MAIN
