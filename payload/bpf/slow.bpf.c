// SPDX-License-Identifier: GPL-2.0
/*
 * A filter that takes its time, and counts its runs when they are over.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "contract.h"

#define SLOW_NS		20000000

/* More than fit into the time. */
#define SPINS_MAX	(1 << 22)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} count SEC(".maps");

static long spin(__u64 unused, __u64 *until)
{
	(void)unused;

	return bpf_ktime_get_ns() >= *until;
}

SEC("ftrace")
__u64 filter(const struct bpf_ftrace_args *ctx)
{
	__u64 until = bpf_ktime_get_ns() + SLOW_NS;
	__u32 key = 0;
	__u64 *runs;

	(void)ctx;
	bpf_loop(SPINS_MAX, spin, &until, 0);

	runs = bpf_map_lookup_elem(&count, &key);
	if (runs)
		__sync_fetch_and_add(runs, 1);

	return 1;
}

char LICENSE[] SEC("license") = "GPL";
