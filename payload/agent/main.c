// SPDX-License-Identifier: GPL-2.0
/*
 * The agent does in the guest what a test asks for: it loads programs, opens
 * events and calls the traced functions, and reports what the kernel answered.
 *
 * Protocol, version 1
 * ===================
 *
 * One JSON object a line on stdin is a request, and one a line on stdout is its
 * answer, in order. No line is longer than 1 MiB. Every file descriptor lives
 * until it is closed by a request or stdin ends, at which the agent exits.
 *
 *   {"id": 7, "op": "close", "fd": 5}
 *   {"id": 7, "ok": true}
 *
 * Whatever "id" is comes back with the answer. A system call that failed:
 *
 *   {"id": 7, "ok": false, "errno": 9, "name": "EBADF", "call": "close",
 *    "message": "close: Bad file descriptor"}
 *
 * A request that makes no sense never reaches the kernel. "errno" is 0, "name"
 * is "REQUEST", "message" tells what is wrong with which key; unknown keys are
 * wrong as well.
 *
 * Values of 64 bits are strings, "0x" and up to 16 hex digits; in requests,
 * a small one may be a number. BYTES are strings of two hex digits a byte. A
 * "?" marks a key that may be missing, and "=" gives its default.
 *
 * hello
 *     -> "protocol": 1, "pid", "release": the kernel's, "libbpf": version
 *
 * prog_load  "type", "insns": BYTES, "license", "name"?, "flags"=0,
 *            "expected_attach_type"=0, "log_level"=1
 *     -> "fd", and "log" if the verifier wrote any, also with a failure
 * prog_info  "fd", "xlated"=false -> "prog_id", "type", "name", "tag": BYTES,
 *            "run_cnt": u64, "recursion_misses": u64, and where asked for
 *            "xlated": BYTES, the instructions as the verifier left them
 * prog_test_run "fd", "ctx"?: BYTES -> "retval": u64
 * task_fd_query "pid"?: the agent's own, "fd" -> "prog_id", "fd_type"
 * map_create "type", "key_size", "value_size", "max_entries" -> "fd"
 * map_info   "fd" -> "map_id", "type", "name", "key_size", "value_size",
 *            "max_entries"
 * map_lookup "fd", "key": BYTES, "value_size" -> "value": BYTES
 * map_read   "fd", "value_size", "count" -> "values": [BYTES], of the keys 0 to
 *            count - 1, of 32 bits
 * map_update "fd", "key": BYTES, "value": BYTES
 * map_delete "fd", "key": BYTES
 * link_create  "prog_fd", "attach_type", "target_fd"=0, "flags"=0,
 *              "symbols"?: [string], "return"=false
 *     -> "fd", whose last close detaches the program
 *     "symbols" and "return" are for BPF_TRACE_KPROBE_MULTI: the functions,
 *     and whether to run where they return.
 *
 * object_load  "path", "ftrace_type"?: the number of the program type for
 *              programs in the section "ftrace", needed if there are any;
 *              "expected_attach_type"?: for all programs
 *     -> "object": handle, "programs": {name: fd}, "maps": {name: fd}, and
 *        "log" if libbpf said anything, also with a failure
 * object_close "object": closes its descriptors, which are for this alone to
 *              close
 *
 * perf_open  "attr": {field: value}, "pid"=-1, "cpu"=0, "group_fd"=-1,
 *            "flags"=8 (PERF_FLAG_FD_CLOEXEC)
 *     -> "fd"
 *     The fields are those of struct perf_event_attr, by name, as numbers,
 *     u64 or booleans; and "function": string, which config1 will point to.
 *     "size" is that of Linux 5.13, or with "config3" of 6.3, unless given.
 * perf_ioctl "fd", "request", "arg"?, "attr"? -> "result", and for
 *     ENABLE DISABLE RESET          "arg"=0: number
 *     SET_BPF REFRESH PAUSE_OUTPUT  "arg": number
 *     PERIOD                        "arg": u64
 *     SET_FILTER                    "arg": string
 *     MODIFY_ATTRIBUTES             "attr": as above
 *     ID                            -> "value": u64
 *     QUERY_BPF                     -> "ids": [number]
 * read_u64   "fd" -> "value": u64, an event's count
 * perf_map   "fd": gives the event a buffer. It keeps the event for as long as
 *     the session goes on.
 * perf_records "fd" -> "records": [{"type", "misc", "data": BYTES}]
 *     What came into the buffer since the last time; the data without its header.
 *
 * close      "fd"
 * dup        "fd" -> "fd"
 *
 * pin        "cpu": the session runs on this one only, from now on
 * drop_capabilities "capabilities": [number], for good
 * enter_user_namespace
 *     One of its own, for good: with all capabilities there, and none elsewhere.
 * start_child "exec"=false -> "pid"
 *     A child that does nothing but hold the descriptors that it inherited;
 *     with "exec", those that survive the start of a program. It is gone, and
 *     they are closed, when it is ended or the session is over.
 * end_child  "pid"
 *
 * module_load "path", "parameters"="": returns when its init does
 * module_unload "name": does not wait, a module in use is an error
 *
 * call       "target": "args0" to "args8", "wide" or "sleep2",
 *            "args": [u64, up to 8], "context"="task", "hold_us"=0
 *     -> "received": [8 u64], "returned": u64, "returned_high": u64,
 *        "entry": u64, "returns_to": u64, "found": [name]
 *     What a function returns is told in include/ftrace_target.h. The contexts
 *     are "task", "irqs-off", "preempt-off", "softirq", "hardirq", "nmi",
 *     "no-rcu", with interrupts off and RCU not watching the CPU, "idle", in an
 *     interrupt of the idle task, "graph-paused", in a task that the graph tracer
 *     is to leave alone, and "wakeup", "wakeup-rt", "wakeup-dl": with preemption
 *     off, while a thread of that class, on the same CPU, has been woken and
 *     cannot run yet.
 *     "hold_us" (up to 200000) keeps the context up behind the call. "found"
 *     is what the function saw of it: "in-softirq", "in-hardirq", "in-nmi",
 *     "irqs-off", "preempt-off", "no-rcu", "in-idle". "sleep2" sleeps, so it is
 *     for tasks only.
 * call_many  "calls": [{"target", "args", "context"?, "hold_us"?}]
 *     -> "results": [what call answers], one after the other
 * call_registers
 *     -> "before", "callee", "after": {register: u64}, with the sixteen
 *        general registers ("rsp" among them) and "rflags"; "entry" and
 *        "returns_to" as above
 * call_mmap  "args": [u64, up to 6]
 *     -> "result": the errno of mmap(2), 0 if it mapped something, which is
 *        unmapped again
 *     A function of the kernel proper whose arguments can be chosen: those of
 *     ksys_mmap_pgoff() are these six, the last of them in pages.
 *
 * observe    "observer": "ops", "ops-regs", "ops-jump", "ops-change",
 *            "ops-guarded", "replace" or "direct", "functions": [name]
 *     -> "fd": it observes until this is closed
 *     What they are is told in include/ftrace_target.h. EOPNOTSUPP where the
 *     kernel has no such thing.
 * observed   "fd" -> "count", "wrong_ops", "wrong_jumps", "records": [one a
 *            call: "ip", "parent_ip", "args": [6 u64], "has_regs": bool,
 *            "stack": [u64], "slots": {register: u64}]
 *     "slots" has the registers of call_registers and "rip", "cs", "ss" and
 *     "orig_rax". There are records of the first 128 calls.
 *
 * file_read  "path", "max"=921600 -> "data": string, "truncated": bool
 * file_write "path", "data": string, "append"=false -> "written"
 *     To an existing file, by one write() unless the kernel takes a part only.
 * file_list  "path" -> "entries": [name], sorted
 * dir_make   "path"
 * dir_remove "path"
 *
 * leftovers  "files": [path], "functions": [path], "directories": [path]
 *     -> "files": {path: string}, the first 4 KiB;
 *        "functions": {path: {"nr", "nr_held", "held": [line], "truncated"}}, of
 *        files like touched_functions how many lines there are, and how many that
 *        tell of somebody who still traces the function, 64 of them by name;
 *        "directories": {path: [name]};
 *        null for what is not there;
 *        "programs": [{"id", "type", "name", "misses"}] and
 *        "maps": [{"id", "type", "name"}], all that the kernel has
 *
 * storm      "workers": [{"do": what, "cpu"=0, "rounds"=0, ...}]
 *     Threads that do something again and again, all at once, each on its CPU:
 *     as often as "rounds" says, or if that is 0 until all others are done.
 *     attach  "type", "functions": [name], "programs": [fd], "hold"=1,
 *             "calls"=0: close the oldest of "hold" filters and open another,
 *             SET_BPF, DISABLE, ENABLE, wait for so many calls by others; if
 *             "hold" is 0 close it then
 *     toggle  "event": DISABLE, ENABLE
 *     expire  "type", "functions", "programs", "calls", "map": with the count
 *             of runs: open a filter, SET_BPF, wait for the calls, close, wait
 *             for as many; no run may follow the close
 *     write   "paths": [path], "texts": [string]: in turn
 *     module  "path", "name", "calls"=0: load it, wait, unload it
 *     call    "args": number of arguments, which tells the target
 *     seek    lseek() to and fro
 *     -> "workers": [{"rounds", "calls": {call: {errno or "OK": count}}, where
 *        a file's name counts as a call, "nr_wrong", "wrong": the first}]
 * set_bpf_race "type", "functions": [name], "programs": [fd, fd], "rounds"
 *     Two threads set the program of one event, in each round.
 *     -> "outcomes": {"OK EEXIST": count}, "calls" as above
 *
 * batch      "requests": [request] -> "answers": [answer]
 *     One after the other, whatever becomes of the ones before.
 */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

