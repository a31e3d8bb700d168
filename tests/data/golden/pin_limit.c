// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/pin_limit.toml and its template: do not edit.
 *
 * What a caller may pin: RLIMIT_MEMLOCK for callers without CAP_IPC_LOCK,
 * charged at creation and given back at release whoever releases; and the
 * module's limits, which are read at each call.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"
#include "memlock_test.h"

#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/param.h>

/* The limit of the tests, in pages, and users that run nothing else. */
#define LIMIT		16
#define TEST_UID	61184
#define OTHER_UID	61185

/* Pin so many pages of anonymous memory. Return: the dma-buf, or -errno. */
static int pin(int device, void *memory, size_t pages)
{
	struct layout layout = { .nr_runs = 1, .runs = { { 0, pages } } };

	return create_iov(device, memory, &layout, UDMABUF_IOV_FLAGS_CLOEXEC);
}

FIXTURE(memlock)
{
	struct baseline before;
	int device;
	int sockets[2];
	char *memory;
};

FIXTURE_SETUP(memlock)
{
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver charges nobody");
	ASSERT_TRUE(write_parameter("memlock", "iovecs"));
	self->device = open_device(_metadata);
	self->memory = mmap(NULL, 2 * LIMIT * PAGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sockets));
	ASSERT_EQ(0, set_user(TEST_UID));
	ASSERT_EQ(0, set_capable(false));
	ASSERT_EQ(0, set_limit(LIMIT * PAGE_BYTES));
	baseline_take(&self->before);
	ASSERT_EQ(0, self->before.charged);
	ASSERT_LE(0, self->before.pins);
}

FIXTURE_TEARDOWN(memlock)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
	EXPECT_TRUE(write_parameter("memlock", "iovecs"));
}

/* All of the limit can be had again, and no more: nothing stayed charged, nothing was lost. */
static void check_refund(struct __test_metadata *_metadata, int device, void *memory)
{
	int dmabuf = pin(device, memory, LIMIT);

	EXPECT_LE(0, dmabuf);
	EXPECT_EQ(-ENOMEM, pin(device, memory, 1));
	close(dmabuf);
}

/* Guards: an off-by-one in the comparison with the limit */
TEST_F(memlock, at_limit)
{
	int dmabuf = pin(self->device, self->memory, LIMIT);

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(LIMIT, count_charged());
	close(dmabuf);
	check_refund(_metadata, self->device, self->memory);
}

/* Guards: B29: no accounting */
TEST_F(memlock, one_above)
{
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, LIMIT + 1));
}

/* Guards: a limit in bytes that is compared with pages */
TEST_F(memlock, one_below)
{
	int dmabuf = pin(self->device, self->memory, LIMIT - 1);

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(LIMIT - 1, count_charged());
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, 2));
	close(dmabuf);
}

/* Guards: a limit for each buffer instead of for all */
TEST_F(memlock, several)
{
	int fds[4], i;

	for (i = 0; i < 4; i++) {
		fds[i] = pin(self->device, self->memory, LIMIT / 4);
		ASSERT_LE(0, fds[i]);
	}
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, 1));
	close(fds[0]);
	fds[0] = pin(self->device, self->memory, LIMIT / 4);
	EXPECT_LE(0, fds[0]);
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, 1));
	for (i = 0; i < 4; i++)
		close(fds[i]);
}

/* Guards: a page that is named twice and charged once */
TEST_F(memlock, duplicates)
{
	struct layout layout = { .nr_runs = 2, .runs = { { 0, LIMIT / 2 }, { 0, LIMIT / 2 } } };
	int dmabuf = create_iov(self->device, self->memory, &layout, 0);

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(LIMIT, count_charged());
	close(dmabuf);
	layout.runs[1].count++;
	EXPECT_EQ(-ENOMEM, create_iov(self->device, self->memory, &layout, 0));
}

/* Guards: M22: a charge that an error path keeps, or gives back twice */
TEST_F(memlock, refund_on_failure)
{
	struct layout layout = { .nr_runs = 2, .runs = { { 0, 2 }, { LIMIT, 2 } } };

	munmap(self->memory + LIMIT * PAGE_BYTES, PAGE_BYTES);
	EXPECT_EQ(-EFAULT, create_iov(self->device, self->memory, &layout, 0));
	EXPECT_EQ(0, count_charged());
	check_refund(_metadata, self->device, self->memory);
}

