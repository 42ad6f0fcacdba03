// SPDX-License-Identifier: GPL-2.0
/* The traced functions, and the one function that calls them. */
#include <linux/compiler.h>
#include <linux/ftrace.h>
#include <linux/irqflags.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/types.h>
#include <asm/ibt.h>

#include "functions.h"

/* What a function found: of one call at a time, the caller sees to that. */
static struct {
	u64 args[FTRACE_TARGET_MAX_ARGS];
	u64 returns_to;
	u32 context;
} found;

/* A System V ABI structure of two words, returned in RAX and RDX. */
struct wide {
	u64 low;
	u64 high;
};

static __always_inline u32 look_around(void)
{
	u32 context = 0;

	if (in_serving_softirq())
		context |= FTRACE_TARGET_IN_SOFTIRQ;
	if (in_hardirq())
		context |= FTRACE_TARGET_IN_HARDIRQ;
	if (in_nmi())
		context |= FTRACE_TARGET_IN_NMI;
	if (irqs_disabled())
		context |= FTRACE_TARGET_WITHOUT_IRQS;
	if (preempt_count())
		context |= FTRACE_TARGET_WITHOUT_PREEMPT;
	if (!rcu_is_watching())
		context |= FTRACE_TARGET_WITHOUT_RCU;
	if (is_idle_task(current))
		context |= FTRACE_TARGET_IN_IDLE;

	return context;
}

/* Inlined, as there is to be one traced function per call, not two. */
static __always_inline u64 record(const u64 *args, unsigned int nr)
{
	u64 result = nr;
	unsigned int i;

	/* Without an effect, target_args0() need not be called to be known. */
	barrier();

	found.returns_to = _RET_IP_;
	found.context = look_around();
	for (i = 0; i < nr; i++) {
		found.args[i] = args[i];
		result = result * 31 + args[i];
	}

	return result;
}

/*
 * The traced functions. Not inlined or cloned: a copy such as
 * target_args3.isra.0 would be called in place of the function by that name,
 * and need not follow the calling convention.
 */
static noinline __noclone u64 target_args0(void)
{
	return record(NULL, 0);
}

