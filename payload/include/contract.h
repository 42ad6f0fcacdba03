/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The published contract of BPF filters on ftrace, as a program sees it.
 *
 * This is a copy on purpose, and is never taken from the tree under test: a
 * program built against the published contract must run on every kernel that
 * claims it. Were it built against the header of the kernel it runs on, a
 * change of that header would change both sides and go unseen.
 */
#ifndef PAYLOAD_CONTRACT_H
#define PAYLOAD_CONTRACT_H

#include <linux/types.h>

struct bpf_ftrace_args {
	__u64 arg1;
	__u64 arg2;
	__u64 arg3;
	__u64 arg4;
	__u64 arg5;
};

#endif /* PAYLOAD_CONTRACT_H */
