/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface of /dev/ftrace_target, shared by the module, its assembly and
 * the agent.
 */
#ifndef FTRACE_TARGET_H
#define FTRACE_TARGET_H

#define FTRACE_TARGET_DEVICE	"ftrace_target"

/* Six arguments are passed in registers, the other two on the stack. */
#define FTRACE_TARGET_MAX_ARGS	8

/*
 * A snapshot of the registers is an array; these are its indices. They are
 * plain numbers because the assembly stores through them.
 */
#define FTRACE_TARGET_RAX	0
#define FTRACE_TARGET_RBX	1
#define FTRACE_TARGET_RCX	2
#define FTRACE_TARGET_RDX	3
#define FTRACE_TARGET_RSI	4
#define FTRACE_TARGET_RDI	5
#define FTRACE_TARGET_RBP	6
#define FTRACE_TARGET_RSP	7
#define FTRACE_TARGET_R8	8
#define FTRACE_TARGET_R9	9
#define FTRACE_TARGET_R10	10
#define FTRACE_TARGET_R11	11
#define FTRACE_TARGET_R12	12
#define FTRACE_TARGET_R13	13
#define FTRACE_TARGET_R14	14
#define FTRACE_TARGET_R15	15
#define FTRACE_TARGET_RFLAGS	16
#define FTRACE_TARGET_NR_REGS	17

/* What a tracer's picture of the registers has beyond these. */
#define FTRACE_TARGET_RIP	17
#define FTRACE_TARGET_CS	18
#define FTRACE_TARGET_SS	19
#define FTRACE_TARGET_ORIG_RAX	20
#define FTRACE_TARGET_NR_SLOTS	21

#ifndef __ASSEMBLY__

#include <linux/ioctl.h>
#include <linux/types.h>

/* target_args<n> takes n arguments, and its number is n. */
enum ftrace_target_function {
	FTRACE_TARGET_ARGS0,
	FTRACE_TARGET_ARGS1,
	FTRACE_TARGET_ARGS2,
	FTRACE_TARGET_ARGS3,
	FTRACE_TARGET_ARGS4,
	FTRACE_TARGET_ARGS5,
	FTRACE_TARGET_ARGS6,
	FTRACE_TARGET_ARGS7,
	FTRACE_TARGET_ARGS8,
	FTRACE_TARGET_WIDE,	/* target_wide, returns 128 bits */
	FTRACE_TARGET_SLEEP2,	/* target_sleep2, sleeps before it returns */
	FTRACE_TARGET_NR_FUNCTIONS,
};

/*
 * Where a function is called. Whatever the context, the call is over when the
 * request is. The last three wake a thread on this CPU, of that scheduling
 * class, and call while it waits for preemption to be enabled again.
 */
enum ftrace_target_context {
	FTRACE_TARGET_TASK,
	FTRACE_TARGET_IRQS_OFF,
	FTRACE_TARGET_PREEMPT_OFF,
	FTRACE_TARGET_SOFTIRQ,
	FTRACE_TARGET_HARDIRQ,
	FTRACE_TARGET_NMI,
	FTRACE_TARGET_NO_RCU,	/* as in the idle task: RCU does not watch the CPU */
	FTRACE_TARGET_IDLE,	/* a timer's interrupt of the idle task: RCU does */
	FTRACE_TARGET_GRAPH_PAUSED,	/* a task that the graph tracer is to leave alone */
	FTRACE_TARGET_WAKEUP,
	FTRACE_TARGET_WAKEUP_RT,
	FTRACE_TARGET_WAKEUP_DL,
	FTRACE_TARGET_NR_CONTEXTS,
};

/* What a function found of its context, by its own look. */
#define FTRACE_TARGET_IN_SOFTIRQ	0x01
#define FTRACE_TARGET_IN_HARDIRQ	0x02
#define FTRACE_TARGET_IN_NMI		0x04
#define FTRACE_TARGET_WITHOUT_IRQS	0x08
#define FTRACE_TARGET_WITHOUT_PREEMPT	0x10
#define FTRACE_TARGET_WITHOUT_RCU	0x40
#define FTRACE_TARGET_IN_IDLE	0x80
/* ... and that it is what an observer put in place of target_args8. */
#define FTRACE_TARGET_IN_REPLACEMENT	0x20

#define FTRACE_TARGET_MAX_HOLD_US	200000

/*
 * One call of a target function.
 * @context is where it is called, and @hold_us for how long that context is
 * kept up behind the call, by spinning: 2000 cycles of the TSC each.
 * @found are the bits above, as the function found them.
 * @received holds what the function itself found in its parameters, and zero
 * for those that it does not have.
 * @returned is what came back. It starts as the number of parameters n, and
 * takes in each of them by: returned = returned * 31 + argument.
 * @returned_high is the upper half of a 128-bit value: ~@returned from
 * target_wide, which has two parameters, and zero from the others.
 * @entry is the address of the function's call of __fentry__, and @returns_to
 * the return address that the function found on its stack: the caller's, or
 * that of a tracer which hooked the return.
 */
