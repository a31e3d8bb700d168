// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/memory.toml and its template: do not edit.
 *
 * Which memory becomes a buffer: kinds that are refused, kinds that look like
 * them and are taken, and huge pages, whole and in part, also such as nobody
 * has touched yet.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"

#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#define PAGES		2
#define KIND_BYTES	(PAGES * PAGE_BYTES)

/* Where PCs have had the memory of the graphics card since 1981: no RAM, on any of them. */
#define DEVICE_ADDRESS	0xa0000

/* The same on all architectures; libraries are older than it. */
#ifndef SYS_memfd_secret
#define SYS_memfd_secret	447
#endif

enum kind {
	RAMFS_SHARED,
	FILE_BEHIND,
	RAMFS_PRIVATE,
	TMPFS_SHARED,
	SYSV_SHARED,
	HUGETLB_SHARED,
	HUGETLB_PRIVATE,
	ZERO_PAGE,
	PAST_FILE_END,
	MEMFD_PROTECTED,
	MEMFD_READ_ONLY,
	DEVICE_IO,
	DEVICE_MEMORY,
	DRIVER_IO,
	DRIVER_PFN,
	DRIVER_MIXED,
	SECRET_MEMORY,
};

FIXTURE(kind)
{
	struct baseline before;
	int device;
	int file;
	char *memory;
};

/* Two pages of the caller's memory. */
FIXTURE_VARIANT(kind)
{
	int kind;
	int expected;
};

/*
 * Guards: no check for shared mappings of files, whose pages could be written
 * behind the file's back
 */
FIXTURE_VARIANT_ADD(kind, file_shared)
{
	.kind = RAMFS_SHARED,
	.expected = EOPNOTSUPP,
};

/* Guards: a check of the first mapping of a range only */
FIXTURE_VARIANT_ADD(kind, file_behind)
{
	.kind = FILE_BEHIND,
	.expected = EOPNOTSUPP,
};