static noinline __noclone u64 target_args1(u64 arg1)
{
	const u64 args[] = { arg1 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args2(u64 arg1, u64 arg2)
{
	const u64 args[] = { arg1, arg2 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args3(u64 arg1, u64 arg2, u64 arg3)
{
	const u64 args[] = { arg1, arg2, arg3 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args4(u64 arg1, u64 arg2, u64 arg3,
					   u64 arg4)
{
	const u64 args[] = { arg1, arg2, arg3, arg4 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args5(u64 arg1, u64 arg2, u64 arg3,
					   u64 arg4, u64 arg5)
{
	const u64 args[] = { arg1, arg2, arg3, arg4, arg5 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args6(u64 arg1, u64 arg2, u64 arg3,
					   u64 arg4, u64 arg5, u64 arg6)
{
	const u64 args[] = { arg1, arg2, arg3, arg4, arg5, arg6 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args7(u64 arg1, u64 arg2, u64 arg3,
					   u64 arg4, u64 arg5, u64 arg6,
					   u64 arg7)
{
	const u64 args[] = { arg1, arg2, arg3, arg4, arg5, arg6, arg7 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args8(u64 arg1, u64 arg2, u64 arg3,
					   u64 arg4, u64 arg5, u64 arg6,
					   u64 arg7, u64 arg8)
{
	const u64 args[] = { arg1, arg2, arg3, arg4, arg5, arg6, arg7, arg8 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone struct wide target_wide(u64 arg1, u64 arg2)
{
	const u64 args[] = { arg1, arg2 };
	struct wide result;

	result.low = record(args, ARRAY_SIZE(args));
	result.high = ~result.low;

	return result;
}

/* Another task runs on this CPU before the call returns. */
static noinline __noclone u64 target_sleep2(u64 arg1, u64 arg2)
{
	const u64 args[] = { arg1, arg2 };
	u64 result = record(args, ARRAY_SIZE(args));

	schedule_timeout_uninterruptible(1);

	return result;
}

noinline notrace u64 target_replacement(u64 arg1, u64 arg2, u64 arg3, u64 arg4,
					u64 arg5, u64 arg6, u64 arg7, u64 arg8)
{
	const u64 args[] = { arg1, arg2, arg3, arg4, arg5, arg6, arg7, arg8 };
	u64 result = record(args, ARRAY_SIZE(args));

	found.context |= FTRACE_TARGET_IN_REPLACEMENT;

	return result;
}

/*
 * With IBT a function whose address is taken begins with an ENDBR, and the call
 * of __fentry__ comes behind it.
 */
static u64 entry(u32 function)
{
	static const void *const functions[] = {
		[FTRACE_TARGET_ARGS0] = target_args0,
		[FTRACE_TARGET_ARGS1] = target_args1,
		[FTRACE_TARGET_ARGS2] = target_args2,
		[FTRACE_TARGET_ARGS3] = target_args3,
		[FTRACE_TARGET_ARGS4] = target_args4,
		[FTRACE_TARGET_ARGS5] = target_args5,
		[FTRACE_TARGET_ARGS6] = target_args6,
		[FTRACE_TARGET_ARGS7] = target_args7,
		[FTRACE_TARGET_ARGS8] = target_args8,
		[FTRACE_TARGET_WIDE] = target_wide,
		[FTRACE_TARGET_SLEEP2] = target_sleep2,
	};

	return (unsigned long)functions[function] + ENDBR_INSN_SIZE;
}

void target_report(struct ftrace_target_call *call)
{
	memcpy(call->received, found.args, sizeof(found.args));
	call->found = found.context;
	call->returns_to = found.returns_to;
	call->entry = entry(call->function);
	memset(&found, 0, sizeof(found));
}

/*
 * Not an address either, so that a jump to it is a fault at once. Not traced,
 * as the return from a traced function would leave its own words there.
 */
#define POISON	0x5a5a5a5a5a5a5a5aUL

noinline notrace void target_poison_stack(void)
{
	unsigned long words[64];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		WRITE_ONCE(words[i], POISON);
}

/* Every call comes from here, which is what tracers are to say. */
noinline void target_call_function(struct ftrace_target_call *call)
{
	const u64 *args = call->args;
	struct wide result = {};

	target_poison_stack();

	switch (call->function) {
	case FTRACE_TARGET_ARGS0:
		result.low = target_args0();
		break;
	case FTRACE_TARGET_ARGS1:
		result.low = target_args1(args[0]);
		break;
	case FTRACE_TARGET_ARGS2:
		result.low = target_args2(args[0], args[1]);
		break;
	case FTRACE_TARGET_ARGS3:
		result.low = target_args3(args[0], args[1], args[2]);
		break;
	case FTRACE_TARGET_ARGS4:
		result.low = target_args4(args[0], args[1], args[2], args[3]);
		break;
	case FTRACE_TARGET_ARGS5:
		result.low = target_args5(args[0], args[1], args[2], args[3],
					  args[4]);
		break;
	case FTRACE_TARGET_ARGS6:
		result.low = target_args6(args[0], args[1], args[2], args[3],
					  args[4], args[5]);
		break;
	case FTRACE_TARGET_ARGS7:
		result.low = target_args7(args[0], args[1], args[2], args[3],
					  args[4], args[5], args[6]);
		break;
	case FTRACE_TARGET_ARGS8:
		result.low = target_args8(args[0], args[1], args[2], args[3],
					  args[4], args[5], args[6], args[7]);
		break;
	case FTRACE_TARGET_WIDE:
		result = target_wide(args[0], args[1]);
		break;
	case FTRACE_TARGET_SLEEP2:
		result.low = target_sleep2(args[0], args[1]);
		break;
	}

	call->returned = result.low;
	call->returned_high = result.high;
}

/* What the linker takes in place of those in dropped.c. */

noinline void target_dropped1(void)
{
	barrier();
}

noinline void target_dropped2(void)
{
	barrier();
}

noinline void target_dropped3(void)
{
	barrier();
}

noinline void target_dropped4(void)
{
	barrier();
}
