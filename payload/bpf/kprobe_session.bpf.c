// SPDX-License-Identifier: GPL-2.0
/*
 * An observer by BPF_TRACE_KPROBE_SESSION: it runs where a function begins, and
 * again where that call returns, because it returned 0 the first time.
 */
#include <linux/ptrace.h>

#include "observer_maps.h"

SEC("kprobe.multi") /* a released libbpf does not know kprobe.session */
int observe(const struct pt_regs *ctx)
{
	const struct observed call = {
		.args = { ctx->rdi, ctx->rsi, ctx->rdx, ctx->rcx, ctx->r8 },
		.returned = ctx->rax,
	};

	record(&call);

	return 0;
}
