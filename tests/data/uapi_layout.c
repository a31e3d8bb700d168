// SPDX-License-Identifier: GPL-2.0
/*
 * Numbers and layouts that programs have been built with: mainline's udmabuf.h since 4.20, and
 * the udmabuf RFC of March 2018 for UDMABUF_IOV_CREATE. Compiled, never run, as C and as C++, for
 * 64 and 32 bits, behind both headers in either order.
 */
#include <stddef.h>

#ifdef __cplusplus
#define CHECK(expression) static_assert(expression, #expression)
#else
#define CHECK(expression) _Static_assert(expression, #expression)
#endif

CHECK(UDMABUF_CREATE == 0x40187542);
CHECK(UDMABUF_CREATE_LIST == 0x40087543);
CHECK(UDMABUF_IOV_CREATE == 0x40084223);

CHECK(UDMABUF_FLAGS_CLOEXEC == 1);
CHECK(UDMABUF_IOV_FLAGS_CLOEXEC == UDMABUF_FLAGS_CLOEXEC);

CHECK(sizeof(struct udmabuf_create) == 24);
CHECK(offsetof(struct udmabuf_create, memfd) == 0);
CHECK(offsetof(struct udmabuf_create, flags) == 4);
CHECK(offsetof(struct udmabuf_create, offset) == 8);
CHECK(offsetof(struct udmabuf_create, size) == 16);

CHECK(sizeof(struct udmabuf_create_item) == 24);
CHECK(offsetof(struct udmabuf_create_item, memfd) == 0);
CHECK(offsetof(struct udmabuf_create_item, __pad) == 4);
CHECK(offsetof(struct udmabuf_create_item, offset) == 8);
CHECK(offsetof(struct udmabuf_create_item, size) == 16);

CHECK(sizeof(struct udmabuf_create_list) == 8);
CHECK(offsetof(struct udmabuf_create_list, flags) == 0);
CHECK(offsetof(struct udmabuf_create_list, count) == 4);
CHECK(offsetof(struct udmabuf_create_list, list) == 8);

CHECK(sizeof(struct udmabuf_iov_entry) == 16);
CHECK(offsetof(struct udmabuf_iov_entry, base) == 0);
CHECK(offsetof(struct udmabuf_iov_entry, len) == 8);

CHECK(sizeof(struct udmabuf_iov_create) == 8);
CHECK(offsetof(struct udmabuf_iov_create, flags) == 0);
CHECK(offsetof(struct udmabuf_iov_create, niov) == 4);
CHECK(offsetof(struct udmabuf_iov_create, iovs) == 8);
