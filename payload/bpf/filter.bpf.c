// SPDX-License-Identifier: GPL-2.0
/*
 * A filter that records every call it is asked about, and answers by a rule
 * that user space can change at any time.
 */
#include "contract.h"
#include "filter.h"

#define RECORD		struct bpf_ftrace_args
#define RECORD_MAX	FILTER_SEEN_MAX
#include "record.h"

#define NR_ARGS (sizeof(struct bpf_ftrace_args) / sizeof(__u64))

/* The arguments of a call, by name and by number. */
union call {
	struct bpf_ftrace_args args;
	__u64 nth[NR_ARGS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_rule);
} rule SEC(".maps");

/*
 * The result is 64 bits wide, although the kernel looks at the lower half only:
 * so a rule can check that the upper half is ignored.
 */
SEC("ftrace")
__u64 filter(const struct bpf_ftrace_args *ctx)
{
	/*
	 * Copied whole before anything is picked. The verifier only accepts
	 * loads from the context at constant offsets, and the compiler would
	 * make a variable one out of a choice between the fields.
	 */
	const union call call = { .args = *ctx };
	const struct filter_rule *verdict;
	__u32 key = 0;

	record(&call.args);

	verdict = bpf_map_lookup_elem(&rule, &key);
	if (!verdict)
		return 1;

	switch (verdict->mode) {
	case FILTER_DROP_ALL:
		return 0;
	case FILTER_ARG_EQUALS:
		key = verdict->arg - 1;
		return key < NR_ARGS && call.nth[key] == verdict->value;
	case FILTER_RETURN:
		return verdict->value;
	default:
		return 1;
	}
}
