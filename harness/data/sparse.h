/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For sparse alone, which reads it first: what the headers of kernels since 7.2 use and sparse
 * 0.6.4, the newest that Debian has, does not know.
 */
#define __typeof_unqual__ __typeof__
/* In a constant expression: MODULE_INFO() compares it with sizeof of the same string literal. */
#define __builtin_strlen(string) (sizeof(string) - 1)
