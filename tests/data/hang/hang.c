// SPDX-License-Identifier: GPL-2.0
/*
 * Hangs on request, for the tests of the harness:
 *
 *   echo HOW CPU >/sys/module/hang/parameters/how
 *
 * spin: in the kernel, with interrupts; deaf: without interrupts; stuck: asleep for ever, beyond
 * the reach of SIGKILL.
 */

#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/processor.h>
#include <linux/sched.h>
#include <linux/string.h>

static noinline void hang_spin(void)
{
	for (;;)
		cpu_relax();
}

static noinline void hang_deaf(void)
{
	local_irq_disable();
	hang_spin();
}

static noinline void hang_stuck(void)
{
	DECLARE_COMPLETION_ONSTACK(never);

	wait_for_completion(&never);
}

static int hang_set(const char *text, const struct kernel_param *param)
{
	unsigned int cpu;
	char how[8];

	if (sscanf(text, "%7s %u", how, &cpu) != 2 || cpu >= nr_cpu_ids || !cpu_online(cpu))
		return -EINVAL;
	set_cpus_allowed_ptr(current, cpumask_of(cpu));
	if (!strcmp(how, "spin"))
		hang_spin();
	else if (!strcmp(how, "deaf"))
		hang_deaf();
	else if (!strcmp(how, "stuck"))
		hang_stuck();
	return -EINVAL;
}

static const struct kernel_param_ops hang_ops = { .set = hang_set };
module_param_cb(how, &hang_ops, NULL, 0200);

MODULE_DESCRIPTION("Hangs on request");
MODULE_LICENSE("GPL");
