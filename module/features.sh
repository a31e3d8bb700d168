#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Print a -DHAVE_... for each thing that compat.h has to know about a kernel.
#
# usage: features.sh SRCTREE OBJTREE
#
# Headers and Module.symvers are asked and not LINUX_VERSION_CODE: distributions
# backport interfaces, so that the version says little (Debian's 6.1.192 has
# dma_buf_fd_install(), its 6.12.117 has not).
set -eu

inc=$1/include/linux
symvers=$2/Module.symvers

[ -r "$inc/dma-buf.h" ] && [ -r "$symvers" ]

have() {
	printf ' -DHAVE_%s' "$1"
}

# exported SYMBOL
exported() {
	grep -q "	$1	" "$symvers"
}

# header FILE BASIC-REGEX
header() {
	grep -q "$2" "$inc/$1"
}

# 5.10 and 6.1: pin_user_pages() can report the VMAs, in a fifth argument.
if sed -n '/^long pin_user_pages(/,/;/p' "$inc/mm.h" | grep -q vmas; then
	have PIN_USER_PAGES_VMAS
fi
if header mm.h 'vm_flags_set('; then have VM_FLAGS_SET; fi
# Linux 5.12: fork() copies pinned private hugetlb pages at once.
if header mm.h '_needs_cow_for_dma('; then have FORK_COPIES_PINNED_HUGETLB; fi
if exported memfd_pin_folios; then have MEMFD_PIN_FOLIOS; fi
if exported vmf_insert_pfn_pmd; then have VMF_INSERT_PFN_PMD; fi
if [ -e "$inc/pfn_t.h" ]; then have PFN_T; fi
# Linux 5.18: dma_buf_ops.vmap fills an iosys_map; 5.10 returns a pointer.
if header dma-buf.h '(\*vmap)(.*iosys_map'; then have VMAP_IOSYS_MAP; fi
# Where the dma-buf symbols live in a namespace, and how it is to be written.
if grep -q '	dma_buf_export	.*DMA_BUF' "$symvers"; then
	have DMA_BUF_NAMESPACE
	if header module.h 'MODULE_IMPORT_NS(ns).*__stringify'; then
		have IMPORT_NS_BARE_WORD
	fi
fi