struct ftrace_target_call {
	__u32 function;
	__u32 context;
	__u32 hold_us;
	__u32 found;
	__u64 args[FTRACE_TARGET_MAX_ARGS];
	__u64 received[FTRACE_TARGET_MAX_ARGS];
	__u64 returned;
	__u64 returned_high;
	__u64 entry;
	__u64 returns_to;
};

/*
 * All registers around one call of target_registers: before its call
 * instruction, behind its fentry call site, and after its return. The function
 * itself changes none. @entry and @returns_to are as above.
 */
struct ftrace_target_registers {
	__u64 before[FTRACE_TARGET_NR_REGS];
	__u64 callee[FTRACE_TARGET_NR_REGS];
	__u64 after[FTRACE_TARGET_NR_REGS];
	__u64 returns_to;
	__u64 entry;
};

/* An observer of the module's own. It lives as long as its file is open. */
enum ftrace_target_observer {
	FTRACE_TARGET_OPS,	/* an ftrace_ops */
	FTRACE_TARGET_OPS_REGS,	/* ... that wants all registers */
	/*
	 * ... and asks for a call of the trampoline of DIRECT. Who asks for
	 * that without being a direct call gets it in ftrace_regs_caller only,
	 * and must not in a trampoline of its own.
	 */
	FTRACE_TARGET_OPS_JUMP,
	/*
	 * ... and inverts all registers of target_registers that a trampoline
	 * restores, and its arithmetic flags. With frame pointers it leaves RBP.
	 */
	FTRACE_TARGET_OPS_CHANGE,
	/*
	 * An ftrace_ops that wants not to be called from within itself, and
	 * whose callback calls target_inner, up to FTRACE_TARGET_MAX_DEPTH deep.
	 */
	FTRACE_TARGET_OPS_GUARDED,
	/* An ftrace_ops that puts another function in place of target_args8. */
	FTRACE_TARGET_REPLACE,
	FTRACE_TARGET_DIRECT,	/* a direct call; there can be one at a time */
	FTRACE_TARGET_NR_OBSERVERS,
};

#define FTRACE_TARGET_MAX_DEPTH		3

#define FTRACE_TARGET_NAMES_SIZE	256

/* The functions to observe, by name, separated by blanks. */
struct ftrace_target_observe {
	__u32 observer;
	char names[FTRACE_TARGET_NAMES_SIZE];
};

#define FTRACE_TARGET_REG_ARGS		6
#define FTRACE_TARGET_MAX_STACK		12

/*
 * What an observer was told of one call.
 * @args are the arguments as ftrace's own function for that has them.
 * @slots are the words in the picture of the registers that it was handed,
 * whether they were meant to be filled or not.
 * @has_regs is whether ftrace says that all of them are.
 * @stack are the return addresses from the observer upwards, then zeroes.
 * A direct call knows no @args and leaves what it has no word for zero.
 */
struct ftrace_target_record {
	__u64 ip;
	__u64 parent_ip;
	__u64 args[FTRACE_TARGET_REG_ARGS];
	__u64 slots[FTRACE_TARGET_NR_SLOTS];
	__u64 stack[FTRACE_TARGET_MAX_STACK];
	__u64 has_regs;
};

/* The calls that there is room for; they are counted beyond that. */
#define FTRACE_TARGET_MAX_RECORDS	128

/*
 * What an observer saw, in order.
 * @wrong_ops counts callbacks of any observer that were handed an ftrace_ops
 * which is none of the module's, and @wrong_jumps what came to the trampoline
 * of DIRECT while there was no such observer. They start at zero with the
 * first observer.
 */
struct ftrace_target_observed {
	__u32 count;
	__u32 wrong_ops;
	__u32 wrong_jumps;
	__u32 reserved;
	struct ftrace_target_record records[FTRACE_TARGET_MAX_RECORDS];
};

#define FTRACE_TARGET_IOC_CALL		_IOWR('f', 0xf0, struct ftrace_target_call)
#define FTRACE_TARGET_IOC_REGISTERS	_IOR('f', 0xf1, struct ftrace_target_registers)
#define FTRACE_TARGET_IOC_OBSERVE	_IOW('f', 0xf2, struct ftrace_target_observe)
/* The size of the structure is beyond what an ioctl number has bits for. */
#define FTRACE_TARGET_IOC_OBSERVED	_IO('f', 0xf3)

#endif /* __ASSEMBLY__ */

#endif /* FTRACE_TARGET_H */
