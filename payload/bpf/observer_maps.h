/* SPDX-License-Identifier: GPL-2.0 */
/* The maps of an observer. Each is an object of its own, with its own maps. */
#ifndef PAYLOAD_BPF_OBSERVER_MAPS_H
#define PAYLOAD_BPF_OBSERVER_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "observer.h"

/* The first OBSERVER_SEEN_MAX calls, in order. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OBSERVER_SEEN_MAX);
	__type(key, __u32);
	__type(value, struct observed);
} seen SEC(".maps");

/* How many calls there were: may exceed what "seen" has room for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} count SEC(".maps");

static __always_inline void record(const struct observed *call)
{
	struct observed *slot;
	__u32 index = 0;
	__u64 *calls;

	calls = bpf_map_lookup_elem(&count, &index);
	if (!calls)
		return;

	/* Atomic, because calls on several CPUs are seen at once. */
	index = __sync_fetch_and_add(calls, 1);

	/* An array map has no element past its end: the lookup is the check. */
	slot = bpf_map_lookup_elem(&seen, &index);
	if (slot)
		*slot = *call;
}

char LICENSE[] SEC("license") = "GPL";

#endif /* PAYLOAD_BPF_OBSERVER_MAPS_H */
