// SPDX-License-Identifier: GPL-2.0
/*
 * Generated from specs/release.toml and its template: do not edit.
 *
 * A buffer lives exactly as long as somebody uses it: descriptors, mappings,
 * other processes, in whatever order they let go. Then its pages, its charge
 * and its hold on the module are gone.
 */

#include "kselftest_harness.h"
#include "udmabuf_test.h"
#include "importer_test.h"

#include <sys/file.h>
#include <sys/syscall.h>

enum user { DEVICE, SOURCE, DMABUF, MAP, NR_USERS };

FIXTURE(close_order)
{
	struct baseline before;
};

/* The order in which the last users let go. */
FIXTURE_VARIANT(close_order)
{
	int order[8];
};

FIXTURE_VARIANT_ADD(close_order, device_source_dmabuf_map)
{
	.order = { DEVICE, SOURCE, DMABUF, MAP },
};

FIXTURE_VARIANT_ADD(close_order, device_source_map_dmabuf)
{
	.order = { DEVICE, SOURCE, MAP, DMABUF },
};

FIXTURE_VARIANT_ADD(close_order, device_dmabuf_source_map)
{
	.order = { DEVICE, DMABUF, SOURCE, MAP },
};

FIXTURE_VARIANT_ADD(close_order, device_dmabuf_map_source)
{
	.order = { DEVICE, DMABUF, MAP, SOURCE },
};

FIXTURE_VARIANT_ADD(close_order, device_map_source_dmabuf)
{
	.order = { DEVICE, MAP, SOURCE, DMABUF },
};

FIXTURE_VARIANT_ADD(close_order, device_map_dmabuf_source)
{
	.order = { DEVICE, MAP, DMABUF, SOURCE },
};

FIXTURE_VARIANT_ADD(close_order, source_device_dmabuf_map)
{
	.order = { SOURCE, DEVICE, DMABUF, MAP },
};

FIXTURE_VARIANT_ADD(close_order, source_device_map_dmabuf)
{
	.order = { SOURCE, DEVICE, MAP, DMABUF },
};

FIXTURE_VARIANT_ADD(close_order, source_dmabuf_device_map)
{
	.order = { SOURCE, DMABUF, DEVICE, MAP },
};

FIXTURE_VARIANT_ADD(close_order, source_dmabuf_map_device)
{
	.order = { SOURCE, DMABUF, MAP, DEVICE },
};

FIXTURE_VARIANT_ADD(close_order, source_map_device_dmabuf)
{
	.order = { SOURCE, MAP, DEVICE, DMABUF },
};

FIXTURE_VARIANT_ADD(close_order, source_map_dmabuf_device)
{
	.order = { SOURCE, MAP, DMABUF, DEVICE },
};

FIXTURE_VARIANT_ADD(close_order, dmabuf_device_source_map)
{
	.order = { DMABUF, DEVICE, SOURCE, MAP },
};

FIXTURE_VARIANT_ADD(close_order, dmabuf_device_map_source)
{
	.order = { DMABUF, DEVICE, MAP, SOURCE },
};

FIXTURE_VARIANT_ADD(close_order, dmabuf_source_device_map)
{
	.order = { DMABUF, SOURCE, DEVICE, MAP },
};

FIXTURE_VARIANT_ADD(close_order, dmabuf_source_map_device)
{
	.order = { DMABUF, SOURCE, MAP, DEVICE },
};

FIXTURE_VARIANT_ADD(close_order, dmabuf_map_device_source)
{
	.order = { DMABUF, MAP, DEVICE, SOURCE },
};

FIXTURE_VARIANT_ADD(close_order, dmabuf_map_source_device)
{
	.order = { DMABUF, MAP, SOURCE, DEVICE },
};

FIXTURE_VARIANT_ADD(close_order, map_device_source_dmabuf)
{
	.order = { MAP, DEVICE, SOURCE, DMABUF },
};

FIXTURE_VARIANT_ADD(close_order, map_device_dmabuf_source)
{
	.order = { MAP, DEVICE, DMABUF, SOURCE },
};

FIXTURE_VARIANT_ADD(close_order, map_source_device_dmabuf)
{
	.order = { MAP, SOURCE, DEVICE, DMABUF },
};

FIXTURE_VARIANT_ADD(close_order, map_source_dmabuf_device)
{
	.order = { MAP, SOURCE, DMABUF, DEVICE },
};

FIXTURE_VARIANT_ADD(close_order, map_dmabuf_device_source)
{
	.order = { MAP, DMABUF, DEVICE, SOURCE },
};

FIXTURE_VARIANT_ADD(close_order, map_dmabuf_source_device)
{
	.order = { MAP, DMABUF, SOURCE, DEVICE },
};

