// SPDX-License-Identifier: GPL-2.0
/*
 * udmabuf_iov: userspace memory as a dma-buf. The device, its calls, limits.
 *
 * The UAPI, with errnos and rules, is described in <linux/udmabuf_iov.h>.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/overflow.h>
#include <linux/path.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/udmabuf_iov.h>

#include "compat.h"
#include "udmabuf_iov.h"

/* kvmalloc() warns above INT_MAX; sizes and offsets of mmap() are longs. */
#define UIOV_MAX_PAGES	min_t(u64, INT_MAX / sizeof(struct page *), LONG_MAX >> PAGE_SHIFT)

static char *device_name = "udmabuf";
module_param(device_name, charp, 0444);
MODULE_PARM_DESC(device_name, "Name of the device below /dev (default: udmabuf)");

static uint size_limit_mb = 1024;
module_param(size_limit_mb, uint, 0644);
MODULE_PARM_DESC(size_limit_mb, "Largest buffer, in MiB (default: 1024)");

static uint list_limit = 1024;
module_param(list_limit, uint, 0644);
MODULE_PARM_DESC(list_limit, "Most entries in one call (default: 1024)");

/* What RLIMIT_MEMLOCK applies to; each includes the ones before. */
enum memlock {
	MEMLOCK_NONE,
	MEMLOCK_IOVECS,
	MEMLOCK_ALL,
};

static const char * const memlock_names[] = {
	[MEMLOCK_NONE] = "none",
	[MEMLOCK_IOVECS] = "iovecs",
	[MEMLOCK_ALL] = "all",
};

static int memlock = MEMLOCK_IOVECS;

static int memlock_set(const char *val, const struct kernel_param *kp)
{
	int mode = sysfs_match_string(memlock_names, val);

	if (mode < 0)
		return mode;
	WRITE_ONCE(memlock, mode);
	return 0;
}

static int memlock_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", memlock_names[READ_ONCE(memlock)]);
}

static const struct kernel_param_ops memlock_ops = {
	.set = memlock_set,
	.get = memlock_get,
};
module_param_cb(memlock, &memlock_ops, NULL, 0644);
MODULE_PARM_DESC(memlock, "Charge RLIMIT_MEMLOCK for: none, iovecs (default), all (iovecs and memfds)");

/* Is this kind of buffer charged at the moment? */
static bool memlock_applies(enum uiov_kind kind)
{
	int mode = READ_ONCE(memlock);

	return kind == UIOV_IOVECS ? mode >= MEMLOCK_IOVECS : mode >= MEMLOCK_ALL;
}

static long create(const struct uiov_request *req)
{
	struct dma_buf *dmabuf;
	struct uiov_buf *buf;
	int fd;

	buf = uiov_buf_create(req, memlock_applies(req->kind));
	if (IS_ERR(buf))
		return PTR_ERR(buf);

	dmabuf = uiov_export(buf);
	if (IS_ERR(dmabuf)) {
		uiov_buf_free(buf);
		return PTR_ERR(dmabuf);
	}

	/* From here the dma-buf owns the buffer: its release frees it. */
	fd = dma_buf_fd(dmabuf, req->cloexec ? O_CLOEXEC : 0);
	if (fd < 0)
		dma_buf_put(dmabuf);
	return fd;
}

static u64 max_pages(void)
{
	u64 limit = (u64)READ_ONCE(size_limit_mb) << (20 - PAGE_SHIFT);

	return min_t(u64, limit, UIOV_MAX_PAGES);
}

/* Add one entry to *@total, a number of pages not above @limit. */
static int add_entry(u64 start, u64 len, u64 limit, u64 *total)
{
	if (!len || !PAGE_ALIGNED(start) || !PAGE_ALIGNED(len))
		return -EINVAL;
	if (start + len < start || (len >> PAGE_SHIFT) > limit - *total)
		return -EINVAL;

	*total += len >> PAGE_SHIFT;
	return 0;
}

static int check_entries(struct uiov_request *req, u64 limit)
{
	u64 total = 0;
	u32 i;
	int err;

	for (i = 0; i < req->count; i++) {
		if (req->kind == UIOV_IOVECS) {
			err = add_entry(req->iovs[i].base, req->iovs[i].len, limit, &total);
		} else {
			err = add_entry(req->items[i].offset, req->items[i].size, limit, &total);
			if (!err && req->items[i].offset + req->items[i].size > LLONG_MAX)
				err = -EINVAL;
		}
		if (err)
			return err;
	}

	if (total > totalram_pages())
		return -ENOMEM;
	req->nr_pages = total;
	return 0;
}

