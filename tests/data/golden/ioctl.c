// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/ioctl.toml and its template: do not edit.
 *
 * What the calls refuse, with which errno, and that a refused call leaves
 * nothing behind. Every row differs from a call that works in one thing.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"

#include <sys/sysmacros.h>

/* A constant, for the tables below; the set-ups check that it is right. */
#define PAGE	4096ULL
#define HUGE_PAGE	(512 * PAGE)

/* 6.3, behind headers of 6.1. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL	0x0008U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC	0x0020
#endif

enum file {
	MEMFD,
	MEMFD_READ_ONLY,
	MEMFD_WRITE_ONLY,
	MEMFD_HUGE,
	MEMFD_NOEXEC,
	TMPFS_FILE,
	NOT_OPEN,
	DEVICE,
	PIPE,
	PATH_ONLY,
};

static int reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

/* Return: a descriptor for a row of a table; four pages long where that means anything. */
static int open_file(struct __test_metadata *_metadata, enum file file, int seals)
{
	int fd = -1, pipes[2];

	switch (file) {
	case MEMFD:
		fd = make_memfd(0, 4 * PAGE, seals);
		break;
	case MEMFD_READ_ONLY:
		fd = reopen(make_memfd(0, 4 * PAGE, seals), O_RDONLY);
		break;
	case MEMFD_WRITE_ONLY:
		fd = reopen(make_memfd(0, 4 * PAGE, seals), O_WRONLY);
		break;
	case MEMFD_HUGE:
		/* One for the file, one that a wrong call could have. */
		if (!reserve_huge_pages(2))
			SKIP(return -1, "not enough memory for huge pages");
		fd = make_memfd(MFD_HUGETLB | MFD_HUGE_2MB, HUGE_PAGE, seals);
		break;
	case MEMFD_NOEXEC:
		if (kernel_before(6, 3))
			SKIP(return -1, "this kernel has no F_SEAL_EXEC");
		fd = make_memfd(MFD_NOEXEC_SEAL, 4 * PAGE, seals);
		ASSERT_TRUE(fcntl(fd, F_GET_SEALS) & F_SEAL_EXEC);
		break;
	case PATH_ONLY:
		fd = reopen(make_memfd(0, 4 * PAGE, seals), O_PATH);
		break;
	case TMPFS_FILE:
		fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
		ASSERT_EQ(0, ftruncate(fd, 4 * PAGE));
		break;
	case NOT_OPEN:
		return 1 << 20;
	case DEVICE:
		fd = open("/dev/zero", O_RDWR);
		break;
	case PIPE:
		ASSERT_EQ(0, pipe(pipes));
		fd = pipes[1];
		break;
	}
	ASSERT_LE(0, fd);
	return fd;
}

/* Check a call's result against the row's and that it left nothing behind. */
static void check_answer(struct __test_metadata *_metadata, int expected, int result,
			 const struct baseline *before)
{
	EXPECT_EQ(-expected, result < 0 ? result : 0);
	if (result >= 0)
		close(result);
	EXPECT_TRUE(check_baseline(_metadata, before));
}

FIXTURE(create)
{
	struct baseline before;
	int device;
	int fd;
};

/* UDMABUF_CREATE on a file of four pages. */
FIXTURE_VARIANT(create)
{
	int file;
	int seals;
	__u64 offset;
	__u64 size;
	__u32 flags;
	int expected;
};

FIXTURE_VARIANT_ADD(create, whole)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = 4 * PAGE,
	.flags = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create, last_page)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 3 * PAGE,
	.size = PAGE,
	.flags = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create, cloexec)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.flags = UDMABUF_FLAGS_CLOEXEC,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create, other_seals)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = 0,
};

/* Guards: a memfd refused for a seal that means nothing here */
FIXTURE_VARIANT_ADD(create, exec_sealed)
{
	.file = MEMFD_NOEXEC,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = 0,
};