/* Guards: M7: a charge that stays when no descriptor is free */
TEST_F(memlock, refund_without_descriptor)
{
	struct rlimit files;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &files));
	files.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	EXPECT_EQ(-EMFILE, pin(self->device, self->memory, LIMIT));
	files.rlim_cur = files.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	EXPECT_EQ(0, count_charged());
	check_refund(_metadata, self->device, self->memory);
}

#define FILE_MAX	"/proc/sys/fs/file-max"

/* Administrators have files beyond the maximum. */
/*
 * Guards: a buffer that stays, with its pins and its charge, when it cannot be
 * exported
 */
TEST_F(memlock, refund_without_file)
{
	long long most = read_number(FILE_MAX);
	int dmabuf;

	ASSERT_TRUE(write_number(FILE_MAX, 0));
	ASSERT_EQ(0, set_capability(CAP_SYS_ADMIN, false));
	dmabuf = pin(self->device, self->memory, LIMIT);
	ASSERT_EQ(0, set_capability(CAP_SYS_ADMIN, true));
	ASSERT_TRUE(write_number(FILE_MAX, most));
	EXPECT_EQ(-ENFILE, dmabuf);
	EXPECT_EQ(0, count_charged());
	check_refund(_metadata, self->device, self->memory);
}

/* Guards: M22: a charge that is given back to the process that releases */
TEST_F(memlock, refund_by_other)
{
	int dmabuf = pin(self->device, self->memory, LIMIT);
	pid_t child;

	ASSERT_LE(0, dmabuf);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		ASSERT_EQ(0, set_user(OTHER_UID));
		ASSERT_TRUE(hear(self->sockets[1]));
		close(dmabuf);
		EXPECT_EQ(0, count_charged());
		_exit(0);
	}
	close(dmabuf);
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, 1));
	ASSERT_TRUE(tell(self->sockets[0]));
	EXPECT_EQ(0, join(child));
	check_refund(_metadata, self->device, self->memory);
}

/*
 * Guards: a charge on the creator's address space, which ends while the pages
 * stay pinned
 */
TEST_F(memlock, creator_exits)
{
	pid_t child = fork();
	int dmabuf;

	ASSERT_LE(0, child);
	if (!child) {
		dmabuf = pin(self->device, self->memory, LIMIT);
		ASSERT_LE(0, dmabuf);
		ASSERT_EQ(0, send_fd(self->sockets[1], dmabuf));
		_exit(0);
	}
	dmabuf = receive_fd(self->sockets[0]);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(0, join(child));
	EXPECT_EQ(LIMIT, count_charged());
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, 1));
	close(dmabuf);
	check_refund(_metadata, self->device, self->memory);
}

/* Guards: a charge for each process: fork() doubles the limit */
TEST_F(memlock, shared_by_user)
{
	int dmabuf = pin(self->device, self->memory, LIMIT / 2);
	pid_t child;

	ASSERT_LE(0, dmabuf);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, LIMIT / 2 + 1));
		EXPECT_LE(0, pin(self->device, self->memory, LIMIT / 2));
		_exit(0);
	}
	EXPECT_EQ(0, join(child));
	close(dmabuf);
}

/* Guards: one counter for everybody */
TEST_F(memlock, other_user)
{
	int dmabuf = pin(self->device, self->memory, LIMIT);
	pid_t child;

	ASSERT_LE(0, dmabuf);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		ASSERT_EQ(0, set_user(OTHER_UID));
		close(dmabuf);
		check_refund(_metadata, self->device, self->memory);
		_exit(0);
	}
	EXPECT_EQ(0, join(child));
	EXPECT_EQ(LIMIT, count_charged());
	close(dmabuf);
}

/* Guards: no exemption for CAP_IPC_LOCK */
TEST_F(memlock, capable)
{
	int dmabuf;

	ASSERT_EQ(0, set_capable(true));
	dmabuf = pin(self->device, self->memory, LIMIT + 1);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(0, count_charged());
	close(dmabuf);
}

/*
 * Guards: an exemption for CAP_IPC_LOCK in a user namespace, which everybody
 * can make
 */
TEST_F(memlock, capable_in_namespace)
{
	if (unshare(CLONE_NEWUSER))
		SKIP(return, "no user namespaces: %s", strerror(errno));
	ASSERT_EQ(0, set_capable(true));
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, LIMIT + 1));
}

/*
 * Guards: a release that looks at the capability again and so keeps the charge
 */
TEST_F(memlock, capable_at_release)
{
	int dmabuf = pin(self->device, self->memory, LIMIT);

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, set_capable(true));
	close(dmabuf);
	ASSERT_EQ(0, set_capable(false));
	check_refund(_metadata, self->device, self->memory);
}

