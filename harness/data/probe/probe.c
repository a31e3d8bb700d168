// SPDX-License-Identifier: GPL-2.0
/* Built, never loaded: does this compiler get a module out of these headers? */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

static void *memory;

static int __init probe_init(void)
{
	memory = kzalloc(PAGE_SIZE, GFP_KERNEL);
	return memory ? 0 : -ENOMEM;
}
module_init(probe_init);

static void __exit probe_exit(void)
{
	kfree(memory);
}
module_exit(probe_exit);

MODULE_DESCRIPTION("Proves that a compiler builds modules for a kernel");
MODULE_LICENSE("GPL");