/* Guards: B14, 2.4c: unknown flags that are ignored */
FIXTURE_VARIANT_ADD(create, flag_unknown)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.flags = 0x2,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create, flag_highest)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.flags = 1U << 31,
	.expected = EINVAL,
};

/* Guards: no check of the offset */
FIXTURE_VARIANT_ADD(create, offset_misaligned)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 1,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create, offset_half_page)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = PAGE / 2,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: no check of the size */
FIXTURE_VARIANT_ADD(create, size_misaligned)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE + 1,
	.flags = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create, size_below_page)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE - 1,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B17, M12: an empty buffer */
FIXTURE_VARIANT_ADD(create, size_zero)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = 0,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: no check of the file's size */
FIXTURE_VARIANT_ADD(create, past_end)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = 5 * PAGE,
	.flags = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create, past_end_by_offset)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 3 * PAGE,
	.size = 2 * PAGE,
	.flags = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create, behind_end)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 4 * PAGE,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/*
 * Guards: before 6.11: huge pages that are allocated behind the end of the file
 */
FIXTURE_VARIANT_ADD(create, past_huge_end)
{
	.file = MEMFD_HUGE,
	.seals = F_SEAL_SHRINK,
	.offset = HUGE_PAGE,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: offset + size without a check of overflow */
FIXTURE_VARIANT_ADD(create, sum_wraps_to_zero)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = -PAGE,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create, sum_wraps)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = -PAGE,
	.size = 2 * PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: an offset that is taken for a signed number */
FIXTURE_VARIANT_ADD(create, offset_negative)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 1ULL << 63,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: an offset that is looked at after the descriptor */
FIXTURE_VARIANT_ADD(create, offset_first)
{
	.file = NOT_OPEN,
	.seals = 0,
	.offset = 1ULL << 63,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B03, B18: a number of bytes or pages in 32 bits */
FIXTURE_VARIANT_ADD(create, size_beyond_32_bits)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = (1ULL << 32) + PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B18, B21: a number of pages in 32 bits */
FIXTURE_VARIANT_ADD(create, pages_beyond_32_bits)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = (1ULL << 44) + PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B16: an array that is allocated before the size is checked */
FIXTURE_VARIANT_ADD(create, size_largest)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = -PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: no check of F_SEAL_SHRINK */
FIXTURE_VARIANT_ADD(create, unsealed)
{
	.file = MEMFD,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create, sealed_otherwise)
{
	.file = MEMFD,
	.seals = F_SEAL_GROW,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: no check of F_SEAL_WRITE */
FIXTURE_VARIANT_ADD(create, write_sealed)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK | F_SEAL_WRITE,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: M5: no check of F_SEAL_FUTURE_WRITE */
FIXTURE_VARIANT_ADD(create, future_write_sealed)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: 2.4f: a writable buffer from a file that is open for reading */
FIXTURE_VARIANT_ADD(create, memfd_read_only)
{
	.file = MEMFD_READ_ONLY,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EACCES,
};

/* Guards: a readable buffer from a file that is open for writing */
FIXTURE_VARIANT_ADD(create, memfd_write_only)
{
	.file = MEMFD_WRITE_ONLY,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EACCES,
};

FIXTURE_VARIANT_ADD(create, tmpfs_file)
{
	.file = TMPFS_FILE,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: a wrong errno for a descriptor that is not open */
FIXTURE_VARIANT_ADD(create, not_open)
{
	.file = NOT_OPEN,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EBADFD,
};

/* Guards: no check that the file is a memfd */
FIXTURE_VARIANT_ADD(create, device)
{
	.file = DEVICE,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EBADFD,
};

FIXTURE_VARIANT_ADD(create, pipe)
{
	.file = PIPE,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EBADFD,
};

/* Guards: a descriptor of O_PATH that passes for an open file */
FIXTURE_VARIANT_ADD(create, path_only)
{
	.file = PATH_ONLY,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.flags = 0,
	.expected = EBADFD,
};

FIXTURE_SETUP(create)
{
	ASSERT_EQ(PAGE, PAGE_BYTES);
	self->device = open_device(_metadata);
	self->fd = open_file(_metadata, variant->file, variant->seals);
	if (self->fd < 0)
		return;
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(create)
{
}

/*
 * Guards: the check of the row; a file reference, page or charge that an error
 * path keeps
 */
TEST_F(create, answers)
{
	struct udmabuf_create argument = {
		.memfd = self->fd,
		.flags = variant->flags,
		.offset = variant->offset,
		.size = variant->size,
	}, copy = argument;
	int result = call(self->device, UDMABUF_CREATE, &argument);

	check_answer(_metadata, variant->expected, result, &self->before);
	EXPECT_EQ(0, memcmp(&argument, &copy, sizeof(argument)));
}

FIXTURE(create_list)
{
	struct baseline before;
	int device;
	int memfd;
	int fd;
};

/*
 * UDMABUF_CREATE_LIST of two pages of a good memfd, with a second entry that
 * may not be good.
 */
FIXTURE_VARIANT(create_list)
{
	int file;
	int seals;
	__u64 offset;
	__u64 size;
	__u32 count;
	__u32 flags;
	__u32 pad;
	int expected;
};

FIXTURE_VARIANT_ADD(create_list, good)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create_list, other_seals)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = 0,
};

/* Guards: a memfd refused for a seal that means nothing here */
FIXTURE_VARIANT_ADD(create_list, exec_sealed)
{
	.file = MEMFD_NOEXEC,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create_list, first_only)
{
	.file = NOT_OPEN,
	.seals = 0,
	.offset = 1,
	.size = 0,
	.count = 1,
	.flags = 0,
	.pad = 0,
	.expected = 0,
};

/*
 * Guards: padding that is refused, which programs leave as it was before
 * mainline looks at it
 */
FIXTURE_VARIANT_ADD(create_list, padding)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = ~0U,
	.expected = 0,
};

/* Guards: B14, 2.4c: unknown flags that are ignored */
FIXTURE_VARIANT_ADD(create_list, flag_unknown)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0x2,
	.pad = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_list, flag_highest)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 1U << 31,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: B17: an empty list */
