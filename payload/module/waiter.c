// SPDX-License-Identifier: GPL-2.0
/*
 * A module that takes its time to come and to go: while it does, it is tried
 * what can be done with its functions. It goes on at once where it was not told
 * to wait, and when somebody writes to its parameter "go".
 */
#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

/* For tests that broke off. */
#define LIMIT	(60 * HZ)

static bool wait;
module_param(wait, bool, 0600);
MODULE_PARM_DESC(wait, "stop in init and exit");

static bool waiting;
module_param(waiting, bool, 0400);
MODULE_PARM_DESC(waiting, "whether it has stopped");

static DECLARE_COMPLETION(told);

static int set_go(const char *value, const struct kernel_param *param)
{
	complete(&told);

	return 0;
}

static const struct kernel_param_ops go_ops = {
	.set = set_go,
};
module_param_cb(go, &go_ops, NULL, 0200);
MODULE_PARM_DESC(go, "go on");

/* A function like any other, to be filtered. */
static noinline __noclone void waiter_stop(void)
{
	if (!wait)
		return;

	WRITE_ONCE(waiting, true);
	wait_for_completion_killable_timeout(&told, LIMIT);
	WRITE_ONCE(waiting, false);
}

/* Of the module's init function clang leaves the name init_module alone. */
static noinline __noclone void __init waiter_begin(void)
{
	waiter_stop();
}

static int __init waiter_init(void)
{
	waiter_begin();

	return 0;
}
module_init(waiter_init);

static void __exit waiter_exit(void)
{
	waiter_stop();
}
module_exit(waiter_exit);

MODULE_DESCRIPTION("A module that stops on its way in and out");
MODULE_LICENSE("GPL");
