# SPDX-License-Identifier: GPL-2.0
"""The kernel's ABI before the series, and what the series adds to it.

It is written down, not read from the tree under test, because an ABI must not change.
suites/versions.py has what depends on the kernel's version.
"""

from suites.versions import PROG_TYPES

#: New types only ever go to the end of the enum.
FTRACE_TYPE = len(PROG_TYPES)

#: struct bpf_ftrace_args: name and offset in bytes of each member.
ARGS_OFFSETS = {"arg1": 0, "arg2": 8, "arg3": 16, "arg4": 24, "arg5": 32}
ARGS_SIZE = 40

#: The parts of the ABI that the tests name: enum perf_type_id and its configs.
PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT, PERF_TYPE_BREAKPOINT = 1, 2, 5
PERF_COUNT_SW_CPU_CLOCK, PERF_COUNT_SW_DUMMY = 0, 9
PERF_FLAG_PID_CGROUP, PERF_FLAG_FD_CLOEXEC = 4, 8

#: enum bpf_map_type, bpf_attach_type and the flag of a program that may sleep.
BPF_MAP_TYPE_ARRAY = 2
BPF_MAP_TYPE_PROG_ARRAY = 3
BPF_PERF_EVENT = 41
BPF_F_SLEEPABLE = 1 << 4

CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39
ALL_CAPABILITIES = frozenset(range(41))


def prog_type(name: str) -> int:
    """The number of a program type of the base."""
    return PROG_TYPES.index(f"BPF_PROG_TYPE_{name}")


#: Some of enum bpf_func_id.
HELPERS = {
    "map_lookup_elem": 1, "map_update_elem": 2, "map_delete_elem": 3, "ktime_get_ns": 5, "get_prandom_u32": 7,
    "get_smp_processor_id": 8, "get_current_pid_tgid": 14, "get_current_uid_gid": 15, "get_current_comm": 16,
    "redirect": 23, "perf_event_output": 25, "skb_load_bytes": 26, "get_stackid": 27, "get_current_task": 35,
    "perf_prog_read_value": 56, "override_return": 58, "get_stack": 67, "probe_read_kernel": 113,
    "probe_read_kernel_str": 115, "jiffies64": 118, "read_branch_records": 119, "seq_printf": 126,
    "d_path": 147, "copy_from_user": 148, "sys_bpf": 166, "get_func_ip": 173, "get_attach_cookie": 174,
    "get_func_arg": 183,
}  # fmt: skip
