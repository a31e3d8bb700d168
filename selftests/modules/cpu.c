// SPDX-License-Identifier: GPL-2.0
/*
 * dmabuf_importer: kernel mappings and CPU access.
 */
#include <linux/completion.h>
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#ifdef HAVE_VMAP_IOSYS_MAP
#include <linux/iosys-map.h>
#endif

#include "importer.h"

#define STRESS_MAX_THREADS	64
#define STRESS_MAX_LOOPS	1000000

static int vmap_dmabuf(struct dma_buf *dmabuf, void **vaddr)
{
#ifdef HAVE_VMAP_IOSYS_MAP
	struct iosys_map map;
	int err;

#ifdef HAVE_VMAP_UNLOCKED
	err = dma_buf_vmap_unlocked(dmabuf, &map);
#else
	err = dma_buf_vmap(dmabuf, &map);
#endif
	if (!err)
		*vaddr = map.vaddr;
	return err;
#else
	*vaddr = dma_buf_vmap(dmabuf);
	return *vaddr ? 0 : -ENOMEM;
#endif
}

void importer_undo_vmap(struct importer_object *obj)
{
#ifdef HAVE_VMAP_IOSYS_MAP
	struct iosys_map map = IOSYS_MAP_INIT_VADDR(obj->vaddr);
#endif

	if (!obj->vaddr)
		return;
#ifdef HAVE_VMAP_UNLOCKED
	dma_buf_vunmap_unlocked(obj->dmabuf, &map);
#elif defined(HAVE_VMAP_IOSYS_MAP)
	dma_buf_vunmap(obj->dmabuf, &map);
#else
	dma_buf_vunmap(obj->dmabuf, obj->vaddr);
#endif
	obj->vaddr = NULL;
}

long importer_vmap(struct importer_session *session, void __user *argp)
{
	struct dmabuf_importer_vmap arg;
	struct importer_object *obj;
	int err;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	obj = importer_new(session, arg.fd);
	if (IS_ERR(obj))
		return PTR_ERR(obj);

	err = vmap_dmabuf(obj->dmabuf, &obj->vaddr);
	if (!err) {
		arg.handle = obj->handle;
		arg.vaddr = (unsigned long)obj->vaddr;
		if (copy_to_user(argp, &arg, sizeof(arg)))
			err = -EFAULT;
	}
	if (err)
		importer_drop(obj);
	return err;
}

static int try_vmap(struct dma_buf *dmabuf)
{
#ifdef HAVE_VMAP_IOSYS_MAP
	struct iosys_map map = { };
	int err;

	if (!dmabuf->ops->vmap)
		return -EOPNOTSUPP;
	dma_resv_lock(dmabuf->resv, NULL);
	err = dmabuf->ops->vmap(dmabuf, &map);
	if (!err && iosys_map_is_null(&map))
		err = -EIO;
	else if (!err && dmabuf->ops->vunmap)
		dmabuf->ops->vunmap(dmabuf, &map);
	dma_resv_unlock(dmabuf->resv);
	return err;
#else
	return -EOPNOTSUPP;
#endif
}

