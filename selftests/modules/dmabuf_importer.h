/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * dmabuf_importer: a dma-buf importer for tests, driven by ioctl().
 *
 * /dev/dmabuf_importer, mode 0600. Every open file is a session of its own:
 * handles are small positive numbers, valid only in their session; closing the
 * file unmaps, detaches and releases whatever is left, oldest first.
 * All calls return 0, or -1 with errno. ENOENT: no such handle. EBUSY: the object
 * is in the wrong state (map when mapped, unmap when not, detach while mapped).
 * EINVAL: unknown flag, non-zero padding, bad range or direction. Errors of the
 * dma-buf core and of the exporter are passed on unchanged.
 *
 * "Device view" means: through the DMA addresses the exporter returned, as the
 * device would see memory: the bounce buffer under swiotlb; behind an IOMMU what
 * that translates them to.
 */
#ifndef _DMABUF_IMPORTER_H
#define _DMABUF_IMPORTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Indexes of the platform devices. INFO tells their limits. */
#define DMABUF_IMPORTER_DEV_DEFAULT	0	/* 64-bit mask, one huge segment allowed */
#define DMABUF_IMPORTER_DEV_MASK32	1	/* 32-bit mask: high pages are bounced */
#define DMABUF_IMPORTER_DEV_SEG4K	2	/* segments of at most 4096 bytes */
#define DMABUF_IMPORTER_DEV_SEG64K	3	/* segments of at most 65536 bytes */
#define DMABUF_IMPORTER_DEV_BOUNDARY	4	/* segments must not cross a 64 KiB boundary */
#define DMABUF_IMPORTER_DEV_FAILING	5	/* as SEG4K; fails and stalls when told so */
#define DMABUF_IMPORTER_NDEVICES	6
/* Only where the machine has one: QEMU's "edu", a PCI device, behind its IOMMU. */
#define DMABUF_IMPORTER_DEV_PCI		6	/* as DEFAULT */

/* enum dma_data_direction of the kernel */
#define DMABUF_IMPORTER_BIDIRECTIONAL	0
#define DMABUF_IMPORTER_TO_DEVICE	1
#define DMABUF_IMPORTER_FROM_DEVICE	2

/**
 * struct dmabuf_importer_info - limits of one device
 * @device: in: index
 * @ndevices: out: number of platform devices
 * @dma_mask: out
 * @seg_boundary: out: mask; no segment may cross a multiple of (mask + 1)
 * @max_seg_size: out: bytes
 * @pad: 0
 */
struct dmabuf_importer_info {
	__u32 device;
	__u32 ndevices;
	__u64 dma_mask;
	__u64 seg_boundary;
	__u32 max_seg_size;
	__u32 pad;
};

/*
 * dma_buf_dynamic_attach(). Up to 6.12 at least, the core maps such an attachment
 * when it is attached, bidirectionally, and MAP and UNMAP only look that up: what
 * a bouncing device wrote is back in the buffer after BEGIN or DETACH, not UNMAP.
 */
#define DMABUF_IMPORTER_ATTACH_DYNAMIC	0x01

/**
 * struct dmabuf_importer_attach - attach a device to a dma-buf
 * @fd: in: the dma-buf; may be closed afterwards
 * @device: in: index
 * @flags: in: DMABUF_IMPORTER_ATTACH_*
 * @handle: out
 */
struct dmabuf_importer_attach {
	__s32 fd;
	__u32 device;
	__u32 flags;
	__u32 handle;
};

/**
 * struct dmabuf_importer_map - map an attachment for DMA
 * @handle: in
 * @direction: in: DMABUF_IMPORTER_BIDIRECTIONAL, ...
 * @orig_nents: out: entries of the table
 * @nents: out: DMA segments
 * @bytes: out: sum of the lengths of the DMA segments
 */
struct dmabuf_importer_map {
	__u32 handle;
	__u32 direction;
	__u32 orig_nents;
	__u32 nents;
	__u64 bytes;
};

#define DMABUF_IMPORTER_NO_PFN	(~0ULL)

/**
 * struct dmabuf_importer_entry - one entry of a mapped table
 * @dma_addr: DMA address of segment i; 0 when i >= nents
 * @dma_len: its length in bytes; 0 when i >= nents
 * @offset: sg->offset
 * @length: sg->length
 * @pad: 0
 * @pfn: frame of sg_page(), 0 without a page, or DMABUF_IMPORTER_NO_PFN where the
 *	dma-buf core hides it (CONFIG_DMABUF_DEBUG) or i >= orig_nents
 */
struct dmabuf_importer_entry {
	__u64 dma_addr;
	__u32 dma_len;
	__u32 offset;
	__u32 length;
	__u32 pad;
	__u64 pfn;
};

/**
 * struct dmabuf_importer_table - report the table of a mapped attachment
 * @handle: in
 * @capacity: in: room at @entries
 * @entries: in: user pointer to struct dmabuf_importer_entry[capacity]
 * @count: out: entries the table has; min(count, capacity) were written
 * @pad: 0
 */
struct dmabuf_importer_table {
	__u32 handle;
	__u32 capacity;
	__u64 entries;
	__u32 count;
	__u32 pad;
};

