/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FTRACE_TARGET_MODULE_REGISTERS_H
#define FTRACE_TARGET_MODULE_REGISTERS_H

#include <linux/linkage.h>

#include "ftrace_target.h"

/* Written by target_registers_call() and its callee: one call at a time. */
extern struct ftrace_target_registers target_snapshots;

asmlinkage void target_registers_call(void);

/* The traced function, for its address alone. */
asmlinkage void target_registers(void);

#endif /* FTRACE_TARGET_MODULE_REGISTERS_H */
