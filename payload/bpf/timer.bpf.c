// SPDX-License-Identifier: GPL-2.0
/* A program with a map that has a timer, which no tracing program may have. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct timed {
	struct bpf_timer timer;
	__u64 value;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

SEC("ftrace")
int filter(const void *ctx)
{
	__u32 key = 0;

	(void)ctx;

	return !bpf_map_lookup_elem(&timers, &key);
}

char LICENSE[] SEC("license") = "GPL";
