// SPDX-License-Identifier: GPL-2.0
/*
 * An observer by BPF_TRACE_KPROBE_MULTI, which hangs on fprobe, which hangs on
 * ftrace. Linked to where functions begin or to where they return: its
 * arguments are true in the first case only, and what is returned in the second.
 * Loaded for BPF_TRACE_KPROBE_SESSION, which a released libbpf does not know, it
 * runs in both places, because it returns 0 in the first.
 */
#include <linux/ptrace.h>

#include "observer_maps.h"

SEC("kprobe.multi")
int observe(const struct pt_regs *ctx)
{
	const struct observed call = {
		.args = { ctx->rdi, ctx->rsi, ctx->rdx, ctx->rcx, ctx->r8 },
		.returned = ctx->rax,
	};

	record(&call);

	return 0;
}