#define PROTOCOL 1

static int hello(json_t *request, json_t *answer)
{
	struct utsname name;

	(void)request;
	uname(&name);
	answer_int(answer, "protocol", PROTOCOL);
	answer_int(answer, "pid", getpid());
	answer_text(answer, "release", name.release, strlen(name.release));
	json_object_set_new(answer, "libbpf", json_string(libbpf_version_string()));

	return 0;
}

static int batch(json_t *request, json_t *answer);

static const struct op {
	const char *name;
	int (*handle)(json_t *request, json_t *answer);
	const char *keys;
} ops[] = {
	{ "hello", hello, "" },
	{ "prog_load", prog_load,
	  "type insns license name expected_attach_type flags log_level" },
	{ "prog_info", prog_info, "fd xlated" },
	{ "prog_test_run", prog_test_run, "fd ctx" },
	{ "task_fd_query", task_fd_query, "pid fd" },
	{ "map_create", map_create, "type key_size value_size max_entries" },
	{ "map_info", map_info, "fd" },
	{ "map_lookup", map_lookup, "fd key value_size" },
	{ "map_read", map_read, "fd value_size count" },
	{ "map_update", map_update, "fd key value" },
	{ "map_delete", map_delete, "fd key" },
	{ "link_create", link_create,
	  "prog_fd attach_type target_fd flags symbols return" },
	{ "object_load", object_load, "path ftrace_type expected_attach_type" },
	{ "object_close", object_close, "object" },
	{ "perf_open", perf_open, "attr pid cpu group_fd flags" },
	{ "perf_ioctl", perf_ioctl, "fd request arg attr" },
	{ "read_u64", read_u64, "fd" },
	{ "perf_map", perf_map, "fd" },
	{ "perf_records", perf_records, "fd" },
	{ "close", fd_close, "fd" },
	{ "dup", fd_dup, "fd" },
	{ "pin", pin, "cpu" },
	{ "drop_capabilities", drop_capabilities, "capabilities" },
	{ "enter_user_namespace", enter_user_namespace, "" },
	{ "start_child", start_child, "exec" },
	{ "end_child", end_child, "pid" },
	{ "module_load", module_load, "path parameters" },
	{ "module_unload", module_unload, "name" },
	{ "call", call_one, "target args context hold_us" },
	{ "call_many", call_many, "calls" },
	{ "call_registers", call_registers, "" },
	{ "call_mmap", call_mmap, "args" },
	{ "observe", observe, "observer functions" },
	{ "observed", observed, "fd" },
	{ "file_read", file_read, "path max" },
	{ "file_write", file_write, "path data append" },
	{ "file_list", file_list, "path" },
	{ "dir_make", dir_make, "path" },
	{ "dir_remove", dir_remove, "path" },
	{ "leftovers", leftovers, "files functions directories" },
	{ "storm", storm, "workers" },
	{ "set_bpf_race", set_bpf_race, "type functions programs rounds" },
	{ "batch", batch, "requests" },
};

