// SPDX-License-Identifier: GPL-2.0
/*
 * dmabuf_importer: a dma-buf importer for tests. Devices, sessions, dispatch.
 *
 * Test-only: it hands kernel addresses and physical memory to whoever opens it.
 * The calls are described in dmabuf_importer.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "importer.h"

/* QEMU's docs/specs/edu.rst */
#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

/**
 * struct device_limits - what a device can address
 * @dma_mask: mask
 * @max_seg_size: bytes
 * @seg_boundary: mask
 */
struct device_limits {
	u64 dma_mask;
	unsigned int max_seg_size;
	unsigned long seg_boundary;
};

/* clang takes DMA_BIT_MASK(64) of kernels up to 6.12 for a shift by 64 in a constant. */
#define MASK64	(~0ULL)

static const struct device_limits limits[] = {
	[DMABUF_IMPORTER_DEV_DEFAULT] = { MASK64, UINT_MAX, ULONG_MAX },
	[DMABUF_IMPORTER_DEV_MASK32] = { DMA_BIT_MASK(32), UINT_MAX, ULONG_MAX },
	[DMABUF_IMPORTER_DEV_SEG4K] = { MASK64, SZ_4K, ULONG_MAX },
	[DMABUF_IMPORTER_DEV_SEG64K] = { MASK64, SZ_64K, ULONG_MAX },
	[DMABUF_IMPORTER_DEV_BOUNDARY] = { MASK64, UINT_MAX, SZ_64K - 1 },
	[DMABUF_IMPORTER_DEV_FAILING] = { MASK64, SZ_4K, ULONG_MAX },
	[DMABUF_IMPORTER_DEV_PCI] = { MASK64, UINT_MAX, ULONG_MAX },
};

static struct platform_device *devices[DMABUF_IMPORTER_NDEVICES];
static struct pci_dev *pci_device;

struct device *importer_device(u32 index)
{
	if (index == DMABUF_IMPORTER_DEV_PCI && pci_device)
		return &pci_device->dev;
	return index < ARRAY_SIZE(devices) ? &devices[index]->dev : NULL;
}

bool importer_direction_valid(u32 direction)
{
	return direction <= DMA_FROM_DEVICE;
}

/* Add an object that holds the dma-buf @fd and nothing else yet. */
struct importer_object *importer_new(struct importer_session *session, s32 fd)
{
	struct importer_object *obj = kzalloc(sizeof(*obj), GFP_KERNEL);
	struct dma_buf *dmabuf;

	if (!obj)
		return ERR_PTR(-ENOMEM);
	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf)) {
		kfree(obj);
		return ERR_CAST(dmabuf);
	}

	obj->dmabuf = dmabuf;
	obj->handle = ++session->last_handle;
	list_add_tail(&obj->node, &session->objects);
	return obj;
}

struct importer_object *importer_find(struct importer_session *session, u32 handle)
{
	struct importer_object *obj;

	list_for_each_entry(obj, &session->objects, node) {
		if (obj->handle == handle)
			return obj;
	}
	return NULL;
}

/* Undo whatever an object stands for, and free it. */
void importer_drop(struct importer_object *obj)
{
	importer_undo_vmap(obj);
	importer_undo_map(obj);
	importer_undo_attach(obj);
	list_del(&obj->node);
	dma_buf_put(obj->dmabuf);
	kfree(obj);
}

static u32 drop_if(struct importer_session *session, bool newest_first, u32 mask, u32 value)
{
	struct importer_object *obj, *next;
	u32 dropped = 0;

	if (newest_first) {
		list_for_each_entry_safe_reverse(obj, next, &session->objects, node) {
			if ((obj->handle & mask) == value) {
				importer_drop(obj);
				dropped++;
			}
		}
	} else {
		list_for_each_entry_safe(obj, next, &session->objects, node) {
			if ((obj->handle & mask) == value) {
				importer_drop(obj);
				dropped++;
			}
		}
	}
	return dropped;
}

