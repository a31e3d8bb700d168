// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/account.toml and its template: do not edit.
 *
 * What a buffer costs can be seen: debugfs tells what exists, who made it and
 * what is charged, fdinfo whether it is charged, and the memory cgroup pays for
 * the driver's tables.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"
#include "memlock_test.h"

#include <sys/mount.h>

#define PAGES		3
#define TEST_UID	61187
#define OTHER_UID	61188

/* The line of one buffer. */
struct shown {
	char kind[16];
	unsigned int uid;
	long long pages;
	long long charged;
	int attachments;
	int mappings;
	int vmapped;
};

/* Read the line of the buffer that was made last. Return: false if there is none. */
static bool read_newest(struct shown *shown)
{
	FILE *file = fopen(UDMABUF_IOV_BUFFERS, "r");
	bool found = false;
	char line[256];

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file))
		found = sscanf(line, "id %*u kind %15s uid %u pages %lld charged_pages %lld "
			       "attachments %d mappings %d vmapped %d", shown->kind, &shown->uid,
			       &shown->pages, &shown->charged, &shown->attachments,
			       &shown->mappings, &shown->vmapped) == 7;
	fclose(file);
	return found;
}

/* The totals are the sums of the lines of all buffers. */
static void check_totals(struct __test_metadata *_metadata)
{
	static const char * const keys[] = {
		"buffers ", "pages ", "charged_pages ", "attachments ", "mappings "
	};
	long long sums[ARRAY_SIZE(keys)] = { 0 }, one[ARRAY_SIZE(keys)] = { 1 };
	FILE *file = fopen(UDMABUF_IOV_BUFFERS, "r");
	char line[256];
	size_t i;

	ASSERT_NE(NULL, file);
	while (fgets(line, sizeof(line), file)) {
		ASSERT_EQ(4, sscanf(line, "id %*u kind %*s uid %*u pages %lld charged_pages %lld "
				    "attachments %lld mappings %lld", &one[1], &one[2], &one[3],
				    &one[4]));
		for (i = 0; i < ARRAY_SIZE(keys); i++)
			sums[i] += one[i];
	}
	fclose(file);
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		EXPECT_EQ(sums[i], read_field(UDMABUF_IOV_TOTALS, keys[i])) {
			TH_LOG("%s", keys[i]);
		}
	}
}

/* The line of a user: how many buffers, pages and charged pages. All zero without a line. */
static void read_charges(unsigned int uid, long long now[3])
{
	FILE *file = fopen(UDMABUF_IOV_CHARGES, "r");
	long long buffers, pages, charged;
	unsigned int user;
	char line[256];

	memset(now, 0, 3 * sizeof(*now));
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "uid %u buffers %lld pages %lld charged_pages %lld", &user,
			   &buffers, &pages, &charged) != 4 || user != uid)
			continue;
		now[0] = buffers;
		now[1] = pages;
		now[2] = charged;
	}
	if (file)
		fclose(file);
}

FIXTURE(seen)
{
	struct baseline before;
	struct layout layout;
	struct source source;
	long long pages;
	int device;
};

/*
 * A call, the caller's capability, the parameter memlock, and whether the
 * buffer is charged.
 */
FIXTURE_VARIANT(seen)
{
	bool iov;
	bool capable;
	bool all;
	bool charged;
};

FIXTURE_VARIANT_ADD(seen, iovecs)
{
	.iov = true,
	.capable = false,
	.all = false,
	.charged = true,
};

FIXTURE_VARIANT_ADD(seen, iovecs_capable)
{
	.iov = true,
	.capable = true,
	.all = false,
	.charged = false,
};

FIXTURE_VARIANT_ADD(seen, memfds)
{
	.iov = false,
	.capable = false,
	.all = false,
	.charged = false,
};

FIXTURE_VARIANT_ADD(seen, memfds_charged)
{
	.iov = false,
	.capable = false,
	.all = true,
	.charged = true,
};

