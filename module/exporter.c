// SPDX-License-Identifier: GPL-2.0
/*
 * udmabuf_iov: the buffer as a dma-buf.
 *
 * Pages never move, so there is nothing to pin or to notify importers of, and
 * operations need only the few fields under buf->lock. The core holds the
 * dma_resv lock around map, unmap, vmap and vunmap on some kernels (6.2 and
 * later) and not on others; nothing here depends on it.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fcntl.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>
#ifdef HAVE_VMAP_IOSYS_MAP
#include <linux/iosys-map.h>
#endif

#include "compat.h"
#include "udmabuf_iov.h"

static int uiov_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *at)
{
	struct uiov_buf *buf = dmabuf->priv;

	atomic_inc(&buf->attachments);
	return 0;
}

static void uiov_detach(struct dma_buf *dmabuf, struct dma_buf_attachment *at)
{
	struct uiov_buf *buf = dmabuf->priv;

	atomic_dec(&buf->attachments);
}

/*
 * CPU access. Every mapped device gives memory to the CPU in begin and takes it
 * back in end. @dir is what the CPU does: TO_DEVICE writes, FROM_DEVICE reads.
 *
 * begin hands over in the mapping's direction, also for a CPU that only writes:
 * it may write a part, and end pushes all of it, so what the device wrote must
 * be there before. end pushes to a bidirectional mapping only what the CPU may
 * have changed: a mere read must not overwrite what the device wrote meanwhile.
 *
 * With no mapping there is nothing to do: userspace and kernel map these pages
 * cached, and map_dma_buf hands them to the device as they are at that time.
 */
static int uiov_begin_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	struct uiov_buf *buf = dmabuf->priv;
	struct uiov_mapping *map;

	if (mutex_lock_interruptible(&buf->lock))
		return -ERESTARTSYS;

	buf->cpu_begun = true;
	list_for_each_entry(map, &buf->mappings, node)
		dma_sync_sgtable_for_cpu(map->dev, &map->own, map->dir);
	if (buf->vaddr)
		invalidate_kernel_vmap_range(buf->vaddr, buf->nr_pages << PAGE_SHIFT);

	mutex_unlock(&buf->lock);
	return 0;
}

static int uiov_end_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	struct uiov_buf *buf = dmabuf->priv;
	struct uiov_mapping *map;
	int err = 0;

	/* Not interruptible: callers seldom look, and the device would starve. */
	mutex_lock(&buf->lock);

	if (!buf->cpu_begun)
		err = -EINVAL;
	if (!err && buf->vaddr)
		flush_kernel_vmap_range(buf->vaddr, buf->nr_pages << PAGE_SHIFT);
	list_for_each_entry(map, &buf->mappings, node) {
		if (!err)
			dma_sync_sgtable_for_device(map->dev, &map->own,
						    map->dir == DMA_BIDIRECTIONAL ? dir : map->dir);
	}

	mutex_unlock(&buf->lock);
	return err;
}

/* The core counts nested kernel mappings: this is the first one. */
static void *buf_vmap(struct uiov_buf *buf)
{
	void *vaddr = vmap(buf->pages, buf->nr_pages, VM_MAP, PAGE_KERNEL);

	mutex_lock(&buf->lock);
	buf->vaddr = vaddr;
	mutex_unlock(&buf->lock);
	return vaddr;
}

static void buf_vunmap(struct uiov_buf *buf, void *vaddr)
{
	mutex_lock(&buf->lock);
	buf->vaddr = NULL;
	mutex_unlock(&buf->lock);
	vunmap(vaddr);
}

#ifdef HAVE_VMAP_IOSYS_MAP
static int uiov_vmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	void *vaddr = buf_vmap(dmabuf->priv);

	if (!vaddr)
		return -ENOMEM;
	iosys_map_set_vaddr(map, vaddr);
	return 0;
}

static void uiov_vunmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	buf_vunmap(dmabuf->priv, map->vaddr);
}
#else
static void *uiov_vmap(struct dma_buf *dmabuf)
{
	return buf_vmap(dmabuf->priv);
}

static void uiov_vunmap(struct dma_buf *dmabuf, void *vaddr)
{
	buf_vunmap(dmabuf->priv, vaddr);
}
#endif

/*
 * Map the other pages that the page table of the faulting one covers. It is
 * there anyway, and a sweep then takes one fault for each 2 MiB (x86-64).
 * Failures are left to the fault of the page itself.
 */