/*
 * Guards: a release that looks at the capability again and gives back what was
 * never charged
 */
TEST_F(memlock, charged_at_release)
{
	int dmabuf;

	ASSERT_EQ(0, set_capable(true));
	dmabuf = pin(self->device, self->memory, LIMIT);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, set_capable(false));
	close(dmabuf);
	check_refund(_metadata, self->device, self->memory);
}

/* Guards: RLIM_INFINITY that overflows or is compared as a number of pages */
TEST_F(memlock, unlimited)
{
	int dmabuf;

	ASSERT_EQ(0, set_limit(RLIM_INFINITY));
	dmabuf = pin(self->device, self->memory, 2 * LIMIT);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, set_limit(0));
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, 1));
	close(dmabuf);
}

static void check_memfd(struct __test_metadata *_metadata, int device, int expected,
			long long charged)
{
	int memfd = make_memfd(0, (LIMIT + 1) * PAGE_BYTES, F_SEAL_SHRINK);
	int result = create(device, memfd, 0, (LIMIT + 1) * PAGE_BYTES, 0);

	EXPECT_EQ(-expected, result < 0 ? result : 0);
	EXPECT_EQ(charged, count_charged());
	if (result >= 0)
		close(result);
	close(memfd);
}

static int register_buffers(int ring, unsigned int opcode, const struct iovec *buffers, int count)
{
	return syscall(SYS_io_uring_register, ring, opcode, buffers, count) ? -errno : 0;
}

/* Return: how many pages can be pinned now. */
static int count_room(int device, void *memory)
{
	int pages, dmabuf = -1;

	for (pages = LIMIT; pages && dmabuf < 0; pages--)
		dmabuf = pin(device, memory, pages);
	if (dmabuf < 0)
		return 0;
	close(dmabuf);
	return pages + 1;
}

/* What io_uring charges for, there is no room for; and the other way round. */
/*
 * Guards: a counter of the driver's own, beside the one that io_uring charges
 * registered buffers to
 */
TEST_F(memlock, io_uring)
{
	struct iovec buffer = { .iov_base = self->memory + LIMIT * PAGE_BYTES };
	struct io_uring_params parameters = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1, &parameters), room, dmabuf;

	if (ring < 0)
		SKIP(return, "this kernel lets nobody use io_uring");
	/* Before 5.12 the ring itself was charged. */
	room = count_room(self->device, self->memory);
	ASSERT_LT(2, room);
	buffer.iov_len = 2 * PAGE_BYTES;
	ASSERT_EQ(0, register_buffers(ring, IORING_REGISTER_BUFFERS, &buffer, 1));
	EXPECT_EQ(room - 2, count_room(self->device, self->memory));
	ASSERT_EQ(0, register_buffers(ring, IORING_UNREGISTER_BUFFERS, NULL, 0));
	EXPECT_EQ(room, count_room(self->device, self->memory));
	dmabuf = pin(self->device, self->memory, room - 1);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(-ENOMEM, register_buffers(ring, IORING_REGISTER_BUFFERS, &buffer, 1));
	buffer.iov_len = PAGE_BYTES;
	EXPECT_EQ(0, register_buffers(ring, IORING_REGISTER_BUFFERS, &buffer, 1));
	close(dmabuf);
	close(ring);
}

/* Guards: memfds that are charged although memlock=iovecs */
TEST_F(memlock, no_limit_for_memfds)
{
	check_memfd(_metadata, self->device, 0, 0);
}

/* Guards: memlock=all without effect */
TEST_F(memlock, limit_for_all)
{
	ASSERT_TRUE(write_parameter("memlock", "all"));
	check_memfd(_metadata, self->device, ENOMEM, 0);
	EXPECT_EQ(-ENOMEM, pin(self->device, self->memory, LIMIT + 1));
	ASSERT_EQ(0, set_limit((LIMIT + 1) * PAGE_BYTES));
	check_memfd(_metadata, self->device, 0, LIMIT + 1);
}

/* Guards: memlock=none without effect */
TEST_F(memlock, limit_for_none)
{
	int dmabuf;

	ASSERT_TRUE(write_parameter("memlock", "none"));
	dmabuf = pin(self->device, self->memory, LIMIT + 1);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(0, count_charged());
	/* Nothing was charged, whatever is set at release. */
	ASSERT_TRUE(write_parameter("memlock", "iovecs"));
	close(dmabuf);
	check_refund(_metadata, self->device, self->memory);
}