FIXTURE_SETUP(seen)
{
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver shows nothing");
	self->layout.backing = variant->iov ? ANON : SHMEM;
	self->layout.pages = PAGES;
	self->layout.nr_runs = 1;
	self->layout.runs[0].count = PAGES;
	if (!source_open(_metadata, &self->source, &self->layout))
		return;
	self->device = open_device(_metadata);
	self->pages = read_field(UDMABUF_IOV_TOTALS, "pages ");
	ASSERT_EQ(0, set_user(TEST_UID));
	ASSERT_EQ(0, set_capable(variant->capable));
	ASSERT_EQ(0, set_limit(PAGES * PAGE_BYTES));
	ASSERT_TRUE(write_parameter("memlock", variant->all ? "all" : "iovecs"));
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(seen)
{
	EXPECT_TRUE(write_parameter("memlock", "iovecs"));
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/*
 * Guards: a buffer that is not shown, to the wrong user, or still when it is
 * gone; a charge that is not the one made
 */
TEST_F(seen, debugfs)
{
	long long charged = variant->charged ? PAGES : 0, user[3];
	struct shown shown = { 0 };
	int dmabuf;

	read_charges(TEST_UID, user);
	EXPECT_EQ(0, user[0]);
	dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, dmabuf);
	ASSERT_TRUE(read_newest(&shown));
	EXPECT_STREQ(variant->iov ? "iovecs" : "memfds", shown.kind);
	EXPECT_EQ(TEST_UID, shown.uid);
	EXPECT_EQ(PAGES, shown.pages);
	EXPECT_EQ(charged, shown.charged);
	read_charges(TEST_UID, user);
	EXPECT_EQ(1, user[0]);
	EXPECT_EQ(PAGES, user[1]);
	EXPECT_EQ(charged, user[2]);
	EXPECT_EQ(self->before.buffers + 1, read_field(UDMABUF_IOV_TOTALS, "buffers "));
	EXPECT_EQ(self->pages + PAGES, read_field(UDMABUF_IOV_TOTALS, "pages "));
	EXPECT_EQ(self->before.charged + charged, count_charged());
	close(dmabuf);
	read_charges(TEST_UID, user);
	EXPECT_EQ(0, user[0]);
	EXPECT_EQ(self->pages, read_field(UDMABUF_IOV_TOTALS, "pages "));
}

/* Return: whether a user has a line, with or without buffers. */
static bool is_shown(unsigned int uid)
{
	FILE *file = fopen(UDMABUF_IOV_CHARGES, "r");
	bool found = false;
	unsigned int user;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		found |= sscanf(line, "uid %u ", &user) == 1 && user == uid;
	if (file)
		fclose(file);
	return found;
}

/*
 * Guards: numbers that are used twice; totals of a user that go with the first
 * buffer, or stay with the last
 */
TEST_F(seen, several)
{
	long long charged = variant->charged ? PAGES : 0, user[3], ids[3];
	int dmabufs[3], i;

	ASSERT_EQ(0, set_limit(ARRAY_SIZE(ids) * PAGES * PAGE_BYTES));
	EXPECT_FALSE(is_shown(TEST_UID));
	for (i = 0; i < 3; i++) {
		dmabufs[i] = export_source(self->device, &self->source);
		ASSERT_LE(0, dmabufs[i]);
		ids[i] = read_field(UDMABUF_IOV_BUFFERS, "id ");
		/* An id is not used again: the second buffer is gone when the third comes. */
		if (i == 1)
			close(dmabufs[1]);
	}
	EXPECT_LT(ids[0], ids[1]);
	EXPECT_LT(ids[1], ids[2]);
	check_totals(_metadata);
	read_charges(TEST_UID, user);
	EXPECT_EQ(2, user[0]);
	EXPECT_EQ(2 * PAGES, user[1]);
	EXPECT_EQ(2 * charged, user[2]);
	close(dmabufs[0]);
	read_charges(TEST_UID, user);
	EXPECT_EQ(1, user[0]);
	EXPECT_EQ(PAGES, user[1]);
	EXPECT_EQ(charged, user[2]);
	close(dmabufs[2]);
	EXPECT_FALSE(is_shown(TEST_UID));
}

/* Guards: two users who are taken for one */
TEST_F(seen, strangers)
{
	static const unsigned int users[] = { TEST_UID, OTHER_UID };
	long long charged = variant->charged ? PAGES : 0, user[3];
	int dmabufs[2], i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, set_user(users[i]));
		dmabufs[i] = export_source(self->device, &self->source);
		ASSERT_LE(0, dmabufs[i]);
	}
	for (i = 0; i < 2; i++) {
		read_charges(users[i], user);
		EXPECT_EQ(1, user[0]);
		EXPECT_EQ(PAGES, user[1]);
		EXPECT_EQ(charged, user[2]);
		close(dmabufs[i]);
		EXPECT_FALSE(is_shown(users[i]));
	}
}