static u32 drop_all(struct importer_session *session, u32 order)
{
	struct importer_object *obj;

	switch (order) {
	case DMABUF_IMPORTER_ORDER_NEWEST:
		return drop_if(session, true, 0, 0);
	case DMABUF_IMPORTER_ORDER_SHUFFLED:
		return drop_if(session, true, 1, 0) + drop_if(session, true, 1, 1);
	case DMABUF_IMPORTER_ORDER_PHASES:
		list_for_each_entry(obj, &session->objects, node)
			importer_undo_map(obj);
		list_for_each_entry(obj, &session->objects, node)
			importer_undo_attach(obj);
		break;
	}
	return drop_if(session, false, 0, 0);
}

/**
 * struct drop_work - drop_all() elsewhere
 * @work: on the caller's stack
 * @session: locked by the caller
 * @order: to drop in
 * @dropped: result
 */
struct drop_work {
	struct work_struct work;
	struct importer_session *session;
	u32 order;
	u32 dropped;
};

static void drop_worker(struct work_struct *work)
{
	struct drop_work *drop = container_of(work, struct drop_work, work);

	drop->dropped = drop_all(drop->session, drop->order);
}

static long importer_abandon(struct importer_session *session, void __user *argp)
{
	struct dmabuf_importer_abandon arg;
	struct drop_work drop = { .session = session };

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	if (arg.order > DMABUF_IMPORTER_ORDER_SHUFFLED || arg.pad ||
	    (arg.flags & ~DMABUF_IMPORTER_ABANDON_WORKER))
		return -EINVAL;

	if (arg.flags & DMABUF_IMPORTER_ABANDON_WORKER) {
		drop.order = arg.order;
		INIT_WORK_ONSTACK(&drop.work, drop_worker);
		schedule_work(&drop.work);
		flush_work(&drop.work);
		destroy_work_on_stack(&drop.work);
		arg.dropped = drop.dropped;
	} else {
		arg.dropped = drop_all(session, arg.order);
	}

	return copy_to_user(argp, &arg, sizeof(arg)) ? -EFAULT : 0;
}

static long importer_info(void __user *argp)
{
	struct dmabuf_importer_info arg;
	struct device *dev;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	dev = importer_device(arg.device);
	if (!dev || arg.pad)
		return -EINVAL;

	arg.ndevices = ARRAY_SIZE(devices);
	arg.dma_mask = dma_get_mask(dev);
	arg.seg_boundary = dma_get_seg_boundary(dev);
	arg.max_seg_size = dma_get_max_seg_size(dev);
	return copy_to_user(argp, &arg, sizeof(arg)) ? -EFAULT : 0;
}

static long importer_refs(void __user *argp)
{
	struct dmabuf_importer_count arg;
	struct dma_buf *dmabuf;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	dmabuf = dma_buf_get(arg.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	arg.count = file_count(dmabuf->file) - 1;
	dma_buf_put(dmabuf);
	return copy_to_user(argp, &arg, sizeof(arg)) ? -EFAULT : 0;
}

static long dispatch(struct importer_session *session, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case DMABUF_IMPORTER_INFO:
		return importer_info(argp);
	case DMABUF_IMPORTER_ATTACH:
		return importer_attach(session, argp);
	case DMABUF_IMPORTER_MAP:
		return importer_map(session, argp);
	case DMABUF_IMPORTER_TABLE:
		return importer_table(session, argp);
	case DMABUF_IMPORTER_UNMAP:
		return importer_unmap(session, arg);
	case DMABUF_IMPORTER_DETACH:
		return importer_detach(session, arg);
	case DMABUF_IMPORTER_READ:
		return importer_io(session, argp, false);
	case DMABUF_IMPORTER_WRITE:
		return importer_io(session, argp, true);
	case DMABUF_IMPORTER_PFNS:
		return importer_pfns(session, argp);
	case DMABUF_IMPORTER_VMAP:
		return importer_vmap(session, argp);
	case DMABUF_IMPORTER_VUNMAP:
		return importer_vunmap(session, arg);
	case DMABUF_IMPORTER_TRY_VMAP:
		return importer_try_vmap(argp);
	case DMABUF_IMPORTER_VREAD:
		return importer_vio(session, argp, false);
	case DMABUF_IMPORTER_VWRITE:
		return importer_vio(session, argp, true);
	case DMABUF_IMPORTER_BEGIN:
		return importer_access(argp, false);
	case DMABUF_IMPORTER_END:
		return importer_access(argp, true);
	case DMABUF_IMPORTER_STRESS:
		return importer_stress(argp);
	case DMABUF_IMPORTER_MOVES:
		return importer_moves(session, argp);
	case DMABUF_IMPORTER_REFS:
		return importer_refs(argp);
	case DMABUF_IMPORTER_ABANDON:
		return importer_abandon(session, argp);
	case DMABUF_IMPORTER_FAIL:
		return importer_fail(session, argp);
	case DMABUF_IMPORTER_STALL:
		return importer_stall(session, arg);
	case DMABUF_IMPORTER_TRANSLATE:
		return importer_translate(argp);
	case DMABUF_IMPORTER_HOLD:
		return importer_hold(session, argp);
	default:
		return -ENOTTY;
	}
}

