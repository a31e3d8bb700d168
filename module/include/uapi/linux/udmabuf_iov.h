/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * udmabuf_iov: turn userspace memory into a dma-buf.
 *
 * The device (/dev/udmabuf unless the module was loaded with device_name=)
 * understands three calls. Each returns a new dma-buf file descriptor (>= 0)
 * or -1 with errno.
 *
 *   UDMABUF_CREATE        one range of one memfd          <linux/udmabuf.h>
 *   UDMABUF_CREATE_LIST   ranges of memfds                <linux/udmabuf.h>
 *   UDMABUF_IOV_CREATE    ranges of the caller's memory   this header
 *
 * The device may be opened read-only: what counts is access to the memory.
 * All structures have the same layout for 32-bit and 64-bit callers.
 *
 * The buffer
 * ----------
 * The ranges, in the order given, make one linear buffer; its size in bytes is
 * the sum of theirs (lseek(fd, 0, SEEK_END) tells). The pages are pinned when
 * the call is made and stay pinned, and charged, until the last user of the
 * buffer is gone: descriptors, mappings, importing drivers. The memfd, the
 * address range and the calling process may go away before that. The buffer is
 * always readable and writable; dma-bufs know no read-only access.
 *
 * mmap() of the buffer wants MAP_SHARED (else EINVAL). The mapping cannot grow,
 * is left out of core dumps, and cannot itself be pinned (direct I/O: EFAULT).
 *
 * DMA_BUF_IOCTL_SYNC: END before the first START of a buffer is EINVAL, as in
 * mainline. START and END act on the mappings of all importing devices. START
 * can fail with EINTR when a signal arrives; it is to be repeated then.
 *
 * What is pinned follows the pages and not the addresses: after munmap(),
 * MADV_DONTNEED, mremap() or exec, or a hole punched into the memfd, the buffer
 * keeps the pages it was made of. After fork() the parent keeps sharing its
 * pages with the buffer and the child gets copies (of private memory).
 *
 * Limits (module parameters, read when a call is made)
 * ----------------------------------------------------
 *   size_limit_mb   largest buffer, in MiB (default 1024); never more than
 *                   INT_MAX / sizeof(void *) pages, just under 1 TiB on x86-64
 *   list_limit      most entries in one call (default 1024)
 *   memlock         who pays with RLIMIT_MEMLOCK: none, iovecs (default), all
 *
 * Accounting: where memlock= says so, every page of every entry (a page named
 * twice counts twice) is charged to the user (the uid) making the call, against
 * the caller's soft RLIMIT_MEMLOCK, before anything is pinned. It is the counter
 * that io_uring and AF_XDP use too. A caller with CAP_IPC_LOCK in the initial
 * user namespace is not charged. What was charged is given back when the buffer
 * is released, whoever releases it.
 *
 * errno, all three calls
 * ----------------------
 *   EFAULT   the argument or its array cannot be read
 *   EINVAL   unknown bit in flags; no entries, or more than list_limit; an entry
 *            of size 0; a start or size that is not a multiple of the page size;
 *            start + size overflows; more than size_limit_mb in all
 *   ENOMEM   over RLIMIT_MEMLOCK; more pages than the machine has; no memory; a
 *            page has too many references already
 *   EMFILE, ENFILE   no descriptor to be had
 *   EINTR    killed while pinning; or a signal came while the holes of a hugetlb
 *            memfd were filled
 *   ENOTTY   not one of the three calls
 *
 * errno, memfd calls (mainline's rules; entries are looked at in order, after
 * all of the above that needs no memfd)
 *   EBADFD   not an open descriptor, or neither memfd nor tmpfs/hugetlbfs file
 *   EACCES   the descriptor is not open for reading and writing (mainline does
 *            not check this)
 *   EINVAL   F_SEAL_SHRINK is missing; F_SEAL_WRITE or F_SEAL_FUTURE_WRITE is
 *            set; the range ends beyond the file
 *   Checked beyond mainline: unknown bits in flags and an entry of size 0 (both
 *   EINVAL), access (EACCES). Not checked, as in mainline: __pad of a
 *   udmabuf_create_item, because existing callers leave it uninitialised.
 *   While the buffer lives, F_ADD_SEALS(F_SEAL_WRITE) on its memfd is EBUSY.
 *
 * errno, UDMABUF_IOV_CREATE
 *   EFAULT   part of a range is not mapped, or its pages cannot be made (beyond
 *            the end of a mapped file; no free huge page)
 *   EOPNOTSUPP  part of a range is memory of a kind that cannot be exported: a
 *            shared file mapping other than tmpfs, memfd, SysV shm or hugetlbfs;
 *            device memory, a mapped dma-buf, secret memory. Before Linux 5.12
 *            also private hugetlb mappings, which fork() would take apart.
 *   EACCES   part of a range is not writable (PROT_READ, PROT_NONE)
 *   Nothing stays pinned or charged when a call fails.
 */
#ifndef _UAPI_LINUX_UDMABUF_IOV_H
#define _UAPI_LINUX_UDMABUF_IOV_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/udmabuf.h>

/* Set FD_CLOEXEC on the new descriptor. The only flag; same bit as mainline's. */
#define UDMABUF_IOV_FLAGS_CLOEXEC	0x01

/**
 * struct udmabuf_iov_entry - one range of the caller's address space
 * @base: address of its first byte, a multiple of the page size
 * @len: its length in bytes, a multiple of the page size, not 0
 *
 * The range must be mapped and writable from end to end; it may span several
 * mappings. Anonymous memory (huge pages too), tmpfs, memfd and SysV shared
 * memory, hugetlb memory, and the private copies of a MAP_PRIVATE mapping are
 * taken. Pages not there yet are allocated. Ranges may overlap.
 */
struct udmabuf_iov_entry {
	__u64 base;
	__u64 len;
};

/**
 * struct udmabuf_iov_create - argument of UDMABUF_IOV_CREATE
 * @flags: 0 or UDMABUF_IOV_FLAGS_CLOEXEC
 * @niov: number of entries, 1 to list_limit
 * @iovs: the entries, in buffer order
 */
struct udmabuf_iov_create {
	__u32 flags;
	__u32 niov;
	struct udmabuf_iov_entry iovs[];
};

/*
 * Number and layout are those of the udmabuf RFC of March 2018
 * (20180313154826.20436-1-kraxel@redhat.com): 0x40084223.
 */
#define UDMABUF_IOV_CREATE	_IOW(0x42, 0x23, struct udmabuf_iov_create)

#endif /* _UAPI_LINUX_UDMABUF_IOV_H */
