// SPDX-License-Identifier: GPL-2.0
/*
 * udmabuf_iov: which memory may be pinned, pinning the caller's, unpinning.
 *
 * Here as in memfd.c, pages are appended to buf->pages and every reference that
 * is held is marked in buf->pins on the way; on failure the caller undoes it all
 * with uiov_unpin().
 */
#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "udmabuf_iov.h"

/*
 * A pin costs a small folio 1024 references of its 2^31, and GUP warns when
 * they are gone. Stop half way: what other tasks can add between our pin and
 * our check is far less than the other half.
 */
#define UIOV_MAX_REFS	(INT_MAX / 2)

/**
 * uiov_too_many_refs() - must a page not be pinned once more?
 * @page: any page of a folio, just pinned
 */
bool uiov_too_many_refs(struct page *page)
{
	return page_ref_count(compound_head(page)) > UIOV_MAX_REFS;
}

/**
 * uiov_memory_kind() - what the pages of a file are
 * @file: any
 *
 * shmem_mapping() and is_file_hugepages() cannot be linked everywhere. With
 * CONFIG_SHMEM, every regular file of a tmpfs superblock is a shmem inode.
 */
enum memory_kind uiov_memory_kind(const struct file *file)
{
	const struct inode *inode = file_inode(file);

	if (!S_ISREG(inode->i_mode))
		return MEMORY_OTHER;
	if (inode->i_sb->s_magic == TMPFS_MAGIC)
		return MEMORY_SHMEM;
	if (IS_ENABLED(CONFIG_HUGETLBFS) && inode->i_sb->s_magic == HUGETLBFS_MAGIC)
		return MEMORY_HUGETLB;
	return MEMORY_OTHER;
}

/*
 * May pages of this mapping be handed out?
 *
 * Private mappings of anything: a pin for write breaks copy-on-write, so what
 * is pinned is the caller's own anonymous copy. Shared ones: only where the
 * pages have no backing store that could be written behind its owner's back.
 */
static int check_vma(struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP))
		return -EOPNOTSUPP;

	if (vma->vm_flags & VM_MAYSHARE) {
		if (!vma->vm_file || uiov_memory_kind(vma->vm_file) == MEMORY_OTHER)
			return -EOPNOTSUPP;
	} else {
#ifndef HAVE_FORK_COPIES_PINNED_HUGETLB
		/* fork() would leave the buffer with the child's page. */
		if (is_vm_hugetlb_page(vma))
			return -EOPNOTSUPP;
#endif
	}

	return vma->vm_flags & VM_WRITE ? 0 : -EACCES;
}

/* Pin up to @nr pages of one mapping. Caller holds mmap_lock. */
static long pin_user_batch(struct uiov_buf *buf, unsigned long addr, unsigned long nr)
{
	struct page **pages = buf->pages + buf->nr_pinned;
	struct vm_area_struct *vma;
	long pinned, i;
	int err;

	addr = untagged_addr_remote(current->mm, addr);
	vma = find_vma(current->mm, addr);
	if (!vma || vma->vm_start > addr)
		return -EFAULT;

	err = check_vma(vma);
	if (err)
		return err;

	nr = min(nr, (vma->vm_end - addr) >> PAGE_SHIFT);
	pinned = uiov_pin_user_pages(addr, nr, FOLL_WRITE | FOLL_LONGTERM, pages);
	if (pinned <= 0)
		return pinned ? pinned : -EFAULT;

	bitmap_set(buf->pins, buf->nr_pinned, pinned);
	buf->nr_pinned += pinned;

	for (i = 0; i < pinned; i++) {
		if (uiov_too_many_refs(pages[i]))
			return -ENOMEM;
		if (!(vma->vm_flags & VM_MAYSHARE) && !PageAnon(pages[i]))
			return -EOPNOTSUPP;
	}

	return pinned;
}

/**
 * uiov_pin_user_range() - append a range of the caller's memory
 * @buf: has room for it
 * @base: page-aligned address
 * @len: bytes, a multiple of the page size; @base + @len does not wrap
 *
 * Return: 0; -EFAULT (not mapped), -EACCES (not writable), -EOPNOTSUPP (kind of
 * memory), -ENOMEM, -EINTR.
 */
int uiov_pin_user_range(struct uiov_buf *buf, u64 base, u64 len)
{
	struct mm_struct *mm = current->mm;
	unsigned long addr = base;
	unsigned long left = len >> PAGE_SHIFT;
	long pinned;

	if (base > ULONG_MAX - len)
		return -EFAULT;

	while (left) {
		if (mmap_read_lock_killable(mm))
			return -EINTR;
		pinned = pin_user_batch(buf, addr, min_t(unsigned long, left, UIOV_BATCH));
		mmap_read_unlock(mm);
		if (pinned < 0)
			return pinned;

		addr += pinned << PAGE_SHIFT;
		left -= pinned;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	return 0;
}

/* Give back the references at pages [first, end), which all hold one. */
static void unpin_run(struct uiov_buf *buf, unsigned long first, unsigned long end)
{
#ifndef HAVE_MEMFD_PIN_FOLIOS
	if (buf->kind == UIOV_MEMFDS) {
		for (; first < end; first++) {
			set_page_dirty_lock(buf->pages[first]);
			put_page(buf->pages[first]);
		}
		return;
	}
#endif
	unpin_user_pages_dirty_lock(buf->pages + first, end - first, true);
}

/**
 * uiov_unpin() - give back every reference of a buffer
 * @buf: complete, or as far as a failed call got (nr_pinned tells)
 *
 * All pages are marked dirty: a device, or the CPU through our PFN mapping, may
 * have written without the page tables of the owner knowing.
 */
void uiov_unpin(struct uiov_buf *buf)
{
	unsigned long first, end;

	for (first = find_first_bit(buf->pins, buf->nr_pinned); first < buf->nr_pinned;
	     first = find_next_bit(buf->pins, buf->nr_pinned, end)) {
		end = find_next_zero_bit(buf->pins, buf->nr_pinned, first);
		end = min(end, first + UIOV_BATCH);
		unpin_run(buf, first, end);
		cond_resched();
	}
	buf->nr_pinned = 0;
}
