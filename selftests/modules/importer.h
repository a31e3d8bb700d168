/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dmabuf_importer, shared by its source files.
 *
 * A session (an open file) owns objects: attachments and kernel mappings. Each
 * holds a reference to its dma-buf. All calls of a session run under its lock.
 */
#ifndef _IMPORTER_H
#define _IMPORTER_H

#include <linux/atomic.h>
#include <linux/dma-buf.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/types.h>

#include "dmabuf_importer.h"

#if defined(CONFIG_HIGHMEM)
#error "dmabuf_importer reads memory through page_address()"
#endif

/**
 * struct importer_session - an open file
 * @lock: protects everything below
 * @objects: struct importer_object, oldest first
 * @last_handle: handles are not used twice
 * @failing: mappings for DEV_FAILING fail on its behalf
 * @stalling: syncs for DEV_FAILING stall on its behalf
 * @held: page that it has references on, or NULL
 * @more_refs: those beyond the first
 */
struct importer_session {
	struct mutex lock; /* see above */
	struct list_head objects;
	u32 last_handle;
	bool failing;
	bool stalling;
	struct page *held;
	u32 more_refs;
};

/**
 * struct importer_object - an attachment or a kernel mapping
 * @node: in session->objects
 * @handle: its name
 * @dmabuf: holds a reference
 * @attachment: or NULL for a kernel mapping
 * @sgt: while an attachment is mapped, else NULL
 * @direction: of @sgt
 * @dynamic: attached with dma_buf_dynamic_attach()
 * @moves: notifications received, when dynamic
 * @vaddr: of a kernel mapping, else NULL
 */
struct importer_object {
	struct list_head node;
	u32 handle;
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attachment;
	struct sg_table *sgt;
	enum dma_data_direction direction;
	bool dynamic;
	atomic64_t moves;
	void *vaddr;
};

/* main.c */
struct device *importer_device(u32 index);
struct importer_object *importer_new(struct importer_session *session, s32 fd);
struct importer_object *importer_find(struct importer_session *session, u32 handle);
void importer_drop(struct importer_object *obj);
bool importer_direction_valid(u32 direction);

/* dma.c */
long importer_attach(struct importer_session *session, void __user *argp);
long importer_map(struct importer_session *session, void __user *argp);
long importer_unmap(struct importer_session *session, u32 handle);
long importer_detach(struct importer_session *session, u32 handle);
long importer_table(struct importer_session *session, void __user *argp);
long importer_pfns(struct importer_session *session, void __user *argp);
long importer_io(struct importer_session *session, void __user *argp, bool write);
long importer_moves(struct importer_session *session, void __user *argp);
long importer_translate(void __user *argp);
void importer_undo_map(struct importer_object *obj);
void importer_undo_attach(struct importer_object *obj);

/* failing.c */
void importer_set_failing_ops(struct device *dev);
long importer_fail(struct importer_session *session, void __user *argp);
long importer_stall(struct importer_session *session, unsigned long what);
void importer_undo_fail(struct importer_session *session);

/* cpu.c */
long importer_vmap(struct importer_session *session, void __user *argp);
long importer_vunmap(struct importer_session *session, u32 handle);
long importer_try_vmap(void __user *argp);
long importer_vio(struct importer_session *session, void __user *argp, bool write);
long importer_access(void __user *argp, bool end);
long importer_stress(void __user *argp);
void importer_undo_vmap(struct importer_object *obj);

/* hold.c */
long importer_hold(struct importer_session *session, void __user *argp);
void importer_undo_hold(struct importer_session *session);

/* locked.c */
void importer_show_locked(void);
void importer_forget_locked(void);

/* mmap.c */
int importer_mmap(struct file *file, struct vm_area_struct *vma);

#endif /* _IMPORTER_H */
