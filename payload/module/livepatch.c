// SPDX-License-Identifier: GPL-2.0
/*
 * Replaces target_args5 while it is loaded and enabled. Whoever calls it tells
 * by what is returned which of the two was reached.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

/* Complements what target_args5 makes of its arguments, see ftrace_target.h. */
static u64 replaced_args5(u64 arg1, u64 arg2, u64 arg3, u64 arg4, u64 arg5)
{
	const u64 args[] = { arg1, arg2, arg3, arg4, arg5 };
	u64 result = ARRAY_SIZE(args);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(args); i++)
		result = result * 31 + args[i];

	return ~result;
}

static struct klp_func functions[] = {
	{
		.old_name = "target_args5",
		.new_func = replaced_args5,
	}, { }
};

static struct klp_object objects[] = {
	{
		.name = "ftrace_target",
		.funcs = functions,
	}, { }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

/* A live patch can be removed only if it can be left. */
static void livepatch_exit(void)
{
}

module_init(livepatch_init);
module_exit(livepatch_exit);
MODULE_DESCRIPTION("A live patch of a function that is traced");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
