// SPDX-License-Identifier: GPL-2.0
/*
 * A filter that calls a helper which calls a function that can be traced, and
 * filtered: bpf_probe_read_kernel() is copy_from_kernel_nofault(). And one that
 * insists on being called in an RCU read side critical section, where somebody
 * proves that, as a lookup in a hash map does.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "contract.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} words SEC(".maps");

SEC("ftrace")
__u64 filter(const struct bpf_ftrace_args *ctx)
{
	__u64 word = 0;

	(void)ctx;
	bpf_probe_read_kernel(&word, sizeof(word), (void *)bpf_get_current_task());

	return !bpf_map_lookup_elem(&words, &word);
}

char LICENSE[] SEC("license") = "GPL";
