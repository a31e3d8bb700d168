// SPDX-License-Identifier: GPL-2.0
/*
 * canary: provokes what the harness must notice.
 *
 * Test-only: whoever writes a word to debugfs canary/provoke breaks the kernel in the
 * way that it names. "WORD SECONDS" says for how long, where that has a meaning.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bottom_half.h>
#include <linux/compiler.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nmi.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/reboot.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define OBJECT_SIZE	192
#define FLOOD_LINES	20000
/* KFENCE watches one allocation in some ten milliseconds. */
#define UAF_ATTEMPTS	3000
#define MAX_SECONDS	600

/**
 * struct canary - a way to break the kernel
 * @word: its name
 * @sing: does it, for some seconds where it lasts
 */
struct canary {
	const char *word;
	void (*sing)(unsigned int seconds);
};

static struct dentry *folder;

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);

/*
 * Each is a frame of its own, which the splat's title names; a barrier at the end keeps its last call
 * from being a jump.
 */
static noinline void canary_warn(unsigned int seconds)
{
	WARN(1, "provoked");
}

static noinline void canary_oops(unsigned int seconds)
{
	int *nowhere = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	WRITE_ONCE(*nowhere, 1);
}

static noinline void canary_wild(unsigned int seconds)
{
	/* No address that any paging mode of x86 could map. */
	unsigned long *wild = (unsigned long *)0xdead000000000000UL;

	OPTIMIZER_HIDE_VAR(wild);
	WRITE_ONCE(*wild, 1);
}

static noinline void canary_panic(unsigned int seconds)
{
	panic("provoked");
}

static noinline void canary_soft_lockup(unsigned int seconds)
{
	unsigned long end = jiffies + seconds * HZ;

	preempt_disable();
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
}

static void nothing(struct rcu_head *head)
{
}

static noinline void canary_rcu_stall(unsigned int seconds)
{
	static struct rcu_head waiting;
	unsigned long end = jiffies + seconds * HZ;

	rcu_read_lock();
	preempt_disable();
	/* Somebody has to wait for us. */
	call_rcu(&waiting, nothing);
	while (time_before(jiffies, end)) {
		touch_softlockup_watchdog();
		cpu_relax();
	}
	preempt_enable();
	rcu_read_unlock();
	rcu_barrier();
}

/* Not even SIGKILL ends it. */
static noinline void canary_stuck(unsigned int seconds)
{
	unsigned long end = jiffies + seconds * HZ;

	while (time_before(jiffies, end))
		schedule_timeout_uninterruptible(end - jiffies);
}

static noinline void canary_leak(unsigned int seconds)
{
	void *object = kmalloc(OBJECT_SIZE, GFP_KERNEL);

	/* kmemleak takes a value that still lies on a stack for a reference. */
	OPTIMIZER_HIDE_VAR(object);
	object = NULL;
	OPTIMIZER_HIDE_VAR(object);
	barrier();
}

static noinline void canary_use_after_free(unsigned int seconds)
{
	int attempt;

	for (attempt = 0; attempt < UAF_ATTEMPTS; attempt++) {
		char *object = kmalloc(OBJECT_SIZE, GFP_KERNEL);
		char *stale = object;

		if (!object)
			return;
		OPTIMIZER_HIDE_VAR(stale);
		kfree(object);
		READ_ONCE(*stale);
		if (test_taint(TAINT_BAD_PAGE))
			return;
		usleep_range(500, 1000);
	}
}

static noinline void canary_inversion(unsigned int seconds)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);
	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

static noinline void canary_unlock(unsigned int seconds)
{
	mutex_unlock(&lock_a);
	barrier();
}

static noinline void canary_atomic_sleep(unsigned int seconds)
{
	/* Counts with every preemption model, which preempt_disable() does not. */
	local_bh_disable();
	msleep(20);
	/* The scheduler complains and starts the count anew. */
	if (softirq_count())
		local_bh_enable();
}

static noinline void canary_refcount(unsigned int seconds)
{
	refcount_t count = REFCOUNT_INIT(0);

	refcount_inc(&count);
}

static noinline void canary_list(unsigned int seconds)
{
	struct list_head head, other, entry;

	INIT_LIST_HEAD(&head);
	INIT_LIST_HEAD(&other);
	list_add(&entry, &head);
	head.next = &other;
	list_del(&entry);
}

static noinline void canary_bounds(unsigned int seconds)
{
	static int few[4];
	int index = ARRAY_SIZE(few) + 1;

	OPTIMIZER_HIDE_VAR(index);
	WRITE_ONCE(few[0], few[index]);
}

static noinline void canary_rcu_usage(unsigned int seconds)
{
	static int __rcu *guarded;

	rcu_dereference(guarded);
	barrier();
}

/* Two tasks at a time. */
static noinline void canary_race(unsigned int seconds)
{
	static unsigned long count;
	unsigned long end = jiffies + seconds * HZ;

	while (time_before(jiffies, end)) {
		count++;
		barrier();
	}
}

static noinline void canary_flood(unsigned int seconds)
{
	int line;

	for (line = 0; line < FLOOD_LINES; line++)
		pr_info("line %d of a flood that tells nothing\n", line);
}

/* No task's memory, so that all are killed in vain; given back when our own has been. */
static noinline void canary_out_of_memory(unsigned int seconds)
{
	void **last = NULL, **block;

	while ((block = (void *)__get_free_pages(GFP_KERNEL, PAGE_ALLOC_COSTLY_ORDER))) {
		*block = last;
		last = block;
	}
	while (last) {
		block = last;
		last = *block;
		free_pages((unsigned long)block, PAGE_ALLOC_COSTLY_ORDER);
	}
}

static noinline void canary_reboot(unsigned int seconds)
{
	emergency_restart();
}

static const struct canary canaries[] = {
	{ "warn", canary_warn },
	{ "oops", canary_oops },
	{ "wild", canary_wild },
	{ "panic", canary_panic },
	{ "soft-lockup", canary_soft_lockup },
	{ "rcu-stall", canary_rcu_stall },
	{ "stuck", canary_stuck },
	{ "leak", canary_leak },
	{ "use-after-free", canary_use_after_free },
	{ "inversion", canary_inversion },
	{ "unlock", canary_unlock },
	{ "atomic-sleep", canary_atomic_sleep },
	{ "refcount", canary_refcount },
	{ "list", canary_list },
	{ "bounds", canary_bounds },
	{ "rcu-usage", canary_rcu_usage },
	{ "race", canary_race },
	{ "flood", canary_flood },
	{ "out-of-memory", canary_out_of_memory },
	{ "reboot", canary_reboot },
};

static ssize_t provoke(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	unsigned int seconds = 0;
	char text[64], word[32];
	unsigned int i;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, size))
		return -EFAULT;
	text[size] = '\0';
	if (sscanf(text, "%31s %u", word, &seconds) < 1 || seconds > MAX_SECONDS)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(canaries); i++) {
		if (!strcmp(word, canaries[i].word)) {
			canaries[i].sing(seconds);
			return size;
		}
	}
	return -ENOENT;
}

static const struct file_operations provoke_fops = {
	.owner = THIS_MODULE,
	.write = provoke,
};

static int __init canary_init(void)
{
	folder = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("provoke", 0200, folder, NULL, &provoke_fops);
	return PTR_ERR_OR_ZERO(folder);
}

static void __exit canary_exit(void)
{
	debugfs_remove(folder);
}

module_init(canary_init);
module_exit(canary_exit);

MODULE_DESCRIPTION("Provokes what a test harness must notice");
MODULE_AUTHOR("The udmabuf harness authors");
MODULE_LICENSE("GPL");
