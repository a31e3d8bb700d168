// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/vivid.toml and its template: do not edit.
 *
 * Import by vivid, the kernel's video driver without hardware, through V4L2: it
 * writes pictures into a buffer of ours, by the kernel mapping that the driver
 * under test makes.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"

#include <linux/videodev2.h>

/* The smallest picture that vivid makes; two bytes a pixel. */
#define WIDTH		320
#define HEIGHT		180
#define PICTURE_BYTES	(2 * WIDTH * HEIGHT)
/* What vivid wants to have queued before it starts. */
#define BUFFERS		2

#define CAPTURE		V4L2_BUF_TYPE_VIDEO_CAPTURE

FIXTURE(capture)
{
	struct baseline before;
	struct source source;
	size_t bytes;
	int camera;
	int dmabuf;
};

/*
 * What is exported, and for which camera: the first takes any memory, the
 * second one piece.
 */
FIXTURE_VARIANT(capture)
{
	struct layout layout;
	int camera;
};

FIXTURE_VARIANT_ADD(capture, anon)
{
	.layout = {
		.backing = ANON,
		.pages = 32,
		.nr_runs = 2,
		.runs = { { 24, 8 }, { 0, 22 } },
	},
	.camera = 0,
};

FIXTURE_VARIANT_ADD(capture, shmem)
{
	.layout = {
		.backing = SHMEM,
		.pages = 32,
		.nr_runs = 2,
		.runs = { { 24, 8 }, { 0, 22 } },
	},
	.camera = 0,
};

FIXTURE_VARIANT_ADD(capture, hugetlb)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 1,
		.runs = { { 500, 30 } },
	},
	.camera = 0,
};

/* Guards: a table with an entry for each page although they are one piece */
FIXTURE_VARIANT_ADD(capture, contiguous)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 512,
		.nr_runs = 1,
		.runs = { { 470, 30 } },
	},
	.camera = 1,
};

/* Return: the video device of vivid's @number-th camera, or -1. */
static int open_camera(int number)
{
	struct v4l2_capability about;
	char path[32], place[32];
	int device, fd;

	snprintf(place, sizeof(place), "platform:vivid-%03d", number);
	for (device = 0; device < 8; device++) {
		snprintf(path, sizeof(path), "/dev/video%d", device);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!call(fd, VIDIOC_QUERYCAP, &about) &&
		    !strcmp((char *)about.bus_info, place) &&
		    about.device_caps & V4L2_CAP_VIDEO_CAPTURE)
			return fd;
		close(fd);
	}
	return -1;
}

/* Choose the entry @choice of the menu @name. Return: 0 or -errno. */
static int choose(int camera, const char *name, const char *choice)
{
	struct v4l2_queryctrl control = { .id = V4L2_CTRL_FLAG_NEXT_CTRL };
	struct v4l2_querymenu entry = { 0 };
	struct v4l2_control value;

	while (strcmp((char *)control.name, name)) {
		if (call(camera, VIDIOC_QUERYCTRL, &control))
			return -ENOENT;
		value.id = control.id;
		control.id |= V4L2_CTRL_FLAG_NEXT_CTRL;
	}
	entry.id = value.id;
	for (; entry.index <= (__u32)control.maximum; entry.index++) {
		if (call(camera, VIDIOC_QUERYMENU, &entry) || strcmp((char *)entry.name, choice))
			continue;
		value.value = entry.index;
		return call(camera, VIDIOC_S_CTRL, &value);
	}
	return -ENOENT;
}

/* A picture that is white everywhere, and buffers that others make. */
static void set_camera_up(struct __test_metadata *_metadata, int camera)
{
	struct v4l2_requestbuffers request = {
		.count = BUFFERS,
		.type = CAPTURE,
		.memory = V4L2_MEMORY_DMABUF,
	};
	struct v4l2_format format = {
		.type = CAPTURE,
		.fmt.pix = {
			.width = WIDTH,
			.height = HEIGHT,
			.pixelformat = V4L2_PIX_FMT_YUYV,
			.field = V4L2_FIELD_NONE,
		},
	};
	struct v4l2_streamparm rate = {
		.type = CAPTURE,
		.parm.capture.timeperframe = { .numerator = 1, .denominator = 25 },
	};

	ASSERT_EQ(0, call(camera, VIDIOC_S_FMT, &format));
	/*
	 * The second picture is waited for, but faster is not better: vivid reads the clock twice
	 * to know how long to sleep, and with less than a few ticks left an emulated CPU is past
	 * the end at the second time. schedule_timeout() complains of a wait of -1 then.
	 */
	ASSERT_EQ(0, call(camera, VIDIOC_S_PARM, &rate));
	ASSERT_EQ(PICTURE_BYTES, format.fmt.pix.sizeimage);
	ASSERT_EQ(0, choose(camera, "Test Pattern", "100% White"));
	ASSERT_EQ(0, choose(camera, "OSD Text Mode", "None"));
	ASSERT_EQ(0, call(camera, VIDIOC_REQBUFS, &request));
	ASSERT_EQ(BUFFERS, request.count);
}

FIXTURE_SETUP(capture)
{
	int device;

	self->camera = open_camera(variant->camera);
	if (self->camera < 0)
		SKIP(return, "this kernel has no vivid");
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	self->bytes = layout_pages(&variant->layout) * PAGE_BYTES;
	set_camera_up(_metadata, self->camera);
	baseline_take(&self->before);
	device = open_device(_metadata);
	self->dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, self->dmabuf);
	close(device);
}

