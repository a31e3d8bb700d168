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

/*
 * Let mappings for DMABUF_IMPORTER_DEV_FAILING fail with @error, or succeed again when it is 0.
 * Return: the error that importers get from now on, or a negative errno; @mapped, if not NULL: how
 * many entries of tables are mapped for that device.
 */
static inline int fail_mappings(int importer, int error, __u32 *mapped)
{
	struct dmabuf_importer_fail fail = { .error = error, .mapped = ~0U };
	int failed = call(importer, DMABUF_IMPORTER_FAIL, &fail);

	if (mapped)
		*mapped = fail.mapped;
	return failed ? failed : (int)fail.error;
}

/*
 * Map the buffer for DMABUF_IMPORTER_DEV_FAILING, which does what it has been told to, and undo it.
 * Return: 0, or what failed first; -EIO: the table is not of all that the buffer has.
 */
static inline int map_once(int importer, int dmabuf, __u32 flags)
{
	int handle = attach(importer, dmabuf, DMABUF_IMPORTER_DEV_FAILING, flags), error;
	struct dmabuf_importer_map map;

	if (handle < 0)
		return handle;
	error = map_dma(importer, handle, DMABUF_IMPORTER_BIDIRECTIONAL, &map);
	if (!error)
		error = unmap_dma(importer, handle);
	if (!error && lseek(dmabuf, 0, SEEK_END) != (off_t)map.bytes)
		error = -EIO;
	detach(importer, handle);
	return error;
}

/* @what: DMABUF_IMPORTER_STALL_*. */
static inline int stall_syncs(int importer, unsigned int what)
{
	return call(importer, DMABUF_IMPORTER_STALL, (void *)(uintptr_t)what);
}

static inline int cpu_access(int importer, unsigned long request, int dmabuf,
			     unsigned int direction)
{
	struct dmabuf_importer_access access = { .fd = dmabuf, .direction = direction };

	return call(importer, request, &access);
}

/* A buffer and a device's session; what most tests of devices start from. */
struct imported {
	struct baseline before;
	struct source source;
	size_t bytes;
	int importer;
	int dmabuf;
};

/*
 * The debugging of the DMA API takes a page that a device has twice for a mistake ("overlapping
 * mappings aren't supported"). In @layout it is what the caller asked for: nothing is said then, by
 * a filter for a driver that does not exist (Documentation/core-api/dma-api.rst).
 */
static inline void allow_overlap(const struct layout *layout)
{
	int fd = open("/sys/kernel/debug/dma-api/driver_filter", O_WRONLY | O_CLOEXEC);
	const char *filter = layout_repeats(layout) ? "nobody" : "\n";

	if (fd < 0)
		return;
	if (write(fd, filter, strlen(filter)) < 0)
		perror("driver_filter");
	close(fd);
}

static inline bool import_layout(struct __test_metadata *_metadata, struct imported *self,
				 const struct layout *layout)
{
	int device;

	if (!source_open(_metadata, &self->source, layout))
		return false;
	self->importer = open_importer(_metadata);
	if (self->importer < 0)
		return false;
	allow_overlap(layout);
	self->bytes = layout_pages(layout) * PAGE_BYTES;
	baseline_take(&self->before);
	device = open_device(_metadata);
	self->dmabuf = export_source(device, &self->source);
	ASSERT_LE(0, self->dmabuf);
	close(device);
	return true;
}

/* Attach a device and map the buffer for it. Return: the handle. */
static inline int attach_and_map(struct __test_metadata *_metadata, const struct imported *self,
				 unsigned int device, unsigned int direction)
{
	int handle = attach(self->importer, self->dmabuf, device, 0);
	struct dmabuf_importer_map map;

	ASSERT_LE(0, handle);
	ASSERT_EQ(0, map_dma(self->importer, handle, direction, &map));
	EXPECT_EQ(self->bytes, map.bytes);
	return handle;
}

/* Check the whole buffer as @request of the importer reads it: READ or VREAD. */
static inline void check_data(struct __test_metadata *_metadata, const struct imported *self,
			      unsigned long request, int handle, unsigned int seed)
{
	void *data = calloc(1, self->bytes);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, copy_data(self->importer, request, handle, 0, data, self->bytes));
	EXPECT_EQ(0, check_buffer(_metadata, data, seed, self->source.layout));
	free(data);
}

/* Write the whole buffer as @request of the importer does: WRITE or VWRITE. */
static inline void write_data(struct __test_metadata *_metadata, const struct imported *self,
			      unsigned long request, int handle)
{
	void *data = malloc(self->bytes);

	ASSERT_NE(NULL, data);
	fill_buffer(data, SEED_BUFFER, self->source.layout);
	ASSERT_EQ(0, copy_data(self->importer, request, handle, 0, data, self->bytes));
	free(data);
}

/* Check that the exported pages of the source, and only they, hold what a device wrote. */
static inline void check_source(struct __test_metadata *_metadata, const struct imported *self)
{
	const struct layout *layout = self->source.layout;
	size_t page;

	for (page = 0; page < layout->pages; page++)
		ASSERT_TRUE(check_page(_metadata, self->source.map + page * PAGE_BYTES,
				       layout_exports(layout, page) ? SEED_BUFFER : SEED_SOURCE,
				       page));
}

#endif /* IMPORTER_TEST_H */