/* Guards: exp_info.exp_name without what tells that the buffer is charged */
TEST_F(seen, fdinfo)
{
	int dmabuf = export_source(self->device, &self->source);
	char path[64], line[128], name[64] = "";
	FILE *file;

	ASSERT_LE(0, dmabuf);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", dmabuf);
	EXPECT_EQ(PAGES * PAGE_BYTES, read_field(path, "size:"));
	file = fopen(path, "r");
	ASSERT_NE(NULL, file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "exp_name: %63s", name);
	fclose(file);
	EXPECT_STREQ(variant->charged ? "udmabuf_iov+memlock" : "udmabuf_iov", name);
	close(dmabuf);
}

static void check_users(struct __test_metadata *_metadata, int attachments, int mappings,
			int vmapped)
{
	struct shown shown = { 0 };

	check_totals(_metadata);
	ASSERT_TRUE(read_newest(&shown));
	EXPECT_EQ(attachments, shown.attachments);
	EXPECT_EQ(mappings, shown.mappings);
	EXPECT_EQ(vmapped, shown.vmapped);
}

/*
 * Guards: attachments, DMA mappings and kernel mappings that are not counted,
 * or not forgotten
 */
TEST_F(seen, users)
{
	int importer = open_importer(_metadata), dmabuf, handle, kernel;
	struct dmabuf_importer_map map;
	__u64 address;

	if (importer < 0)
		return;
	dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, dmabuf);
	check_users(_metadata, 0, 0, 0);
	handle = attach(importer, dmabuf, DMABUF_IMPORTER_DEV_DEFAULT, 0);
	ASSERT_LE(0, handle);
	check_users(_metadata, 1, 0, 0);
	ASSERT_EQ(0, map_dma(importer, handle, DMABUF_IMPORTER_TO_DEVICE, &map));
	check_users(_metadata, 1, 1, 0);
	kernel = vmap_buffer(importer, dmabuf, &address);
	ASSERT_LE(0, kernel);
	check_users(_metadata, 1, 1, 1);
	EXPECT_EQ(0, vunmap_buffer(importer, kernel));
	EXPECT_EQ(0, unmap_dma(importer, handle));
	check_users(_metadata, 1, 0, 0);
	EXPECT_EQ(0, detach(importer, handle));
	check_users(_metadata, 0, 0, 0);
	close(importer);
	close(dmabuf);
}

FIXTURE(cost)
{
	struct baseline before;
	int device;
};

FIXTURE_SETUP(cost)
{
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver charges nobody");
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(cost)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/*
 * Guards: files of debugfs that others than root may open, where it lets them
 * in
 */
TEST_F(cost, private)
{
	static const char * const files[] = {
		UDMABUF_IOV_TOTALS, UDMABUF_IOV_CHARGES, UDMABUF_IOV_BUFFERS
	};
	struct stat stat_of;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		ASSERT_EQ(0, stat(files[i], &stat_of));
		EXPECT_EQ(0400, stat_of.st_mode & 07777) TH_LOG("%s", files[i]);
	}
}