/* Guards: a pin without FOLL_WRITE, of the file's own page */
FIXTURE_VARIANT_ADD(kind, file_private)
{
	.kind = RAMFS_PRIVATE,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(kind, tmpfs_shared)
{
	.kind = TMPFS_SHARED,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(kind, sysv_shared)
{
	.kind = SYSV_SHARED,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(kind, hugetlb_shared)
{
	.kind = HUGETLB_SHARED,
	.expected = 0,
};

/*
 * Guards: before 5.12: private huge pages, which fork() takes away from the
 * buffer
 */
FIXTURE_VARIANT_ADD(kind, hugetlb_private)
{
	.kind = HUGETLB_PRIVATE,
	.expected = 0,
};

/*
 * Guards: a pin without FOLL_WRITE, of the page of zeros that everybody shares
 */
FIXTURE_VARIANT_ADD(kind, zero_page)
{
	.kind = ZERO_PAGE,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(kind, past_file_end)
{
	.kind = PAST_FILE_END,
	.expected = EFAULT,
};

/* Guards: no check that the caller may write */
FIXTURE_VARIANT_ADD(kind, memfd_protected)
{
	.kind = MEMFD_PROTECTED,
	.expected = EACCES,
};

/* Guards: no check that the caller may write */
FIXTURE_VARIANT_ADD(kind, memfd_read_only)
{
	.kind = MEMFD_READ_ONLY,
	.expected = EACCES,
};

/* Guards: no check for VM_IO and VM_PFNMAP */
FIXTURE_VARIANT_ADD(kind, device_io)
{
	.kind = DEVICE_IO,
	.expected = EOPNOTSUPP,
};

/* Guards: no check for VM_IO and VM_PFNMAP */
FIXTURE_VARIANT_ADD(kind, device_memory)
{
	.kind = DEVICE_MEMORY,
	.expected = EOPNOTSUPP,
};

/* Guards: a check for VM_PFNMAP alone */
FIXTURE_VARIANT_ADD(kind, driver_io)
{
	.kind = DRIVER_IO,
	.expected = EOPNOTSUPP,
};

/* Guards: a check for VM_IO alone */
FIXTURE_VARIANT_ADD(kind, driver_pfn)
{
	.kind = DRIVER_PFN,
	.expected = EOPNOTSUPP,
};

/* Guards: no check for VM_MIXEDMAP */
FIXTURE_VARIANT_ADD(kind, driver_mixed)
{
	.kind = DRIVER_MIXED,
	.expected = EOPNOTSUPP,
};

/* Guards: a check for file systems that lets secretmem pass */
FIXTURE_VARIANT_ADD(kind, secret)
{
	.kind = SECRET_MEMORY,
	.expected = EOPNOTSUPP,
};

/*
 * A file in a file system that is not tmpfs but has a page cache. Nothing of it is left once the
 * descriptor is closed. Return: the descriptor, or -1 after marking the test as skipped.
 */
static int open_ramfs(struct __test_metadata *_metadata)
{
	char folder[] = "/tmp/udmabuf-XXXXXX", path[64];
	int error, fd;

	ASSERT_NE(NULL, mkdtemp(folder));
	if (mount("none", folder, "ramfs", 0, NULL)) {
		error = errno;
		rmdir(folder);
		SKIP(return -1, "cannot mount a ramfs: %s", strerror(error));
	}
	snprintf(path, sizeof(path), "%s/file", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	umount2(folder, MNT_DETACH);
	rmdir(folder);
	ASSERT_LE(0, fd);
	return fd;
}

/* A descriptor for the kinds of memory that are a file. Return: false if the test is skipped. */
static bool open_kind(struct __test_metadata *_metadata, enum kind kind, int *fd)
{
	char page[4096], path[32];
	int i;

	*fd = -1;
	ASSERT_EQ(sizeof(page), PAGE_BYTES);
	switch (kind) {
	case RAMFS_SHARED:
	case FILE_BEHIND:
	case RAMFS_PRIVATE:
		*fd = open_ramfs(_metadata);
		if (*fd < 0)
			return false;
		for (i = 0; i < PAGES; i++) {
			fill_page(page, SEED_CHILD, i);
			ASSERT_EQ(sizeof(page), write(*fd, page, sizeof(page)));
		}
		break;
	case TMPFS_SHARED:
		*fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		ASSERT_EQ(0, ftruncate(*fd, KIND_BYTES));
		break;
	case PAST_FILE_END:
		*fd = make_memfd(0, KIND_BYTES - PAGE_BYTES, 0);
		break;
	case MEMFD_PROTECTED:
		*fd = make_memfd(0, KIND_BYTES, 0);
		break;
	case MEMFD_READ_ONLY:
		snprintf(path, sizeof(path), "/proc/self/fd/%d", make_memfd(0, KIND_BYTES, 0));
		*fd = open(path, O_RDONLY | O_CLOEXEC);
		break;
	case DEVICE_MEMORY:
		*fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
		if (*fd < 0)
			SKIP(return false, "/dev/mem: %s", strerror(errno));
		break;
	case DRIVER_IO:
	case DRIVER_PFN:
	case DRIVER_MIXED:
		*fd = open_importer(_metadata);
		if (*fd < 0)
			return false;
		break;
	case SECRET_MEMORY:
		*fd = syscall(SYS_memfd_secret, O_CLOEXEC);
		if (*fd < 0)
			SKIP(return false, "this kernel has no secret memory: %s", strerror(errno));
		ASSERT_EQ(0, ftruncate(*fd, KIND_BYTES));
		break;
	default:
		break;
	}
	return true;
}

/* The kernel's clock pages: VM_IO and VM_PFNMAP in every process. Return: NULL if not there. */
static char *find_clock_pages(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned long start, end, found = 0;
	char line[512];

	while (file && !found && fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && strstr(line, "[vvar]") &&
		    end - start >= KIND_BYTES)
			found = start;
	if (file)
		fclose(file);
	return (char *)found;
}

static char *map_sysv(struct __test_metadata *_metadata)
{
	int id = shmget(IPC_PRIVATE, KIND_BYTES, IPC_CREAT | 0600);
	void *map;

	if (id < 0)
		SKIP(return MAP_FAILED, "no SysV shared memory: %s", strerror(errno));
	map = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	return map;
}

/* Whoever reads memory that nobody has written gets the one page of zeros. */
static void read_zero_page(struct __test_metadata *_metadata, char *memory)
{
	ASSERT_EQ(0, madvise(memory, KIND_BYTES, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, touch(memory));
	ASSERT_EQ(0, touch(memory + PAGE_BYTES));
	ASSERT_EQ(page_frame(memory), page_frame(memory + PAGE_BYTES));
}

/* Return: in pages, where the importer maps what has one mark of a driver's memory. */
static off_t driver_offset(enum kind kind)
{
	switch (kind) {
	case DRIVER_PFN:
		return DMABUF_IMPORTER_MMAP_PFN;
	case DRIVER_MIXED:
		return DMABUF_IMPORTER_MMAP_MIXED;
	default:
		return DMABUF_IMPORTER_MMAP_IO;
	}
}

static char *map_kind(struct __test_metadata *_metadata, enum kind kind, int fd)
{
	int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED;
	size_t bytes = KIND_BYTES;
	off_t offset = 0;
	char *map;

	switch (kind) {
	case RAMFS_PRIVATE:
		flags = MAP_PRIVATE;
		break;
	case ZERO_PAGE:
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case HUGETLB_SHARED:
	case HUGETLB_PRIVATE:
		if (!reserve_huge_pages(1))
			SKIP(return MAP_FAILED, "not enough memory for a huge page");
		flags = kind == HUGETLB_SHARED ? MAP_SHARED : MAP_PRIVATE;
		flags |= MAP_ANONYMOUS | MAP_HUGETLB | MFD_HUGE_2MB;
		bytes = HUGE_PAGE_BYTES;
		break;
	case MEMFD_PROTECTED:
	case MEMFD_READ_ONLY:
		protection = PROT_READ;
		break;
	case DEVICE_MEMORY:
		/* A shared one would be refused for its file. */
		flags = MAP_PRIVATE;
		offset = DEVICE_ADDRESS;
		break;
	case DRIVER_IO:
	case DRIVER_PFN:
	case DRIVER_MIXED:
		flags = MAP_PRIVATE;
		offset = driver_offset(kind) * PAGE_BYTES;
		break;
	case DEVICE_IO:
		map = find_clock_pages();
		if (!map)
			SKIP(return MAP_FAILED, "this kernel has no [vvar] mapping");
		return map;
	case SYSV_SHARED:
		return map_sysv(_metadata);
	default:
		break;
	}
	map = mmap(NULL, bytes, protection, flags, fd, offset);
	if (map == MAP_FAILED && kind == DEVICE_MEMORY)
		SKIP(return MAP_FAILED, "/dev/mem at %#x: %s", DEVICE_ADDRESS, strerror(errno));
	ASSERT_NE(MAP_FAILED, map);
	/* The first page becomes shared memory, and the range goes over two mappings. */
	if (kind == FILE_BEHIND)
		ASSERT_EQ(map, mmap(map, PAGE_BYTES, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	if (kind == ZERO_PAGE)
		read_zero_page(_metadata, map);
	return map;
}

FIXTURE_SETUP(kind)
{
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	if (!open_kind(_metadata, variant->kind, &self->file))
		return;
	self->memory = map_kind(_metadata, variant->kind, self->file);
	if (self->memory == MAP_FAILED)
		return;
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(kind)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* The buffer has what the caller has now, and each of them sees what the other writes. */
static void check_coherent(struct __test_metadata *_metadata, int dmabuf, char *memory,
			   const char *content)
{
	char *map;

	ASSERT_EQ(0, map_shared(dmabuf, KIND_BYTES, (void **)&map));
	EXPECT_EQ(0, memcmp(map, content, KIND_BYTES));
	fill_pages(memory, SEED_SOURCE, PAGES);
	EXPECT_EQ(0, check_pages(_metadata, map, SEED_SOURCE, PAGES));
	fill_pages(map, SEED_BUFFER, PAGES);
	EXPECT_EQ(0, check_pages(_metadata, memory, SEED_BUFFER, PAGES));
	munmap(map, KIND_BYTES);
}

/* Guards: the check of the row; a buffer of other pages than the caller has */
TEST_F_TIMEOUT(kind, answers, 3)
{
	static const struct layout layout = { .nr_runs = 1, .runs = { { 0, PAGES } } };
	char content[2 * 4096], page[4096];
	int expected = variant->expected, result, i;

	if (variant->kind == HUGETLB_PRIVATE && kernel_before(5, 12))
		expected = EOPNOTSUPP;
	if (!expected)
		memcpy(content, self->memory, sizeof(content));
	result = create_iov(self->device, self->memory, &layout, 0);
	EXPECT_EQ(-expected, result < 0 ? result : 0);
	if (result < 0)
		return;
	if (!expected)
		check_coherent(_metadata, result, self->memory, content);
	close(result);
	/* What belongs to the file is as it was. */
	for (i = 0; variant->kind == RAMFS_PRIVATE && i < PAGES; i++) {
		ASSERT_EQ(sizeof(page), pread(self->file, page, sizeof(page), i * sizeof(page)));
		EXPECT_TRUE(check_page(_metadata, page, SEED_CHILD, i));
	}
}

#define HUGE_PAGES	2
#define SHMEM_ENABLED	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

enum huge { THP_ANON, THP_SHMEM, HUGE_MEMFD };

/* Over the border of the two huge pages, inside the second, all of the first. */
static const struct layout parts = {
	.pages = 1024, .nr_runs = 3, .runs = { { 510, 4 }, { 700, 3 }, { 0, 512 } },
};

FIXTURE(huge)
{
	struct baseline before;
	char shmem_enabled[16];
	int device;
	int memfd;
	char *memory;
	size_t bytes;
};

/* Two huge pages, and the call that exports parts of them. */
FIXTURE_VARIANT(huge)
{
	int backing;
	bool iov;
};

FIXTURE_VARIANT_ADD(huge, anon)
{
	.backing = THP_ANON,
	.iov = true,
};

FIXTURE_VARIANT_ADD(huge, shmem)
{
	.backing = THP_SHMEM,
	.iov = false,
};

FIXTURE_VARIANT_ADD(huge, shmem_mapped)
{
	.backing = THP_SHMEM,
	.iov = true,
};

FIXTURE_VARIANT_ADD(huge, hugetlb)
{
	.backing = HUGE_MEMFD,
	.iov = false,
};

FIXTURE_VARIANT_ADD(huge, hugetlb_mapped)
{
	.backing = HUGE_MEMFD,
	.iov = true,
};

/* The word in brackets is the one that is set. */
static bool read_shmem_enabled(char word[16])
{
	FILE *file = fopen(SHMEM_ENABLED, "r");
	char line[128];
	bool good;

	if (!file)
		return false;
	good = fgets(line, sizeof(line), file) && strchr(line, '[') &&
	       sscanf(strchr(line, '['), "[%15[^]]", word) == 1;
	fclose(file);
	return good;
}

static bool write_shmem_enabled(const char *word)
{
	FILE *file = fopen(SHMEM_ENABLED, "w");
	bool good;

	if (!file)
		return false;
	good = fputs(word, file) >= 0;
	return fclose(file) == 0 && good;
}

FIXTURE_SETUP(huge)
{
	self->bytes = HUGE_PAGES * HUGE_PAGE_BYTES;
	self->memfd = -1;
	if (variant->iov && !driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	switch (variant->backing) {
	case THP_ANON:
		break;
	case THP_SHMEM:
		if (!read_shmem_enabled(self->shmem_enabled))
			SKIP(return, "no " SHMEM_ENABLED);
		ASSERT_TRUE(write_shmem_enabled("always"));
		self->memfd = make_memfd(0, self->bytes, F_SEAL_SHRINK);
		ASSERT_LE(0, self->memfd);
		break;
	case HUGE_MEMFD:
		if (!reserve_huge_pages(HUGE_PAGES))
			SKIP(return, "not enough memory for %d huge pages", HUGE_PAGES);
		self->memfd = make_memfd(MFD_HUGETLB | MFD_HUGE_2MB, self->bytes, F_SEAL_SHRINK);
		ASSERT_LE(0, self->memfd);
		break;
	}
	self->memory = map_aligned(_metadata, self->bytes, self->memfd);
	if (variant->backing == THP_ANON)
		madvise(self->memory, self->bytes, MADV_HUGEPAGE);
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(huge)
{
	if (variant->backing == THP_SHMEM)
		EXPECT_TRUE(write_shmem_enabled(self->shmem_enabled));
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

static void stamp_source(char *memory, unsigned int seed)
{
	size_t page;

	for (page = 0; page < parts.pages; page++)
		stamp_page(memory + page * PAGE_BYTES, seed, page);
}

/* Return: whether there are huge pages now, with content; else the test is marked as skipped. */
static bool fill_huge(struct __test_metadata *_metadata, FIXTURE_DATA(huge) *self)
{
	stamp_source(self->memory, SEED_SOURCE);
	if (!are_huge(self->memory, self->bytes))
		SKIP(return false, "no transparent huge pages to be had");
	return true;
}

static int export_parts(struct __test_metadata *_metadata, FIXTURE_DATA(huge) *self, bool iov)
{
	int dmabuf = iov ? create_iov(self->device, self->memory, &parts, 0) :
			   create_list(self->device, self->memfd, &parts, 0);

	ASSERT_LE(0, dmabuf);
	return dmabuf;
}

static void check_parts(struct __test_metadata *_metadata, const char *map, unsigned int seed)
{
	size_t page;

	for (page = 0; page < layout_pages(&parts); page++)
		ASSERT_TRUE(page_is_stamped(map + page * PAGE_BYTES, seed,
					    layout_source_page(&parts, page))) {
			TH_LOG("page %zu of the buffer", page);
		}
}

/*
 * Guards: an offset into a huge page that is forgotten: its first page again
 * and again
 */
TEST_F(huge, content)
{
	size_t bytes = layout_pages(&parts) * PAGE_BYTES;
	int dmabuf;
	void *map;

	if (!fill_huge(_metadata, self))
		return;
	dmabuf = export_parts(_metadata, self, variant->iov);
	ASSERT_EQ(0, map_shared(dmabuf, bytes, &map));
	check_parts(_metadata, map, SEED_SOURCE);
	munmap(map, bytes);
	close(dmabuf);
}

/* Guards: a table with an entry for each small page of a huge one */
TEST_F(huge, merged)
{
	int importer = open_importer(_metadata), dmabuf, handle;
	struct dmabuf_importer_entry entries[8];
	struct dmabuf_importer_map map;

	if (importer < 0 || !fill_huge(_metadata, self))
		return;
	dmabuf = export_parts(_metadata, self, variant->iov);
	handle = attach(importer, dmabuf, DMABUF_IMPORTER_DEV_DEFAULT, 0);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map));
	/* The parts, of which the first has two where the huge pages are not neighbours. */
	EXPECT_GE(parts.nr_runs + 1, map.orig_nents);
	EXPECT_LE(2, read_table(importer, handle, entries, ARRAY_SIZE(entries)));
	EXPECT_EQ(0, detach_all(importer));
	close(importer);
	close(dmabuf);
}

/*
 * Guards: a hole in a memfd that is refused or exported as it is, instead of
 * being filled; populate_memfd() as a stub
 */
TEST_F(huge, untouched)
{
	size_t bytes = layout_pages(&parts) * PAGE_BYTES, word;
	int dmabuf = export_parts(_metadata, self, variant->iov);
	__u64 *map;

	ASSERT_EQ(0, map_shared(dmabuf, bytes, (void **)&map));
	for (word = 0; word < bytes / sizeof(*map); word += 63)
		ASSERT_EQ(0, map[word]);
	stamp_source(self->memory, SEED_SOURCE);
	check_parts(_metadata, (char *)map, SEED_SOURCE);
	munmap(map, bytes);
	close(dmabuf);
}

FIXTURE(hole)
{
	struct baseline before;
	int device;
	int memfd;
};

FIXTURE_SETUP(hole)
{
	if (!reserve_huge_pages(HUGE_PAGES))
		SKIP(return, "not enough memory for %d huge pages", HUGE_PAGES);
	self->device = open_device(_metadata);
	self->memfd = make_memfd(MFD_HUGETLB | MFD_HUGE_2MB, HUGE_PAGES * HUGE_PAGE_BYTES,
				 F_SEAL_SHRINK | F_SEAL_GROW);
	ASSERT_LE(0, self->memfd);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(hole)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

static void *map_huge(struct __test_metadata *_metadata, size_t bytes, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MFD_HUGE_2MB : MAP_SHARED;
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	return map;
}

/* What is mapped is reserved: the file has a page, and gets no other until that is unmapped. */
/*
 * Guards: a hole that is filled with a page that others have reserved; an errno
 * of fallocate() that is handed on
 */
TEST_F(hole, none_free)
{
	void *others;
	size_t bytes;
	int dmabuf;

	ASSERT_EQ(0, fallocate(self->memfd, 0, 0, HUGE_PAGE_BYTES));
	bytes = (read_field("/proc/meminfo", "HugePages_Free:") -
		 read_field("/proc/meminfo", "HugePages_Rsvd:")) * HUGE_PAGE_BYTES;
	others = map_huge(_metadata, bytes, -1);
	EXPECT_EQ(-ENOMEM, create(self->device, self->memfd, 0, 2 * HUGE_PAGE_BYTES, 0));
	munmap(others, bytes);
	dmabuf = create(self->device, self->memfd, 0, HUGE_PAGE_BYTES, 0);
	EXPECT_LE(0, dmabuf);
	close(dmabuf);
}

static __s64 coarse_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* To fill a file changes its ctime, also where nothing is missing. */
/*
 * Guards: a file without holes that is filled all the same, and could be
 * refused where nothing is missing
 */
TEST_F(hole, none)
{
	struct stat before, after;
	__s64 start;
	int dmabuf;

	ASSERT_EQ(0, fallocate(self->memfd, 0, 0, HUGE_PAGES * HUGE_PAGE_BYTES));
	for (start = coarse_now(); coarse_now() == start;)
		sched_yield();
	ASSERT_EQ(0, fstat(self->memfd, &before));
	dmabuf = create(self->device, self->memfd, 0, HUGE_PAGE_BYTES, 0);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, fstat(self->memfd, &after));
	EXPECT_EQ(before.st_ctim.tv_sec, after.st_ctim.tv_sec);
	EXPECT_EQ(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
	close(dmabuf);
}

/*
 * Guards: holes that are filled before it is known whether the file is accepted
 */
TEST_F(hole, refused)
{
	int memfd = make_memfd(MFD_HUGETLB | MFD_HUGE_2MB, HUGE_PAGE_BYTES, 0);
	struct stat stat_of;

	ASSERT_LE(0, memfd);
	EXPECT_EQ(-EINVAL, create(self->device, memfd, 0, HUGE_PAGE_BYTES, 0));
	ASSERT_EQ(0, fstat(memfd, &stat_of));
	EXPECT_EQ(0, stat_of.st_blocks);
	close(memfd);
}

/*
 * Guards: what the entries before have pinned, taken for the first part of this
 * one
 */
TEST_F(hole, later_entry)
{
	int full = make_memfd(MFD_HUGETLB | MFD_HUGE_2MB, HUGE_PAGE_BYTES, F_SEAL_SHRINK), dmabuf;
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item items[2];
	} list = {
		.head.count = 2,
		.items[0] = { .memfd = full, .size = HUGE_PAGE_BYTES },
		.items[1] = { .memfd = self->memfd, .size = HUGE_PAGE_BYTES },
	};
	char *source = map_huge(_metadata, HUGE_PAGE_BYTES, full), *map;

	stamp_page(source, SEED_SOURCE, 0);
	dmabuf = call(self->device, UDMABUF_CREATE_LIST, &list);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, 2 * HUGE_PAGE_BYTES, (void **)&map));
	EXPECT_TRUE(page_is_stamped(map, SEED_SOURCE, 0));
	stamp_page(map + HUGE_PAGE_BYTES, SEED_BUFFER, 1);
	munmap(source, HUGE_PAGE_BYTES);
	source = map_huge(_metadata, HUGE_PAGE_BYTES, self->memfd);
	EXPECT_TRUE(page_is_stamped(source, SEED_BUFFER, 1));
	munmap(source, HUGE_PAGE_BYTES);
	munmap(map, 2 * HUGE_PAGE_BYTES);
	close(dmabuf);
	close(full);
}

/* Filled from anywhere else, the file would grow, which it must not. */
/*
 * Guards: before 6.11: pages that are filled from the wrong place on when the
 * first of a range are there
 */
TEST_F(hole, second_page)
{
	size_t bytes = HUGE_PAGES * HUGE_PAGE_BYTES;
	char *source = map_huge(_metadata, bytes, self->memfd), *map;
	int dmabuf;

	stamp_page(source, SEED_SOURCE, 0);
	dmabuf = create(self->device, self->memfd, 0, bytes, 0);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, bytes, (void **)&map));
	EXPECT_TRUE(page_is_stamped(map, SEED_SOURCE, 0));
	stamp_page(map + HUGE_PAGE_BYTES, SEED_BUFFER, 1);
	EXPECT_TRUE(page_is_stamped(source + HUGE_PAGE_BYTES, SEED_BUFFER, 1));
	munmap(map, bytes);
	munmap(source, bytes);
	close(dmabuf);
}

#define MANY		1300
#define NEIGHBOURS	16

FIXTURE(many)
{
	struct baseline before;
	int device;
	int memfd;
};

FIXTURE_SETUP(many)
{
	self->device = open_device(_metadata);
	self->memfd = make_memfd(0, MANY * PAGE_BYTES, F_SEAL_SHRINK);
	ASSERT_LE(0, self->memfd);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(many)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Make a buffer of small pages, and look whether each is where it belongs. */
static void check_many(struct __test_metadata *_metadata, FIXTURE_DATA(many) *self, bool iov)
{
	static const struct layout layout = { .nr_runs = 1, .runs = { { 0, MANY } } };
	int flags = iov ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, dmabuf;
	size_t bytes = MANY * PAGE_BYTES, page;
	char *source = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, iov ? -1 : self->memfd, 0);
	char *map;

	ASSERT_NE(MAP_FAILED, source);
	madvise(source, bytes, MADV_NOHUGEPAGE);
	for (page = 0; page < MANY; page++)
		stamp_page(source + page * PAGE_BYTES, SEED_SOURCE, page);
	dmabuf = iov ? create_iov(self->device, source, &layout, 0) :
		       create(self->device, self->memfd, 0, bytes, 0);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, bytes, (void **)&map));
	for (page = 0; page < MANY; page++)
		ASSERT_TRUE(page_is_stamped(map + page * PAGE_BYTES, SEED_SOURCE, page)) {
			TH_LOG("page %zu of the buffer", page);
		}
	munmap(map, bytes);
	munmap(source, bytes);
	close(dmabuf);
}

/* Guards: a batch that starts where the last one did */
TEST_F(many, iovecs)
{
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	check_many(_metadata, self, true);
}

/* Guards: a batch that starts where the last one did */
TEST_F(many, memfds)
{
	check_many(_metadata, self, false);
}

#define OVERCOMMIT(name)	"/proc/sys/vm/overcommit_" name
#define NEVER		2

/* No page that is not there yet can be had: what is committed already is beyond the limit. */
/*
 * Guards: a failure of the batch that is taken for one without pages, again and
 * again
 */
TEST_F(many, no_room)
{
	long long policy = read_number(OVERCOMMIT("memory")), dmabuf;
	long long kbytes = read_number(OVERCOMMIT("kbytes")), ratio = read_number(OVERCOMMIT("ratio"));

	ASSERT_TRUE(write_number(OVERCOMMIT("kbytes"), 1));
	ASSERT_TRUE(write_number(OVERCOMMIT("memory"), NEVER));
	dmabuf = create(self->device, self->memfd, 0, MANY * PAGE_BYTES, 0);
	EXPECT_TRUE(write_number(OVERCOMMIT("memory"), policy));
	/* With braces, for the kernel's own EXPECT_TRUE(). */
	if (kbytes) {
		EXPECT_TRUE(write_number(OVERCOMMIT("kbytes"), kbytes));
	} else {
		EXPECT_TRUE(write_number(OVERCOMMIT("ratio"), ratio));
	}
	EXPECT_EQ(-ENOMEM, dmabuf);
}

/*
 * What was written behind the array of a batch is found by who is given that memory next: the array
 * of a buffer of 512 pages has the same size.
 */
/* Guards: a batch of more pages than there is room for */
TEST_F(many, neighbours)
{
	int neighbours[NEIGHBOURS], dmabuf, i;

	for (i = 0; i < NEIGHBOURS; i++) {
		dmabuf = create(self->device, self->memfd, 0, MANY * PAGE_BYTES, 0);
		ASSERT_LE(0, dmabuf);
		close(dmabuf);
		neighbours[i] = create(self->device, self->memfd, 0, 512 * PAGE_BYTES, 0);
		ASSERT_LE(0, neighbours[i]);
	}
	for (i = 0; i < NEIGHBOURS; i++)
		close(neighbours[i]);
}

TEST_HARNESS_MAIN