static int dispatch(json_t *request, json_t *answer)
{
	const char *name;
	size_t i;

	if (request_string(request, "op", &name, answer))
		return -1;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		if (strcmp(ops[i].name, name))
			continue;
		/* Only what belongs to the operation itself is left. */
		json_object_del(request, "id");
		json_object_del(request, "op");
		if (request_only(request, ops[i].keys, answer))
			return -1;
		return ops[i].handle(request, answer);
	}

	return fail_request(answer, "\"op\" knows no \"%s\"", name);
}

/* The answer to a request; its first keys come first in the line, for who reads it. */
static json_t *respond_to(json_t *request)
{
	json_t *answer = json_object();
	json_t *id;
	int err;

	json_object_set_new(answer, "id", json_null());
	json_object_set_new(answer, "ok", json_null());

	if (json_is_object(request)) {
		id = json_object_get(request, "id");
		if (id)
			json_object_set(answer, "id", id);
		err = dispatch(request, answer);
	} else {
		err = fail_request(answer, "request is no JSON object");
	}
	json_object_set_new(answer, "ok", json_boolean(!err));

	return answer;
}

static int batch(json_t *request, json_t *answer)
{
	json_t *requests, *one, *answers;
	size_t i;

	if (request_array(request, "requests", SIZE_MAX, &requests, answer))
		return -1;

	answers = json_array();
	json_array_foreach(requests, i, one)
		json_array_append_new(answers, respond_to(one));
	json_object_set_new(answer, "answers", answers);

	return 0;
}

