/* SPDX-License-Identifier: GPL-2.0 */
/*
 * importer_test.h: wrappers around the test importer's calls, which return what the ioctl
 * returned, or -errno. Include udmabuf_test.h first.
 */
#ifndef IMPORTER_TEST_H
#define IMPORTER_TEST_H

#include "dmabuf_importer.h"

#define IMPORTER_DEVICE		"/dev/dmabuf_importer"

/* Return: a session, or -1 after marking the test as skipped where there is no importer. */
static inline int open_importer(struct __test_metadata *_metadata)
{
	int fd = open(IMPORTER_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		SKIP(return -1, "no %s", IMPORTER_DEVICE);
	ASSERT_LE(0, fd) TH_LOG("%s: %s", IMPORTER_DEVICE, strerror(errno));
	return fd;
}

/* Return: the handle of an attachment, or -errno. */
static inline int attach(int importer, int dmabuf, unsigned int device, __u32 flags)
{
	struct dmabuf_importer_attach attach = {
		.fd = dmabuf,
		.device = device,
		.flags = flags,
		.handle = ~0U,
	};
	int error = call(importer, DMABUF_IMPORTER_ATTACH, &attach);

	return error ? error : (int)attach.handle;
}

static inline int map_dma(int importer, int handle, unsigned int direction,
			  struct dmabuf_importer_map *map)
{
	memset(map, 0xcc, sizeof(*map));
	map->handle = handle;
	map->direction = direction;
	return call(importer, DMABUF_IMPORTER_MAP, map);
}

static inline int unmap_dma(int importer, int handle)
{
	return call(importer, DMABUF_IMPORTER_UNMAP, (void *)(uintptr_t)handle);
}

static inline int detach(int importer, int handle)
{
	return call(importer, DMABUF_IMPORTER_DETACH, (void *)(uintptr_t)handle);
}

/* Unmap and detach everything that the session has. */
static inline int detach_all(int importer)
{
	struct dmabuf_importer_abandon abandon = { .order = DMABUF_IMPORTER_ORDER_OLDEST };

	return call(importer, DMABUF_IMPORTER_ABANDON, &abandon);
}

/* Read the table of a mapped attachment. Return: its number of entries, or -errno. */
static inline int read_table(int importer, int handle, struct dmabuf_importer_entry *entries,
			     size_t capacity)
{
	struct dmabuf_importer_table table = {
		.handle = handle,
		.capacity = capacity,
		.entries = (uintptr_t)entries,
	};
	int error = call(importer, DMABUF_IMPORTER_TABLE, &table);

	return error ? error : (int)table.count;
}

/* Copy between the caller and a buffer: @request is one of READ, WRITE, VREAD, VWRITE. */
static inline int copy_data(int importer, unsigned long request, int handle, size_t offset,
			    void *data, size_t bytes)
{
	struct dmabuf_importer_io io = {
		.handle = handle,
		.offset = offset,
		.len = bytes,
		.data = (uintptr_t)data,
	};

	return call(importer, request, &io);
}

static inline int read_pfns(int importer, int handle, __u64 *pfns, size_t count)
{
	struct dmabuf_importer_pfns argument = {
		.handle = handle,
		.count = count,
		.pfns = (uintptr_t)pfns,
	};

	return call(importer, DMABUF_IMPORTER_PFNS, &argument);
}

/* Return: the handle of a kernel mapping and its address in @address, or -errno. */
static inline int vmap_buffer(int importer, int dmabuf, __u64 *address)
{
	struct dmabuf_importer_vmap vmap = { .fd = dmabuf, .handle = ~0U };
	int error = call(importer, DMABUF_IMPORTER_VMAP, &vmap);

	*address = vmap.vaddr;
	return error ? error : (int)vmap.handle;
}

static inline int vunmap_buffer(int importer, int handle)
{
	return call(importer, DMABUF_IMPORTER_VUNMAP, (void *)(uintptr_t)handle);
}

static inline int cpu_access(int importer, unsigned long request, int dmabuf,
			     unsigned int direction)
{
	struct dmabuf_importer_access access = { .fd = dmabuf, .direction = direction };

	return call(importer, request, &access);
}

#endif /* IMPORTER_TEST_H */
