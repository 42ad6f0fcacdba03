// SPDX-License-Identifier: GPL-2.0
/* An observer by BPF_TRACE_FENTRY: called directly from the call site. */
#include "observer_maps.h"

SEC("fentry/target_args5")
int observe(const __u64 *ctx)
{
	const struct observed call = {
		.args = { ctx[0], ctx[1], ctx[2], ctx[3], ctx[4] },
	};

	record(&call);

	return 0;
}
