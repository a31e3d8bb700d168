// SPDX-License-Identifier: GPL-2.0
/*
 * udmabuf_iov: the buffer as tables that devices are given.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/pfn.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "udmabuf_iov.h"

static int interrupted(pgoff_t i)
{
	if (i % UIOV_BATCH)
		return 0;
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/**
 * uiov_segment_pages() - how many pages make one segment
 * @buf: complete
 * @first: page of the buffer to start at
 * @max: bytes, at most
 * @boundary: mask of the device; a segment does not cross a multiple of it + 1
 *
 * Return: number of pages from @first on that are contiguous memory.
 */
pgoff_t uiov_segment_pages(const struct uiov_buf *buf, pgoff_t first, size_t max,
			   unsigned long boundary)
{
	unsigned long pfn = page_to_pfn(buf->pages[first]);
	pgoff_t most = min_t(pgoff_t, buf->nr_pages - first, max >> PAGE_SHIFT);
	pgoff_t n;

	for (n = 1; n < most; n++) {
		if (page_to_pfn(buf->pages[first + n]) != pfn + n)
			break;
		if (!(PFN_PHYS(pfn + n) & boundary))
			break;
	}
	return n;
}

static int build_table(const struct uiov_buf *buf, struct device *dev, struct sg_table *sgt)
{
	/* The first is an unsigned int, as sg->length is. */
	size_t max = min_t(size_t, dma_get_max_seg_size(dev), dma_max_mapping_size(dev));
	unsigned long boundary = dma_get_seg_boundary(dev);
	unsigned int nents = 0;
	struct scatterlist *sg;
	unsigned int j;
	pgoff_t i;
	int err;

	for (i = 0; i < buf->nr_pages; i += uiov_segment_pages(buf, i, max, boundary)) {
		err = interrupted(nents++);
		if (err)
			return err;
	}

	err = sg_alloc_table(sgt, nents, GFP_KERNEL_ACCOUNT);
	if (err)
		return err;

	i = 0;
	for_each_sgtable_sg(sgt, sg, j) {
		pgoff_t n = uiov_segment_pages(buf, i, max, boundary);

		sg_set_page(sg, buf->pages[i], n << PAGE_SHIFT, 0);
		i += n;
	}
	return 0;
}

/* Copy a mapped table for the importer: pages, lengths, DMA addresses. */
static int clone_table(struct sg_table *to, const struct sg_table *from)
{
	struct scatterlist *dst = NULL, *src;
	unsigned int i;
	int err;

	err = sg_alloc_table(to, from->orig_nents, GFP_KERNEL_ACCOUNT);
	if (err)
		return err;

	for_each_sgtable_sg(from, src, i) {
		dst = dst ? sg_next(dst) : to->sgl;
		sg_set_page(dst, sg_page(src), src->length, src->offset);
		sg_dma_address(dst) = sg_dma_address(src);
		sg_dma_len(dst) = sg_dma_len(src);
#ifdef CONFIG_NEED_SG_DMA_FLAGS
		dst->dma_flags = src->dma_flags;
#endif
	}
	to->nents = from->nents;
	return 0;
}

static struct uiov_mapping *mapping_create(struct uiov_buf *buf, struct device *dev,
					   enum dma_data_direction dir)
{
	struct uiov_mapping *map = kzalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	int err;

	if (!map)
		return ERR_PTR(-ENOMEM);
	map->dev = dev;
	map->dir = dir;

	err = build_table(buf, dev, &map->own);
	if (err)
		goto free_map;
	err = dma_map_sgtable(dev, &map->own, dir, 0);
	if (err)
		goto free_own;
	err = clone_table(&map->lent, &map->own);
	if (err)
		goto unmap;
	return map;

unmap:
	dma_unmap_sgtable(dev, &map->own, dir, 0);
free_own:
	sg_free_table(&map->own);
free_map:
	kfree(map);
	return ERR_PTR(err);
}

static void mapping_destroy(struct uiov_mapping *map)
{
	sg_free_table(&map->lent);
	dma_unmap_sgtable(map->dev, &map->own, map->dir, 0);
	sg_free_table(&map->own);
	kfree(map);
}

struct sg_table *uiov_map_dma_buf(struct dma_buf_attachment *at, enum dma_data_direction dir)
{
	struct uiov_buf *buf = at->dmabuf->priv;
	struct uiov_mapping *map = mapping_create(buf, at->dev, dir);

	if (IS_ERR(map))
		return ERR_CAST(map);

	mutex_lock(&buf->lock);
	list_add_tail(&map->node, &buf->mappings);
	mutex_unlock(&buf->lock);
	atomic_inc(&buf->nr_mappings);
	return &map->lent;
}

void uiov_unmap_dma_buf(struct dma_buf_attachment *at, struct sg_table *sgt,
			enum dma_data_direction dir)
{
	struct uiov_mapping *map = container_of(sgt, struct uiov_mapping, lent);
	struct uiov_buf *buf = at->dmabuf->priv;

	mutex_lock(&buf->lock);
	list_del(&map->node);
	mutex_unlock(&buf->lock);
	atomic_dec(&buf->nr_mappings);
	mapping_destroy(map);
}
