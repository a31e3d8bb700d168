// SPDX-License-Identifier: GPL-2.0
/*
 * udmabuf_iov: pinning memfds, and filling their holes.
 */
#include <linux/bitmap.h>
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "compat.h"
#include "udmabuf_iov.h"

#if !IS_ENABLED(CONFIG_SHMEM) || !IS_ENABLED(CONFIG_MEMFD_CREATE)
#error "udmabuf_iov needs CONFIG_SHMEM and CONFIG_MEMFD_CREATE"
#endif

/* memfd_fcntl(F_GET_SEALS) for modules. Caller holds inode->i_rwsem. */
static unsigned int memfd_seals(struct inode *inode, enum memory_kind kind)
{
#ifdef CONFIG_HUGETLBFS
	if (kind == MEMORY_HUGETLB)
		return HUGETLBFS_I(inode)->seals;
#endif
	return SHMEM_I(inode)->seals;
}

static int check_seals(struct inode *inode, enum memory_kind kind)
{
	unsigned int seals = memfd_seals(inode, kind);

	/* A hole may not come to be by truncation, nor a writer lose the right. */
	if (!(seals & F_SEAL_SHRINK))
		return -EINVAL;
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EINVAL;
	return 0;
}

/*
 * Append @nr pages that follow @page in its folio, whose reference, now held by
 * the buffer, is noted at the first of them.
 */
static int append_folio_pages(struct uiov_buf *buf, struct page *page, unsigned long nr)
{
	unsigned long i;

	__set_bit(buf->nr_pinned, buf->pins);
	for (i = 0; i < nr; i++)
		buf->pages[buf->nr_pinned++] = pfn_to_page(page_to_pfn(page) + i);

	return uiov_too_many_refs(page) ? -ENOMEM : 0;
}

#ifdef HAVE_MEMFD_PIN_FOLIOS

/*
 * Pin up to UIOV_BATCH pages. One pin for each folio and batch.
 *
 * Return: pages appended, or an error. What was appended before an error is
 * noted in @buf.
 */
static long pin_memfd_batch(struct uiov_buf *buf, struct file *file, loff_t start,
			    unsigned long nr, struct folio **folios)
{
	unsigned long done = 0;
	pgoff_t offset = 0;
	long count, i;
	int err = 0;

	nr = min_t(unsigned long, nr, UIOV_BATCH);
	count = memfd_pin_folios(file, start, start + ((loff_t)nr << PAGE_SHIFT) - 1,
				 folios, nr, &offset);
	if (count <= 0)
		return count ? count : -EINVAL;

	for (i = 0; i < count; i++) {
		unsigned long first = offset >> PAGE_SHIFT;
		unsigned long here = min(folio_nr_pages(folios[i]) - first, nr - done);

		if (err || !here) {
			unpin_folio(folios[i]);
			continue;
		}
		err = append_folio_pages(buf, folio_page(folios[i], first), here);
		done += here;
		offset = 0;
	}

	return err ? err : done;
}

static int pin_memfd(struct uiov_buf *buf, struct file *file, enum memory_kind kind,
		     loff_t start, unsigned long left)
{
	struct folio **folios;
	long done = 0;

	folios = kmalloc_array(UIOV_BATCH, sizeof(*folios), GFP_KERNEL_ACCOUNT);
	if (!folios)
		return -ENOMEM;

	while (left) {
		done = pin_memfd_batch(buf, file, start, left, folios);
		if (done < 0)
			break;

		start += (loff_t)done << PAGE_SHIFT;
		left -= done;
		if (left && fatal_signal_pending(current)) {
			done = -EINTR;
			break;
		}
		cond_resched();
	}

	kfree(folios);
	return done < 0 ? done : 0;
}

/*
 * memfd_pin_folios() fills a hole in a hugetlb file with a page that others
 * may have reserved (until 717cf9357325, "mm/memfd: reserve hugetlb folios
 * before allocation") and that still has its last owner's data. Have
 * fallocate() fill it.
 */
static bool has_holes(struct file *file, enum memory_kind kind, loff_t start, u64 size)
{
	struct inode *inode = file_inode(file);
	loff_t end = start + size;
	unsigned long huge;

	if (kind != MEMORY_HUGETLB || (loff_t)inode->i_blocks << 9 >= i_size_read(inode))
		return false;

	huge = huge_page_size(hstate_file(file));
	for (start = round_down(start, huge); start < end; start += huge) {
		struct folio *folio = filemap_get_folio(file->f_mapping, start >> PAGE_SHIFT);

		if (IS_ERR(folio))
			return true;
		folio_put(folio);
	}

	return false;
}

#else /* !HAVE_MEMFD_PIN_FOLIOS */

/*
 * Before 6.11 there is no exported way to pin memfd pages with FOLL_LONGTERM:
 * plain references are taken, and pages stay in CMA or ZONE_MOVABLE if that is
 * where they are. Holes in a hugetlb file cannot be filled from here either:
 * pin_hugetlb_page() tells when it meets one.
 */
