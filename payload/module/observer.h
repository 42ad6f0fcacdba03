/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FTRACE_TARGET_MODULE_OBSERVER_H
#define FTRACE_TARGET_MODULE_OBSERVER_H

#include <linux/compiler.h>
#include <linux/linkage.h>

#include "ftrace_target.h"

struct observer;

/* All by one caller at a time. Kernels that lack something get -EOPNOTSUPP. */
struct observer *target_observer_start(struct ftrace_target_observe *wanted);
long target_observer_report(struct observer *observer, void __user *user);
void target_observer_end(struct observer *observer);

/* The trampoline of the direct call, which calls the function behind it. */
asmlinkage void target_direct(void);
asmlinkage void target_direct_called(const u64 *regs, unsigned long ip,
				     unsigned long parent_ip);

#endif /* FTRACE_TARGET_MODULE_OBSERVER_H */