/**
 * struct dmabuf_importer_io - copy between the caller and a buffer
 * @handle: in: mapped attachment (READ, WRITE) or vmap (VREAD, VWRITE)
 * @pad: 0
 * @offset: in: first byte of the buffer
 * @len: in: bytes; offset + len beyond the buffer is EINVAL
 * @data: in: user pointer
 */
struct dmabuf_importer_io {
	__u32 handle;
	__u32 pad;
	__u64 offset;
	__u64 len;
	__u64 data;
};

/**
 * struct dmabuf_importer_pfns - frames behind a mapped attachment, device view
 * @handle: in
 * @pad: 0
 * @first: in: page of the buffer to start at
 * @count: in: pages; first + count beyond the buffer is EINVAL
 * @pfns: in: user pointer to __u64[count]
 */
struct dmabuf_importer_pfns {
	__u32 handle;
	__u32 pad;
	__u64 first;
	__u64 count;
	__u64 pfns;
};

/**
 * struct dmabuf_importer_vmap - map a dma-buf into kernel space
 * @fd: in: the dma-buf; may be closed afterwards
 * @handle: out: every call has its own, also on a buffer already mapped
 * @vaddr: out: the kernel address, to compare nested mappings with
 */
struct dmabuf_importer_vmap {
	__s32 fd;
	__u32 handle;
	__u64 vaddr;
};

/**
 * struct dmabuf_importer_access - dma_buf_begin/end_cpu_access()
 * @fd: in: the dma-buf
 * @direction: in
 */
struct dmabuf_importer_access {
	__s32 fd;
	__u32 direction;
};

/**
 * struct dmabuf_importer_stress - begin/end from several kernel threads at once
 * @fd: in: the dma-buf
 * @direction: in
 * @threads: in: 1 to 64
 * @loops: in: begin/end pairs per thread, 1 to 1000000
 * @begins: out: begin calls that succeeded
 * @ends: out: end calls that succeeded
 * @error: out: first error seen (negative errno), else 0
 * @pad: 0
 */
struct dmabuf_importer_stress {
	__s32 fd;
	__u32 direction;
	__u32 threads;
	__u32 loops;
	__u64 begins;
	__u64 ends;
	__s32 error;
	__u32 pad;
};

/**
 * struct dmabuf_importer_count - a number about an object
 * @handle: in: MOVES: a dynamic attachment (EINVAL when static)
 * @fd: in: REFS: the dma-buf
 * @count: out: MOVES: move notifications (invalidations) received; REFS:
 *	references on the dma-buf's file, without the one the call itself takes
 */
struct dmabuf_importer_count {
	__u32 handle;
	__s32 fd;
	__u64 count;
};

/**
 * struct dmabuf_importer_fail - let mappings for DEV_FAILING fail from now on
 * @error: in: ENOMEM, EIO or EINVAL, what the device's map operation fails with, or 0
 *	for success; out: what importers then get, EINVAL before Linux 5.15
 * @mapped: out: entries of tables that are mapped for the device; an entry that is
 *	unmapped in another direction than it was mapped in counts as two
 *
 * EOPNOTSUPP: this kernel has no DMA operations of a device's own. Closing the
 * session that made them fail makes mappings succeed again.
 */
struct dmabuf_importer_fail {
	__u32 error;
	__u32 mapped;
};

/**
 * struct dmabuf_importer_translate - what a device would reach
 * @device: in: index
 * @pad: 0
 * @dma_addr: in
 * @phys: out: physical address, 0 where an IOMMU lets nothing through
 *
 * ENODEV: no IOMMU translates for this device.
 */
struct dmabuf_importer_translate {
	__u32 device;
	__u32 pad;
	__u64 dma_addr;
	__u64 phys;
};

/**
 * struct dmabuf_importer_hold - take references on a page until the session is closed
 * @addr: in: an address in the page, which the caller may write to
 * @count: in: references, 1 to 2^30
 * @pad: 0
 *
 * EBUSY: the session holds a page already.
 */
struct dmabuf_importer_hold {
	__u64 addr;
	__u32 count;
	__u32 pad;
};

#define DMABUF_IMPORTER_ORDER_OLDEST	0	/* each object whole, oldest first */
#define DMABUF_IMPORTER_ORDER_NEWEST	1	/* each object whole, newest first */
#define DMABUF_IMPORTER_ORDER_PHASES	2	/* unmap all, then detach all, then release */
#define DMABUF_IMPORTER_ORDER_SHUFFLED	3	/* even handles, then odd, newest first */

#define DMABUF_IMPORTER_ABANDON_WORKER	0x01	/* from a kernel thread, not the caller */

/**
 * struct dmabuf_importer_abandon - drop everything the session holds
 * @order: in: DMABUF_IMPORTER_ORDER_*
 * @flags: in: DMABUF_IMPORTER_ABANDON_*
 * @dropped: out: number of objects
 * @pad: 0
 */
struct dmabuf_importer_abandon {
	__u32 order;
	__u32 flags;
	__u32 dropped;
	__u32 pad;
};

#define DMABUF_IMPORTER_MAGIC	0xdb