static bool has_holes(struct file *file, enum memory_kind kind, loff_t start, u64 size)
{
	return false;
}

#ifdef CONFIG_HUGETLBFS
/* Return: pages appended; -EAGAIN if there is a hole at @start. */
static long pin_hugetlb_page(struct uiov_buf *buf, struct file *file, loff_t start,
			     unsigned long nr)
{
	struct hstate *h = hstate_file(file);
	unsigned long first = (start & ~huge_page_mask(h)) >> PAGE_SHIFT;
	unsigned long here = min(pages_per_huge_page(h) - first, nr);
	struct page *head;
	int err;

	/* The page cache of hugetlbfs counts in huge pages (until 6.7). */
	head = find_get_page(file->f_mapping, start >> huge_page_shift(h));
	if (!head)
		return -EAGAIN;

	err = append_folio_pages(buf, pfn_to_page(page_to_pfn(head) + first), here);
	return err ? err : here;
}
#else
static long pin_hugetlb_page(struct uiov_buf *buf, struct file *file, loff_t start,
			     unsigned long nr)
{
	return -EOPNOTSUPP;
}
#endif

static long pin_shmem_page(struct uiov_buf *buf, struct file *file, loff_t start)
{
	struct page *page = shmem_read_mapping_page(file->f_mapping, start >> PAGE_SHIFT);
	int err;

	if (IS_ERR(page))
		return PTR_ERR(page);

	err = append_folio_pages(buf, page, 1);
	return err ? err : 1;
}

static int pin_memfd(struct uiov_buf *buf, struct file *file, enum memory_kind kind,
		     loff_t start, unsigned long left)
{
	long done;

	while (left) {
		if (kind == MEMORY_HUGETLB)
			done = pin_hugetlb_page(buf, file, start, left);
		else
			done = pin_shmem_page(buf, file, start);
		if (done < 0)
			return done;

		start += (loff_t)done << PAGE_SHIFT;
		left -= done;
		if (left && fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}

	return 0;
}

#endif /* HAVE_MEMFD_PIN_FOLIOS */

/* Allocate the pages of a hugetlb file. Takes the inode lock. */
static int populate_memfd(struct file *file, loff_t start, loff_t size)
{
	return vfs_fallocate(file, FALLOC_FL_KEEP_SIZE, start, size);
}

/*
 * F_ADD_SEALS takes the inode lock for write and refuses F_SEAL_WRITE when it
 * finds extra references, so a memfd is either sealed before our check or not
 * at all while the buffer lives.
 */
static int pin_memfd_locked(struct uiov_buf *buf, struct file *file, enum memory_kind kind,
			    u64 offset, u64 size)
{
	struct inode *inode = file_inode(file);
	int err;

	if (down_read_killable(&inode->i_rwsem))
		return -EINTR;

	err = check_seals(inode, kind);
	if (!err && offset + size > i_size_read(inode))
		err = -EINVAL;
	if (!err && has_holes(file, kind, offset, size))
		err = -EAGAIN;
	if (!err)
		err = pin_memfd(buf, file, kind, offset, size >> PAGE_SHIFT);

	up_read(&inode->i_rwsem);
	return err;
}

static int pin_memfd_file(struct uiov_buf *buf, struct file *file, u64 offset, u64 size)
{
	const fmode_t rw = FMODE_READ | FMODE_WRITE;
	enum memory_kind kind = uiov_memory_kind(file);
	pgoff_t pinned = buf->nr_pinned;
	int err;

	if (kind == MEMORY_OTHER)
		return -EBADFD;
	if ((file->f_mode & rw) != rw)
		return -EACCES;

	err = pin_memfd_locked(buf, file, kind, offset, size);
	while (err == -EAGAIN && !fatal_signal_pending(current)) {
		u64 done = (u64)(buf->nr_pinned - pinned) << PAGE_SHIFT;

		/* Holes in a hugetlb file, perhaps punched while we fill them. */
		err = populate_memfd(file, offset + done, size - done);
		if (!err)
			err = pin_memfd_locked(buf, file, kind, offset + done, size - done);
	}

	/* No free huge page, or no page that may be committed. */
	if (err == -ENOSPC)
		return -ENOMEM;
	return err == -EAGAIN ? -EINTR : err;
}

/**
 * uiov_pin_memfd_range() - append a range of a memfd
 * @buf: has room for it
 * @memfd: descriptor
 * @offset: first byte, page-aligned
 * @size: bytes, a multiple of the page size; @offset + @size <= LLONG_MAX
 *
 * Return: 0; -EBADFD (not a memfd), -EACCES (not open for reading and writing),
 * -EINVAL (seals, or beyond the end), -ENOMEM, -EINTR.
 */
int uiov_pin_memfd_range(struct uiov_buf *buf, u32 memfd, u64 offset, u64 size)
{
	struct file *file = fget(memfd);
	int err;

	if (!file)
		return -EBADFD;

	err = pin_memfd_file(buf, file, offset, size);
	fput(file);
	return err;
}
