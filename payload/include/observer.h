/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the observers, programs that watch target_args5 by another way than a
 * tracer, and their users agree on: the values of their maps.
 */
#ifndef PAYLOAD_OBSERVER_H
#define PAYLOAD_OBSERVER_H

#include <linux/types.h>

/* The calls that the map "seen" has room for; "count" goes on past it. */
#define OBSERVER_SEEN_MAX	64

#define OBSERVER_NR_ARGS	5

/* What is not to be had where the observer looks is zero. */
struct observed {
	__u64 args[OBSERVER_NR_ARGS];
	__u64 returned;
};

#endif /* PAYLOAD_OBSERVER_H */
