// SPDX-License-Identifier: GPL-2.0
/*
 * A filter that leaves its decision to a global function. Such a function is
 * verified by itself: that its argument is the context is known from BTF alone.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "contract.h"

__noinline int decide(struct bpf_ftrace_args *ctx)
{
	return ctx->arg1 == ctx->arg2;
}

SEC("ftrace")
int filter(struct bpf_ftrace_args *ctx)
{
	return decide(ctx);
}

char LICENSE[] SEC("license") = "GPL";
