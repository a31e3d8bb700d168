// SPDX-License-Identifier: GPL-2.0
/*
 * udmabuf_iov: what exists, in /sys/kernel/debug/udmabuf_iov/.
 *
 * Lines of "key value" pairs, separated by single spaces. Keys are never
 * renamed and never change their order; new ones are added at the end.
 *
 *   totals   one pair a line:
 *              buffers, pages, charged_pages, attachments, mappings
 *   charges  a line for each uid (as seen from the initial user namespace) that
 *            made a buffer which still exists:
 *              uid buffers pages charged_pages
 *   buffers  a line for each buffer, oldest first:
 *              id kind uid pages charged_pages attachments mappings vmapped
 *
 * pages counts entries: a page that is in a buffer twice counts twice. kind is
 * iovecs or memfds. id counts up from 1 and is not used again.
 */
#include <linux/debugfs.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "udmabuf_iov.h"

/**
 * struct uiov_owner - totals of one uid
 * @node: in owners
 * @uid: of the creators
 * @buffers: how many; the last one frees this
 * @pages: in all of them
 * @charged_pages: thereof charged
 */
struct uiov_owner {
	struct list_head node;
	kuid_t uid;
	unsigned long buffers;
	unsigned long pages;
	unsigned long charged_pages;
};

static DEFINE_MUTEX(registry_lock);
static LIST_HEAD(buffers);
static LIST_HEAD(owners);
static u64 last_id;

static struct dentry *debugfs_dir;

static struct uiov_owner *find_owner(kuid_t uid)
{
	struct uiov_owner *owner;

	list_for_each_entry(owner, &owners, node) {
		if (uid_eq(owner->uid, uid))
			return owner;
	}
	return NULL;
}

/**
 * uiov_register() - show a buffer
 * @buf: with pages and charge
 *
 * Return: 0 or -ENOMEM.
 */
int uiov_register(struct uiov_buf *buf)
{
	struct uiov_owner *new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	kuid_t uid = buf->charge.cred->user->uid;
	struct uiov_owner *owner;

	if (!new)
		return -ENOMEM;

	mutex_lock(&registry_lock);
	owner = find_owner(uid);
	if (!owner) {
		owner = new;
		new = NULL;
		owner->uid = uid;
		list_add_tail(&owner->node, &owners);
	}
	owner->buffers++;
	owner->pages += buf->nr_pages;
	owner->charged_pages += buf->charge.pages;
	buf->owner = owner;
	buf->id = ++last_id;
	list_add_tail(&buf->node, &buffers);
	mutex_unlock(&registry_lock);

	kfree(new);
	return 0;
}

/**
 * uiov_unregister() - show a buffer no longer
 * @buf: registered or not
 */
void uiov_unregister(struct uiov_buf *buf)
{
	struct uiov_owner *owner = buf->owner;

	if (!owner)
		return;

	mutex_lock(&registry_lock);
	list_del(&buf->node);
	owner->pages -= buf->nr_pages;
	owner->charged_pages -= buf->charge.pages;
	if (--owner->buffers == 0) {
		list_del(&owner->node);
		kfree(owner);
	}
	mutex_unlock(&registry_lock);
	buf->owner = NULL;
}

static int totals_show(struct seq_file *m, void *unused)
{
	unsigned long nr_buffers = 0, pages = 0, charged = 0;
	unsigned long attachments = 0, mappings = 0;
	struct uiov_buf *buf;

	mutex_lock(&registry_lock);
	list_for_each_entry(buf, &buffers, node) {
		nr_buffers++;
		pages += buf->nr_pages;
		charged += buf->charge.pages;
		attachments += atomic_read(&buf->attachments);
		mappings += atomic_read(&buf->nr_mappings);
	}
	mutex_unlock(&registry_lock);

	seq_printf(m, "buffers %lu\n", nr_buffers);
	seq_printf(m, "pages %lu\n", pages);
	seq_printf(m, "charged_pages %lu\n", charged);
	seq_printf(m, "attachments %lu\n", attachments);
	seq_printf(m, "mappings %lu\n", mappings);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(totals);

static int charges_show(struct seq_file *m, void *unused)
{
	struct uiov_owner *owner;

	mutex_lock(&registry_lock);
	list_for_each_entry(owner, &owners, node) {
		seq_printf(m, "uid %u buffers %lu pages %lu charged_pages %lu\n",
			   from_kuid(&init_user_ns, owner->uid), owner->buffers,
			   owner->pages, owner->charged_pages);
	}
	mutex_unlock(&registry_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(charges);

static int buffers_show(struct seq_file *m, void *unused)
{
	struct uiov_buf *buf;

	mutex_lock(&registry_lock);
	list_for_each_entry(buf, &buffers, node) {
		seq_printf(m, "id %llu kind %s uid %u pages %lu charged_pages %lu attachments %d mappings %d vmapped %d\n",
			   buf->id, buf->kind == UIOV_IOVECS ? "iovecs" : "memfds",
			   from_kuid(&init_user_ns, buf->owner->uid), buf->nr_pages,
			   buf->charge.pages, atomic_read(&buf->attachments),
			   atomic_read(&buf->nr_mappings), READ_ONCE(buf->vaddr) ? 1 : 0);
	}
	mutex_unlock(&registry_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(buffers);

void uiov_debugfs_init(void)
{
	debugfs_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("totals", 0400, debugfs_dir, NULL, &totals_fops);
	debugfs_create_file("charges", 0400, debugfs_dir, NULL, &charges_fops);
	debugfs_create_file("buffers", 0400, debugfs_dir, NULL, &buffers_fops);
}

void uiov_debugfs_exit(void)
{
	debugfs_remove_recursive(debugfs_dir);
}
