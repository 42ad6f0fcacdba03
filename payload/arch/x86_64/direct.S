/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The trampoline of a direct call, as samples/ftrace has them: it is entered
 * from a function's call site in place of ftrace's own, has its observer told
 * and lets the function go on. It changes no register, whatever the rules
 * allow, so that each change that is seen was made on the way to it.
 */
#include <linux/linkage.h>
#include <asm/nospec-branch.h>

#include "compat.h"
#include "ftrace_target.h"

	.text

SYM_FUNC_START(target_direct)
	pushq	%rbp
	movq	%rsp, %rbp
	pushfq
	CALL_DEPTH_ACCOUNT

	/* An array of the registers, as registers.S has them. */
	subq	$8*FTRACE_TARGET_NR_REGS, %rsp
	movq	%rax, 8*FTRACE_TARGET_RAX(%rsp)
	movq	%rbx, 8*FTRACE_TARGET_RBX(%rsp)
	movq	%rcx, 8*FTRACE_TARGET_RCX(%rsp)
	movq	%rdx, 8*FTRACE_TARGET_RDX(%rsp)
	movq	%rsi, 8*FTRACE_TARGET_RSI(%rsp)
	movq	%rdi, 8*FTRACE_TARGET_RDI(%rsp)
	movq	%r8,  8*FTRACE_TARGET_R8(%rsp)
	movq	%r9,  8*FTRACE_TARGET_R9(%rsp)
	movq	%r10, 8*FTRACE_TARGET_R10(%rsp)
	movq	%r11, 8*FTRACE_TARGET_R11(%rsp)
	movq	%r12, 8*FTRACE_TARGET_R12(%rsp)
	movq	%r13, 8*FTRACE_TARGET_R13(%rsp)
	movq	%r14, 8*FTRACE_TARGET_R14(%rsp)
	movq	%r15, 8*FTRACE_TARGET_R15(%rsp)
	movq	-8(%rbp), %rax
	movq	%rax, 8*FTRACE_TARGET_RFLAGS(%rsp)
	movq	(%rbp), %rax
	movq	%rax, 8*FTRACE_TARGET_RBP(%rsp)
	/* As the function has it: above are its return and the call site's. */
	leaq	16(%rbp), %rax
	movq	%rax, 8*FTRACE_TARGET_RSP(%rsp)

	movq	%rsp, %rdi
	movq	8(%rbp), %rsi
	movq	16(%rbp), %rdx
	call	target_direct_called

	/* All of them, as objtool expects what was saved to be restored. */
	movq	8*FTRACE_TARGET_RAX(%rsp), %rax
	movq	8*FTRACE_TARGET_RBX(%rsp), %rbx
	movq	8*FTRACE_TARGET_RCX(%rsp), %rcx
	movq	8*FTRACE_TARGET_RDX(%rsp), %rdx
	movq	8*FTRACE_TARGET_RSI(%rsp), %rsi
	movq	8*FTRACE_TARGET_RDI(%rsp), %rdi
	movq	8*FTRACE_TARGET_R8(%rsp), %r8
	movq	8*FTRACE_TARGET_R9(%rsp), %r9
	movq	8*FTRACE_TARGET_R10(%rsp), %r10
	movq	8*FTRACE_TARGET_R11(%rsp), %r11
	movq	8*FTRACE_TARGET_R12(%rsp), %r12
	movq	8*FTRACE_TARGET_R13(%rsp), %r13
	movq	8*FTRACE_TARGET_R14(%rsp), %r14
	movq	8*FTRACE_TARGET_R15(%rsp), %r15
	addq	$8*FTRACE_TARGET_NR_REGS, %rsp
	popfq
	popq	%rbp
	RET
SYM_FUNC_END(target_direct)
