// SPDX-License-Identifier: GPL-2.0
/*
 * A module that comes and goes while its function is traced and filtered.
 *
 * It holds nothing open, so that it can go at any time. Whoever writes to its
 * parameter "call" has the function called, and told if an argument was lost.
 */
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#define CALLS	16

static noinline __noclone u64 visitor_args3(u64 arg1, u64 arg2, u64 arg3)
{
	/* Without an effect it would be enough to know the result. */
	barrier();

	return arg1 * 31 + arg2 * 7 + arg3;
}

/* The kernel has one of that name as well, in fs/kernfs/file.c. */
static noinline __noclone __used void kernfs_fop_open(void)
{
	barrier();
}

static int visit(void)
{
	u64 i;

	for (i = 1; i <= CALLS; i++) {
		u64 arg1 = i << 60 | i, arg2 = ~i, arg3 = i << 32;

		if (visitor_args3(arg1, arg2, arg3) != arg1 * 31 + arg2 * 7 + arg3)
			return -EIO;
	}

	return 0;
}

static int set_call(const char *value, const struct kernel_param *param)
{
	return visit();
}

static const struct kernel_param_ops call_ops = {
	.set = set_call,
};
module_param_cb(call, &call_ops, NULL, 0200);
MODULE_PARM_DESC(call, "call the traced function");

static int __init visitor_init(void)
{
	return visit();
}
module_init(visitor_init);

static void __exit visitor_exit(void)
{
	WARN_ON(visit());
}
module_exit(visitor_exit);

MODULE_DESCRIPTION("A traced function that comes and goes");
MODULE_LICENSE("GPL");
