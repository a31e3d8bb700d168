/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kselftest.h: the exit codes of a kselftest, Documentation/dev-tools/kselftest.rst.
 */
#ifndef KSELFTEST_H
#define KSELFTEST_H

#define KSFT_PASS	0
#define KSFT_FAIL	1
#define KSFT_XFAIL	2
#define KSFT_XPASS	3
#define KSFT_SKIP	4

#endif /* KSELFTEST_H */