/* Memory that nobody has touched gets its pages when it is pinned. */
/* Guards: M23: a charge that is made when the pages are pinned already */
TEST_F(cost, before_pinning)
{
	static const struct layout layout = { .nr_runs = 1, .runs = { { 0, PAGES } } };
	char *memory = mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int page;

	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_EQ(0, set_user(TEST_UID));
	ASSERT_EQ(0, set_capable(false));
	ASSERT_EQ(0, set_limit((PAGES - 1) * PAGE_BYTES));
	EXPECT_EQ(-ENOMEM, create_iov(self->device, memory, &layout, 0));
	for (page = 0; page < PAGES; page++)
		EXPECT_EQ(0, page_frame(memory + page * PAGE_BYTES));
}

/* What is done, and paid for or repeated. */
enum what {
	CREATE_LIST,
	CREATE_IOV,
	LIST_REFUSED,
	LIST_UNREADABLE,
	IOV_REFUSED,
	IOV_UNREADABLE,
	MAP,
	MAP_REFUSED,
};

/* A huge page's worth of memory, so many times: many pointers to little memory. */
#define RUNS		400
#define PAGES_OF_RUN	((size_t)(HUGE_PAGE_BYTES / PAGE_BYTES))
/* A device that takes a page at a time, and entries as large as struct scatterlist is at least. */
#define RUNS_MAPPED	100
#define MAP_ENTRY_BYTES	32

struct big_iov {
	struct udmabuf_iov_create head;
	struct udmabuf_iov_entry entries[RUNS];
};

struct big_list {
	struct udmabuf_create_list head;
	struct udmabuf_create_item items[RUNS];
};

struct cgroup {
	char top[32];
	char path[48];
	char file[80];
};

static const char *cgroup_file(struct cgroup *cgroup, const char *name)
{
	snprintf(cgroup->file, sizeof(cgroup->file), "%s/%s", cgroup->path, name);
	return cgroup->file;
}

