#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Print a -DHAVE_... for each thing that importer.h has to know about a kernel.
#
# usage: features.sh SRCTREE OBJTREE
set -eu

dma_buf_h=$1/include/linux/dma-buf.h
mm_h=$1/include/linux/mm.h
module_h=$1/include/linux/module.h
symvers=$2/Module.symvers

[ -r "$dma_buf_h" ] && [ -r "$symvers" ]

have() {
	printf ' -DHAVE_%s' "$1"
}

# 6.2 and 6.1 stable: variants that take the dma_resv lock themselves.
if grep -q '	dma_buf_map_attachment_unlocked	' "$symvers"; then have MAP_UNLOCKED; fi
if grep -q '	dma_buf_vmap_unlocked	' "$symvers"; then have VMAP_UNLOCKED; fi
# 5.18: a struct iosys_map; 5.10 returns a pointer.
if grep -q 'dma_buf_vmap(.*iosys_map' "$dma_buf_h"; then have VMAP_IOSYS_MAP; fi
# 5.15: the map operation of a device tells why it failed; before, it returns 0.
if grep -q '	dma_map_sgtable	' "$symvers"; then have MAP_SG_ERRORS; fi
# 6.3: the flags of a VMA are written by functions only.
if grep -q 'vm_flags_set(' "$mm_h"; then have VM_FLAGS_SET; fi
# 7.0: move_notify became invalidate_mappings.
if grep -q '(\*invalidate_mappings)' "$dma_buf_h"; then have INVALIDATE_MAPPINGS; fi
if grep -q '	dma_buf_attach	.*DMA_BUF' "$symvers"; then
	have DMA_BUF_NAMESPACE
	if grep -q 'MODULE_IMPORT_NS(ns).*__stringify' "$module_h"; then
		have IMPORT_NS_BARE_WORD
	fi
fi