FIXTURE_SETUP(close_order)
{
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(close_order)
{
}

/* A buffer with all that it was made of. */
struct users {
	struct source source;
	int device;
	int dmabuf;
	void *map;
	size_t bytes;
};

static bool make_users(struct __test_metadata *_metadata, struct users *users,
		       const struct layout *layout)
{
	if (!source_open(_metadata, &users->source, layout))
		return false;
	users->bytes = layout_pages(layout) * PAGE_BYTES;
	users->device = open_device(_metadata);
	users->dmabuf = export_source(users->device, &users->source);
	ASSERT_LE(0, users->dmabuf);
	ASSERT_EQ(0, map_shared(users->dmabuf, users->bytes, &users->map));
	return true;
}

static void let_go(struct users *users, int user)
{
	switch (user) {
	case DEVICE:
		close(users->device);
		users->device = -1;
		break;
	case SOURCE:
		source_unmap(&users->source);
		source_close_memfd(&users->source);
		break;
	case DMABUF:
		close(users->dmabuf);
		users->dmabuf = -1;
		break;
	case MAP:
		munmap(users->map, users->bytes);
		users->map = NULL;
		break;
	}
}

/* Make a buffer, let go of it in this order; its content stays for as long as it is mapped. */
static void close_in_order(struct __test_metadata *_metadata, const struct baseline *before,
			   const int *order, const struct layout *layout)
{
	struct users users;
	int i;

	if (!make_users(_metadata, &users, layout))
		return;
	for (i = 0; i < NR_USERS; i++) {
		let_go(&users, order[i]);
		if (users.map)
			EXPECT_EQ(0, check_buffer(_metadata, users.map, SEED_SOURCE, layout));
	}
	EXPECT_TRUE(check_baseline(_metadata, before));
}

#ifdef UDMABUF_IOV_CREATE
/*
 * Guards: pages that are unpinned when the device or the descriptor is closed;
 * B09, M14: a release that forgets some pages
 */
TEST_F(close_order, anon)
{
	static const struct layout layout = {
		.backing = ANON, .pages = 3, .nr_runs = 2, .runs = { { 2, 1 }, { 0, 2 } },
	};

	close_in_order(_metadata, &self->before, variant->order, &layout);
}
#endif

/* Guards: M13, M14: a file or a folio that release forgets */
TEST_F(close_order, shmem)
{
	static const struct layout layout = {
		.backing = SHMEM, .pages = 3, .nr_runs = 2, .runs = { { 2, 1 }, { 0, 2 } },
	};

	close_in_order(_metadata, &self->before, variant->order, &layout);
}

/* Guards: M14: only the first page of a huge page is let go */
TEST_F(close_order, hugetlb)
{
	static const struct layout layout = {
		.backing = HUGETLB, .pages = 512, .nr_runs = 2, .runs = { { 511, 1 }, { 0, 2 } },
	};

	close_in_order(_metadata, &self->before, variant->order, &layout);
}

static void check_content(struct __test_metadata *_metadata, int dmabuf,
			  const struct layout *layout)
{
	size_t bytes = layout_pages(layout) * PAGE_BYTES;
	void *map;

	ASSERT_EQ(0, map_shared(dmabuf, bytes, &map));
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_SOURCE, layout));
	munmap(map, bytes);
}

#ifdef DMABUF_IMPORTER_ATTACH
/* A device that has the buffer mapped is one user more. */
enum { ATTACHMENT = NR_USERS, NR_USERS_ATTACHED };

FIXTURE(attached_order)
{
	struct baseline before;
};

/* The same order where a device has the buffer mapped. */
FIXTURE_VARIANT(attached_order)
{
	int order[8];
};

