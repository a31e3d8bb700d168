// SPDX-License-Identifier: GPL-2.0
/*
 * dmabuf_importer: attach, map, and look at memory as the device does.
 */
#include <linux/dma-buf.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/scatterlist.h>
#include <linux/uaccess.h>

#include "importer.h"

static void moved(struct dma_buf_attachment *attachment)
{
	struct importer_object *obj = attachment->importer_priv;

	atomic64_inc(&obj->moves);
}

static const struct dma_buf_attach_ops importer_attach_ops = {
#ifdef HAVE_INVALIDATE_MAPPINGS
	.invalidate_mappings = moved,
#else
	.move_notify = moved,
#endif
};

static struct sg_table *map_attachment(struct importer_object *obj, enum dma_data_direction dir)
{
#ifdef HAVE_MAP_UNLOCKED
	return dma_buf_map_attachment_unlocked(obj->attachment, dir);
#else
	struct sg_table *sgt;

	if (obj->dynamic)
		dma_resv_lock(obj->dmabuf->resv, NULL);
	sgt = dma_buf_map_attachment(obj->attachment, dir);
	if (obj->dynamic)
		dma_resv_unlock(obj->dmabuf->resv);
	return sgt;
#endif
}

static void unmap_attachment(struct importer_object *obj)
{
#ifdef HAVE_MAP_UNLOCKED
	dma_buf_unmap_attachment_unlocked(obj->attachment, obj->sgt, obj->direction);
#else
	if (obj->dynamic)
		dma_resv_lock(obj->dmabuf->resv, NULL);
	dma_buf_unmap_attachment(obj->attachment, obj->sgt, obj->direction);
	if (obj->dynamic)
		dma_resv_unlock(obj->dmabuf->resv);
#endif
}

void importer_undo_map(struct importer_object *obj)
{
	if (obj->sgt)
		unmap_attachment(obj);
	obj->sgt = NULL;
}

void importer_undo_attach(struct importer_object *obj)
{
	if (obj->attachment)
		dma_buf_detach(obj->dmabuf, obj->attachment);
	obj->attachment = NULL;
}

long importer_attach(struct importer_session *session, void __user *argp)
{
	struct dma_buf_attachment *attachment;
	struct dmabuf_importer_attach arg;
	struct importer_object *obj;
	struct device *dev;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	dev = importer_device(arg.device);
	if (!dev || (arg.flags & ~DMABUF_IMPORTER_ATTACH_DYNAMIC))
		return -EINVAL;

	obj = importer_new(session, arg.fd);
	if (IS_ERR(obj))
		return PTR_ERR(obj);

	obj->dynamic = arg.flags & DMABUF_IMPORTER_ATTACH_DYNAMIC;
	if (obj->dynamic)
		attachment = dma_buf_dynamic_attach(obj->dmabuf, dev, &importer_attach_ops, obj);
	else
		attachment = dma_buf_attach(obj->dmabuf, dev);
	if (IS_ERR(attachment)) {
		importer_drop(obj);
		return PTR_ERR(attachment);
	}
	obj->attachment = attachment;

	arg.handle = obj->handle;
	if (copy_to_user(argp, &arg, sizeof(arg))) {
		importer_drop(obj);
		return -EFAULT;
	}
	return 0;
}

static struct importer_object *find_attachment(struct importer_session *session, u32 handle)
{
	struct importer_object *obj = importer_find(session, handle);

	return obj && obj->attachment ? obj : NULL;
}

static struct importer_object *find_mapped(struct importer_session *session, u32 handle)
{
	struct importer_object *obj = find_attachment(session, handle);

	if (!obj)
		return ERR_PTR(-ENOENT);
	return obj->sgt ? obj : ERR_PTR(-EBUSY);
}

long importer_map(struct importer_session *session, void __user *argp)
{
	struct dmabuf_importer_map arg;
	struct importer_object *obj;
	struct scatterlist *sg;
	struct sg_table *sgt;
	unsigned int i;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	obj = find_attachment(session, arg.handle);
	if (!obj)
		return -ENOENT;
	if (!importer_direction_valid(arg.direction))
		return -EINVAL;
	if (obj->sgt)
		return -EBUSY;

	sgt = map_attachment(obj, arg.direction);
	if (IS_ERR(sgt))
		return PTR_ERR(sgt);
	obj->sgt = sgt;
	obj->direction = arg.direction;

	arg.orig_nents = sgt->orig_nents;
	arg.nents = sgt->nents;
	arg.bytes = 0;
	for_each_sgtable_dma_sg(sgt, sg, i)
		arg.bytes += sg_dma_len(sg);

	if (copy_to_user(argp, &arg, sizeof(arg))) {
		importer_undo_map(obj);
		return -EFAULT;
	}
	return 0;
}

long importer_unmap(struct importer_session *session, u32 handle)
{
	struct importer_object *obj = find_mapped(session, handle);

	if (IS_ERR(obj))
		return PTR_ERR(obj);
	importer_undo_map(obj);
	return 0;
}

long importer_detach(struct importer_session *session, u32 handle)
{
	struct importer_object *obj = find_attachment(session, handle);

	if (!obj)
		return -ENOENT;
	if (obj->sgt)
		return -EBUSY;
	importer_drop(obj);
	return 0;
}

/* Importers must not look at the pages; this one checks what is there. */
static u64 entry_pfn(struct scatterlist *sg)
{
	if (IS_ENABLED(CONFIG_DMABUF_DEBUG))
		return DMABUF_IMPORTER_NO_PFN;
	return sg_page(sg) ? page_to_pfn(sg_page(sg)) : 0;
}