/* Make a cgroup of our own with a memory controller. Return: false if the test is skipped. */
static bool make_cgroup(struct __test_metadata *_metadata, struct cgroup *cgroup)
{
	FILE *file;

	strcpy(cgroup->top, "/tmp/udmabuf-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(cgroup->top));
	if (mount("none", cgroup->top, "cgroup2", 0, NULL)) {
		rmdir(cgroup->top);
		SKIP(return false, "cannot mount cgroup2: %s", strerror(errno));
	}
	snprintf(cgroup->path, sizeof(cgroup->path), "%s", cgroup->top);
	file = fopen(cgroup_file(cgroup, "cgroup.subtree_control"), "w");
	ASSERT_NE(NULL, file);
	fputs("+memory", file);
	if (fclose(file)) {
		umount2(cgroup->top, MNT_DETACH);
		rmdir(cgroup->top);
		SKIP(return false, "no memory controller in cgroup2");
	}
	snprintf(cgroup->path, sizeof(cgroup->path), "%s/udmabuf", cgroup->top);
	ASSERT_EQ(0, mkdir(cgroup->path, 0700));
	return true;
}

FIXTURE(paid)
{
	struct baseline before;
	struct layout layout;
	struct source source;
	struct cgroup cgroup;
	char size_limit_mb[16];
	int device;
	int importer;
};

/* What a process in a memory cgroup makes large tables by. */
FIXTURE_VARIANT(paid)
{
	int what;
};

FIXTURE_VARIANT_ADD(paid, create_list)
{
	.what = CREATE_LIST,
};

FIXTURE_VARIANT_ADD(paid, create_iov)
{
	.what = CREATE_IOV,
};

FIXTURE_VARIANT_ADD(paid, map)
{
	.what = MAP,
};

FIXTURE_SETUP(paid)
{
	self->layout.backing = variant->what == CREATE_IOV ? ANON : SHMEM;
	self->layout.pages = PAGES_OF_RUN;
	if (variant->what == CREATE_IOV && !driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	if (!source_open(_metadata, &self->source, &self->layout))
		return;
	self->importer = open_importer(_metadata);
	if (self->importer < 0)
		return;
	self->device = open_device(_metadata);
	baseline_take(&self->before);
	ASSERT_TRUE(read_parameter("size_limit_mb", self->size_limit_mb));
	if (!make_cgroup(_metadata, &self->cgroup))
		return;
	ASSERT_TRUE(write_parameter("size_limit_mb", "1024"));
}

FIXTURE_TEARDOWN(paid)
{
	EXPECT_TRUE(write_parameter("size_limit_mb", self->size_limit_mb));
	EXPECT_EQ(0, rmdir(self->cgroup.path));
	EXPECT_EQ(0, umount(self->cgroup.top));
	rmdir(self->cgroup.top);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Return: a buffer that has all of the source so many times, or -errno. */
static int create_big(const FIXTURE_DATA(paid) *self, bool iov, int runs)
{
	static struct big_list list;
	static struct big_iov iovs;
	int i;

	iovs.head.niov = list.head.count = runs;
	for (i = 0; i < runs; i++) {
		iovs.entries[i].base = (uintptr_t)self->source.map;
		iovs.entries[i].len = self->source.bytes;
		list.items[i].memfd = self->source.memfd;
		list.items[i].size = self->source.bytes;
	}
	return iov ? call(self->device, UDMABUF_IOV_CREATE, &iovs) :
		     call(self->device, UDMABUF_CREATE_LIST, &list);
}

/* Map for a device that takes a page at a time. */
static void map_pages(struct __test_metadata *_metadata, const FIXTURE_DATA(paid) *self,
		      int dmabuf)
{
	struct dmabuf_importer_map map;
	int handle = attach(self->importer, dmabuf, DMABUF_IMPORTER_DEV_SEG4K, 0);

	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(self->importer, handle, DMABUF_IMPORTER_TO_DEVICE, &map));
}

/* In a child, inside the cgroup: what the tables add to its memory. */
static void measure_tables(struct __test_metadata *_metadata, FIXTURE_DATA(paid) *self,
			   enum what what)
{
	size_t tables = RUNS * PAGES_OF_RUN * sizeof(void *);
	int dmabuf = -1;
	const char *current;
	long long before;

	ASSERT_TRUE(write_number(cgroup_file(&self->cgroup, "cgroup.procs"), getpid()));
	if (what == MAP) {
		tables = RUNS_MAPPED * PAGES_OF_RUN * MAP_ENTRY_BYTES;
		/* The driver's own, and a copy for the importer. */
		if (driver_is_udmabuf_iov())
			tables *= 2;
		dmabuf = create_big(self, false, RUNS_MAPPED);
		ASSERT_LE(0, dmabuf);
	}
	current = cgroup_file(&self->cgroup, "memory.current");
	before = read_number(current);
	ASSERT_LE(0, before);
	if (what == MAP)
		map_pages(_metadata, self, dmabuf);
	else
		ASSERT_LE(0, create_big(self, what == CREATE_IOV, RUNS));
	/* The kernel counts by CPU and in rough steps; what is missing here is an eighth. */
	EXPECT_LE(before + (long long)(tables - tables / 8), read_number(current));
	_exit(0);
}

/*
 * Guards: 2.4h: the driver's tables allocated without __GFP_ACCOUNT, at
 * nobody's cost
 */
TEST_F(paid, memory_cgroup)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child)
		measure_tables(_metadata, self, variant->what);
	EXPECT_EQ(0, join(child));
	/* Mappings are in a session that this process has, too. */
	detach_all(self->importer);
}

#define ROUNDS		128
#define TRIES		16
/* Of 10 ms each, for what is freed after a grace period. */
#define WAITS		4
#define SLABS		"/proc/slabinfo"
/* Each CPU, and each node behind it, has up to hundreds of objects in sheaves (since 6.18). */
#define SHEAVES		"/sys/kernel/slab/kmalloc-64/sheaf_capacity"
#define ROUNDS_OF_SHEAVES	(6 * ROUNDS)

/* One huge page: of small ones the arrays of a buffer would take, the kernel has hundreds ready. */
FIXTURE(repeated)
{
	struct baseline before;
	struct source source;
	struct layout layout;
	int device;
	int importer;
	int dmabuf;
	char *hole;
	char *slabs_before;
	char *slabs_now;
};

/*
 * What is done so often that one object lost each time is told from what the
 * kernel keeps ready.
 */