#define DMABUF_IMPORTER_INFO	_IOWR(DMABUF_IMPORTER_MAGIC, 0x80, struct dmabuf_importer_info)
#define DMABUF_IMPORTER_ATTACH	_IOWR(DMABUF_IMPORTER_MAGIC, 0x81, struct dmabuf_importer_attach)
#define DMABUF_IMPORTER_MAP	_IOWR(DMABUF_IMPORTER_MAGIC, 0x82, struct dmabuf_importer_map)
#define DMABUF_IMPORTER_TABLE	_IOWR(DMABUF_IMPORTER_MAGIC, 0x83, struct dmabuf_importer_table)
/* The argument of UNMAP, DETACH and VUNMAP is the handle itself. */
#define DMABUF_IMPORTER_UNMAP	_IO(DMABUF_IMPORTER_MAGIC, 0x84)
#define DMABUF_IMPORTER_DETACH	_IO(DMABUF_IMPORTER_MAGIC, 0x85)
#define DMABUF_IMPORTER_READ	_IOW(DMABUF_IMPORTER_MAGIC, 0x86, struct dmabuf_importer_io)
#define DMABUF_IMPORTER_WRITE	_IOW(DMABUF_IMPORTER_MAGIC, 0x87, struct dmabuf_importer_io)
#define DMABUF_IMPORTER_PFNS	_IOW(DMABUF_IMPORTER_MAGIC, 0x88, struct dmabuf_importer_pfns)
#define DMABUF_IMPORTER_VMAP	_IOWR(DMABUF_IMPORTER_MAGIC, 0x89, struct dmabuf_importer_vmap)
#define DMABUF_IMPORTER_VUNMAP	_IO(DMABUF_IMPORTER_MAGIC, 0x8a)
#define DMABUF_IMPORTER_VREAD	_IOW(DMABUF_IMPORTER_MAGIC, 0x8b, struct dmabuf_importer_io)
#define DMABUF_IMPORTER_VWRITE	_IOW(DMABUF_IMPORTER_MAGIC, 0x8c, struct dmabuf_importer_io)
#define DMABUF_IMPORTER_BEGIN	_IOW(DMABUF_IMPORTER_MAGIC, 0x8d, struct dmabuf_importer_access)
#define DMABUF_IMPORTER_END	_IOW(DMABUF_IMPORTER_MAGIC, 0x8e, struct dmabuf_importer_access)
#define DMABUF_IMPORTER_STRESS	_IOWR(DMABUF_IMPORTER_MAGIC, 0x8f, struct dmabuf_importer_stress)
#define DMABUF_IMPORTER_MOVES	_IOWR(DMABUF_IMPORTER_MAGIC, 0x90, struct dmabuf_importer_count)
#define DMABUF_IMPORTER_REFS	_IOWR(DMABUF_IMPORTER_MAGIC, 0x91, struct dmabuf_importer_count)
#define DMABUF_IMPORTER_ABANDON	_IOWR(DMABUF_IMPORTER_MAGIC, 0x92, struct dmabuf_importer_abandon)
#define DMABUF_IMPORTER_FAIL	_IOWR(DMABUF_IMPORTER_MAGIC, 0x93, struct dmabuf_importer_fail)
#define DMABUF_IMPORTER_TRANSLATE \
	_IOWR(DMABUF_IMPORTER_MAGIC, 0x94, struct dmabuf_importer_translate)
/*
 * Map the dma-buf .fd into kernel space and undo it, by the exporter's own operations: the core
 * warns of every exporter that fails. The rest is 0. EIO: it says that it worked and gives no
 * address. EOPNOTSUPP: before Linux 5.18.
 */
#define DMABUF_IMPORTER_TRY_VMAP \
	_IOW(DMABUF_IMPORTER_MAGIC, 0x96, struct dmabuf_importer_vmap)
#define DMABUF_IMPORTER_HOLD	_IOW(DMABUF_IMPORTER_MAGIC, 0x95, struct dmabuf_importer_hold)
/*
 * The argument is one of STALL_*: who gives memory of DEV_FAILING to the processor is made to wait,
 * in the exporter's begin_cpu_access(), until STALL_END or until the session is closed. STALL_AWAIT
 * returns when somebody waits. ETIMEDOUT: nobody did, for ten seconds. EOPNOTSUPP: as for FAIL.
 */
#define DMABUF_IMPORTER_STALL	_IO(DMABUF_IMPORTER_MAGIC, 0x97)
#define DMABUF_IMPORTER_STALL_END	0
#define DMABUF_IMPORTER_STALL_BEGIN	1
#define DMABUF_IMPORTER_STALL_AWAIT	2

/*
 * mmap() at one of these offsets, in pages: a mapping without pages, and with one of the marks by
 * which drivers keep others off theirs. EINVAL: another offset.
 */
#define DMABUF_IMPORTER_MMAP_IO		0	/* VM_IO */
#define DMABUF_IMPORTER_MMAP_PFN	1	/* VM_PFNMAP */
#define DMABUF_IMPORTER_MMAP_MIXED	2	/* VM_MIXEDMAP */

#endif /* _DMABUF_IMPORTER_H */
