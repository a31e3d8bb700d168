// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/movable.toml and its template: do not edit.
 *
 * Memory that must stay movable, for it to be taken out of the machine: what is
 * pinned for as long as a buffer lives is moved away from there first.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"

#define PAGES		8

FIXTURE(zone)
{
	struct baseline before;
	struct layout layout;
	struct source source;
	__u64 first;
	__u64 end;
	int device;
};

/* Memory in ZONE_MOVABLE, and the call that exports it. */
FIXTURE_VARIANT(zone)
{
	bool iov;
};

FIXTURE_VARIANT_ADD(zone, iovecs)
{
	.iov = true,
};

FIXTURE_VARIANT_ADD(zone, memfds)
{
	.iov = false,
};

/* Read the frames of ZONE_MOVABLE from /proc/zoneinfo, proc(5). Return: false if there are none. */
static bool read_zone(__u64 *first, __u64 *end)
{
	FILE *file = fopen("/proc/zoneinfo", "r");
	unsigned long long start = 0, spanned = 0;
	bool here = false;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "Node ", strlen("Node ")))
			here = strstr(line, "Movable");
		if (here && (sscanf(line, " spanned %llu", &spanned) == 1 ||
			     sscanf(line, " start_pfn: %llu", &start) == 1))
			continue;
	}
	if (file)
		fclose(file);
	*first = start;
	*end = start + spanned;
	return start && spanned;
}

FIXTURE_SETUP(zone)
{
	if (variant->iov && !driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	if (variant->iov && kernel_before(5, 13))
		SKIP(return, "before 5.13 (commit d1e153fea2a8) pins stay where they are");
	if (!variant->iov && kernel_before(6, 11))
		SKIP(return, "before 6.11 no driver can pin memfds elsewhere");
	if (!read_zone(&self->first, &self->end))
		SKIP(return, "this machine has no memory that must stay movable");
	self->layout = (struct layout) {
		.backing = variant->iov ? ANON : SHMEM, .pages = PAGES,
		.nr_runs = 1, .runs = { { 0, PAGES } },
	};
	if (!source_open(_metadata, &self->source, &self->layout))
		return;
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(zone)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Return: how many pages of the source are in the zone. */
static int count_inside(const FIXTURE_DATA(zone) *self)
{
	int page, inside = 0;

	for (page = 0; page < PAGES; page++) {
		__u64 frame = page_frame(self->source.map + page * PAGE_BYTES);

		inside += frame >= self->first && frame < self->end;
	}
	return inside;
}

/* Guards: B28: pins without FOLL_LONGTERM, of pages where they are */
TEST_F(zone, left)
{
	int dmabuf;
	void *map;

	ASSERT_EQ(PAGES, count_inside(self));
	dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, PAGES * PAGE_BYTES, &map));
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_SOURCE, &self->layout));
	EXPECT_EQ(0, check_pages(_metadata, self->source.map, SEED_SOURCE, PAGES));
	EXPECT_EQ(0, count_inside(self));
	munmap(map, PAGES * PAGE_BYTES);
	close(dmabuf);
}

TEST_HARNESS_MAIN
