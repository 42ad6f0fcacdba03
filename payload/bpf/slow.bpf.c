// SPDX-License-Identifier: GPL-2.0
/*
 * A filter that takes its time, and counts its runs when they are over. It
 * copies memory, as kernels without a JIT have no bpf_loop().
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "contract.h"

#define SLOW_NS		20000000

/* More than fit into the time. */
#define COPIES_MAX	1024

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} count SEC(".maps");

struct block {
	char bytes[1 << 18];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct block);
} memory SEC(".maps");

SEC("ftrace")
__u64 filter(const struct bpf_ftrace_args *ctx)
{
	__u64 until = bpf_ktime_get_ns() + SLOW_NS;
	struct block *block;
	__u32 key = 0;
	__u64 *runs;
	int i;

	(void)ctx;
	block = bpf_map_lookup_elem(&memory, &key);
	if (!block)
		return 1;

	for (i = 0; i < COPIES_MAX && bpf_ktime_get_ns() < until; i++)
		bpf_probe_read_kernel(block, sizeof(*block), block);

	runs = bpf_map_lookup_elem(&count, &key);
	if (runs)
		__sync_fetch_and_add(runs, 1);

	return 1;
}

char LICENSE[] SEC("license") = "GPL";
