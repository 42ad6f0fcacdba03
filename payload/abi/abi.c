// SPDX-License-Identifier: GPL-2.0
/*
 * Built with -g against a tree's installed user-space headers, this object's
 * debug information is a machine-readable copy of the ABI: the numbers of the
 * program types and the layout of a filter's context. It is never linked.
 */
#include <linux/bpf.h>
#if __has_include(<linux/bpf_ftrace.h>)
#include <linux/bpf_ftrace.h>

struct bpf_ftrace_args abi_ftrace_args;
#endif

/* The compiler describes a type only where it is used: one object of each. */
enum bpf_prog_type abi_prog_type;