FIXTURE_VARIANT(repeated)
{
	int what;
};

FIXTURE_VARIANT_ADD(repeated, create_list)
{
	.what = CREATE_LIST,
};

FIXTURE_VARIANT_ADD(repeated, create_iov)
{
	.what = CREATE_IOV,
};

FIXTURE_VARIANT_ADD(repeated, list_refused)
{
	.what = LIST_REFUSED,
};

FIXTURE_VARIANT_ADD(repeated, list_unreadable)
{
	.what = LIST_UNREADABLE,
};

FIXTURE_VARIANT_ADD(repeated, iov_refused)
{
	.what = IOV_REFUSED,
};

FIXTURE_VARIANT_ADD(repeated, iov_unreadable)
{
	.what = IOV_UNREADABLE,
};

FIXTURE_VARIANT_ADD(repeated, map)
{
	.what = MAP,
};

FIXTURE_VARIANT_ADD(repeated, map_refused)
{
	.what = MAP_REFUSED,
};

#define SLABS_BYTES	(1 << 17)
/* So many that an array of them is in a cache that most_growth() does not pass over. */
#define ENTRIES		4

FIXTURE_SETUP(repeated)
{
	struct layout layout = {
		.backing = HUGETLB, .pages = 512, .nr_runs = ENTRIES,
		.runs = { { 256, 128 }, { 0, 128 }, { 384, 128 }, { 128, 128 } },
	};

	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	/* It also looks closer, and its kernels keep what was freed for a while, for KASAN. */
	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		SKIP(return, "kmemleak looks for what is lost");
	self->slabs_before = malloc(SLABS_BYTES);
	self->slabs_now = malloc(SLABS_BYTES);
	if (!read_text(SLABS, self->slabs_before, SLABS_BYTES))
		SKIP(return, "no " SLABS);
	self->layout = layout;
	if (!source_open(_metadata, &self->source, &self->layout))
		return;
	self->importer = open_importer(_metadata);
	if (self->importer < 0)
		return;
	self->hole = map_hole(_metadata);
	ASSERT_EQ(0, set_limit(RLIM_INFINITY));
	self->device = open_device(_metadata);
	baseline_take(&self->before);
	self->dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, self->dmabuf);
	/* Lists are made by somebody who has no other buffer, so that the owner comes and goes. */
	if (variant->what == CREATE_LIST)
		ASSERT_EQ(0, set_user(TEST_UID));
}

