/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module's code needs of a kernel's version, all in one place. Each says
 * since when the kernel has what is used, or until when it had it.
 */
#ifndef FTRACE_TARGET_MODULE_COMPAT_H
#define FTRACE_TARGET_MODULE_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/version.h>

/* Since v6.13; later versions have no hrtimer_init_on_stack(). */
#if KERNEL_VERSION(6, 13, 0) > LINUX_VERSION_CODE
static inline void hrtimer_setup_on_stack(struct hrtimer *timer,
					  enum hrtimer_restart (*function)(struct hrtimer *),
					  clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init_on_stack(timer, clock, mode);
	timer->function = function;
}
#endif

#endif
