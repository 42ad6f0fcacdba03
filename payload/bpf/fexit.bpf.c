// SPDX-License-Identifier: GPL-2.0
/* An observer by BPF_TRACE_FEXIT: its trampoline calls the function itself. */
#include "observer_maps.h"

SEC("fexit/target_args5")
int observe(const __u64 *ctx)
{
	/* What is returned lies behind the arguments. */
	const struct observed call = {
		.args = { ctx[0], ctx[1], ctx[2], ctx[3], ctx[4] },
		.returned = ctx[OBSERVER_NR_ARGS],
	};

	record(&call);

	return 0;
}
