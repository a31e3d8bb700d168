// SPDX-License-Identifier: GPL-2.0
/*
 * dmabuf_importer: user_struct.locked_vm, which the kernel shows to nobody. It is
 * what RLIMIT_MEMLOCK is held against, and no exporter's own idea of it.
 *
 * To read /sys/kernel/debug/dmabuf_importer/locked_pages gives the sum over the
 * real user of whoever reads it and over all who have read it before: a charge is
 * still seen when the last process of its user is gone.
 */
#include <linux/cred.h>
#include <linux/debugfs.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched/user.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "importer.h"

/**
 * struct known_user - somebody who has read the file
 * @node: in known_users
 * @cred: holds a reference, which holds one to the user
 */
struct known_user {
	struct list_head node;
	const struct cred *cred;
};

static DEFINE_MUTEX(known_users_lock);
static LIST_HEAD(known_users);

static struct dentry *locked_dir;

static int know_caller(void)
{
	struct known_user *known;

	list_for_each_entry(known, &known_users, node) {
		if (known->cred->user == current_cred()->user)
			return 0;
	}
	known = kzalloc(sizeof(*known), GFP_KERNEL);
	if (!known)
		return -ENOMEM;
	known->cred = get_current_cred();
	list_add_tail(&known->node, &known_users);
	return 0;
}

static int locked_pages_show(struct seq_file *m, void *unused)
{
	struct known_user *known;
	long pages = 0;
	int err;

	mutex_lock(&known_users_lock);
	err = know_caller();
	list_for_each_entry(known, &known_users, node)
		pages += atomic_long_read(&known->cred->user->locked_vm);
	mutex_unlock(&known_users_lock);

	seq_printf(m, "%ld\n", pages);
	return err;
}
DEFINE_SHOW_ATTRIBUTE(locked_pages);

void importer_show_locked(void)
{
	locked_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("locked_pages", 0400, locked_dir, NULL, &locked_pages_fops);
}

void importer_forget_locked(void)
{
	struct known_user *known, *next;

	debugfs_remove_recursive(locked_dir);
	list_for_each_entry_safe(known, next, &known_users, node) {
		put_cred(known->cred);
		kfree(known);
	}
}
