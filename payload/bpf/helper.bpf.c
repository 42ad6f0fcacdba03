// SPDX-License-Identifier: GPL-2.0
/*
 * A filter that calls a helper which calls a function that can be traced, and
 * filtered: bpf_probe_read_kernel() is copy_from_kernel_nofault().
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "contract.h"

SEC("ftrace")
__u64 filter(const struct bpf_ftrace_args *ctx)
{
	__u64 word;

	(void)ctx;
	bpf_probe_read_kernel(&word, sizeof(word), (void *)bpf_get_current_task());

	return 1;
}

char LICENSE[] SEC("license") = "GPL";
