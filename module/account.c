// SPDX-License-Identifier: GPL-2.0
/*
 * udmabuf_iov: RLIMIT_MEMLOCK.
 *
 * The counter is user_struct.locked_vm, as for io_uring, AF_XDP and iommufd,
 * and not mm->locked_vm or mm->pinned_vm: a dma-buf outlives the process that
 * made it, and a charge that died with the mm could be escaped by fork, create,
 * pass the descriptor on, exit.
 */
#include <linux/capability.h>
#include <linux/limits.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

#include "udmabuf_iov.h"

/**
 * uiov_charge() - charge the caller for pages about to be pinned
 * @charge: zeroed; describes afterwards what uiov_uncharge() has to undo
 * @pages: number of pages
 * @limited: false: only note who the owner is
 *
 * The capability is looked at once, here: release may run as anybody.
 *
 * Return: 0, or -ENOMEM when the caller's soft RLIMIT_MEMLOCK does not allow it.
 */
int uiov_charge(struct uiov_charge *charge, unsigned long pages, bool limited)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	const struct cred *cred = get_current_cred();
	atomic_long_t *locked = &cred->user->locked_vm;
	long old;

	charge->cred = cred;
	if (!limited || ns_capable_noaudit(&init_user_ns, CAP_IPC_LOCK))
		return 0;

	old = atomic_long_read(locked);
	do {
		if (pages > limit || (unsigned long)old > limit - pages)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(locked, &old, old + pages));

	charge->pages = pages;
	return 0;
}

/**
 * uiov_uncharge() - give back what uiov_charge() took, once
 * @charge: may be zeroed (nothing was charged)
 */
void uiov_uncharge(struct uiov_charge *charge)
{
	if (!charge->cred)
		return;

	if (charge->pages)
		atomic_long_sub(charge->pages, &charge->cred->user->locked_vm);
	put_cred(charge->cred);
	charge->cred = NULL;
}
