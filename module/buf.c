// SPDX-License-Identifier: GPL-2.0
/*
 * udmabuf_iov: a buffer from a checked request to its end.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/udmabuf_iov.h>

#include "compat.h"
#include "udmabuf_iov.h"

/**
 * uiov_alloc_array() - kvmalloc() of a length that userspace chose
 * @n: elements
 * @size: of one
 *
 * Return: uninitialised memory charged to the caller's memory cgroup, or NULL;
 * never a warning.
 */
void *uiov_alloc_array(size_t n, size_t size)
{
	size_t bytes = array_size(n, size);

	if (bytes > INT_MAX)
		return NULL;
	return kvmalloc(bytes, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
}

/**
 * uiov_buf_free() - undo everything a buffer stands for, and free it
 * @buf: complete or half made
 */
void uiov_buf_free(struct uiov_buf *buf)
{
	uiov_unregister(buf);
	uiov_unpin(buf);
	uiov_uncharge(&buf->charge);
	kvfree(buf->pins);
	kvfree(buf->pages);
	mutex_destroy(&buf->lock);
	kfree(buf);
}

static struct uiov_buf *buf_alloc(enum uiov_kind kind, pgoff_t nr_pages)
{
	struct uiov_buf *buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);

	if (!buf)
		return NULL;

	buf->kind = kind;
	buf->nr_pages = nr_pages;
	mutex_init(&buf->lock);
	INIT_LIST_HEAD(&buf->mappings);
	return buf;
}

static int alloc_pages_and_pins(struct uiov_buf *buf)
{
	buf->pages = uiov_alloc_array(buf->nr_pages, sizeof(*buf->pages));
	buf->pins = uiov_alloc_array(BITS_TO_LONGS(buf->nr_pages), sizeof(*buf->pins));
	if (!buf->pages || !buf->pins)
		return -ENOMEM;

	bitmap_zero(buf->pins, buf->nr_pages);
	return 0;
}

static int pin_entries(struct uiov_buf *buf, const struct uiov_request *req)
{
	u32 i;
	int err;

	for (i = 0; i < req->count; i++) {
		if (req->kind == UIOV_IOVECS)
			err = uiov_pin_user_range(buf, req->iovs[i].base, req->iovs[i].len);
		else
			err = uiov_pin_memfd_range(buf, req->items[i].memfd,
						   req->items[i].offset, req->items[i].size);
		if (err)
			return err;
		if (fatal_signal_pending(current))
			return -EINTR;
	}

	return 0;
}

/**
 * uiov_buf_create() - charge, allocate, pin and announce a buffer
 * @req: checked, with nr_pages
 * @limited: by RLIMIT_MEMLOCK
 *
 * Return: the buffer, to be exported or freed, or an ERR_PTR.
 */
struct uiov_buf *uiov_buf_create(const struct uiov_request *req, bool limited)
{
	struct uiov_buf *buf;
	int err;

	buf = buf_alloc(req->kind, req->nr_pages);
	if (!buf)
		return ERR_PTR(-ENOMEM);

	err = uiov_charge(&buf->charge, req->nr_pages, limited);
	if (!err)
		err = alloc_pages_and_pins(buf);
	if (!err)
		err = pin_entries(buf, req);
	if (!err)
		err = uiov_register(buf);
	if (err) {
		uiov_buf_free(buf);
		return ERR_PTR(err);
	}

	return buf;
}
