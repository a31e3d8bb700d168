// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/vgem.toml and its template: do not edit.
 *
 * Import by vgem, the kernel's graphics driver without hardware, through PRIME:
 * a buffer becomes an object of another driver, lives as long as that, comes
 * back as itself, and carries fences.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"

#include <poll.h>

/* From the kernel's drm.h and vgem_drm.h, which are ABI; Debian has them in libdrm-dev only. */
struct gem_close {
	__u32 handle;
	__u32 pad;
};

struct prime_handle {
	__u32 handle;
	__u32 flags;
	__s32 fd;
};

struct vgem_fence_attach {
	__u32 handle;
	__u32 flags;
	__u32 out_fence;
	__u32 pad;
};

struct vgem_fence_signal {
	__u32 fence;
	__u32 flags;
};

#define GEM_CLOSE		_IOW('d', 0x09, struct gem_close)
#define PRIME_HANDLE_TO_FD	_IOWR('d', 0x2d, struct prime_handle)
#define PRIME_FD_TO_HANDLE	_IOWR('d', 0x2e, struct prime_handle)
#define VGEM_FENCE_ATTACH	_IOWR('d', 0x41, struct vgem_fence_attach)
#define VGEM_FENCE_WRITE	0x1
#define VGEM_FENCE_SIGNAL	_IOW('d', 0x42, struct vgem_fence_signal)

FIXTURE(prime)
{
	struct baseline before;
	struct source source;
	size_t bytes;
	int vgem;
	int dmabuf;
};

