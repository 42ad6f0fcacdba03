/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A traced function that sees every register, and a caller that fills them.
 *
 * C cannot do this: the compiler decides which registers hold what around a
 * call, and between a function's entry and its first statement.
 */
#include <linux/linkage.h>
#include <asm/frame.h>

#include "ftrace_target.h"

/* Where the arrays of struct ftrace_target_registers lie. */
#define BEFORE	0
#define CALLEE	(8*FTRACE_TARGET_NR_REGS)
#define AFTER	(8*FTRACE_TARGET_NR_REGS*2)
#define RETURNS_TO	(8*FTRACE_TARGET_NR_REGS*3)

/*
 * Store all registers in the array at the offset @to. Nothing is changed on the
 * way, which is why the snapshots are static and addressed relative to RIP.
 */
.macro SNAPSHOT to:req
	movq	%rax, target_snapshots + \to + 8*FTRACE_TARGET_RAX(%rip)
	movq	%rbx, target_snapshots + \to + 8*FTRACE_TARGET_RBX(%rip)
	movq	%rcx, target_snapshots + \to + 8*FTRACE_TARGET_RCX(%rip)
	movq	%rdx, target_snapshots + \to + 8*FTRACE_TARGET_RDX(%rip)
	movq	%rsi, target_snapshots + \to + 8*FTRACE_TARGET_RSI(%rip)
	movq	%rdi, target_snapshots + \to + 8*FTRACE_TARGET_RDI(%rip)
	movq	%rbp, target_snapshots + \to + 8*FTRACE_TARGET_RBP(%rip)
	movq	%rsp, target_snapshots + \to + 8*FTRACE_TARGET_RSP(%rip)
	movq	%r8,  target_snapshots + \to + 8*FTRACE_TARGET_R8(%rip)
	movq	%r9,  target_snapshots + \to + 8*FTRACE_TARGET_R9(%rip)
	movq	%r10, target_snapshots + \to + 8*FTRACE_TARGET_R10(%rip)
	movq	%r11, target_snapshots + \to + 8*FTRACE_TARGET_R11(%rip)
	movq	%r12, target_snapshots + \to + 8*FTRACE_TARGET_R12(%rip)
	movq	%r13, target_snapshots + \to + 8*FTRACE_TARGET_R13(%rip)
	movq	%r14, target_snapshots + \to + 8*FTRACE_TARGET_R14(%rip)
	movq	%r15, target_snapshots + \to + 8*FTRACE_TARGET_R15(%rip)
	pushfq
	popq	target_snapshots + \to + 8*FTRACE_TARGET_RFLAGS(%rip)
.endm

	.text

/*
 * The traced function. It reports what it received and returns with every
 * register as it was.
 *
 * With IBT the call site lies behind the ENDBR, as the compiler places it. The
 * compiler's record of call sites covers C only, so this one is written by
 * hand, unless objtool makes the record: it looks at the object code and finds
 * the call by itself.
 */
SYM_FUNC_START(target_registers)
#ifdef CONFIG_FUNCTION_TRACER
.Lfentry:
	call	__fentry__
#endif
	SNAPSHOT CALLEE
	pushq	(%rsp)
	popq	target_snapshots + RETURNS_TO(%rip)
	RET
SYM_FUNC_END(target_registers)

#if defined(CONFIG_DYNAMIC_FTRACE) && \
	!defined(CONFIG_FTRACE_MCOUNT_USE_OBJTOOL)
	.pushsection __mcount_loc, "a", @progbits
	.balign	8
	.quad	.Lfentry
	.popsection
#endif

/*
 * void target_registers_call(void)
 *
 * Call target_registers with a different value in every general register and
 * all arithmetic flags set. With frame pointers RBP keeps pointing to a frame,
 * or a stack trace taken in the trampoline would go astray. Without them it is
 * a register like any other, and the unwinder finds the caller's on the stack.
 * The direction flag stays clear, as all compiled code expects.
 */
SYM_FUNC_START(target_registers_call)
	FRAME_BEGIN
#ifndef CONFIG_FRAME_POINTER
	pushq	%rbp
#endif
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15

	/* The add sets OF; AH brings SF, ZF, AF, PF and CF, and leaves OF alone. */
	movb	$0x7f, %al
	addb	$1, %al
	movb	$0xd5, %ah
	sahf

	movabsq	$0xa0a0a0a0a0a00000, %rax
	movabsq	$0xa1a1a1a1a1a10001, %rbx
	movabsq	$0xa2a2a2a2a2a20002, %rcx
	movabsq	$0xa3a3a3a3a3a30003, %rdx
	movabsq	$0xa4a4a4a4a4a40004, %rsi
	movabsq	$0xa5a5a5a5a5a50005, %rdi
#ifndef CONFIG_FRAME_POINTER
	movabsq	$0xa6a6a6a6a6a60006, %rbp
#endif
	movabsq	$0xa8a8a8a8a8a80008, %r8
	movabsq	$0xa9a9a9a9a9a90009, %r9
	movabsq	$0xaaaaaaaaaaaa0010, %r10
	movabsq	$0xabababababab0011, %r11
	movabsq	$0xacacacacacac0012, %r12
	movabsq	$0xadadadadadad0013, %r13
	movabsq	$0xaeaeaeaeaeae0014, %r14
	movabsq	$0xafafafafafaf0015, %r15

	SNAPSHOT BEFORE
	call	target_registers
	SNAPSHOT AFTER

	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
#ifndef CONFIG_FRAME_POINTER
	popq	%rbp
#endif
	FRAME_END
	RET
SYM_FUNC_END(target_registers_call)

	.bss
	.balign	8
SYM_DATA(target_snapshots, .skip RETURNS_TO + 2*8)