static long importer_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct importer_session *session = file->private_data;
	long ret;

	if (mutex_lock_killable(&session->lock))
		return -EINTR;
	ret = dispatch(session, cmd, arg);
	mutex_unlock(&session->lock);
	return ret;
}

static int importer_open(struct inode *inode, struct file *file)
{
	struct importer_session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return -ENOMEM;
	mutex_init(&session->lock);
	INIT_LIST_HEAD(&session->objects);
	file->private_data = session;
	return 0;
}

static int importer_release(struct inode *inode, struct file *file)
{
	struct importer_session *session = file->private_data;

	drop_all(session, DMABUF_IMPORTER_ORDER_OLDEST);
	importer_undo_fail(session);
	importer_undo_hold(session);
	mutex_destroy(&session->lock);
	kfree(session);
	return 0;
}

static const struct file_operations importer_fops = {
	.owner = THIS_MODULE,
	.open = importer_open,
	.release = importer_release,
	.unlocked_ioctl = importer_ioctl,
	.mmap = importer_mmap,
	.llseek = noop_llseek,
};

static struct miscdevice importer_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dmabuf_importer",
	.fops = &importer_fops,
	.mode = 0600,
};

static void remove_devices(void)
{
	unsigned int i;

	/* Also when only some exist: NULL and errors are ignored. */
	for (i = 0; i < ARRAY_SIZE(devices); i++)
		platform_device_unregister(devices[i]);
	pci_dev_put(pci_device);
}

static int set_limits(struct device *dev, const struct device_limits *limit)
{
	int err = dma_coerce_mask_and_coherent(dev, limit->dma_mask);

	if (err)
		return err;
	dma_set_max_seg_size(dev, limit->max_seg_size);
	dma_set_seg_boundary(dev, limit->seg_boundary);
	return 0;
}

/* No driver has it: that its DMA is set up is the bus's work, done before. */
static int find_pci_device(void)
{
	pci_device = pci_get_device(EDU_VENDOR, EDU_DEVICE, NULL);
	return pci_device ? set_limits(&pci_device->dev, &limits[DMABUF_IMPORTER_DEV_PCI]) : 0;
}

static int add_device(unsigned int i)
{
	struct device *dev;

	devices[i] = platform_device_register_simple(KBUILD_MODNAME, i, NULL, 0);
	if (IS_ERR(devices[i]))
		return PTR_ERR(devices[i]);

	dev = &devices[i]->dev;
	/* Before the mask: that is when the core decides what the device needs. */
	if (i == DMABUF_IMPORTER_DEV_FAILING)
		importer_set_failing_ops(dev);
	return set_limits(dev, &limits[i]);
}

static int __init importer_init(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(devices) && !err; i++)
		err = add_device(i);
	if (!err)
		err = find_pci_device();
	if (!err)
		err = misc_register(&importer_misc);
	if (err) {
		remove_devices();
		return err;
	}

	importer_show_locked();
	return 0;
}

static void __exit importer_exit(void)
{
	importer_forget_locked();
	misc_deregister(&importer_misc);
	remove_devices();
}

module_init(importer_init);
module_exit(importer_exit);

#ifdef HAVE_DMA_BUF_NAMESPACE
#ifdef HAVE_IMPORT_NS_BARE_WORD
MODULE_IMPORT_NS(DMA_BUF);
#else
MODULE_IMPORT_NS("DMA_BUF");
#endif
#endif
MODULE_DESCRIPTION("dma-buf importer for tests");
MODULE_AUTHOR("The udmabuf harness authors");
MODULE_LICENSE("GPL");