/* What is imported. */
FIXTURE_VARIANT(prime)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(prime, anon_many)
{
	.layout = {
		.backing = ANON,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(prime, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(prime, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

/* Return: vgem's device, whichever card it is, or -1. */
static int open_vgem(void)
{
	char path[64], place[256];
	ssize_t length;
	int card;

	for (card = 0; card < 8; card++) {
		snprintf(path, sizeof(path), "/sys/class/drm/card%d", card);
		length = readlink(path, place, sizeof(place) - 1);
		place[length < 0 ? 0 : length] = '\0';
		if (!strstr(place, "/vgem/"))
			continue;
		snprintf(path, sizeof(path), "/dev/dri/card%d", card);
		return open(path, O_RDWR | O_CLOEXEC);
	}
	return -1;
}

FIXTURE_SETUP(prime)
{
	int device;

	self->vgem = open_vgem();
	if (self->vgem < 0)
		SKIP(return, "this kernel has no vgem");
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	self->bytes = layout_pages(&variant->layout) * PAGE_BYTES;
	baseline_take(&self->before);
	device = open_device(_metadata);
	self->dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, self->dmabuf);
	close(device);
}

FIXTURE_TEARDOWN(prime)
{
	close(self->dmabuf);
	close(self->vgem);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Return: the handle of an object, or -errno. */
static int import(int vgem, int dmabuf)
{
	struct prime_handle prime = { .fd = dmabuf };
	int error = call(vgem, PRIME_FD_TO_HANDLE, &prime);

	return error ? error : (int)prime.handle;
}

/* Return: a descriptor of the buffer behind an object, or -errno. */
static int export_object(int vgem, int handle)
{
	struct prime_handle prime = { .handle = handle, .flags = O_RDWR | O_CLOEXEC };
	int error = call(vgem, PRIME_HANDLE_TO_FD, &prime);

	return error ? error : prime.fd;
}

static int drop(int vgem, int handle)
{
	struct gem_close close = { .handle = handle };

	return call(vgem, GEM_CLOSE, &close);
}

static void check_mapping(struct __test_metadata *_metadata, const FIXTURE_DATA(prime) *self,
			  int dmabuf, unsigned int seed)
{
	void *map;

	ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &map));
	EXPECT_EQ(0, check_buffer(_metadata, map, seed, self->source.layout));
	munmap(map, self->bytes);
}

/* Guards: an importer of the kernel's own that is refused */
TEST_F(prime, same_object)
{
	int handle = import(self->vgem, self->dmabuf);

	ASSERT_LT(0, handle);
	EXPECT_EQ(handle, import(self->vgem, self->dmabuf));
	EXPECT_EQ(0, drop(self->vgem, handle));
	EXPECT_EQ(-EINVAL, drop(self->vgem, handle));
}

/*
 * Guards: a buffer, or its pages, that go when the descriptor is closed
 * although an object is left
 */
TEST_F(prime, outlives_descriptor)
{
	int handle = import(self->vgem, self->dmabuf), again;

	ASSERT_LT(0, handle);
	close(self->dmabuf);
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	again = export_object(self->vgem, handle);
	ASSERT_LE(0, again);
	check_mapping(_metadata, self, again, SEED_SOURCE);
	close(again);
	EXPECT_EQ(0, drop(self->vgem, handle));
	EXPECT_EQ(self->before.dmabufs, count_dmabufs());
}

/* Guards: another buffer for the same memory, or a copy of it */
TEST_F(prime, comes_back)
{
	int handle = import(self->vgem, self->dmabuf), again;
	struct stat first, second;

	ASSERT_LT(0, handle);
	again = export_object(self->vgem, handle);
	ASSERT_LE(0, again);
	ASSERT_EQ(0, fstat(self->dmabuf, &first));
	ASSERT_EQ(0, fstat(again, &second));
	EXPECT_EQ(first.st_ino, second.st_ino);
	fill_pages(self->source.map, SEED_BUFFER, variant->layout.pages);
	check_mapping(_metadata, self, again, SEED_BUFFER);
	close(again);
	EXPECT_EQ(0, drop(self->vgem, handle));
}

/* Guards: M20: one table for two attachments, freed by the first */
TEST_F(prime, two_importers)
{
	int other = open_vgem(), one, two;

	ASSERT_LE(0, other);
	one = import(self->vgem, self->dmabuf);
	two = import(other, self->dmabuf);
	ASSERT_LT(0, one);
	ASSERT_LT(0, two);
	EXPECT_EQ(0, drop(self->vgem, one));
	check_mapping(_metadata, self, self->dmabuf, SEED_SOURCE);
	EXPECT_EQ(0, drop(other, two));
	close(other);
}

/* Guards: a release that only works in an ioctl */
TEST_F(prime, file_closed)
{
	int other = open_vgem();

	ASSERT_LE(0, other);
	ASSERT_LT(0, import(other, self->dmabuf));
	close(self->dmabuf);
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	close(other);
	EXPECT_EQ(self->before.dmabufs, count_dmabufs());
}

static bool is_ready(int dmabuf, short events)
{
	struct pollfd poll_fd = { .fd = dmabuf, .events = events };

	return poll(&poll_fd, 1, 0) == 1 && poll_fd.revents == events;
}

/* Whoever reads the buffer has to wait for one that writes to it. */
/*
 * Guards: one reservation object for several buffers, so that fences of one
 * hold up the others
 */
TEST_F(prime, fence)
{
	struct vgem_fence_attach attach = { .flags = VGEM_FENCE_WRITE };
	struct vgem_fence_signal signal = { 0 };
	int handle = import(self->vgem, self->dmabuf), device = open_device(_metadata), other;

	ASSERT_LT(0, handle);
	other = export_source(device, &self->source);
	ASSERT_LE(0, other);
	close(device);
	EXPECT_TRUE(is_ready(self->dmabuf, POLLIN));
	attach.handle = handle;
	ASSERT_EQ(0, call(self->vgem, VGEM_FENCE_ATTACH, &attach));
	EXPECT_FALSE(is_ready(self->dmabuf, POLLIN));
	EXPECT_FALSE(is_ready(self->dmabuf, POLLOUT));
	/* It is the buffer that is written to, whoever else has the same memory. */
	EXPECT_TRUE(is_ready(other, POLLOUT));
	close(other);
	/* Another one who writes at the same time is told. */
	EXPECT_EQ(-EBUSY, call(self->vgem, VGEM_FENCE_ATTACH, &attach));
	signal.fence = attach.out_fence;
	ASSERT_EQ(0, call(self->vgem, VGEM_FENCE_SIGNAL, &signal));
	EXPECT_TRUE(is_ready(self->dmabuf, POLLIN));
	EXPECT_EQ(0, sync_buffer(self->dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ));
	EXPECT_EQ(0, sync_buffer(self->dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ));
	EXPECT_EQ(0, drop(self->vgem, handle));
}

TEST_HARNESS_MAIN
