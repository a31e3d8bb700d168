// SPDX-License-Identifier: GPL-2.0
/*
 * dmabuf_importer: references on a page, by the million.
 */
#include <linux/bits.h>
#include <linux/mm.h>
#include <linux/page_ref.h>
#include <linux/uaccess.h>

#include "importer.h"

/* A page of nobody else's stays far from the 2^31 that overflow. */
#define MOST_REFS	BIT(30)

long importer_hold(struct importer_session *session, void __user *argp)
{
	struct dmabuf_importer_hold arg;
	int got;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	if (arg.pad || !arg.count || arg.count > MOST_REFS)
		return -EINVAL;
	if (session->held)
		return -EBUSY;

	got = get_user_pages_fast(arg.addr, 1, FOLL_WRITE, &session->held);
	if (got != 1) {
		session->held = NULL;
		return got < 0 ? got : -EFAULT;
	}
	/* The call above took the first. */
	session->more_refs = arg.count - 1;
	page_ref_add(compound_head(session->held), session->more_refs);
	return 0;
}

void importer_undo_hold(struct importer_session *session)
{
	if (!session->held)
		return;
	page_ref_sub(compound_head(session->held), session->more_refs);
	put_page(session->held);
	session->held = NULL;
}
