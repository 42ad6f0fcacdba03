/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface of /dev/ftrace_target, shared by the module, its assembly and
 * the agent.
 */
#ifndef FTRACE_TARGET_H
#define FTRACE_TARGET_H

#define FTRACE_TARGET_DEVICE	"ftrace_target"

#define FTRACE_TARGET_MAX_ARGS	6

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
	FTRACE_TARGET_WIDE,	/* target_wide, returns 128 bits */
};

/*
 * One call of a target function.
 * @received holds what the function itself found in its parameters, and zero
 * for those that it does not have.
 * @returned is what came back. It starts as the number of parameters n, and
 * takes in each of them by: returned = returned * 31 + argument.
 * @returned_high is the upper half of a 128-bit value: ~@returned from
 * target_wide, which has two parameters, and zero from the others.
 */
struct ftrace_target_call {
	__u32 function;
	__u32 reserved;
	__u64 args[FTRACE_TARGET_MAX_ARGS];
	__u64 received[FTRACE_TARGET_MAX_ARGS];
	__u64 returned;
	__u64 returned_high;
};

/*
 * All registers around one call of target_registers: before its call
 * instruction, behind its fentry call site, and after its return. The function
 * itself changes none.
 */
struct ftrace_target_registers {
	__u64 before[FTRACE_TARGET_NR_REGS];
	__u64 callee[FTRACE_TARGET_NR_REGS];
	__u64 after[FTRACE_TARGET_NR_REGS];
};

#define FTRACE_TARGET_IOC_CALL		_IOWR('f', 0xf0, struct ftrace_target_call)
#define FTRACE_TARGET_IOC_REGISTERS	_IOR('f', 0xf1, struct ftrace_target_registers)

#endif /* __ASSEMBLY__ */

#endif /* FTRACE_TARGET_H */