long importer_try_vmap(void __user *argp)
{
	struct dmabuf_importer_vmap arg;
	struct dma_buf *dmabuf;
	int err;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	if (arg.handle || arg.vaddr)
		return -EINVAL;
	dmabuf = dma_buf_get(arg.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	err = try_vmap(dmabuf);
	dma_buf_put(dmabuf);
	return err;
}

static struct importer_object *find_vmap(struct importer_session *session, u32 handle)
{
	struct importer_object *obj = importer_find(session, handle);

	return obj && obj->vaddr ? obj : NULL;
}

long importer_vunmap(struct importer_session *session, u32 handle)
{
	struct importer_object *obj = find_vmap(session, handle);

	if (!obj)
		return -ENOENT;
	importer_drop(obj);
	return 0;
}

long importer_vio(struct importer_session *session, void __user *argp, bool write)
{
	struct dmabuf_importer_io arg;
	struct importer_object *obj;
	void __user *data;
	u64 done, len;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	obj = find_vmap(session, arg.handle);
	if (!obj)
		return -ENOENT;
	if (arg.pad || arg.offset > obj->dmabuf->size ||
	    arg.len > obj->dmabuf->size - arg.offset)
		return -EINVAL;

	data = u64_to_user_ptr(arg.data);
	for (done = 0; done < arg.len; done += len) {
		void *kaddr = obj->vaddr + arg.offset + done;
		unsigned long missed;

		len = min_t(u64, arg.len - done, PAGE_SIZE);
		if (write)
			missed = copy_from_user(kaddr, data + done, len);
		else
			missed = copy_to_user(data + done, kaddr, len);
		if (missed)
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

long importer_access(void __user *argp, bool end)
{
	struct dmabuf_importer_access arg;
	struct dma_buf *dmabuf;
	int err;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	if (!importer_direction_valid(arg.direction))
		return -EINVAL;
	dmabuf = dma_buf_get(arg.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	if (end)
		err = dma_buf_end_cpu_access(dmabuf, arg.direction);
	else
		err = dma_buf_begin_cpu_access(dmabuf, arg.direction);
	dma_buf_put(dmabuf);
	return err;
}

/**
 * struct stress - threads calling begin and end on one buffer
 * @dmabuf: held by the caller
 * @direction: of every call
 * @loops: pairs for each thread
 * @start: completed when all threads exist
 * @running: threads not finished
 * @done: completed by the last one
 * @begins: successful calls
 * @ends: successful calls
 * @error: first error
 */
struct stress {
	struct dma_buf *dmabuf;
	enum dma_data_direction direction;
	u32 loops;
	struct completion start;
	atomic_t running;
	struct completion done;
	atomic64_t begins;
	atomic64_t ends;
	atomic_t error;
};

static int stress_thread(void *data)
{
	struct stress *stress = data;
	u32 i;
	int err;

	wait_for_completion(&stress->start);
	for (i = 0; i < stress->loops && !kthread_should_stop(); i++) {
		err = dma_buf_begin_cpu_access(stress->dmabuf, stress->direction);
		if (!err) {
			atomic64_inc(&stress->begins);
			err = dma_buf_end_cpu_access(stress->dmabuf, stress->direction);
		}
		if (!err)
			atomic64_inc(&stress->ends);
		else
			atomic_cmpxchg(&stress->error, 0, err);
		cond_resched();
	}

	if (atomic_dec_and_test(&stress->running))
		complete(&stress->done);
	return 0;
}

/* Run the threads to their end, or stop them when the caller is killed. */
static int stress_run(struct stress *stress, struct task_struct **tasks, u32 threads)
{
	int err = 0;
	u32 n, i;

	for (n = 0; n < threads; n++) {
		tasks[n] = kthread_create(stress_thread, stress, "dmabuf_stress/%u", n);
		if (IS_ERR(tasks[n])) {
			err = PTR_ERR(tasks[n]);
			break;
		}
		get_task_struct(tasks[n]);
	}

	/* A thread that was never woken ends in kthread_stop() without running. */
	if (!err) {
		atomic_set(&stress->running, threads);
		for (i = 0; i < n; i++)
			wake_up_process(tasks[i]);
		complete_all(&stress->start);
		if (wait_for_completion_killable(&stress->done))
			err = -EINTR;
	}

	for (i = 0; i < n; i++) {
		kthread_stop(tasks[i]);
		put_task_struct(tasks[i]);
	}
	return err;
}

long importer_stress(void __user *argp)
{
	struct dmabuf_importer_stress arg;
	struct stress stress = {};
	struct task_struct **tasks;
	int err;

	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	if (arg.pad || !importer_direction_valid(arg.direction))
		return -EINVAL;
	if (!arg.threads || arg.threads > STRESS_MAX_THREADS)
		return -EINVAL;
	if (!arg.loops || arg.loops > STRESS_MAX_LOOPS)
		return -EINVAL;

	tasks = kcalloc(arg.threads, sizeof(*tasks), GFP_KERNEL);
	if (!tasks)
		return -ENOMEM;
	stress.dmabuf = dma_buf_get(arg.fd);
	if (IS_ERR(stress.dmabuf)) {
		kfree(tasks);
		return PTR_ERR(stress.dmabuf);
	}
	stress.direction = arg.direction;
	stress.loops = arg.loops;
	init_completion(&stress.start);
	init_completion(&stress.done);

	err = stress_run(&stress, tasks, arg.threads);
	dma_buf_put(stress.dmabuf);
	kfree(tasks);
	if (err)
		return err;

	arg.begins = atomic64_read(&stress.begins);
	arg.ends = atomic64_read(&stress.ends);
	arg.error = atomic_read(&stress.error);
	return copy_to_user(argp, &arg, sizeof(arg)) ? -EFAULT : 0;
}
