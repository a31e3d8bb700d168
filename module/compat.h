/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernels, 5.10 to 7.3. The HAVE_ symbols come from
 * features.sh, which asks the headers and the export table. Everything here
 * gives old kernels the newer name; no other file may look at a HAVE_ symbol
 * except where a kernel lacks the thing altogether.
 */
#ifndef _UIOV_COMPAT_H
#define _UIOV_COMPAT_H

#include <linux/dma-buf.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#ifdef HAVE_DMA_BUF_NAMESPACE
#ifdef HAVE_IMPORT_NS_BARE_WORD
#define UIOV_IMPORT_DMA_BUF	MODULE_IMPORT_NS(DMA_BUF)
#else
#define UIOV_IMPORT_DMA_BUF	MODULE_IMPORT_NS("DMA_BUF")
#endif
#else
#define UIOV_IMPORT_DMA_BUF	static_assert(1)
#endif

/* 6.4: x86 got tags to remove, by a mask that is exported only per mm. */
#ifndef untagged_addr_remote
#define untagged_addr_remote(mm, addr)	((void)(mm), untagged_addr(addr))
#endif

static inline long uiov_pin_user_pages(unsigned long start, unsigned long nr,
				       unsigned int flags, struct page **pages)
{
#ifdef HAVE_PIN_USER_PAGES_VMAS
	return pin_user_pages(start, nr, flags, pages, NULL);
#else
	return pin_user_pages(start, nr, flags, pages);
#endif
}

#ifndef HAVE_VM_FLAGS_SET
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}
#endif

/*
 * Mappings of whole PMDs in a VM_PFNMAP area are safe against fast GUP since
 * the special bit for PMDs (6.12); before, vmf_insert_pfn_pmd() is not asked.
 */
#if defined(HAVE_VMF_INSERT_PFN_PMD) && defined(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && \
	defined(CONFIG_TRANSPARENT_HUGEPAGE)
#define UIOV_HUGE_FAULT
#include <linux/huge_mm.h>
#ifdef HAVE_PFN_T
#include <linux/pfn_t.h>
#endif

static inline vm_fault_t uiov_insert_pfn_pmd(struct vm_fault *vmf, unsigned long pfn, bool write)
{
#ifdef HAVE_PFN_T
	return vmf_insert_pfn_pmd(vmf, __pfn_to_pfn_t(pfn, PFN_DEV), write);
#else
	return vmf_insert_pfn_pmd(vmf, pfn, write);
#endif
}
#endif

#endif /* _UIOV_COMPAT_H */