FIXTURE_VARIANT_ADD(create_list, count_zero)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 0,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: B16, M19: a list that is copied before its length is checked */
FIXTURE_VARIANT_ADD(create_list, count_largest)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = ~0U,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_list, offset_misaligned)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 1,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_list, size_misaligned)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE + 1,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: M12: an entry without pages */
FIXTURE_VARIANT_ADD(create_list, size_zero)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = 0,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: pins of the first entry that stay when the second fails */
FIXTURE_VARIANT_ADD(create_list, past_end)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 4 * PAGE,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_list, past_end_by_offset)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 3 * PAGE,
	.size = 2 * PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/*
 * Guards: before 6.11: huge pages that are allocated behind the end of the file
 */
FIXTURE_VARIANT_ADD(create_list, past_huge_end)
{
	.file = MEMFD_HUGE,
	.seals = F_SEAL_SHRINK,
	.offset = HUGE_PAGE,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: an offset that is taken for a signed number */
FIXTURE_VARIANT_ADD(create_list, offset_negative)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 1ULL << 63,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: offset + size without a check of overflow */
FIXTURE_VARIANT_ADD(create_list, offset_wraps)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = -PAGE,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: B18: the sum of the sizes without a check of overflow */
FIXTURE_VARIANT_ADD(create_list, sum_wraps)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = -PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: B03, B18: a number of bytes or pages in 32 bits */
FIXTURE_VARIANT_ADD(create_list, size_beyond_32_bits)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = (1ULL << 32) + PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: M13: a file reference that the error path keeps */
FIXTURE_VARIANT_ADD(create_list, unsealed)
{
	.file = MEMFD,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_list, sealed_otherwise)
{
	.file = MEMFD,
	.seals = F_SEAL_GROW,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: seals of the first entry taken for those of all */
FIXTURE_VARIANT_ADD(create_list, write_sealed)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK | F_SEAL_WRITE,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: M5: no check of F_SEAL_FUTURE_WRITE */
FIXTURE_VARIANT_ADD(create_list, future_write_sealed)
{
	.file = MEMFD,
	.seals = F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

/* Guards: 2.4f: a writable buffer from a file that is open for reading */
FIXTURE_VARIANT_ADD(create_list, memfd_read_only)
{
	.file = MEMFD_READ_ONLY,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EACCES,
};

/* Guards: a readable buffer from a file that is open for writing */
FIXTURE_VARIANT_ADD(create_list, memfd_write_only)
{
	.file = MEMFD_WRITE_ONLY,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EACCES,
};

FIXTURE_VARIANT_ADD(create_list, tmpfs_file)
{
	.file = TMPFS_FILE,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_list, not_open)
{
	.file = NOT_OPEN,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EBADFD,
};

FIXTURE_VARIANT_ADD(create_list, device)
{
	.file = DEVICE,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EBADFD,
};

FIXTURE_VARIANT_ADD(create_list, pipe)
{
	.file = PIPE,
	.seals = 0,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EBADFD,
};

/* Guards: a descriptor of O_PATH that passes for an open file */
FIXTURE_VARIANT_ADD(create_list, path_only)
{
	.file = PATH_ONLY,
	.seals = F_SEAL_SHRINK,
	.offset = 0,
	.size = PAGE,
	.count = 2,
	.flags = 0,
	.pad = 0,
	.expected = EBADFD,
};

FIXTURE_SETUP(create_list)
{
	ASSERT_EQ(PAGE, PAGE_BYTES);
	self->device = open_device(_metadata);
	self->memfd = open_file(_metadata, MEMFD, F_SEAL_SHRINK);
	self->fd = open_file(_metadata, variant->file, variant->seals);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(create_list)
{
}

/*
 * Guards: the check of the row; a file reference, page or charge of the first
 * entry that an error path keeps
 */
TEST_F(create_list, answers)
{
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item items[2];
	} list = {
		.head = { .flags = variant->flags, .count = variant->count },
		.items = {
			{ .memfd = self->memfd, .offset = 0, .size = 2 * PAGE },
			{ .memfd = self->fd, .__pad = variant->pad, .offset = variant->offset,
			  .size = variant->size },
		},
	}, copy = list;
	int result = call(self->device, UDMABUF_CREATE_LIST, &list);

	check_answer(_metadata, variant->expected, result, &self->before);
	EXPECT_EQ(0, memcmp(&list, &copy, sizeof(list)));
}

#ifdef UDMABUF_IOV_CREATE
enum memory {
	ANONYMOUS,
	UNTOUCHED,
	SHARED,
	MEMFD_MAP,
	PRIVATE_FILE,
	TWO_MAPPINGS,
	READ_ONLY,
	READ_ONLY_END,
	NO_ACCESS,
	UNMAPPED,
	HOLE,
	HOLE_BEFORE_READ_ONLY,
	KERNEL,
	HIGHEST,
	DMABUF_MAP,
};

FIXTURE(create_iov)
{
	struct baseline before;
	int device;
	char *good;
	char *memory;
};

/*
 * UDMABUF_IOV_CREATE of two pages of good memory, with a second entry that may
 * not be good.
 */
FIXTURE_VARIANT(create_iov)
{
	int memory;
	__u64 skip;
	__u64 len;
	__u32 niov;
	__u32 flags;
	int expected;
};

FIXTURE_VARIANT_ADD(create_iov, good)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create_iov, untouched)
{
	.memory = UNTOUCHED,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create_iov, shared)
{
	.memory = SHARED,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create_iov, memfd)
{
	.memory = MEMFD_MAP,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create_iov, private_copy)
{
	.memory = PRIVATE_FILE,
	.skip = 0,
	.len = PAGE,
	.niov = 2,
	.flags = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create_iov, two_mappings)
{
	.memory = TWO_MAPPINGS,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(create_iov, first_only)
{
	.memory = UNMAPPED,
	.skip = 1,
	.len = 0,
	.niov = 1,
	.flags = 0,
	.expected = 0,
};

/* Guards: B14: unknown flags that are ignored */
FIXTURE_VARIANT_ADD(create_iov, flag_unknown)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = PAGE,
	.niov = 2,
	.flags = 0x2,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_iov, flag_highest)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = PAGE,
	.niov = 2,
	.flags = 1U << 31,
	.expected = EINVAL,
};

/* Guards: B17: an empty list */
FIXTURE_VARIANT_ADD(create_iov, niov_zero)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = PAGE,
	.niov = 0,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B16: a list that is copied before its length is checked */
FIXTURE_VARIANT_ADD(create_iov, niov_largest)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = PAGE,
	.niov = ~0U,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B23: no check of the base */
FIXTURE_VARIANT_ADD(create_iov, base_misaligned)
{
	.memory = ANONYMOUS,
	.skip = 1,
	.len = PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_iov, len_misaligned)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = PAGE + 1,
	.niov = 2,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B17, B20: an entry without pages */
FIXTURE_VARIANT_ADD(create_iov, len_zero)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = 0,
	.niov = 2,
	.flags = 0,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(create_iov, len_largest)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = -PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B22: base + len without a check of overflow */
FIXTURE_VARIANT_ADD(create_iov, range_wraps)
{
	.memory = HIGHEST,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: B18, B21: a number of pages in 32 bits */
FIXTURE_VARIANT_ADD(create_iov, len_beyond_32_bits)
{
	.memory = ANONYMOUS,
	.skip = 0,
	.len = (1ULL << 44) + PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EINVAL,
};

/* Guards: pinning without a check that the address is the caller's */
FIXTURE_VARIANT_ADD(create_iov, kernel_address)
{
	.memory = KERNEL,
	.skip = 0,
	.len = PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EFAULT,
};

/* Guards: pins of the first entry that stay when the second fails */
FIXTURE_VARIANT_ADD(create_iov, unmapped)
{
	.memory = UNMAPPED,
	.skip = 0,
	.len = PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EFAULT,
};

/* Guards: B19: a short pin that is taken for a whole one */
FIXTURE_VARIANT_ADD(create_iov, hole)
{
	.memory = HOLE,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EFAULT,
};

/* Guards: a mapping behind a hole that is asked in its place */
FIXTURE_VARIANT_ADD(create_iov, hole_first)
{
	.memory = HOLE_BEFORE_READ_ONLY,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EFAULT,
};

/* Guards: pins without FOLL_WRITE */
FIXTURE_VARIANT_ADD(create_iov, read_only)
{
	.memory = READ_ONLY,
	.skip = 0,
	.len = PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EACCES,
};

FIXTURE_VARIANT_ADD(create_iov, no_access)
{
	.memory = NO_ACCESS,
	.skip = 0,
	.len = PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EACCES,
};

/* Guards: a check of the first mapping of a range only */
FIXTURE_VARIANT_ADD(create_iov, read_only_end)
{
	.memory = READ_ONLY_END,
	.skip = 0,
	.len = 2 * PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EACCES,
};

/* Guards: no check for VM_PFNMAP: a buffer of a buffer */
FIXTURE_VARIANT_ADD(create_iov, own_buffer)
{
	.memory = DMABUF_MAP,
	.skip = 0,
	.len = PAGE,
	.niov = 2,
	.flags = 0,
	.expected = EOPNOTSUPP,
};

/* Return: the address of two pages of memory for a row of the table. */
static char *map_memory(struct __test_metadata *_metadata, enum memory memory, int device)
{
	int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;
	char *map;

	switch (memory) {
	case KERNEL:
		return (char *)(~0UL << 47);
	case HIGHEST:
		return (char *)-PAGE;
	case READ_ONLY:
		protection = PROT_READ;
		break;
	case NO_ACCESS:
		protection = PROT_NONE;
		break;
	case SHARED:
		flags = MAP_SHARED | MAP_ANONYMOUS;
		break;
	case MEMFD_MAP:
		flags = MAP_SHARED;
		fd = make_memfd(0, 2 * PAGE, 0);
		break;
	case PRIVATE_FILE:
		flags = MAP_PRIVATE;
		fd = open("/proc/self/exe", O_RDONLY);
		break;
	case DMABUF_MAP:
		flags = MAP_SHARED;
		fd = create(device, make_memfd(0, 2 * PAGE, F_SEAL_SHRINK), 0, 2 * PAGE, 0);
		ASSERT_LE(0, fd);
		break;
	default:
		break;
	}
	map = mmap(NULL, 2 * PAGE, protection, flags, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	switch (memory) {
	case UNMAPPED:
		munmap(map, 2 * PAGE);
		break;
	case HOLE:
		munmap(map + PAGE, PAGE);
		break;
	case HOLE_BEFORE_READ_ONLY:
		munmap(map, PAGE);
		ASSERT_EQ(0, mprotect(map + PAGE, PAGE, PROT_READ));
		break;
	case READ_ONLY_END:
		ASSERT_EQ(0, mprotect(map + PAGE, PAGE, PROT_READ));
		break;
	case TWO_MAPPINGS:
		/* Shared next to private memory: the kernel cannot merge the two. */
		ASSERT_EQ(map + PAGE, mmap(map + PAGE, PAGE, PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		break;
	case ANONYMOUS:
		memset(map, 0x5a, 2 * PAGE);
		break;
	default:
		break;
	}
	return map;
}

FIXTURE_SETUP(create_iov)
{
	ASSERT_EQ(PAGE, PAGE_BYTES);
	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	self->device = open_device(_metadata);
	self->good = map_memory(_metadata, ANONYMOUS, self->device);
	self->memory = map_memory(_metadata, variant->memory, self->device);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(create_iov)
{
}

/* What the owner writes is in the buffer, also where there was no page before. */
static void check_coherent(struct __test_metadata *_metadata, FIXTURE_DATA(create_iov) *self,
			   int dmabuf)
{
	size_t bytes = lseek(dmabuf, 0, SEEK_END);
	char *map;

	ASSERT_EQ(0, map_shared(dmabuf, bytes, (void **)&map));
	fill_page(self->good, SEED_SOURCE, 0);
	EXPECT_TRUE(check_page(_metadata, map, SEED_SOURCE, 0));
	if (bytes > 2 * PAGE) {
		fill_page(self->memory, SEED_SOURCE, 1);
		EXPECT_TRUE(check_page(_metadata, map + 2 * PAGE, SEED_SOURCE, 1));
	}
	munmap(map, bytes);
}

/*
 * Guards: the check of the row; a page or charge of the first entry that an
 * error path keeps
 */
TEST_F_TIMEOUT(create_iov, answers, 3)
{
	struct {
		struct udmabuf_iov_create head;
		struct udmabuf_iov_entry entries[2];
	} iov = {
		.head = { .flags = variant->flags, .niov = variant->niov },
		.entries = {
			{ .base = (uintptr_t)self->good, .len = 2 * PAGE },
			{ .base = (uintptr_t)self->memory + variant->skip, .len = variant->len },
		},
	}, copy = iov;
	int result = call(self->device, UDMABUF_IOV_CREATE, &iov);

	if (result >= 0)
		check_coherent(_metadata, self, result);
	check_answer(_metadata, variant->expected, result, &self->before);
	EXPECT_EQ(0, memcmp(&iov, &copy, sizeof(iov)));
}
#endif

FIXTURE(device)
{
	struct baseline before;
	int fd;
};

FIXTURE_SETUP(device)
{
	self->fd = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(device)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Guards: B31: EINVAL instead of ENOTTY */
TEST_F(device, unknown_ioctl)
{
	static const unsigned long requests[] = {
		0, ~0U, _IO('u', 0x42), _IO('u', 0x44), _IOW('u', 0x41, struct udmabuf_create),
		_IOR('u', 0x42, struct udmabuf_create), _IOW(0x42, 0x24, __u64), FIONBIO - 1,
		DMA_BUF_IOCTL_SYNC,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(requests); i++)
		EXPECT_EQ(-ENOTTY, call(self->fd, requests[i], NULL)) {
			TH_LOG("request %#lx", requests[i]);
		}
}

/* Guards: a copy from userspace without a check of its result */
TEST_F(device, bad_pointer)
{
	char *hole = map_hole(_metadata);

	EXPECT_EQ(-EFAULT, call(self->fd, UDMABUF_CREATE, NULL));
	EXPECT_EQ(-EFAULT, call(self->fd, UDMABUF_CREATE_LIST, NULL));
	EXPECT_EQ(-EFAULT, call(self->fd, UDMABUF_CREATE, hole - 8));
	EXPECT_EQ(-EFAULT, call(self->fd, UDMABUF_CREATE_LIST, hole - 4));
#ifdef UDMABUF_IOV_CREATE
	if (driver_is_udmabuf_iov()) {
		EXPECT_EQ(-EFAULT, call(self->fd, UDMABUF_IOV_CREATE, NULL));
		EXPECT_EQ(-EFAULT, call(self->fd, UDMABUF_IOV_CREATE, hole - 4));
	}
#endif
}

/* The fixed part is the last thing before a hole, so that the entries cannot be read. */
/* Guards: a copy of the entries without a check of its result */
TEST_F(device, bad_array)
{
	char *hole = map_hole(_metadata);
	struct udmabuf_create_list *list = (void *)(hole - sizeof(*list));

	memset(list, 0, sizeof(*list));
	list->count = 1;
	EXPECT_EQ(-EFAULT, call(self->fd, UDMABUF_CREATE_LIST, list));
#ifdef UDMABUF_IOV_CREATE
	if (driver_is_udmabuf_iov()) {
		struct udmabuf_iov_create *iov = (void *)(hole - sizeof(*iov));

		memset(iov, 0, sizeof(*iov));
		iov->niov = 1;
		EXPECT_EQ(-EFAULT, call(self->fd, UDMABUF_IOV_CREATE, iov));
	}
#endif
}

/* Guards: B26: dma_buf_fd() without the flag, or always with it */
TEST_F(device, cloexec)
{
	static const struct layout layout = {
		.pages = 2, .nr_runs = 2, .runs = { { 1, 1 }, { 0, 1 } },
	};
	int memfd = open_file(_metadata, MEMFD, F_SEAL_SHRINK), on, fds[3], calls, i;

	for (on = 0; on <= 1; on++) {
		fds[0] = create(self->fd, memfd, 0, PAGE, on ? UDMABUF_FLAGS_CLOEXEC : 0);
		fds[1] = create_list(self->fd, memfd, &layout, on ? UDMABUF_FLAGS_CLOEXEC : 0);
		calls = 2;
#ifdef UDMABUF_IOV_CREATE
		if (driver_is_udmabuf_iov())
			fds[calls++] = create_iov(self->fd,
						  map_memory(_metadata, ANONYMOUS, self->fd),
						  &layout, on ? UDMABUF_IOV_FLAGS_CLOEXEC : 0);
#endif
		for (i = 0; i < calls; i++) {
			ASSERT_LE(0, fds[i]) TH_LOG("call %d", i);
			EXPECT_EQ(on ? FD_CLOEXEC : 0, fcntl(fds[i], F_GETFD)) TH_LOG("call %d", i);
			close(fds[i]);
		}
	}
	close(memfd);
}

/* Whoever has closed its standard input gets 0. */
/*
 * Guards: descriptor 0 that is taken for an error, and its buffer freed while
 * it is open
 */
TEST_F(device, lowest)
{
	int memfd = make_memfd(0, PAGE, F_SEAL_SHRINK);
	void *map;

	ASSERT_LE(0, memfd);
	close(STDIN_FILENO);
	ASSERT_EQ(0, create(self->fd, memfd, 0, PAGE, 0));
	ASSERT_EQ(0, map_shared(STDIN_FILENO, PAGE, &map));
	EXPECT_EQ(0, touch(map));
	munmap(map, PAGE);
	close(STDIN_FILENO);
	close(memfd);
}

/*
 * Guards: a check for write access to the device, which clients do not ask for
 */
TEST_F(device, read_only)
{
	static const struct layout layout = {
		.pages = 2, .nr_runs = 2, .runs = { { 1, 1 }, { 0, 1 } },
	};
	int memfd = open_file(_metadata, MEMFD, F_SEAL_SHRINK), device, fds[3], calls = 2, i;
	void *map;

	device = open(UDMABUF_DEVICE, O_RDONLY);
	ASSERT_LE(0, device);
	fds[0] = create(device, memfd, 0, PAGE, 0);
	fds[1] = create_list(device, memfd, &layout, 0);
#ifdef UDMABUF_IOV_CREATE
	if (driver_is_udmabuf_iov())
		fds[calls++] = create_iov(device, map_memory(_metadata, ANONYMOUS, device),
					  &layout, 0);
#endif
	close(device);
	for (i = 0; i < calls; i++) {
		ASSERT_LE(0, fds[i]) TH_LOG("call %d", i);
		ASSERT_EQ(0, map_shared(fds[i], PAGE, &map)) TH_LOG("call %d", i);
		memset(map, 1, PAGE);
		munmap(map, PAGE);
		close(fds[i]);
	}
	close(memfd);
}

#ifdef UDMABUF_IOV_CREATE
/*
 * Guards: B33: a device that everybody may open, and so pin memory; a number
 * that belongs to another
 */
TEST_F(device, mode)
{
	char properties[256];
	struct stat stat;

	if (!driver_is_udmabuf_iov())
		SKIP(return, "who may open this driver's device is for udev to say");
	ASSERT_EQ(0, lstat(UDMABUF_DEVICE, &stat));
	EXPECT_EQ(0600, stat.st_mode & 07777);
	/* 0 is the Logitech bus mouse: Documentation/admin-guide/devices.txt. */
	EXPECT_NE(0, minor(stat.st_rdev));
	/* What the driver asks for, not what whoever makes the node does unasked. */
	ASSERT_TRUE(read_text("/sys/class/misc/udmabuf/uevent", properties, sizeof(properties)));
	EXPECT_NE(NULL, strstr(properties, "DEVMODE=0600\n"));
}
#endif

/* Guards: a change of the ABI */
TEST_F(device, numbers)
{
	EXPECT_EQ(0x40187542, UDMABUF_CREATE);
	EXPECT_EQ(0x40087543, UDMABUF_CREATE_LIST);
	EXPECT_EQ(24, sizeof(struct udmabuf_create_item));
#ifdef UDMABUF_IOV_CREATE
	EXPECT_EQ(0x40084223, UDMABUF_IOV_CREATE);
	EXPECT_EQ(16, sizeof(struct udmabuf_iov_entry));
#endif
}

/*
 * Guards: flags or layouts that differ between struct udmabuf_create and its
 * item, which Kodi exchanges
 */
TEST_F(device, item_as_create)
{
	struct udmabuf_create_item item = {
		.memfd = open_file(_metadata, MEMFD, F_SEAL_SHRINK),
		.offset = PAGE,
		.size = PAGE,
	};
	int dmabuf = call(self->fd, UDMABUF_CREATE, &item);

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(PAGE, lseek(dmabuf, 0, SEEK_END));
	close(dmabuf);
	close(item.memfd);
}

TEST_HARNESS_MAIN