FIXTURE_TEARDOWN(capture)
{
	close(self->dmabuf);
	close(self->camera);
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

static struct v4l2_buffer queue_entry(const FIXTURE_DATA(capture) *self, int index)
{
	return (struct v4l2_buffer) {
		.index = index,
		.type = CAPTURE,
		.memory = V4L2_MEMORY_DMABUF,
		.m.fd = self->dmabuf,
		.length = self->bytes,
	};
}

/* Give the same buffer as often as the camera wants buffers, and start. */
static void start(struct __test_metadata *_metadata, const FIXTURE_DATA(capture) *self)
{
	int type = CAPTURE, index;

	for (index = 0; index < BUFFERS; index++) {
		struct v4l2_buffer buffer = queue_entry(self, index);

		ASSERT_EQ(0, call(self->camera, VIDIOC_QBUF, &buffer));
	}
	ASSERT_EQ(0, call(self->camera, VIDIOC_STREAMON, &type));
}

static void take_picture(struct __test_metadata *_metadata, const FIXTURE_DATA(capture) *self,
			 struct v4l2_buffer *buffer)
{
	*buffer = queue_entry(self, 0);
	ASSERT_EQ(0, call(self->camera, VIDIOC_DQBUF, buffer));
	EXPECT_EQ(0, buffer->flags & V4L2_BUF_FLAG_ERROR);
	EXPECT_EQ(PICTURE_BYTES, buffer->bytesused);
}

static void stop(struct __test_metadata *_metadata, const FIXTURE_DATA(capture) *self)
{
	int type = CAPTURE;

	ASSERT_EQ(0, call(self->camera, VIDIOC_STREAMOFF, &type));
}

/* Check that there is one white picture, in the buffer's order, and nothing else has changed. */
static void check_picture(struct __test_metadata *_metadata, const FIXTURE_DATA(capture) *self)
{
	const struct layout *layout = self->source.layout;
	const __u32 *pixels, *second;
	__u64 *words;
	size_t i;
	void *map;

	ASSERT_EQ(0, map_shared(self->dmabuf, self->bytes, &map));
	pixels = map;
	EXPECT_NE((__u32)pattern_word(SEED_SOURCE, layout_source_page(layout, 0), 0), pixels[0]);
	for (i = 1; i < PICTURE_BYTES / sizeof(*pixels); i++)
		ASSERT_EQ(pixels[0], pixels[i]) TH_LOG("pixel %zu", 2 * i);
	words = map;
	for (i = PICTURE_BYTES / sizeof(*words); i < self->bytes / sizeof(*words); i++) {
		size_t in_page = i % (PAGE_BYTES / sizeof(*words));
		size_t page = i / (PAGE_BYTES / sizeof(*words));

		ASSERT_EQ(pattern_word(SEED_SOURCE, layout_source_page(layout, page), in_page),
			  words[i]);
	}
	second = (__u32 *)(self->source.map + layout_source_page(layout, 1) * PAGE_BYTES);
	EXPECT_EQ(pixels[0], second[0]);
	for (i = 0; i < layout->pages; i++)
		if (!layout_exports(layout, i))
			ASSERT_TRUE(check_page(_metadata, self->source.map + i * PAGE_BYTES,
					       SEED_SOURCE, i));
	munmap(map, self->bytes);
}

/* Guards: B13, M9: a driver without vmap, or with one of the wrong pages */
TEST_F(capture, picture)
{
	struct v4l2_buffer buffer;

	start(_metadata, self);
	take_picture(_metadata, self, &buffer);
	stop(_metadata, self);
	check_picture(_metadata, self);
}

/* Guards: M20: a mapping that one picture leaves to the next */
TEST_F(capture, again)
{
	struct v4l2_buffer buffer;
	int round;

	for (round = 0; round < 2; round++) {
		fill_pages(self->source.map, SEED_SOURCE, variant->layout.pages);
		start(_metadata, self);
		take_picture(_metadata, self, &buffer);
		buffer.m.fd = self->dmabuf;
		ASSERT_EQ(0, call(self->camera, VIDIOC_QBUF, &buffer));
		take_picture(_metadata, self, &buffer);
		stop(_metadata, self);
		check_picture(_metadata, self);
	}
}

/* Guards: a buffer that stays although the queue it was in is gone */
TEST_F(capture, not_taken)
{
	struct v4l2_requestbuffers none = { .type = CAPTURE, .memory = V4L2_MEMORY_DMABUF };
	struct v4l2_buffer buffer = queue_entry(self, 1);

	ASSERT_EQ(0, call(self->camera, VIDIOC_QBUF, &buffer));
	close(self->dmabuf);
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	ASSERT_EQ(0, call(self->camera, VIDIOC_REQBUFS, &none));
	EXPECT_EQ(self->before.dmabufs, count_dmabufs());
}

/* Guards: a kernel mapping that is only undone by the end of the stream */
TEST_F(capture, closed)
{
	struct v4l2_buffer buffer;

	start(_metadata, self);
	take_picture(_metadata, self, &buffer);
	close(self->dmabuf);
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	close(self->camera);
	EXPECT_EQ(self->before.dmabufs, count_dmabufs());
}

TEST_HARNESS_MAIN
