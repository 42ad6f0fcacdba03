/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module's code needs of a kernel's version, all in one place. Each says
 * since when the kernel has what is used, or until when it had it.
 */
#ifndef FTRACE_TARGET_MODULE_COMPAT_H
#define FTRACE_TARGET_MODULE_COMPAT_H

#include <linux/version.h>

#ifdef __ASSEMBLER__

/* Since v6.2, for the mitigation that counts calls. */
#if KERNEL_VERSION(6, 2, 0) > LINUX_VERSION_CODE
.macro CALL_DEPTH_ACCOUNT
.endm
#endif

#else /* C */

#include <linux/ftrace.h>
#include <linux/hrtimer.h>

/* Until then struct ftrace_regs was no type of its own, with the registers in it. */
#ifndef arch_ftrace_regs
#define arch_ftrace_regs(fregs)	(fregs)
#endif

/* Since v6.12, and 0 where arguments are always saved. */
#ifndef FTRACE_OPS_FL_SAVE_ARGS
#define FTRACE_OPS_FL_SAVE_ARGS 0
#endif

/* Since v6.2 the functions that look into struct ftrace_regs have these names. */
#if KERNEL_VERSION(6, 2, 0) > LINUX_VERSION_CODE
#define ftrace_regs_get_argument(fregs, n) \
	regs_get_kernel_argument(&(fregs)->regs, n)
#define ftrace_regs_set_instruction_pointer(fregs, ip) \
	ftrace_instruction_pointer_set(fregs, ip)
#define set_direct_caller(fregs, addr) \
	arch_ftrace_set_direct_caller(&(fregs)->regs, addr)
#else
#define set_direct_caller(fregs, addr) \
	arch_ftrace_set_direct_caller(fregs, addr)
#endif

/* Since v6.4 a direct call is always that of an ops. */
#if KERNEL_VERSION(6, 4, 0) > LINUX_VERSION_CODE
#define register_direct_ops(ops, addr)	register_ftrace_direct_multi(ops, addr)
#define unregister_direct_ops(ops, addr) \
	unregister_ftrace_direct_multi(ops, addr)
#else
#define register_direct_ops(ops, addr)	register_ftrace_direct(ops, addr)
#define unregister_direct_ops(ops, addr) \
	unregister_ftrace_direct(ops, addr, false)
#endif

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

#endif /* C */

#endif