static void fault_around(struct vm_fault *vmf, const struct uiov_buf *buf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long table = vmf->address & PMD_MASK;
	unsigned long addr = max(table, vma->vm_start);
	unsigned long end = min(table + PMD_SIZE - 1, vma->vm_end - 1);
	pgoff_t pgoff = linear_page_index(vma, addr);

	for (; addr < end && pgoff < buf->nr_pages; addr += PAGE_SIZE, pgoff++) {
		if (pgoff == vmf->pgoff)
			continue;
		if (vmf_insert_pfn(vma, addr, page_to_pfn(buf->pages[pgoff])) & VM_FAULT_ERROR)
			return;
		if (pgoff % 64 == 0) {
			if (fatal_signal_pending(current))
				return;
			cond_resched();
		}
	}
}

/*
 * The VMA cannot grow, but its size was compared with that of the buffer by
 * others (dma_buf_mmap(), drm_gem_mmap()), so it is compared again here.
 */
static vm_fault_t uiov_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	const struct uiov_buf *buf = vma->vm_private_data;
	vm_fault_t ret;

	if (vmf->pgoff >= buf->nr_pages)
		return VM_FAULT_SIGBUS;

	ret = vmf_insert_pfn(vma, vmf->address & PAGE_MASK,
			     page_to_pfn(buf->pages[vmf->pgoff]));
	if (!(ret & VM_FAULT_ERROR))
		fault_around(vmf, buf);
	return ret;
}

#ifdef UIOV_HUGE_FAULT
/* Map a PMD at once where pages and addresses happen to be aligned for it. */
static vm_fault_t uiov_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	unsigned long addr = vmf->address & PMD_MASK;
	struct vm_area_struct *vma = vmf->vma;
	const struct uiov_buf *buf = vma->vm_private_data;
	unsigned long nr = PMD_SIZE >> PAGE_SHIFT;
	unsigned long pfn;
	pgoff_t pgoff;

	if (order != PMD_SHIFT - PAGE_SHIFT)
		return VM_FAULT_FALLBACK;
	if (addr < vma->vm_start || vma->vm_end - addr < PMD_SIZE)
		return VM_FAULT_FALLBACK;

	pgoff = linear_page_index(vma, addr);
	if (pgoff >= buf->nr_pages || buf->nr_pages - pgoff < nr)
		return VM_FAULT_FALLBACK;
	pfn = page_to_pfn(buf->pages[pgoff]);
	if (!IS_ALIGNED(pfn, nr) || uiov_segment_pages(buf, pgoff, PMD_SIZE, ULONG_MAX) < nr)
		return VM_FAULT_FALLBACK;

	return uiov_insert_pfn_pmd(vmf, pfn, vmf->flags & FAULT_FLAG_WRITE);
}
#endif

static const struct vm_operations_struct uiov_vm_ops = {
	.fault = uiov_fault,
#ifdef UIOV_HUGE_FAULT
	.huge_fault = uiov_huge_fault,
#endif
};

/*
 * Page frames and not pages: the pages belong to others, whose reverse mappings
 * and counters must not see ours. VM_MAYSHARE and not VM_SHARED: a shared
 * mapping through a read-only descriptor has only that.
 */
static int uiov_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;

	vma->vm_ops = &uiov_vm_ops;
	vma->vm_private_data = dmabuf->priv;
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}

static void uiov_release(struct dma_buf *dmabuf)
{
	uiov_buf_free(dmabuf->priv);
}

static const struct dma_buf_ops uiov_dma_buf_ops = {
	.attach = uiov_attach,
	.detach = uiov_detach,
	.map_dma_buf = uiov_map_dma_buf,
	.unmap_dma_buf = uiov_unmap_dma_buf,
	.begin_cpu_access = uiov_begin_cpu_access,
	.end_cpu_access = uiov_end_cpu_access,
	.mmap = uiov_mmap,
	.vmap = uiov_vmap,
	.vunmap = uiov_vunmap,
	.release = uiov_release,
};

/**
 * uiov_export() - make a dma-buf of a complete buffer
 * @buf: owned by the dma-buf afterwards, unless an error is returned
 *
 * The exporter's name, which fdinfo and bufinfo show, tells whether the size of
 * the buffer is charged to RLIMIT_MEMLOCK.
 *
 * Return: the dma-buf with one reference, or an ERR_PTR.
 */
struct dma_buf *uiov_export(struct uiov_buf *buf)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);

	if (buf->charge.pages)
		info.exp_name = KBUILD_MODNAME "+memlock";
	info.ops = &uiov_dma_buf_ops;
	info.size = (size_t)buf->nr_pages << PAGE_SHIFT;
	info.flags = O_RDWR;
	info.priv = buf;
	return dma_buf_export(&info);
}