/* Check the fixed part of a call, which all three calls have in common. */
static int check_head(struct uiov_request *req, u32 flags, u32 count)
{
	BUILD_BUG_ON(UDMABUF_FLAGS_CLOEXEC != UDMABUF_IOV_FLAGS_CLOEXEC);

	if (flags & ~UDMABUF_FLAGS_CLOEXEC)
		return -EINVAL;
	req->cloexec = flags & UDMABUF_FLAGS_CLOEXEC;
	req->count = count;
	return 0;
}

static int check_count(u32 count)
{
	if (!count || count > READ_ONCE(list_limit))
		return -EINVAL;
	/* An entry is a page at least: bounds the array, whatever list_limit says. */
	if (count > max_pages())
		return -EINVAL;
	return count > totalram_pages() ? -ENOMEM : 0;
}

static void *copy_array(const void __user *from, u32 count, size_t size)
{
	void *array = uiov_alloc_array(count, size);

	if (!array)
		return ERR_PTR(-ENOMEM);
	if (copy_from_user(array, from, count * size)) {
		kvfree(array);
		return ERR_PTR(-EFAULT);
	}
	return array;
}

static long ioctl_create(const void __user *argp)
{
	struct uiov_request req = { .kind = UIOV_MEMFDS };
	struct udmabuf_create_item item = {};
	struct udmabuf_create arg;
	int err;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	err = check_head(&req, arg.flags, 1);
	if (err)
		return err;

	item.memfd = arg.memfd;
	item.offset = arg.offset;
	item.size = arg.size;
	req.items = &item;
	err = check_entries(&req, max_pages());
	return err ? err : create(&req);
}

static long ioctl_create_list(const void __user *argp)
{
	struct uiov_request req = { .kind = UIOV_MEMFDS };
	struct udmabuf_create_list head;
	long ret;

	if (copy_from_user(&head, argp, sizeof(head)))
		return -EFAULT;
	ret = check_head(&req, head.flags, head.count);
	if (!ret)
		ret = check_count(head.count);
	if (ret)
		return ret;

	req.items = copy_array(argp + sizeof(head), head.count, sizeof(*req.items));
	if (IS_ERR(req.items))
		return PTR_ERR(req.items);
	ret = check_entries(&req, max_pages());
	if (!ret)
		ret = create(&req);
	kvfree(req.items);
	return ret;
}

static long ioctl_iov_create(const void __user *argp)
{
	struct uiov_request req = { .kind = UIOV_IOVECS };
	struct udmabuf_iov_create head;
	long ret;

	BUILD_BUG_ON(UDMABUF_IOV_CREATE != 0x40084223);

	if (copy_from_user(&head, argp, sizeof(head)))
		return -EFAULT;
	ret = check_head(&req, head.flags, head.niov);
	if (!ret)
		ret = check_count(head.niov);
	if (ret)
		return ret;

	req.iovs = copy_array(argp + sizeof(head), head.niov, sizeof(*req.iovs));
	if (IS_ERR(req.iovs))
		return PTR_ERR(req.iovs);
	ret = check_entries(&req, max_pages());
	if (!ret)
		ret = create(&req);
	kvfree(req.iovs);
	return ret;
}

static long uiov_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const void __user *argp = (const void __user *)arg;

	switch (cmd) {
	case UDMABUF_CREATE:
		return ioctl_create(argp);
	case UDMABUF_CREATE_LIST:
		return ioctl_create_list(argp);
	case UDMABUF_IOV_CREATE:
		return ioctl_iov_create(argp);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations uiov_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = uiov_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice uiov_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.fops = &uiov_fops,
	/* Whoever may open it may pin memory: udev hands it to group kvm. */
	.mode = 0600,
};

/*
 * Does a misc device of our name exist? misc_register() would say so too, but
 * after a stack trace. Without sysfs at its place, that is what happens.
 */
static bool __init name_taken(void)
{
	char *name = kasprintf(GFP_KERNEL, "/sys/class/misc/%s", device_name);
	struct path path;
	int err;

	if (!name)
		return false;
	err = kern_path(name, 0, &path);
	if (!err)
		path_put(&path);
	kfree(name);
	return !err;
}

static int __init uiov_init(void)
{
	int err;

	uiov_misc.name = device_name;
	err = name_taken() ? -EEXIST : misc_register(&uiov_misc);
	if (err == -EEXIST)
		pr_err("a device called %s exists already, probably that of the kernel's own udmabuf driver; boot with initcall_blacklist=udmabuf_dev_init or load with device_name=NAME\n",
		       device_name);
	if (err)
		return err;

	uiov_debugfs_init();
	return 0;
}

static void __exit uiov_exit(void)
{
	misc_deregister(&uiov_misc);
	uiov_debugfs_exit();
}

module_init(uiov_init);
module_exit(uiov_exit);

UIOV_IMPORT_DMA_BUF;
MODULE_DESCRIPTION("Export userspace memory (iovecs and memfds) as dma-bufs");
MODULE_AUTHOR("The udmabuf harness authors");
MODULE_LICENSE("GPL");
