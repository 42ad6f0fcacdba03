# SPDX-License-Identifier: GPL-2.0
"""Everything in the suites that depends on the kernel's version, in one place.

Each value says since which version, or until which one, it holds.
"""

from farm.version import Bounds, Version

#: enum bpf_prog_type without the series (include/uapi/linux/bpf.h), whose members are
#: numbered from 0 in this order. NETFILTER, the last one, came with v6.4.
PROG_TYPES = (
    "BPF_PROG_TYPE_UNSPEC",
    "BPF_PROG_TYPE_SOCKET_FILTER",
    "BPF_PROG_TYPE_KPROBE",
    "BPF_PROG_TYPE_SCHED_CLS",
    "BPF_PROG_TYPE_SCHED_ACT",
    "BPF_PROG_TYPE_TRACEPOINT",
    "BPF_PROG_TYPE_XDP",
    "BPF_PROG_TYPE_PERF_EVENT",
    "BPF_PROG_TYPE_CGROUP_SKB",
    "BPF_PROG_TYPE_CGROUP_SOCK",
    "BPF_PROG_TYPE_LWT_IN",
    "BPF_PROG_TYPE_LWT_OUT",
    "BPF_PROG_TYPE_LWT_XMIT",
    "BPF_PROG_TYPE_SOCK_OPS",
    "BPF_PROG_TYPE_SK_SKB",
    "BPF_PROG_TYPE_CGROUP_DEVICE",
    "BPF_PROG_TYPE_SK_MSG",
    "BPF_PROG_TYPE_RAW_TRACEPOINT",
    "BPF_PROG_TYPE_CGROUP_SOCK_ADDR",
    "BPF_PROG_TYPE_LWT_SEG6LOCAL",
    "BPF_PROG_TYPE_LIRC_MODE2",
    "BPF_PROG_TYPE_SK_REUSEPORT",
    "BPF_PROG_TYPE_FLOW_DISSECTOR",
    "BPF_PROG_TYPE_CGROUP_SYSCTL",
    "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE",
    "BPF_PROG_TYPE_CGROUP_SOCKOPT",
    "BPF_PROG_TYPE_TRACING",
    "BPF_PROG_TYPE_STRUCT_OPS",
    "BPF_PROG_TYPE_EXT",
    "BPF_PROG_TYPE_LSM",
    "BPF_PROG_TYPE_SK_LOOKUP",
    "BPF_PROG_TYPE_SYSCALL",
    "BPF_PROG_TYPE_NETFILTER",
)

#: ftrace_enabled of /proc/sys/kernel can switch ftrace off. Later writing 0 gives EOPNOTSUPP.
FTRACE_SWITCH = Bounds(until=Version(7, 2))

#: Each trampoline is an allocation of its own in /proc/vmallocinfo. In 7.2 it is a piece of a large one
#: (ARCH_HAS_EXECMEM_ROX); kernels in between are treated like that one.
TRAMPOLINE_ALLOCATIONS = Bounds(until=Version(6, 12))

#: Tracing programs must not use a map with a timer; and they may. In between nobody has looked.
TIMERS_REFUSED = Bounds(until=Version(6, 12))
TIMERS_ALLOWED = Bounds(since=Version(7, 2))

#: The tracers function and function_graph can print arguments, where there is BTF (76fe0337c219).
FUNCTION_ARGUMENTS = Bounds(since=Version(6, 15))

#: The option graph-time of the function profiler may do nothing: set_tracer_flag() compares it with
#: TRACE_GRAPH_GRAPH_TIME, 0x400, which is no flag of that option any more. So it is in 7.2 and 7.3.
GRAPH_TIME_UNHEARD = Bounds(since=Version(6, 19))

#: In a stack trace, the address in a trampoline is a number and no [FTRACE TRAMPOLINE]. So it is in 6.1; 6.12
#: names it.
TRAMPOLINE_IN_STACKS_UNNAMED = Bounds(until=Version(6, 11))