/* Find the answer to a line. */
static json_t *respond(const char *line, size_t length)
{
	json_t *request, *answer;
	json_error_t error;

	if (length <= LINE_SIZE) {
		request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
		if (request) {
			answer = respond_to(request);
			json_decref(request);
			return answer;
		}
	}

	answer = json_object();
	json_object_set_new(answer, "id", json_null());
	json_object_set_new(answer, "ok", json_false());
	if (length > LINE_SIZE)
		fail_request(answer, "line is longer than %d bytes", LINE_SIZE);
	else
		fail_request(answer, "line is no JSON: %s", error.text);

	return answer;
}

static char *dump(json_t *answer)
{
	char *line = json_dumps(answer, JSON_COMPACT);

	if (!line)
		abort();

	return line;
}

/* An answer that would not fit a line is replaced by a failure. */
static void send_answer(json_t *answer)
{
	char *line = dump(answer);

	if (strlen(line) >= LINE_SIZE) {
		json_t *id = json_incref(json_object_get(answer, "id"));

		json_object_clear(answer);
		json_object_set_new(answer, "id", id);
		json_object_set_new(answer, "ok", json_false());
		fail_request(answer, "answer is longer than %d bytes", LINE_SIZE);
		free(line);
		line = dump(answer);
	}
	puts(line);
	fflush(stdout);
	free(line);
}

int main(int argc, char **argv)
{
	size_t size = 0;
	char *line = NULL;
	ssize_t length;

	if (argc > 1 && !strcmp(argv[1], HOLD_COMMAND))
		return hold(argc, argv);

	while ((length = getline(&line, &size, stdin)) > 0) {
		json_t *answer = respond(line, length);

		send_answer(answer);
		json_decref(answer);
	}
	free(line);
	/* Who waits for the session's end relies on all of it being closed. */
	end_children();

	return 0;
}
