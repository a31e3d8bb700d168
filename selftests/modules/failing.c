// SPDX-License-Identifier: GPL-2.0
/*
 * dmabuf_importer: a device whose mappings fail and whose syncs stall on demand, by
 * DMA operations of its own. What they map is memory as it is, as for a device
 * without IOMMU.
 */
#include <linux/atomic.h>
#include <linux/device.h>
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/errno.h>
#include <linux/scatterlist.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "importer.h"

#if defined(CONFIG_DMA_OPS) || defined(CONFIG_ARCH_HAS_DMA_OPS)

/* Negative errno, or 0 where mappings succeed. */
static atomic_t map_error;
/* Entries mapped and not yet unmapped, by direction. */
static atomic_t mapped[DMA_NONE];

static bool stalling;
static atomic_t stalled;
/* Who is stalled, and who waits for somebody to be. */
static DECLARE_WAIT_QUEUE_HEAD(stall_queue);
/* With an exporter that never asks the device nobody comes. */
#define PATIENCE	(10 * HZ)

static int failing_map_sg(struct device *dev, struct scatterlist *sgl, int nents,
			  enum dma_data_direction dir, unsigned long attrs)
{
	int error = atomic_read(&map_error);
	struct scatterlist *sg;
	int i;

	if (error)
		return __is_defined(HAVE_MAP_SG_ERRORS) ? error : 0;
	for_each_sg(sgl, sg, nents, i) {
		sg_dma_address(sg) = phys_to_dma(dev, sg_phys(sg));
		sg_dma_len(sg) = sg->length;
	}
	atomic_add(nents, &mapped[dir]);
	return nents;
}

static void failing_unmap_sg(struct device *dev, struct scatterlist *sgl, int nents,
			     enum dma_data_direction dir, unsigned long attrs)
{
	atomic_sub(nents, &mapped[dir]);
}

static void failing_sync_sg_for_cpu(struct device *dev, struct scatterlist *sgl, int nents,
				    enum dma_data_direction dir)
{
	if (!READ_ONCE(stalling))
		return;
	atomic_inc(&stalled);
	wake_up_all(&stall_queue);
	wait_event_killable(stall_queue, !READ_ONCE(stalling));
	atomic_dec(&stalled);
}

static const struct dma_map_ops failing_ops = {
	.map_sg = failing_map_sg,
	.unmap_sg = failing_unmap_sg,
	.sync_sg_for_cpu = failing_sync_sg_for_cpu,
};

void importer_set_failing_ops(struct device *dev)
{
	set_dma_ops(dev, &failing_ops);
}

long importer_fail(struct importer_session *session, void __user *argp)
{
	struct dmabuf_importer_fail arg;
	unsigned int i;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	if (arg.error && arg.error != ENOMEM && arg.error != EIO && arg.error != EINVAL)
		return -EINVAL;

	atomic_set(&map_error, -(int)arg.error);
	session->failing = arg.error;
	if (arg.error && !__is_defined(HAVE_MAP_SG_ERRORS))
		arg.error = EINVAL;
	arg.mapped = 0;
	for (i = 0; i < ARRAY_SIZE(mapped); i++)
		arg.mapped += abs(atomic_read(&mapped[i]));
	return copy_to_user(argp, &arg, sizeof(arg)) ? -EFAULT : 0;
}

static void stop_stalling(struct importer_session *session)
{
	session->stalling = false;
	WRITE_ONCE(stalling, false);
	wake_up_all(&stall_queue);
}

long importer_stall(struct importer_session *session, unsigned long what)
{
	long left;

	switch (what) {
	case DMABUF_IMPORTER_STALL_BEGIN:
		session->stalling = true;
		WRITE_ONCE(stalling, true);
		return 0;
	case DMABUF_IMPORTER_STALL_AWAIT:
		left = wait_event_interruptible_timeout(stall_queue, atomic_read(&stalled),
							PATIENCE);
		return left > 0 ? 0 : left ?: -ETIMEDOUT;
	case DMABUF_IMPORTER_STALL_END:
		stop_stalling(session);
		return 0;
	default:
		return -EINVAL;
	}
}

void importer_undo_fail(struct importer_session *session)
{
	if (session->failing)
		atomic_set(&map_error, 0);
	if (session->stalling)
		stop_stalling(session);
}

#else

void importer_set_failing_ops(struct device *dev)
{
}

long importer_fail(struct importer_session *session, void __user *argp)
{
	return -EOPNOTSUPP;
}

long importer_stall(struct importer_session *session, unsigned long what)
{
	return -EOPNOTSUPP;
}

void importer_undo_fail(struct importer_session *session)
{
}

#endif
