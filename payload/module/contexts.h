/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FTRACE_TARGET_MODULE_CONTEXTS_H
#define FTRACE_TARGET_MODULE_CONTEXTS_H

#include "ftrace_target.h"

/*
 * Make a call in the context that it asks for, from a task that may sleep, and
 * one call at a time. When this returns 0 the call is over.
 */
int target_call_in_context(struct ftrace_target_call *call);

int target_contexts_init(void);
void target_contexts_exit(void);

#endif /* FTRACE_TARGET_MODULE_CONTEXTS_H */
