/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls that a program saw: up to RECORD_MAX of type RECORD, which the
 * program defines first. Each program is an object with maps of its own.
 */
#ifndef PAYLOAD_BPF_RECORD_H
#define PAYLOAD_BPF_RECORD_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The first RECORD_MAX calls, in order. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RECORD_MAX);
	__type(key, __u32);
	__type(value, RECORD);
} seen SEC(".maps");

/* How many calls there were: may exceed what "seen" has room for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} count SEC(".maps");

static __always_inline void record(const RECORD *call)
{
	RECORD *slot;
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

#endif /* PAYLOAD_BPF_RECORD_H */