FIXTURE_TEARDOWN(repeated)
{
	close(self->dmabuf);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* A call whose last entry is no memory, or whose entries cannot be read. Return: -errno. */
static int call_refused(const FIXTURE_DATA(repeated) *self, bool iov, bool unreadable)
{
	struct udmabuf_create_list list = { .count = ENTRIES };
	struct udmabuf_create_item items[ENTRIES] = {
		[0 ... ENTRIES - 2] = { .memfd = self->source.memfd, .size = PAGE_BYTES },
		[ENTRIES - 1] = { .memfd = -1, .size = PAGE_BYTES },
	};
	struct udmabuf_iov_create head = { .niov = ENTRIES };
	struct udmabuf_iov_entry entries[ENTRIES] = {
		[0 ... ENTRIES - 2] = { .base = (uintptr_t)self->source.map, .len = PAGE_BYTES },
		[ENTRIES - 1] = { .base = (uintptr_t)self->hole, .len = PAGE_BYTES },
	};
	char *at = self->hole - (iov ? sizeof(head) : sizeof(list));

	if (!unreadable)
		at -= iov ? sizeof(entries) : sizeof(items);
	if (iov) {
		memcpy(at, &head, sizeof(head));
		memcpy(at + sizeof(head), entries, unreadable ? 0 : sizeof(entries));
		return call(self->device, UDMABUF_IOV_CREATE, at);
	}
	memcpy(at, &list, sizeof(list));
	memcpy(at + sizeof(list), items, unreadable ? 0 : sizeof(items));
	return call(self->device, UDMABUF_CREATE_LIST, at);
}

/* Return: a descriptor, 0, or -errno. */
static int do_once(const FIXTURE_DATA(repeated) *self, enum what what)
{
	switch (what) {
	case CREATE_LIST:
		return create_list(self->device, self->source.memfd, &self->layout, 0);
	case CREATE_IOV:
		return create_iov(self->device, self->source.map, &self->layout, 0);
	case LIST_REFUSED:
	case LIST_UNREADABLE:
		return call_refused(self, false, what == LIST_UNREADABLE);
	case IOV_REFUSED:
	case IOV_UNREADABLE:
		return call_refused(self, true, what == IOV_UNREADABLE);
	case MAP:
	case MAP_REFUSED:
		return map_once(self->importer, self->dmabuf, 0);
	}
	return -ENOSYS;
}

/* Each time with credentials that are new, so that those of a buffer are its own. */
static void do_rounds(struct __test_metadata *_metadata, const FIXTURE_DATA(repeated) *self,
		      enum what what, int expected, int rounds)
{
	int round, result;

	for (round = 0; round < rounds; round++) {
		ASSERT_EQ(0, set_capable(round % 2));
		result = do_once(self, what);
		ASSERT_EQ(-expected, result < 0 ? result : 0);
		if (what == CREATE_LIST || what == CREATE_IOV)
			close(result);
	}
}

/*
 * Find the cache of objects that has grown most, slabinfo(5): "name active total size per_slab".
 * Those with more objects in a slab than would be lost tell nothing: they grow by whole slabs.
 *
 * Return: by how many objects.
 */
static long long most_growth(const char *before, const char *now, char name[33])
{
	long long active, growth, most = 0;
	char word[33] = "";
	const char *line;
	int per_slab;

	for (line = now; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line, "%31s %lld %*d %*d %d", word, &active, &per_slab) != 3)
			continue;
		strcat(word, " ");
		growth = active - field_of(before, word);
		if (per_slab > ROUNDS / 2 || growth <= most)
			continue;
		most = growth;
		strcpy(name, word);
	}
	return most;
}

/*
 * Guards: memory of a call, a buffer, its owner or a mapping that is never
 * freed, on kernels without kmemleak
 */
TEST_F_TIMEOUT(repeated, nothing_lost, 5)
{
	static const int errors[] = {
		[LIST_REFUSED] = EBADFD,
		[LIST_UNREADABLE] = EFAULT,
		[IOV_REFUSED] = EFAULT,
		[IOV_UNREADABLE] = EFAULT,
		[MAP_REFUSED] = 0,	/* says the importer */
	};
	int expected = errors[variant->what], try, wait;
	long long growth;
	char name[33];

	if (variant->what == MAP_REFUSED) {
		expected = fail_mappings(self->importer, EIO, NULL);
		if (expected == -EOPNOTSUPP)
			SKIP(return, "this kernel has no DMA operations of a device's own");
	}
	/*
	 * The first rounds are those in which the kernel gets ready. What it keeps for later, or until
	 * an RCU grace period is over, grows now and then; what is lost grows each time, once it no
	 * longer comes out of what the kernel has ready.
	 */
	do_rounds(_metadata, self, variant->what, expected,
		  access(SHEAVES, F_OK) ? ROUNDS : ROUNDS_OF_SHEAVES);
	for (try = 0; try < TRIES; try++) {
		ASSERT_TRUE(read_text(SLABS, self->slabs_before, SLABS_BYTES));
		do_rounds(_metadata, self, variant->what, expected, ROUNDS);
		for (wait = 0; wait < WAITS; wait++) {
			ASSERT_TRUE(read_text(SLABS, self->slabs_now, SLABS_BYTES));
			growth = most_growth(self->slabs_before, self->slabs_now, name);
			if (growth < ROUNDS * 3 / 4)
				break;
			usleep(10000);
		}
		if (wait < WAITS)
			break;
	}
	fail_mappings(self->importer, 0, NULL);
	EXPECT_GT(TRIES, try) TH_LOG("%lld more in %s after %d rounds", growth, name, ROUNDS);
}

TEST_HARNESS_MAIN