FIXTURE_VARIANT_ADD(attached_order, device_source_dmabuf_map_attachment)
{
	.order = { DEVICE, SOURCE, DMABUF, MAP, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, device_source_dmabuf_attachment_map)
{
	.order = { DEVICE, SOURCE, DMABUF, ATTACHMENT, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, device_source_map_dmabuf_attachment)
{
	.order = { DEVICE, SOURCE, MAP, DMABUF, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, device_source_map_attachment_dmabuf)
{
	.order = { DEVICE, SOURCE, MAP, ATTACHMENT, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, device_source_attachment_dmabuf_map)
{
	.order = { DEVICE, SOURCE, ATTACHMENT, DMABUF, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, device_source_attachment_map_dmabuf)
{
	.order = { DEVICE, SOURCE, ATTACHMENT, MAP, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, device_dmabuf_source_map_attachment)
{
	.order = { DEVICE, DMABUF, SOURCE, MAP, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, device_dmabuf_source_attachment_map)
{
	.order = { DEVICE, DMABUF, SOURCE, ATTACHMENT, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, device_dmabuf_map_source_attachment)
{
	.order = { DEVICE, DMABUF, MAP, SOURCE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, device_dmabuf_map_attachment_source)
{
	.order = { DEVICE, DMABUF, MAP, ATTACHMENT, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, device_dmabuf_attachment_source_map)
{
	.order = { DEVICE, DMABUF, ATTACHMENT, SOURCE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, device_dmabuf_attachment_map_source)
{
	.order = { DEVICE, DMABUF, ATTACHMENT, MAP, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, device_map_source_dmabuf_attachment)
{
	.order = { DEVICE, MAP, SOURCE, DMABUF, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, device_map_source_attachment_dmabuf)
{
	.order = { DEVICE, MAP, SOURCE, ATTACHMENT, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, device_map_dmabuf_source_attachment)
{
	.order = { DEVICE, MAP, DMABUF, SOURCE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, device_map_dmabuf_attachment_source)
{
	.order = { DEVICE, MAP, DMABUF, ATTACHMENT, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, device_map_attachment_source_dmabuf)
{
	.order = { DEVICE, MAP, ATTACHMENT, SOURCE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, device_map_attachment_dmabuf_source)
{
	.order = { DEVICE, MAP, ATTACHMENT, DMABUF, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, device_attachment_source_dmabuf_map)
{
	.order = { DEVICE, ATTACHMENT, SOURCE, DMABUF, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, device_attachment_source_map_dmabuf)
{
	.order = { DEVICE, ATTACHMENT, SOURCE, MAP, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, device_attachment_dmabuf_source_map)
{
	.order = { DEVICE, ATTACHMENT, DMABUF, SOURCE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, device_attachment_dmabuf_map_source)
{
	.order = { DEVICE, ATTACHMENT, DMABUF, MAP, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, device_attachment_map_source_dmabuf)
{
	.order = { DEVICE, ATTACHMENT, MAP, SOURCE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, device_attachment_map_dmabuf_source)
{
	.order = { DEVICE, ATTACHMENT, MAP, DMABUF, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, source_device_dmabuf_map_attachment)
{
	.order = { SOURCE, DEVICE, DMABUF, MAP, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, source_device_dmabuf_attachment_map)
{
	.order = { SOURCE, DEVICE, DMABUF, ATTACHMENT, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, source_device_map_dmabuf_attachment)
{
	.order = { SOURCE, DEVICE, MAP, DMABUF, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, source_device_map_attachment_dmabuf)
{
	.order = { SOURCE, DEVICE, MAP, ATTACHMENT, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, source_device_attachment_dmabuf_map)
{
	.order = { SOURCE, DEVICE, ATTACHMENT, DMABUF, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, source_device_attachment_map_dmabuf)
{
	.order = { SOURCE, DEVICE, ATTACHMENT, MAP, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, source_dmabuf_device_map_attachment)
{
	.order = { SOURCE, DMABUF, DEVICE, MAP, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, source_dmabuf_device_attachment_map)
{
	.order = { SOURCE, DMABUF, DEVICE, ATTACHMENT, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, source_dmabuf_map_device_attachment)
{
	.order = { SOURCE, DMABUF, MAP, DEVICE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, source_dmabuf_map_attachment_device)
{
	.order = { SOURCE, DMABUF, MAP, ATTACHMENT, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, source_dmabuf_attachment_device_map)
{
	.order = { SOURCE, DMABUF, ATTACHMENT, DEVICE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, source_dmabuf_attachment_map_device)
{
	.order = { SOURCE, DMABUF, ATTACHMENT, MAP, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, source_map_device_dmabuf_attachment)
{
	.order = { SOURCE, MAP, DEVICE, DMABUF, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, source_map_device_attachment_dmabuf)
{
	.order = { SOURCE, MAP, DEVICE, ATTACHMENT, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, source_map_dmabuf_device_attachment)
{
	.order = { SOURCE, MAP, DMABUF, DEVICE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, source_map_dmabuf_attachment_device)
{
	.order = { SOURCE, MAP, DMABUF, ATTACHMENT, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, source_map_attachment_device_dmabuf)
{
	.order = { SOURCE, MAP, ATTACHMENT, DEVICE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, source_map_attachment_dmabuf_device)
{
	.order = { SOURCE, MAP, ATTACHMENT, DMABUF, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, source_attachment_device_dmabuf_map)
{
	.order = { SOURCE, ATTACHMENT, DEVICE, DMABUF, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, source_attachment_device_map_dmabuf)
{
	.order = { SOURCE, ATTACHMENT, DEVICE, MAP, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, source_attachment_dmabuf_device_map)
{
	.order = { SOURCE, ATTACHMENT, DMABUF, DEVICE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, source_attachment_dmabuf_map_device)
{
	.order = { SOURCE, ATTACHMENT, DMABUF, MAP, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, source_attachment_map_device_dmabuf)
{
	.order = { SOURCE, ATTACHMENT, MAP, DEVICE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, source_attachment_map_dmabuf_device)
{
	.order = { SOURCE, ATTACHMENT, MAP, DMABUF, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_device_source_map_attachment)
{
	.order = { DMABUF, DEVICE, SOURCE, MAP, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_device_source_attachment_map)
{
	.order = { DMABUF, DEVICE, SOURCE, ATTACHMENT, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_device_map_source_attachment)
{
	.order = { DMABUF, DEVICE, MAP, SOURCE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_device_map_attachment_source)
{
	.order = { DMABUF, DEVICE, MAP, ATTACHMENT, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_device_attachment_source_map)
{
	.order = { DMABUF, DEVICE, ATTACHMENT, SOURCE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_device_attachment_map_source)
{
	.order = { DMABUF, DEVICE, ATTACHMENT, MAP, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_source_device_map_attachment)
{
	.order = { DMABUF, SOURCE, DEVICE, MAP, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_source_device_attachment_map)
{
	.order = { DMABUF, SOURCE, DEVICE, ATTACHMENT, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_source_map_device_attachment)
{
	.order = { DMABUF, SOURCE, MAP, DEVICE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_source_map_attachment_device)
{
	.order = { DMABUF, SOURCE, MAP, ATTACHMENT, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_source_attachment_device_map)
{
	.order = { DMABUF, SOURCE, ATTACHMENT, DEVICE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_source_attachment_map_device)
{
	.order = { DMABUF, SOURCE, ATTACHMENT, MAP, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_map_device_source_attachment)
{
	.order = { DMABUF, MAP, DEVICE, SOURCE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_map_device_attachment_source)
{
	.order = { DMABUF, MAP, DEVICE, ATTACHMENT, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_map_source_device_attachment)
{
	.order = { DMABUF, MAP, SOURCE, DEVICE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_map_source_attachment_device)
{
	.order = { DMABUF, MAP, SOURCE, ATTACHMENT, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_map_attachment_device_source)
{
	.order = { DMABUF, MAP, ATTACHMENT, DEVICE, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_map_attachment_source_device)
{
	.order = { DMABUF, MAP, ATTACHMENT, SOURCE, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_attachment_device_source_map)
{
	.order = { DMABUF, ATTACHMENT, DEVICE, SOURCE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_attachment_device_map_source)
{
	.order = { DMABUF, ATTACHMENT, DEVICE, MAP, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_attachment_source_device_map)
{
	.order = { DMABUF, ATTACHMENT, SOURCE, DEVICE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_attachment_source_map_device)
{
	.order = { DMABUF, ATTACHMENT, SOURCE, MAP, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_attachment_map_device_source)
{
	.order = { DMABUF, ATTACHMENT, MAP, DEVICE, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, dmabuf_attachment_map_source_device)
{
	.order = { DMABUF, ATTACHMENT, MAP, SOURCE, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, map_device_source_dmabuf_attachment)
{
	.order = { MAP, DEVICE, SOURCE, DMABUF, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, map_device_source_attachment_dmabuf)
{
	.order = { MAP, DEVICE, SOURCE, ATTACHMENT, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, map_device_dmabuf_source_attachment)
{
	.order = { MAP, DEVICE, DMABUF, SOURCE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, map_device_dmabuf_attachment_source)
{
	.order = { MAP, DEVICE, DMABUF, ATTACHMENT, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, map_device_attachment_source_dmabuf)
{
	.order = { MAP, DEVICE, ATTACHMENT, SOURCE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, map_device_attachment_dmabuf_source)
{
	.order = { MAP, DEVICE, ATTACHMENT, DMABUF, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, map_source_device_dmabuf_attachment)
{
	.order = { MAP, SOURCE, DEVICE, DMABUF, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, map_source_device_attachment_dmabuf)
{
	.order = { MAP, SOURCE, DEVICE, ATTACHMENT, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, map_source_dmabuf_device_attachment)
{
	.order = { MAP, SOURCE, DMABUF, DEVICE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, map_source_dmabuf_attachment_device)
{
	.order = { MAP, SOURCE, DMABUF, ATTACHMENT, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, map_source_attachment_device_dmabuf)
{
	.order = { MAP, SOURCE, ATTACHMENT, DEVICE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, map_source_attachment_dmabuf_device)
{
	.order = { MAP, SOURCE, ATTACHMENT, DMABUF, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, map_dmabuf_device_source_attachment)
{
	.order = { MAP, DMABUF, DEVICE, SOURCE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, map_dmabuf_device_attachment_source)
{
	.order = { MAP, DMABUF, DEVICE, ATTACHMENT, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, map_dmabuf_source_device_attachment)
{
	.order = { MAP, DMABUF, SOURCE, DEVICE, ATTACHMENT },
};

FIXTURE_VARIANT_ADD(attached_order, map_dmabuf_source_attachment_device)
{
	.order = { MAP, DMABUF, SOURCE, ATTACHMENT, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, map_dmabuf_attachment_device_source)
{
	.order = { MAP, DMABUF, ATTACHMENT, DEVICE, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, map_dmabuf_attachment_source_device)
{
	.order = { MAP, DMABUF, ATTACHMENT, SOURCE, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, map_attachment_device_source_dmabuf)
{
	.order = { MAP, ATTACHMENT, DEVICE, SOURCE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, map_attachment_device_dmabuf_source)
{
	.order = { MAP, ATTACHMENT, DEVICE, DMABUF, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, map_attachment_source_device_dmabuf)
{
	.order = { MAP, ATTACHMENT, SOURCE, DEVICE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, map_attachment_source_dmabuf_device)
{
	.order = { MAP, ATTACHMENT, SOURCE, DMABUF, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, map_attachment_dmabuf_device_source)
{
	.order = { MAP, ATTACHMENT, DMABUF, DEVICE, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, map_attachment_dmabuf_source_device)
{
	.order = { MAP, ATTACHMENT, DMABUF, SOURCE, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_device_source_dmabuf_map)
{
	.order = { ATTACHMENT, DEVICE, SOURCE, DMABUF, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_device_source_map_dmabuf)
{
	.order = { ATTACHMENT, DEVICE, SOURCE, MAP, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_device_dmabuf_source_map)
{
	.order = { ATTACHMENT, DEVICE, DMABUF, SOURCE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_device_dmabuf_map_source)
{
	.order = { ATTACHMENT, DEVICE, DMABUF, MAP, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_device_map_source_dmabuf)
{
	.order = { ATTACHMENT, DEVICE, MAP, SOURCE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_device_map_dmabuf_source)
{
	.order = { ATTACHMENT, DEVICE, MAP, DMABUF, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_source_device_dmabuf_map)
{
	.order = { ATTACHMENT, SOURCE, DEVICE, DMABUF, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_source_device_map_dmabuf)
{
	.order = { ATTACHMENT, SOURCE, DEVICE, MAP, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_source_dmabuf_device_map)
{
	.order = { ATTACHMENT, SOURCE, DMABUF, DEVICE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_source_dmabuf_map_device)
{
	.order = { ATTACHMENT, SOURCE, DMABUF, MAP, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_source_map_device_dmabuf)
{
	.order = { ATTACHMENT, SOURCE, MAP, DEVICE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_source_map_dmabuf_device)
{
	.order = { ATTACHMENT, SOURCE, MAP, DMABUF, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_dmabuf_device_source_map)
{
	.order = { ATTACHMENT, DMABUF, DEVICE, SOURCE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_dmabuf_device_map_source)
{
	.order = { ATTACHMENT, DMABUF, DEVICE, MAP, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_dmabuf_source_device_map)
{
	.order = { ATTACHMENT, DMABUF, SOURCE, DEVICE, MAP },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_dmabuf_source_map_device)
{
	.order = { ATTACHMENT, DMABUF, SOURCE, MAP, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_dmabuf_map_device_source)
{
	.order = { ATTACHMENT, DMABUF, MAP, DEVICE, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_dmabuf_map_source_device)
{
	.order = { ATTACHMENT, DMABUF, MAP, SOURCE, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_map_device_source_dmabuf)
{
	.order = { ATTACHMENT, MAP, DEVICE, SOURCE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_map_device_dmabuf_source)
{
	.order = { ATTACHMENT, MAP, DEVICE, DMABUF, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_map_source_device_dmabuf)
{
	.order = { ATTACHMENT, MAP, SOURCE, DEVICE, DMABUF },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_map_source_dmabuf_device)
{
	.order = { ATTACHMENT, MAP, SOURCE, DMABUF, DEVICE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_map_dmabuf_device_source)
{
	.order = { ATTACHMENT, MAP, DMABUF, DEVICE, SOURCE },
};

FIXTURE_VARIANT_ADD(attached_order, attachment_map_dmabuf_source_device)
{
	.order = { ATTACHMENT, MAP, DMABUF, SOURCE, DEVICE },
};

FIXTURE_SETUP(attached_order)
{
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(attached_order)
{
}

/*
 * Whoever asks for memory next gets the pages that were freed last, so that who still looks at
 * them finds these. More of them than a CPU holds back before it frees them.
 */
#define OTHER_PAGES	40

static void overwrite_freed_pages(struct __test_metadata *_metadata)
{
	size_t bytes = OTHER_PAGES * PAGE_BYTES, page;
	char *other = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, other);
	for (page = 0; page < OTHER_PAGES; page++)
		stamp_page(other + page * PAGE_BYTES, SEED_CHILD, page);
	munmap(other, bytes);
}

/* What a device does is the same for every kind of memory: one kind, which every driver takes. */
/*
 * Guards: pages that go with the last device, or that a mapped device does not
 * keep; a device that needs who let go before
 */
TEST_F(attached_order, shmem)
{
	static const struct layout layout = {
		.backing = SHMEM, .pages = 3, .nr_runs = 2, .runs = { { 2, 1 }, { 0, 2 } },
	};
	int importer = open_importer(_metadata), handle, i;
	struct dmabuf_importer_map map;
	bool attached = true;
	struct users users;
	char *data;

	if (importer < 0 || !make_users(_metadata, &users, &layout))
		return;
	data = malloc(users.bytes);
	ASSERT_NE(NULL, data);
	handle = attach(importer, users.dmabuf, DMABUF_IMPORTER_DEV_DEFAULT, 0);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map));
	for (i = 0; i < NR_USERS_ATTACHED; i++) {
		if (variant->order[i] == ATTACHMENT) {
			EXPECT_EQ(0, unmap_dma(importer, handle));
			EXPECT_EQ(0, detach(importer, handle));
			attached = false;
		} else {
			let_go(&users, variant->order[i]);
		}
		if (users.source.map == MAP_FAILED)
			overwrite_freed_pages(_metadata);
		if (users.map)
			EXPECT_EQ(0, check_buffer(_metadata, users.map, SEED_SOURCE, &layout));
		if (users.dmabuf >= 0)
			check_content(_metadata, users.dmabuf, &layout);
		if (attached) {
			ASSERT_EQ(0, copy_data(importer, DMABUF_IMPORTER_READ, handle, 0, data,
					       users.bytes));
			EXPECT_EQ(0, check_buffer(_metadata, data, SEED_SOURCE, &layout));
		}
	}
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
	close(importer);
	free(data);
}
#endif

FIXTURE(last_user)
{
	struct baseline before;
	struct source source;
	size_t bytes;
	int device;
	int sockets[2];
};

/* What is exported. */
FIXTURE_VARIANT(last_user)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(last_user, anon_many)
{
	.layout = {
		.backing = ANON,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(last_user, thp_many)
{
	.layout = {
		.backing = THP,
		.pages = 512,
		.nr_runs = 4,
		.runs = { { 300, 2 }, { 257, 3 }, { 100, 1 }, { 258, 1 } },
	},
};

FIXTURE_VARIANT_ADD(last_user, shmem_many)
{
	.layout = {
		.backing = SHMEM,
		.pages = 8,
		.nr_runs = 4,
		.runs = { { 6, 1 }, { 0, 2 }, { 4, 2 }, { 3, 1 } },
	},
};

FIXTURE_VARIANT_ADD(last_user, hugetlb_many)
{
	.layout = {
		.backing = HUGETLB,
		.pages = 1024,
		.nr_runs = 4,
		.runs = { { 1023, 1 }, { 511, 2 }, { 700, 3 }, { 0, 1 } },
	},
};

FIXTURE_SETUP(last_user)
{
	/* The huge page pool counts as little as the device that stays open. */
	if (!source_open(_metadata, &self->source, &variant->layout))
		return;
	self->device = open_device(_metadata);
	self->bytes = layout_pages(&variant->layout) * PAGE_BYTES;
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sockets));
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(last_user)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/*
 * Guards: a release that needs the creating process, or happens when the
 * creator closes
 */
TEST_F(last_user, other_process)
{
	int dmabuf = export_source(self->device, &self->source);
	pid_t child;

	ASSERT_LE(0, dmabuf);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		ASSERT_TRUE(hear(self->sockets[1]));
		check_content(_metadata, dmabuf, &variant->layout);
		_exit(0);
	}
	close(dmabuf);
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	ASSERT_TRUE(tell(self->sockets[0]));
	EXPECT_EQ(0, join(child));
}

/*
 * Guards: pages or charge that hang on the creator's address space and go with
 * it
 */
TEST_F(last_user, creator_exits)
{
	pid_t child = fork();
	int dmabuf;

	ASSERT_LE(0, child);
	if (!child) {
		struct source source;

		ASSERT_TRUE(source_open(_metadata, &source, &variant->layout));
		dmabuf = export_source(self->device, &source);
		ASSERT_LE(0, dmabuf);
		ASSERT_EQ(0, send_fd(self->sockets[1], dmabuf));
		_exit(0);
	}
	dmabuf = receive_fd(self->sockets[0]);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(0, join(child));
	check_content(_metadata, dmabuf, &variant->layout);
	close(dmabuf);
}

/* Guards: a release that only works in a process that owns the descriptor */
TEST_F(last_user, in_flight)
{
	int dmabuf = export_source(self->device, &self->source);

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, send_fd(self->sockets[1], dmabuf));
	close(dmabuf);
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	close(self->sockets[0]);
	close(self->sockets[1]);
}

/*
 * Guards: a release that sleeps interruptibly and gives up when a signal is
 * pending
 */
TEST_F(last_user, killed)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		int dmabuf = export_source(self->device, &self->source);
		void *map;

		ASSERT_LE(0, dmabuf);
		ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &map));
		EXPECT_EQ(0, touch(map));
		ASSERT_TRUE(tell(self->sockets[1]));
		for (;;)
			pause();
	}
	ASSERT_TRUE(hear(self->sockets[0]));
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	kill(child, SIGKILL);
	EXPECT_EQ(-1, join(child));
}

/*
 * Guards: a release that needs the program that held the last descriptor and
 * mapping
 */
TEST_F(last_user, exec)
{
	int dmabuf = export_source(self->device, &self->source);
	pid_t child;
	void *map;

	ASSERT_LE(0, dmabuf);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &map));
		EXPECT_EQ(0, touch(map));
		ASSERT_TRUE(hear(self->sockets[1]));
		/* A program that lives until the socket is closed. */
		dup2(self->sockets[1], STDIN_FILENO);
		execl("/bin/cat", "cat", NULL);
		_exit(1);
	}
	close(dmabuf);
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	ASSERT_TRUE(tell(self->sockets[0]));
	EXPECT_TRUE(await_dmabufs(self->before.dmabufs));
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	ASSERT_EQ(0, shutdown(self->sockets[0], SHUT_WR));
	EXPECT_EQ(0, join(child));
}

/*
 * Guards: a count of mappings of the driver's own, which fork() does not tell
 */
TEST_F(last_user, forked_map)
{
	int dmabuf = export_source(self->device, &self->source);
	pid_t child;
	void *map;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &map));
	close(dmabuf);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		ASSERT_TRUE(hear(self->sockets[1]));
		EXPECT_EQ(0, check_buffer(_metadata, map, SEED_SOURCE, &variant->layout));
		_exit(0);
	}
	munmap(map, self->bytes);
	EXPECT_EQ(self->before.dmabufs + 1, count_dmabufs());
	ASSERT_TRUE(tell(self->sockets[0]));
	EXPECT_EQ(0, join(child));
}

/*
 * Guards: B25, M7, M8, CVE-2024-56712: a buffer that leaks, or is freed twice,
 * when no descriptor is free
 */
TEST_F(last_user, no_descriptor)
{
	struct rlimit files = { 0 };

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &files));
	files.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	EXPECT_EQ(-EMFILE, export_source(self->device, &self->source));
	files.rlim_cur = files.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
}

#ifdef UDMABUF_IOV_CREATE
/* That the module cannot be unloaded is tried only where its count says so too. */
static void check_in_use(struct __test_metadata *_metadata, const struct baseline *before)
{
	ASSERT_LT(before->module_users, read_number(UDMABUF_IOV_MODULE "/refcnt"));
	EXPECT_EQ(-1, syscall(SYS_delete_module, "udmabuf_iov", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
}

/*
 * Guards: M24: exp_info.owner = NULL, so that the module can be unloaded under
 * a buffer or its mapping
 */
TEST_F(last_user, module_in_use)
{
	int dmabuf;
	void *map;

	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver is not a module");
	dmabuf = export_source(self->device, &self->source);
	ASSERT_LE(0, dmabuf);
	close(self->device);
	self->before.module_users--;
	check_in_use(_metadata, &self->before);
	ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &map));
	close(dmabuf);
	check_in_use(_metadata, &self->before);
	munmap(map, self->bytes);
}
#endif

/* Guards: a buffer that follows the addresses and not the pages */
TEST_F(last_user, source_gone)
{
	int dmabuf = export_source(self->device, &self->source);
	void *map;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, self->bytes, &map));
	/* The buffer keeps those that there are. */
	if (variant->layout.backing == HUGETLB &&
	    !reserve_huge_pages(self->source.bytes / HUGE_PAGE_BYTES))
		SKIP(return, "not enough memory for %zu more huge pages",
		     self->source.bytes / HUGE_PAGE_BYTES);
	ASSERT_EQ(0, discard_pages(&self->source));
	fill_pages(self->source.map, SEED_CHILD, variant->layout.pages);
	EXPECT_EQ(0, check_buffer(_metadata, map, SEED_SOURCE, &variant->layout));
	munmap(map, self->bytes);
	close(dmabuf);
}

FIXTURE(memfd)
{
	struct baseline before;
	int device;
	int memfd;
	int again;
	size_t bytes;
};

/* A memfd, and whether it is accepted. */
FIXTURE_VARIANT(memfd)
{
	bool huge;
	bool good;
};

FIXTURE_VARIANT_ADD(memfd, shmem)
{
	.huge = false,
	.good = true,
};

FIXTURE_VARIANT_ADD(memfd, shmem_refused)
{
	.huge = false,
	.good = false,
};

FIXTURE_VARIANT_ADD(memfd, hugetlb)
{
	.huge = true,
	.good = true,
};

FIXTURE_VARIANT_ADD(memfd, hugetlb_refused)
{
	.huge = true,
	.good = false,
};

FIXTURE_SETUP(memfd)
{
	char path[32];

	if (variant->huge && !reserve_huge_pages(1))
		SKIP(return, "not enough memory for a huge page");
	self->bytes = variant->huge ? HUGE_PAGE_BYTES : 4 * PAGE_BYTES;
	self->device = open_device(_metadata);
	self->memfd = make_memfd(variant->huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0, self->bytes,
				 variant->good ? F_SEAL_SHRINK : 0);
	ASSERT_LE(0, self->memfd);
	/* The same file, opened once more. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->memfd);
	self->again = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->again);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(memfd)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* A lock of flock() goes when the last reference to the open file does. */
/* Guards: M13: a file that the call keeps, whether it works or not */
TEST_F(memfd, let_go)
{
	int dmabuf;

	ASSERT_EQ(0, flock(self->memfd, LOCK_EX | LOCK_NB));
	dmabuf = create(self->device, self->memfd, 0, self->bytes, 0);
	EXPECT_EQ(variant->good ? 0 : -EINVAL, dmabuf < 0 ? dmabuf : 0);
	EXPECT_EQ(-1, flock(self->again, LOCK_EX | LOCK_NB));
	close(self->memfd);
	EXPECT_EQ(0, flock(self->again, LOCK_EX | LOCK_NB));
	if (dmabuf >= 0)
		close(dmabuf);
}

/* F_ADD_SEALS counts the references to all pages of the file. */
/*
 * Guards: M14: references to pages that release forgets, also such as are no
 * pins
 */
TEST_F(memfd, sealed)
{
	int dmabuf = create(self->device, self->memfd, 0, self->bytes, 0);

	EXPECT_EQ(variant->good ? 0 : -EINVAL, dmabuf < 0 ? dmabuf : 0);
	if (dmabuf >= 0)
		close(dmabuf);
	EXPECT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, F_SEAL_WRITE));
}

/* Guards: M13: a refused call that keeps the lock of the file */
TEST_F_TIMEOUT(memfd, changed, 3)
{
	int dmabuf = create(self->device, self->memfd, 0, self->bytes, 0);

	EXPECT_EQ(variant->good ? 0 : -EINVAL, dmabuf < 0 ? dmabuf : 0);
	EXPECT_EQ(0, fcntl(self->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	if (dmabuf >= 0)
		close(dmabuf);
	dmabuf = create(self->device, self->memfd, 0, self->bytes, 0);
	ASSERT_LE(0, dmabuf);
	close(dmabuf);
}

FIXTURE(written)
{
	struct baseline before;
	int device;
};

FIXTURE_SETUP(written)
{
	self->device = open_device(_metadata);
	baseline_take(&self->before);
}

FIXTURE_TEARDOWN(written)
{
	EXPECT_TRUE(check_baseline(_metadata, &self->before));
}

/* Documentation/admin-guide/mm/pagemap.rst */
#define KPF_DIRTY	4

static bool is_dirty(struct __test_metadata *_metadata, __u64 frame)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	__u64 flags = 0;

	ASSERT_EQ(sizeof(flags), pread(fd, &flags, sizeof(flags), frame * sizeof(flags)));
	close(fd);
	return flags >> KPF_DIRTY & 1;
}

/*
 * Guards: B09, M21: pages that are not marked dirty, and so may be lost when
 * memory is short
 */
TEST_F(written, dirty)
{
	int memfd = make_memfd(0, PAGE_BYTES, F_SEAL_SHRINK), dmabuf;
	unsigned char *owner, *map;

	ASSERT_LE(0, memfd);
	dmabuf = create(self->device, memfd, 0, PAGE_BYTES, 0);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, map_shared(dmabuf, PAGE_BYTES, (void **)&map));
	*map = 1;
	munmap(map, PAGE_BYTES);
	owner = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, memfd, 0);
	ASSERT_NE(MAP_FAILED, owner);
	EXPECT_EQ(1, *owner);
	EXPECT_FALSE(is_dirty(_metadata, page_frame(owner)));
	close(dmabuf);
	EXPECT_TRUE(is_dirty(_metadata, page_frame(owner)));
	munmap(owner, PAGE_BYTES);
	close(memfd);
}

#ifdef UDMABUF_IOV_CREATE

/*
 * Guards: B09, M21: the same of the caller's own memory, which kernels before
 * 6.12 unpin in another way
 */
TEST_F(written, dirty_anon)
{
	static const struct layout layout = { .nr_runs = 1, .runs = { { 0, 1 } } };
	unsigned char *owner = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int dmabuf;

	if (!driver_is_udmabuf_iov())
		SKIP(return, "this driver does not take iovecs");
	ASSERT_NE(MAP_FAILED, owner);
	dmabuf = create_iov(self->device, owner, &layout, 0);
	ASSERT_LE(0, dmabuf);
	/* A page of anonymous memory is dirty by its page table alone, until it is swapped out. */
	EXPECT_FALSE(is_dirty(_metadata, page_frame(owner)));
	close(dmabuf);
	EXPECT_TRUE(is_dirty(_metadata, page_frame(owner)));
	munmap(owner, PAGE_BYTES);
}

#endif

TEST_HARNESS_MAIN
