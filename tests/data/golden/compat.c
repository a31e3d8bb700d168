// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/compat.toml and its template: do not edit.
 *
 * The calls as 32-bit programs make them, through the entry of 32-bit system
 * calls: same layouts, same results, same errnos.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"

#define PAGES		2
#define BYTES		(PAGES * PAGE_BYTES)

/* From arch/x86/entry/syscalls/syscall_32.tbl, which is ABI. */
#define IA32_GETPID	20
#define IA32_IOCTL	54

enum request {
	CREATE,
	LIST,
#ifdef UDMABUF_IOV_CREATE
	IOV,
#endif
	UNKNOWN,
};

/* What is wrong with a call. */
enum fault { NOTHING, FLAG, COUNT, MEMORY, POINTER };

/* The arguments of all calls, for memory below 4 GiB. */
struct arguments {
	struct udmabuf_create create;
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item items[PAGES];
	} list;
#ifdef UDMABUF_IOV_CREATE
	struct {
		struct udmabuf_iov_create head;
		struct udmabuf_iov_entry entries[PAGES];
	} iov;
#endif
};

FIXTURE(compat)
{
	struct baseline before;
	struct arguments *arguments;
	int device;
	int memfd;
	char *memory;
};

/* A call on two pages of memory below 4 GiB, right or wrong in one thing. */
FIXTURE_VARIANT(compat)
{
	int request;
	int fault;
	int expected;
};

