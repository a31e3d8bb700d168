/* SPDX-License-Identifier: GPL-2.0 */
/*
 * udmabuf_iov, shared by its source files.
 *
 * Life of a buffer
 * ----------------
 * buf.c makes a struct uiov_buf for one ioctl: charge, allocate, pin, announce
 * to debugfs. Until dma_buf_export() succeeds main.c owns it, and
 * uiov_buf_free() undoes whatever was done so far; the buffer's own fields say
 * what that is (a bit per pin, the charge, the list node). From then on the
 * dma-buf owns it and its release operation calls uiov_buf_free(), also when
 * no descriptor could be installed. There is no other owner: a VMA, an
 * attachment or a kernel mapping keep the dma-buf alive, the dma-buf keeps the
 * module loaded (exp_info.owner). Pages, pin bits and charge never change
 * between export and release, so reading them takes no lock.
 *
 * Locks, outermost first
 * ----------------------
 *   mmap_lock          pinning of iovecs (VMA checks and pins under one hold)
 *   inode->i_rwsem     pinning of memfds (seal checks and pins under one hold;
 *                      never together with mmap_lock here)
 *   dma_resv lock      held by the core around map, unmap, vmap and vunmap
 *                      since 6.2, and not around attach, detach, begin, end,
 *                      mmap and release; nothing here takes it or needs it
 *   buf->lock          list of DMA mappings, state of CPU access, vaddr
 *   registry lock      debugfs.c: the list of buffers and the totals by user
 */
#ifndef _UDMABUF_IOV_H
#define _UDMABUF_IOV_H

#include <linux/atomic.h>
#include <linux/cred.h>
#include <linux/dma-direction.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/types.h>

struct dma_buf;
struct dma_buf_attachment;
struct file;
struct udmabuf_create_item;
struct udmabuf_iov_entry;
struct uiov_owner;

/* Long loops look for a fatal signal and reschedule after this many pages. */
#define UIOV_BATCH	512

enum uiov_kind {
	UIOV_IOVECS,
	UIOV_MEMFDS,
};

/* What pages belong to. */
enum memory_kind {
	MEMORY_SHMEM,
	MEMORY_HUGETLB,
	MEMORY_OTHER,
};

/**
 * struct uiov_request - one call, copied from userspace
 * @kind: which of the arrays is set
 * @cloexec: from flags
 * @count: entries
 * @nr_pages: sum of the entries
 * @items: memfds
 * @iovs: iovecs
 */
struct uiov_request {
	enum uiov_kind kind;
	bool cloexec;
	u32 count;
	pgoff_t nr_pages;
	const struct udmabuf_create_item *items;
	const struct udmabuf_iov_entry *iovs;
};

/**
 * struct uiov_charge - what a buffer costs its creator
 * @cred: credentials of the creator; holds the user_struct (free_uid() is not
 *	exported by 5.10)
 * @pages: pages added to cred->user->locked_vm, 0 when exempt
 */
struct uiov_charge {
	const struct cred *cred;
	unsigned long pages;
};

/**
 * struct uiov_buf - memory behind one dma-buf
 * @kind: how it was made
 * @nr_pages: pages in @pages, the size of the buffer
 * @nr_pinned: entries of @pages filled so far; @nr_pages once exported
 * @pages: the pages in buffer order; small pages, also of large folios
 * @pins: a bit per entry of @pages: this one holds a reference (one for each
 *	page for iovecs, one for each folio where memfds are pinned by folio)
 * @charge: RLIMIT_MEMLOCK
 * @lock: protects @mappings, @cpu_begun and @vaddr
 * @mappings: struct uiov_mapping, all live DMA mappings
 * @cpu_begun: CPU access has begun once
 * @vaddr: kernel mapping or NULL
 * @attachments: attached devices, for debugfs
 * @nr_mappings: length of @mappings, for debugfs
 * @node: in the list of buffers
 * @owner: totals of the creator's uid
 * @id: number for debugfs
 */
struct uiov_buf {
	enum uiov_kind kind;
	pgoff_t nr_pages;
	pgoff_t nr_pinned;
	struct page **pages;
	unsigned long *pins;
	struct uiov_charge charge;

	struct mutex lock; /* see above */
	struct list_head mappings;
	bool cpu_begun;
	void *vaddr;

	atomic_t attachments;
	atomic_t nr_mappings;
	struct list_head node;
	struct uiov_owner *owner;
	u64 id;
};

/**
 * struct uiov_mapping - an attachment mapped for DMA
 * @node: in buf->mappings
 * @dev: device
 * @dir: direction it was mapped in, and will be unmapped in
 * @own: the table that is mapped; never leaves the driver
 * @lent: what the importer gets. The core may scramble the page links of that
 *	one (CONFIG_DMABUF_DEBUG), and syncing needs them.
 */
struct uiov_mapping {
	struct list_head node;
	struct device *dev;
	enum dma_data_direction dir;
	struct sg_table own;
	struct sg_table lent;
};

/* buf.c */
void *uiov_alloc_array(size_t n, size_t size);
struct uiov_buf *uiov_buf_create(const struct uiov_request *req, bool limited);
void uiov_buf_free(struct uiov_buf *buf);

/* account.c */
int uiov_charge(struct uiov_charge *charge, unsigned long pages, bool limited);
void uiov_uncharge(struct uiov_charge *charge);

/* pin.c */
bool uiov_too_many_refs(struct page *page);
enum memory_kind uiov_memory_kind(const struct file *file);
int uiov_pin_user_range(struct uiov_buf *buf, u64 base, u64 len);
void uiov_unpin(struct uiov_buf *buf);

/* memfd.c */
int uiov_pin_memfd_range(struct uiov_buf *buf, u32 memfd, u64 offset, u64 size);

/* mapping.c */
pgoff_t uiov_segment_pages(const struct uiov_buf *buf, pgoff_t first, size_t max,
			   unsigned long boundary);
struct sg_table *uiov_map_dma_buf(struct dma_buf_attachment *at, enum dma_data_direction dir);
void uiov_unmap_dma_buf(struct dma_buf_attachment *at, struct sg_table *sgt,
			enum dma_data_direction dir);

/* exporter.c */
struct dma_buf *uiov_export(struct uiov_buf *buf);

/* debugfs.c */
#ifdef CONFIG_DEBUG_FS
void uiov_debugfs_init(void);
void uiov_debugfs_exit(void);
int uiov_register(struct uiov_buf *buf);
void uiov_unregister(struct uiov_buf *buf);
#else
static inline void uiov_debugfs_init(void)
{
}

static inline void uiov_debugfs_exit(void)
{
}

static inline int uiov_register(struct uiov_buf *buf)
{
	return 0;
}

static inline void uiov_unregister(struct uiov_buf *buf)
{
}
#endif

#endif /* _UDMABUF_IOV_H */