/* What the limits of the module are without a test that changes them. */
static void restore_limits(struct __test_metadata *_metadata, const char *size_limit_mb,
			   const char *list_limit)
{
	EXPECT_TRUE(write_parameter("size_limit_mb", size_limit_mb));
	EXPECT_TRUE(write_parameter("list_limit", list_limit));
}

FIXTURE(list_limit)
{
	struct baseline before;
	struct source source;
	int device;
	char size_limit_mb[16];
	char list_limit[16];
};

/* Entries in one call, and the value of list_limit. */
FIXTURE_VARIANT(list_limit)
{
	bool iov;
	__u32 limit;
	int entries;
	int expected;
};

FIXTURE_VARIANT_ADD(list_limit, memfd_below)
{
	.iov = false,
	.limit = 4,
	.entries = 3,
	.expected = 0,
};

/* Guards: >= instead of > at the limit */
FIXTURE_VARIANT_ADD(list_limit, memfd_at)
{
	.iov = false,
	.limit = 4,
	.entries = 4,
	.expected = 0,
};

/* Guards: no check of list_limit */
FIXTURE_VARIANT_ADD(list_limit, memfd_above)
{
	.iov = false,
	.limit = 4,
	.entries = 5,
	.expected = EINVAL,
};

/* Guards: a limit of 0 that means none */
FIXTURE_VARIANT_ADD(list_limit, memfd_zero)
{
	.iov = false,
	.limit = 0,
	.entries = 1,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(list_limit, memfd_one)
{
	.iov = false,
	.limit = 1,
	.entries = 1,
	.expected = 0,
};

/* Guards: 2.4b: a limit with a sign */
FIXTURE_VARIANT_ADD(list_limit, memfd_largest)
{
	.iov = false,
	.limit = ~0U,
	.entries = 5,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(list_limit, iov_below)
{
	.iov = true,
	.limit = 4,
	.entries = 3,
	.expected = 0,
};

/* Guards: >= instead of > at the limit */
FIXTURE_VARIANT_ADD(list_limit, iov_at)
{
	.iov = true,
	.limit = 4,
	.entries = 4,
	.expected = 0,
};

/* Guards: no check of list_limit */
FIXTURE_VARIANT_ADD(list_limit, iov_above)
{
	.iov = true,
	.limit = 4,
	.entries = 5,
	.expected = EINVAL,
};

/* Guards: a limit of 0 that means none */
FIXTURE_VARIANT_ADD(list_limit, iov_zero)
{
	.iov = true,
	.limit = 0,
	.entries = 1,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(list_limit, iov_one)
{
	.iov = true,
	.limit = 1,
	.entries = 1,
	.expected = 0,
};

/* Guards: a limit with a sign */
FIXTURE_VARIANT_ADD(list_limit, iov_largest)
{
	.iov = true,
	.limit = ~0U,
	.entries = 5,
	.expected = 0,
};

FIXTURE_SETUP(list_limit)
{
	static const struct layout anon = { .backing = ANON, .pages = 4 };
	static const struct layout shmem = { .backing = SHMEM, .pages = 4 };

	if (!source_open(_metadata, &self->source, variant->iov ? &anon : &shmem))
		return;
	ASSERT_TRUE(read_parameter("size_limit_mb", self->size_limit_mb));
	ASSERT_TRUE(read_parameter("list_limit", self->list_limit));
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(list_limit)
{
	restore_limits(_metadata, self->size_limit_mb, self->list_limit);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Guards: the check of the row, or a limit that is read once at load */
TEST_F(list_limit, answers)
{
	struct layout layout = { .nr_runs = variant->entries };
	char limit[16];
	int result, i;

	for (i = 0; i < variant->entries; i++) {
		layout.runs[i].first = i % 4;
		layout.runs[i].count = 1;
	}
	snprintf(limit, sizeof(limit), "%u", variant->limit);
	ASSERT_TRUE(write_parameter("list_limit", limit));
	result = variant->iov ? create_iov(self->device, self->source.map, &layout, 0) :
				create_list(self->device, self->source.memfd, &layout, 0);
	EXPECT_EQ(-variant->expected, result < 0 ? result : 0);
	if (result >= 0)
		close(result);
}

FIXTURE(size_limit)
{
	struct baseline before;
	struct layout layout;
	struct source source;
	int device;
	char size_limit_mb[16];
	char list_limit[16];
};

/* What is in one buffer, how many pages, and the value of size_limit_mb. */
FIXTURE_VARIANT(size_limit)
{
	int backing;
	__u32 limit_mb;
	size_t pages;
	int expected;
};

FIXTURE_VARIANT_ADD(size_limit, memfd_below)
{
	.backing = SHMEM,
	.limit_mb = 1,
	.pages = 255,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(size_limit, memfd_at)
{
	.backing = SHMEM,
	.limit_mb = 1,
	.pages = 256,
	.expected = 0,
};

/* Guards: no check of size_limit_mb */
FIXTURE_VARIANT_ADD(size_limit, memfd_above)
{
	.backing = SHMEM,
	.limit_mb = 1,
	.pages = 257,
	.expected = EINVAL,
};

/*
 * Guards: M11, CVE-2025-37803: a limit in bytes in 32 bits, which 4096 MiB
 * makes 0
 */
FIXTURE_VARIANT_ADD(size_limit, memfd_overflow)
{
	.backing = SHMEM,
	.limit_mb = 4096,
	.pages = 256,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(size_limit, memfd_zero)
{
	.backing = SHMEM,
	.limit_mb = 0,
	.pages = 2,
	.expected = EINVAL,
};

/* Guards: a limit with a sign */
FIXTURE_VARIANT_ADD(size_limit, memfd_largest)
{
	.backing = SHMEM,
	.limit_mb = ~0U,
	.pages = 256,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(size_limit, iov_below)
{
	.backing = ANON,
	.limit_mb = 1,
	.pages = 255,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(size_limit, iov_at)
{
	.backing = ANON,
	.limit_mb = 1,
	.pages = 256,
	.expected = 0,
};

/* Guards: B32: no check of size_limit_mb */
FIXTURE_VARIANT_ADD(size_limit, iov_above)
{
	.backing = ANON,
	.limit_mb = 1,
	.pages = 257,
	.expected = EINVAL,
};

/* Guards: M11, CVE-2025-37803 */
FIXTURE_VARIANT_ADD(size_limit, iov_overflow)
{
	.backing = ANON,
	.limit_mb = 4096,
	.pages = 256,
	.expected = 0,
};

/* Guards: a limit with a sign */
FIXTURE_VARIANT_ADD(size_limit, iov_largest)
{
	.backing = ANON,
	.limit_mb = ~0U,
	.pages = 256,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(size_limit, iov_zero)
{
	.backing = ANON,
	.limit_mb = 0,
	.pages = 2,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(size_limit, hugetlb_below)
{
	.backing = HUGETLB,
	.limit_mb = 2,
	.pages = 511,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(size_limit, hugetlb_at)
{
	.backing = HUGETLB,
	.limit_mb = 2,
	.pages = 512,
	.expected = 0,
};

/* Guards: a limit in huge pages */
FIXTURE_VARIANT_ADD(size_limit, hugetlb_above)
{
	.backing = HUGETLB,
	.limit_mb = 2,
	.pages = 513,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(size_limit, thp_below)
{
	.backing = THP,
	.limit_mb = 2,
	.pages = 511,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(size_limit, thp_at)
{
	.backing = THP,
	.limit_mb = 2,
	.pages = 512,
	.expected = 0,
};

/* Guards: a limit in huge pages */
FIXTURE_VARIANT_ADD(size_limit, thp_above)
{
	.backing = THP,
	.limit_mb = 2,
	.pages = 513,
	.expected = EINVAL,
};

FIXTURE_SETUP(size_limit)
{
	char limit_mb[16];

	self->layout.backing = variant->backing;
	self->layout.pages = variant->pages;
	if (variant->backing == HUGETLB || variant->backing == THP)
		self->layout.pages = roundup(variant->pages, HUGE_PAGE_BYTES / PAGE_BYTES);
	if (!source_open(_metadata, &self->source, &self->layout))
		return;
	ASSERT_TRUE(read_parameter("size_limit_mb", self->size_limit_mb));
	ASSERT_TRUE(read_parameter("list_limit", self->list_limit));
	snprintf(limit_mb, sizeof(limit_mb), "%u", variant->limit_mb);
	ASSERT_TRUE(write_parameter("size_limit_mb", limit_mb));
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(size_limit)
{
	restore_limits(_metadata, self->size_limit_mb, self->list_limit);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* A buffer that is made is whole: its last page, too, is the last of the source. */
static void expect_answer(struct __test_metadata *_metadata, int expected, int result,
			  const struct source *source)
{
	size_t bytes = layout_pages(source->layout) * PAGE_BYTES;
	void *map;

	EXPECT_EQ(-expected, result < 0 ? result : 0);
	if (result < 0)
		return;
	EXPECT_EQ((off_t)bytes, lseek(result, 0, SEEK_END));
	ASSERT_EQ(0, map_shared(result, bytes, &map));
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_SOURCE, source->layout));
	munmap(map, bytes);
	close(result);
}

/*
 * Guards: the check of the row, or a limit that is read once at load; a buffer
 * that is not whole
 */
TEST_F(size_limit, answers)
{
	self->layout.nr_runs = 1;
	self->layout.runs[0].count = variant->pages;
	expect_answer(_metadata, variant->expected, export_source(self->device, &self->source),
		      &self->source);
}

/* Guards: a limit for each entry instead of for all */
TEST_F(size_limit, sum)
{
	self->layout.nr_runs = 2;
	self->layout.runs[0].count = variant->pages - 1;
	self->layout.runs[1].first = variant->pages - 1;
	self->layout.runs[1].count = 1;
	expect_answer(_metadata, variant->expected, export_source(self->device, &self->source),
		      &self->source);
}

/* An entry for each page: so many entries are as much as so many pages. */
/* Guards: >= instead of > where the number of entries is held to it */
TEST_F(size_limit, entries)
{
	size_t count = variant->pages, i;
	struct udmabuf_create_list *list = calloc(1, sizeof(*list) + count * sizeof(list->list[0]));
	struct udmabuf_iov_create *iov = calloc(1, sizeof(*iov) + count * sizeof(iov->iovs[0]));
	int result;

	ASSERT_NE(NULL, list);
	ASSERT_NE(NULL, iov);
	list->count = iov->niov = count;
	for (i = 0; i < count; i++) {
		list->list[i].memfd = self->source.memfd;
		list->list[i].offset = i * PAGE_BYTES;
		list->list[i].size = iov->iovs[i].len = PAGE_BYTES;
		iov->iovs[i].base = (uintptr_t)self->source.map + i * PAGE_BYTES;
	}
	self->layout.nr_runs = 1;
	self->layout.runs[0].count = variant->pages;
	result = self->source.memfd < 0 ? call(self->device, UDMABUF_IOV_CREATE, iov) :
					  call(self->device, UDMABUF_CREATE_LIST, list);
	free(list);
	free(iov);
	expect_answer(_metadata, variant->expected, result, &self->source);
}

/* Changes when the kernel warns for the first time. */
static long long read_taint(void)
{
	return read_number("/proc/sys/kernel/tainted");
}

FIXTURE(unlimited)
{
	struct baseline before;
	long long taint;
	struct source source;
	int device;
	char size_limit_mb[16];
	char list_limit[16];
};

/* A request that is far too large, with both limits at their highest. */
FIXTURE_VARIANT(unlimited)
{
	bool iov;
	__u32 count;
	__u64 size;
	int expected;
};

/* Guards: an array for more pages than the machine has */
FIXTURE_VARIANT_ADD(unlimited, memfd_beyond_memory)
{
	.iov = false,
	.count = 1,
	.size = 1ULL << 36,
	.expected = ENOMEM,
};

/*
 * Guards: 2.4d: an array of more than INT_MAX bytes, at which the kernel warns
 */
FIXTURE_VARIANT_ADD(unlimited, memfd_beyond_int)
{
	.iov = false,
	.count = 1,
	.size = 1ULL << 40,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(unlimited, memfd_largest)
{
	.iov = false,
	.count = 1,
	.size = 1ULL << 62,
	.expected = EINVAL,
};

/*
 * Guards: 2.4b: the length of the list in 32 bits, of which 8 bytes are left
 */
FIXTURE_VARIANT_ADD(unlimited, memfd_entries_beyond_memory)
{
	.iov = false,
	.count = (1ULL << 32) / 24 + 1,
	.size = 1ULL << 12,
	.expected = ENOMEM,
};

/* Guards: the length of the list in 32 bits */
FIXTURE_VARIANT_ADD(unlimited, memfd_entries)
{
	.iov = false,
	.count = ~0U,
	.size = 1ULL << 12,
	.expected = EINVAL,
};

/* Guards: an array for more pages than the machine has */
FIXTURE_VARIANT_ADD(unlimited, iov_beyond_memory)
{
	.iov = true,
	.count = 1,
	.size = 1ULL << 36,
	.expected = ENOMEM,
};

/* Guards: an array of more than INT_MAX bytes, at which the kernel warns */
FIXTURE_VARIANT_ADD(unlimited, iov_beyond_int)
{
	.iov = true,
	.count = 1,
	.size = 1ULL << 40,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(unlimited, iov_largest)
{
	.iov = true,
	.count = 1,
	.size = 1ULL << 62,
	.expected = EINVAL,
};

/* Guards: the length of the list in 32 bits */
FIXTURE_VARIANT_ADD(unlimited, iov_entries)
{
	.iov = true,
	.count = ~0U,
	.size = 1ULL << 12,
	.expected = EINVAL,
};

/* Guards: an array of entries for more pages than the machine has */
FIXTURE_VARIANT_ADD(unlimited, iov_entries_beyond_memory)
{
	.iov = true,
	.count = 1U << 24,
	.size = 1ULL << 12,
	.expected = ENOMEM,
};

FIXTURE_SETUP(unlimited)
{
	static const struct layout anon = { .backing = ANON, .pages = 1 };
	static const struct layout shmem = { .backing = SHMEM, .pages = 1 };
	char highest[16];

	if (!source_open(_metadata, &self->source, variant->iov ? &anon : &shmem))
		return;
	ASSERT_TRUE(read_parameter("size_limit_mb", self->size_limit_mb));
	ASSERT_TRUE(read_parameter("list_limit", self->list_limit));
	/* Mainline's limits have a sign. */
	snprintf(highest, sizeof(highest), "%u", driver_is_udmabuf_iov() ? ~0U : ~0U >> 1);
	ASSERT_TRUE(write_parameter("size_limit_mb", highest));
	ASSERT_TRUE(write_parameter("list_limit", highest));
	self->device = open_device(_metadata);
	self->taint = read_taint();
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(unlimited)
{
	restore_limits(_metadata, self->size_limit_mb, self->list_limit);
	EXPECT_EQ(self->taint, read_taint());
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/*
 * Guards: the check of the row, with a warning of the kernel or a long search
 * for memory
 */
TEST_F(unlimited, answers)
{
	struct {
		struct udmabuf_iov_create head;
		struct udmabuf_iov_entry entries[1];
	} iov = {
		.head.niov = variant->count,
		.entries[0] = { .base = (uintptr_t)self->source.map, .len = variant->size },
	};
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item items[1];
	} list = {
		.head.count = variant->count,
		.items[0] = { .memfd = self->source.memfd, .size = variant->size },
	};

	EXPECT_EQ(-variant->expected, variant->iov ?
		  call(self->device, UDMABUF_IOV_CREATE, &iov) :
		  call(self->device, UDMABUF_CREATE_LIST, &list));
}

FIXTURE(all_memory)
{
	struct baseline before;
	int device;
	size_t pages;
	char *hole;
	char size_limit_mb[16];
	char list_limit[16];
};

FIXTURE_SETUP(all_memory)
{
	char highest[16];

	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not look at the size of memory");
	self->pages = read_field("/proc/meminfo", "MemTotal:") * 1024 / PAGE_BYTES;
	self->hole = map_hole(_metadata);
	ASSERT_TRUE(read_parameter("size_limit_mb", self->size_limit_mb));
	ASSERT_TRUE(read_parameter("list_limit", self->list_limit));
	snprintf(highest, sizeof(highest), "%u", ~0U);
	ASSERT_TRUE(write_parameter("size_limit_mb", highest));
	ASSERT_TRUE(write_parameter("list_limit", highest));
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(all_memory)
{
	restore_limits(_metadata, self->size_limit_mb, self->list_limit);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* What is not too much is looked for. */
/* Guards: >= instead of > at the size of memory */
TEST_F(all_memory, pages)
{
	struct layout layout = { .nr_runs = 1, .runs = { { 0, self->pages } } };

	EXPECT_EQ(-EFAULT, create_iov(self->device, self->hole, &layout, 0));
	layout.runs[0].count++;
	EXPECT_EQ(-ENOMEM, create_iov(self->device, self->hole, &layout, 0));
}

/* Guards: >= instead of > at the size of memory */
TEST_F(all_memory, entries)
{
	struct udmabuf_iov_create *head = (void *)(self->hole - sizeof(*head));

	head->flags = 0;
	head->niov = self->pages;
	EXPECT_EQ(-EFAULT, call(self->device, UDMABUF_IOV_CREATE, head));
	head->niov++;
	EXPECT_EQ(-ENOMEM, call(self->device, UDMABUF_IOV_CREATE, head));
}

/* A pin is worth 1024 references of 2^31 on all kernels; at half of them the driver stops. */
#define REFERENCES	1024
#define HALF_OF_ALL	(1 << 30)
#define RUNS		1024
/* Buffers that there are references for. */
#define ROOM		4

FIXTURE(references)
{
	struct baseline before;
	long long taint;
	char *page;
	int device;
	int importer;
};

FIXTURE_SETUP(references)
{
	self->importer = open_importer(_metadata);
	if (self->importer < 0)
		return;
	self->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	self->device = open_device(_metadata);
	self->taint = read_taint();
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(references)
{
	EXPECT_EQ(self->taint, read_taint());
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* What one of the threads that share the page has made. */
struct pinner {
	const struct udmabuf_iov_create *create;
	int device;
	int fds[2 * ROOM];
	int count;
	int error;
};

static void *pin_until_refused(void *argument)
{
	struct pinner *pinner = argument;
	int result;

	while (pinner->count < 2 * ROOM) {
		result = call(pinner->device, UDMABUF_IOV_CREATE, pinner->create);
		if (result < 0) {
			pinner->error = result;
			break;
		}
		pinner->fds[pinner->count++] = result;
	}
	return NULL;
}

/* All pins but the last few are references of the importer's, which cost no time. */
/*
 * Guards: 2.4e: a count that overflows, at which the kernel warns and then lets
 * go of the page
 */
TEST_F(references, same_page)
{
	struct dmabuf_importer_hold hold = {
		.addr = (uintptr_t)self->page,
		.count = HALF_OF_ALL - ROOM * RUNS * REFERENCES,
	};
	struct udmabuf_iov_create *create = calloc(1, sizeof(*create) +
						   RUNS * sizeof(create->iovs[0]));
	struct pinner pinners[2] = { 0 };
	pthread_t threads[2];
	int total = 0, i;

	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	ASSERT_NE(NULL, create);
	create->niov = RUNS;
	for (i = 0; i < RUNS; i++) {
		create->iovs[i].base = (uintptr_t)self->page;
		create->iovs[i].len = PAGE_BYTES;
	}
	ASSERT_EQ(0, call(self->importer, DMABUF_IMPORTER_HOLD, &hold));
	for (i = 0; i < 2; i++) {
		pinners[i].create = create;
		pinners[i].device = self->device;
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, pin_until_refused, &pinners[i]));
	}
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-ENOMEM, pinners[i].error);
		total += pinners[i].count;
		while (pinners[i].count)
			close(pinners[i].fds[--pinners[i].count]);
	}
	EXPECT_GE(ROOM, total);
	/* Each thread was refused with at most one buffer of the other's half made. */
	EXPECT_LE(ROOM - 2, total);
	free(create);
}

/* Only when the importer lets go of the page, the file's first, can there be a buffer of it. */
static void refuse_held_page(struct __test_metadata *_metadata, FIXTURE_DATA(references) *self,
			     int memfd, size_t bytes)
{
	struct dmabuf_importer_hold hold = { .count = HALF_OF_ALL };
	int dmabuf;
	void *map;

	ASSERT_LE(0, memfd);
	ASSERT_EQ(0, map_shared(memfd, bytes, &map));
	hold.addr = (uintptr_t)map;
	ASSERT_EQ(0, call(self->importer, DMABUF_IMPORTER_HOLD, &hold));
	EXPECT_EQ(-ENOMEM, create(self->device, memfd, 0, bytes, 0));
	close(self->importer);
	dmabuf = create(self->device, memfd, 0, bytes, 0);
	EXPECT_LE(0, dmabuf);
	close(dmabuf);
	munmap(map, bytes);
}

/* Guards: 2.4e, for pages of a file; an errno of its own for them */
TEST_F(references, memfd)
{
	refuse_held_page(_metadata, self, make_memfd(0, PAGE_BYTES, F_SEAL_SHRINK), PAGE_BYTES);
}

/*
 * Guards: 2.4e, for huge pages: an older kernel's way to them has no count of
 * its own
 */
TEST_F(references, hugetlb)
{
	if (!reserve_huge_pages(1))
		SKIP(return, "not enough memory for a huge page");
	refuse_held_page(_metadata, self,
			 make_memfd(MFD_HUGETLB | MFD_HUGE_2MB, HUGE_PAGE_BYTES, F_SEAL_SHRINK),
			 HUGE_PAGE_BYTES);
}

TEST_HARNESS_MAIN
