/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FTRACE_TARGET_MODULE_FUNCTIONS_H
#define FTRACE_TARGET_MODULE_FUNCTIONS_H

#include <linux/types.h>

#include "ftrace_target.h"

/*
 * The two parts of a call: do it, in whatever context, and report what the
 * function found. Only one call at a time, of both parts.
 */
void target_call_function(struct ftrace_target_call *call);
void target_report(struct ftrace_target_call *call);

/*
 * Fill the stack below the caller with a pattern, so that a word which the
 * trampoline does not set is not zero by chance.
 */
void target_poison_stack(void);

/* What an observer can put in place of target_args8(). */
u64 target_replacement(u64 arg1, u64 arg2, u64 arg3, u64 arg4, u64 arg5,
		       u64 arg6, u64 arg7, u64 arg8);

/* Nobody calls these. dropped.c tells what they are for. */
void target_untraced(void);
void target_neighbour(void);
void target_dropped1(void);
void target_dropped2(void);
void target_dropped3(void);
void target_dropped4(void);

#endif /* FTRACE_TARGET_MODULE_FUNCTIONS_H */
