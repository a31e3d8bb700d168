// SPDX-License-Identifier: GPL-2.0
/*
 * dmabuf_importer: mappings like those of drivers, one mark at a time.
 */
#include <linux/mm.h>

#include "importer.h"

#ifndef HAVE_VM_FLAGS_SET
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}
#endif

int importer_mmap(struct file *file, struct vm_area_struct *vma)
{
	switch (vma->vm_pgoff) {
	case DMABUF_IMPORTER_MMAP_IO:
		vm_flags_set(vma, VM_IO);
		return 0;
	case DMABUF_IMPORTER_MMAP_PFN:
		vm_flags_set(vma, VM_PFNMAP);
		return 0;
	case DMABUF_IMPORTER_MMAP_MIXED:
		vm_flags_set(vma, VM_MIXEDMAP);
		return 0;
	default:
		return -EINVAL;
	}
}
