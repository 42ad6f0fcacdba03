/* SPDX-License-Identifier: GPL-2.0 */
/* What filter.bpf.c and its users agree on: the values of its maps. */
#ifndef PAYLOAD_FILTER_H
#define PAYLOAD_FILTER_H

#include <linux/types.h>

/* The calls that the map "seen" has room for; "count" goes on past it. */
#define FILTER_SEEN_MAX		64

enum filter_mode {
	FILTER_PASS_ALL,	/* a fresh map is all zeroes: trace everything */
	FILTER_DROP_ALL,
	FILTER_ARG_EQUALS,	/* trace if argument @arg (1 to 5) is @value */
	FILTER_RETURN,		/* return all 64 bits of @value as they are */
};

/* The one entry of the map "rule". */
struct filter_rule {
	__u32 mode;
	__u32 arg;
	__u64 value;
};

#endif /* PAYLOAD_FILTER_H */
