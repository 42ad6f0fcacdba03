// SPDX-License-Identifier: GPL-2.0
/*
 * A module that does wrong when it is told to: the farm must see it, charge the
 * right test with it and go on. What is written to its parameter "misdeed" is
 * committed in the context of the writer, by some for ever.
 */
#include <linux/console.h>
#include <linux/errno.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <asm/desc.h>

#define DELAY		HZ

/* Several times what the kernel keeps of its log, 128 KiB. */
#define FLOOD_LINES	6000

static void warn(void)
{
	WARN(1, "canary: a warning\n");
}

static void warn_from_timer(struct timer_list *unused)
{
	warn();
}

static DEFINE_TIMER(late, warn_from_timer);

static void warn_late(void)
{
	mod_timer(&late, jiffies + DELAY);
}

static void oops(void)
{
	int *nowhere = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	WRITE_ONCE(*nowhere, 1);
}

static void oops_from_interrupt(struct irq_work *unused)
{
	oops();
}

static DEFINE_IRQ_WORK(interrupt, oops_from_interrupt);

static void oops_in_interrupt(void)
{
	irq_work_queue(&interrupt);
}

static void lockup(void)
{
	preempt_disable();
	for (;;)
		cpu_relax();
}

static void forget(struct rcu_head *unused)
{
}

/* There is a grace period for this CPU to hold up, by itself there may be none. */
static void rcu_stall(void)
{
	static struct rcu_head head;

	call_rcu(&head, forget);
	lockup();
}

static void hung_task(void)
{
	for (;;) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule();
	}
}

static void spin(void *unused)
{
	for (;;)
		cpu_relax();
}

/* With interrupts off. */
static void hang_all(void)
{
	on_each_cpu(spin, NULL, 0);
}

static void triple_fault(void)
{
	const struct desc_ptr none = {};

	load_idt(&none);
	asm volatile("int3");
}

static void flood(void)
{
	int i;

	for (i = 0; i < FLOOD_LINES; i++)
		pr_info("canary: line %d of so many, which the console takes its time for\n", i);
}

/* The console gets nothing of it before the end, when the first lines are overwritten. */
static void flood_faster(void)
{
	console_lock();
	flood();
	console_unlock();
}

static const struct {
	const char *name;
	void (*commit)(void);
} misdeeds[] = {
	{ "warn", warn },
	{ "warn_late", warn_late },
	{ "oops", oops },
	{ "oops_in_interrupt", oops_in_interrupt },
	{ "lockup", lockup },
	{ "rcu_stall", rcu_stall },
	{ "hung_task", hung_task },
	{ "hang_all", hang_all },
	{ "triple_fault", triple_fault },
	{ "flood", flood },
	{ "flood_faster", flood_faster },
};

static int set_misdeed(const char *value, const struct kernel_param *param)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(misdeeds); i++) {
		if (sysfs_streq(value, misdeeds[i].name)) {
			misdeeds[i].commit();
			return 0;
		}
	}

	return -EINVAL;
}

static const struct kernel_param_ops misdeed_ops = {
	.set = set_misdeed,
};
module_param_cb(misdeed, &misdeed_ops, NULL, 0200);
MODULE_PARM_DESC(misdeed, "what to do wrong, now");

MODULE_DESCRIPTION("Misdeeds on request");
MODULE_LICENSE("GPL");
