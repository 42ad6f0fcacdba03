// SPDX-License-Identifier: GPL-2.0
/*
 * A filter that asks for its context as the kernel knows it, and reads the first
 * word of that. It is to be refused: the context has five arguments, nothing else.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "contract.h"

extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

SEC("ftrace")
__u64 filter(struct bpf_ftrace_args *ctx)
{
	const __u64 *words = bpf_cast_to_kern_ctx(ctx);

	return words[0];
}

char LICENSE[] SEC("license") = "GPL";