long importer_table(struct importer_session *session, void __user *argp)
{
	struct dmabuf_importer_entry __user *to;
	struct dmabuf_importer_table arg;
	struct importer_object *obj;
	struct scatterlist *sg;
	unsigned int i;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	obj = find_mapped(session, arg.handle);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	if (arg.pad)
		return -EINVAL;

	to = u64_to_user_ptr(arg.entries);
	for_each_sgtable_sg(obj->sgt, sg, i) {
		struct dmabuf_importer_entry entry = {
			.offset = sg->offset,
			.length = sg->length,
			.pfn = entry_pfn(sg),
		};

		if (i == arg.capacity)
			break;
		if (i < obj->sgt->nents) {
			entry.dma_addr = sg_dma_address(sg);
			entry.dma_len = sg_dma_len(sg);
		}
		if (copy_to_user(&to[i], &entry, sizeof(entry)))
			return -EFAULT;
		cond_resched();
	}

	arg.count = obj->sgt->orig_nents;
	return copy_to_user(argp, &arg, sizeof(arg)) ? -EFAULT : 0;
}

/**
 * struct cursor - a place in a mapped table
 * @sg: segment
 * @left: segments from @sg on
 * @start: offset in the buffer of the first byte of @sg
 */
struct cursor {
	struct scatterlist *sg;
	unsigned int left;
	u64 start;
};

/* What a device reaches by a DMA address; 0 where an IOMMU lets nothing through. */
static phys_addr_t translate(struct device *dev, dma_addr_t addr)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	return domain ? iommu_iova_to_phys(domain, addr) : dma_to_phys(dev, addr);
}

long importer_translate(void __user *argp)
{
	struct dmabuf_importer_translate arg;
	struct device *dev;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	dev = importer_device(arg.device);
	if (!dev || arg.pad)
		return -EINVAL;
	if (!iommu_get_domain_for_dev(dev))
		return -ENODEV;

	arg.phys = translate(dev, arg.dma_addr);
	return copy_to_user(argp, &arg, sizeof(arg)) ? -EFAULT : 0;
}

/*
 * Physical address of byte @offset, going forward from @cur; *@len is cut to
 * what is contiguous within a page. Return false beyond the table.
 */
static bool device_phys(struct device *dev, struct cursor *cur, u64 offset, phys_addr_t *phys,
			size_t *len)
{
	while (cur->left && offset - cur->start >= sg_dma_len(cur->sg)) {
		cur->start += sg_dma_len(cur->sg);
		cur->sg = --cur->left ? sg_next(cur->sg) : NULL;
	}
	if (!cur->left)
		return false;

	*phys = translate(dev, sg_dma_address(cur->sg) + (offset - cur->start));
	if (!*phys)
		return false;
	*len = min_t(u64, *len, sg_dma_len(cur->sg) - (offset - cur->start));
	*len = min_t(size_t, *len, PAGE_SIZE - offset_in_page(*phys));
	return true;
}

static struct cursor table_start(const struct sg_table *sgt)
{
	return (struct cursor){ .sg = sgt->sgl, .left = sgt->nents };
}

static bool range_valid(u64 first, u64 count, u64 size)
{
	return first <= size && count <= size - first;
}

long importer_io(struct importer_session *session, void __user *argp, bool write)
{
	struct dmabuf_importer_io arg;
	struct importer_object *obj;
	struct cursor cur;
	void __user *data;
	u64 done = 0;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	obj = find_mapped(session, arg.handle);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	if (arg.pad || !range_valid(arg.offset, arg.len, obj->dmabuf->size))
		return -EINVAL;

	cur = table_start(obj->sgt);
	data = u64_to_user_ptr(arg.data);
	while (done < arg.len) {
		size_t len = min_t(u64, arg.len - done, PAGE_SIZE);
		unsigned long missed;
		phys_addr_t phys;
		void *kaddr;

		if (!device_phys(obj->attachment->dev, &cur, arg.offset + done, &phys, &len))
			return -ENXIO;
		kaddr = page_address(pfn_to_page(PHYS_PFN(phys))) + offset_in_page(phys);
		if (write)
			missed = copy_from_user(kaddr, data + done, len);
		else
			missed = copy_to_user(data + done, kaddr, len);
		if (missed)
			return -EFAULT;

		done += len;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

long importer_pfns(struct importer_session *session, void __user *argp)
{
	struct dmabuf_importer_pfns arg;
	struct importer_object *obj;
	struct cursor cur;
	u64 __user *to;
	u64 i;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	obj = find_mapped(session, arg.handle);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	if (arg.pad || !range_valid(arg.first, arg.count, obj->dmabuf->size >> PAGE_SHIFT))
		return -EINVAL;

	cur = table_start(obj->sgt);
	to = u64_to_user_ptr(arg.pfns);
	for (i = 0; i < arg.count; i++) {
		size_t len = PAGE_SIZE;
		phys_addr_t phys;

		if (!device_phys(obj->attachment->dev, &cur, (arg.first + i) << PAGE_SHIFT,
				 &phys, &len))
			return -ENXIO;
		if (put_user((u64)PHYS_PFN(phys), &to[i]))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

long importer_moves(struct importer_session *session, void __user *argp)
{
	struct dmabuf_importer_count arg;
	struct importer_object *obj;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	obj = find_attachment(session, arg.handle);
	if (!obj)
		return -ENOENT;
	if (!obj->dynamic)
		return -EINVAL;

	arg.count = atomic64_read(&obj->moves);
	return copy_to_user(argp, &arg, sizeof(arg)) ? -EFAULT : 0;
}