/* Guards: B28: no compat_ioctl */
FIXTURE_VARIANT_ADD(compat, create)
{
	.request = CREATE,
	.fault = NOTHING,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(compat, create_flag)
{
	.request = CREATE,
	.fault = FLAG,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(compat, create_seals)
{
	.request = CREATE,
	.fault = MEMORY,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(compat, create_pointer)
{
	.request = CREATE,
	.fault = POINTER,
	.expected = EFAULT,
};

/* Guards: B28: no compat_ioctl */
FIXTURE_VARIANT_ADD(compat, list)
{
	.request = LIST,
	.fault = NOTHING,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(compat, list_count)
{
	.request = LIST,
	.fault = COUNT,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(compat, list_seals)
{
	.request = LIST,
	.fault = MEMORY,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(compat, list_pointer)
{
	.request = LIST,
	.fault = POINTER,
	.expected = EFAULT,
};

/* Guards: B28: no compat_ioctl */
FIXTURE_VARIANT_ADD(compat, iov)
{
	.request = IOV,
	.fault = NOTHING,
	.expected = 0,
};

FIXTURE_VARIANT_ADD(compat, iov_flag)
{
	.request = IOV,
	.fault = FLAG,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(compat, iov_count)
{
	.request = IOV,
	.fault = COUNT,
	.expected = EINVAL,
};

FIXTURE_VARIANT_ADD(compat, iov_unmapped)
{
	.request = IOV,
	.fault = MEMORY,
	.expected = EFAULT,
};

FIXTURE_VARIANT_ADD(compat, iov_pointer)
{
	.request = IOV,
	.fault = POINTER,
	.expected = EFAULT,
};

FIXTURE_VARIANT_ADD(compat, unknown)
{
	.request = UNKNOWN,
	.fault = NOTHING,
	.expected = ENOTTY,
};

#ifdef __x86_64__
/* What i386 programs do. Return: -errno, as the kernel does. */
static int ia32_call(unsigned int number, unsigned int first, unsigned int second,
		     unsigned int third)
{
	int result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(number), "b"(first), "c"(second), "d"(third)
		     : "memory", "r8", "r9", "r10", "r11");
	return result;
}

static bool has_ia32(void)
{
	struct sigaction action = { .sa_handler = touch_handler }, old;
	volatile bool has = false;

	/* A kernel without the gate answers with SIGSEGV. */
	sigaction(SIGSEGV, &action, &old);
	if (!sigsetjmp(touch_return, 1))
		has = ia32_call(IA32_GETPID, 0, 0, 0) == getpid();
	sigaction(SIGSEGV, &old, NULL);
	return has;
}
#else
static int ia32_call(unsigned int number, unsigned int first, unsigned int second,
		     unsigned int third)
{
	return -ENOSYS;
}

static bool has_ia32(void)
{
	return false;
}
#endif

static void *map_low(struct __test_metadata *_metadata, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, flags | MAP_32BIT, fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, (uintptr_t)map >> 32);
	return map;
}

FIXTURE_SETUP(compat)
{
	if (!has_ia32())
		SKIP(return, "this kernel runs no 32-bit programs");
#ifdef UDMABUF_IOV_CREATE
	if (variant->request == IOV && !driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
#endif
	self->device = open_device(_metadata);
	self->memfd = make_memfd(0, BYTES, variant->fault == MEMORY ? 0 : F_SEAL_SHRINK);
	ASSERT_LE(0, self->memfd);
	self->memory = map_low(_metadata, self->memfd);
	self->arguments = map_low(_metadata, -1);
	fill_pages(self->memory, SEED_SOURCE, PAGES);
#ifdef UDMABUF_IOV_CREATE
	if (variant->request == IOV && variant->fault == MEMORY)
		munmap(self->memory, PAGE_BYTES);
#endif
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(compat)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* All of the memory, the second page first where there are entries. */
static void fill_arguments(FIXTURE_DATA(compat) *self, enum fault fault)
{
	struct arguments *arguments = self->arguments;
	__u32 flags = fault == FLAG ? 0x2 : 0, count = fault == COUNT ? ~0U : PAGES;
	int i;

	arguments->create = (struct udmabuf_create) {
		.memfd = self->memfd, .flags = flags, .size = BYTES,
	};
	arguments->list.head.flags = flags;
	arguments->list.head.count = count;
#ifdef UDMABUF_IOV_CREATE
	arguments->iov.head.flags = flags;
	arguments->iov.head.niov = count;
#endif
	for (i = 0; i < PAGES; i++) {
		size_t start = (PAGES - 1 - i) * PAGE_BYTES;

		arguments->list.items[i].memfd = self->memfd;
		arguments->list.items[i].offset = start;
		arguments->list.items[i].size = PAGE_BYTES;
#ifdef UDMABUF_IOV_CREATE
		arguments->iov.entries[i].base = (uintptr_t)self->memory + start;
		arguments->iov.entries[i].len = PAGE_BYTES;
#endif
	}
}

static int call_ia32(FIXTURE_DATA(compat) *self, enum request request, enum fault fault)
{
	struct arguments *arguments = self->arguments;
	unsigned int number = _IO(0x42, 0x7f);
	void *argument = arguments;

	switch (request) {
	case CREATE:
		number = UDMABUF_CREATE;
		argument = &arguments->create;
		break;
	case LIST:
		number = UDMABUF_CREATE_LIST;
		argument = &arguments->list;
		break;
#ifdef UDMABUF_IOV_CREATE
	case IOV:
		number = UDMABUF_IOV_CREATE;
		argument = &arguments->iov;
		break;
#endif
	case UNKNOWN:
		break;
	}
	if (fault == POINTER)
		argument = NULL;
	return ia32_call(IA32_IOCTL, self->device, number, (uintptr_t)argument);
}

/* Guards: the row: a pointer or layout that depends on the size of a long */
TEST_F(compat, answers)
{
	int result, i;
	char *map;

	fill_arguments(self, variant->fault);
	result = call_ia32(self, variant->request, variant->fault);
	EXPECT_EQ(-variant->expected, result < 0 ? result : 0);
	if (result < 0)
		return;
	ASSERT_EQ(0, map_shared(result, BYTES, (void **)&map));
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(check_page(_metadata, map + i * PAGE_BYTES, SEED_SOURCE,
				       variant->request == CREATE ? i : PAGES - 1 - i));
	munmap(map, BYTES);
	close(result);
}

TEST_HARNESS_MAIN
