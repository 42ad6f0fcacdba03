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
 * prog_info  "fd" -> "prog_id", "type", "name", "tag": BYTES,
 *            "run_cnt": u64, "recursion_misses": u64
 * map_info   "fd" -> "map_id", "type", "name", "key_size", "value_size",
 *            "max_entries"
 * map_lookup "fd", "key": BYTES, "value_size" -> "value": BYTES
 * map_update "fd", "key": BYTES, "value": BYTES
 *
 * object_load  "path", "ftrace_type"?: the number of the program type for
 *              programs in the section "ftrace", needed if there are any
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
 *     "size" is the structure's own unless given.
 * perf_ioctl "fd", "request", "arg"?, "attr"? -> "result", and for
 *     ENABLE DISABLE RESET          "arg"=0: number
 *     SET_BPF REFRESH PAUSE_OUTPUT  "arg": number
 *     PERIOD                        "arg": u64
 *     SET_FILTER                    "arg": string
 *     MODIFY_ATTRIBUTES             "attr": as above
 *     ID                            -> "value": u64
 *     QUERY_BPF                     -> "ids": [number]
 * read_u64   "fd" -> "value": u64, an event's count
 *
 * close      "fd"
 * dup        "fd" -> "fd"
 *
 * call       "target": "args0" to "args6" or "wide", "args": [u64, up to 6]
 *     -> "received": [6 u64], "returned": u64, "returned_high": u64
 * call_many  "calls": [{"target", "args"}]
 *     -> "results": [{"received", "returned", "returned_high"}]
 *     What a function returns is told in include/ftrace_target.h.
 * call_registers
 *     -> "before", "callee", "after": {register: u64}, with the sixteen
 *        general registers ("rsp" among them) and "rflags"
 *
 * file_read  "path", "max"=921600 -> "data": string, "truncated": bool
 * file_write "path", "data": string, "append"=false -> "written"
 *     To an existing file, by one write() unless the kernel takes a part only.
 * file_list  "path" -> "entries": [name], sorted
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

static const struct op {
	const char *name;
	int (*handle)(json_t *request, json_t *answer);
	const char *keys;
} ops[] = {
	{ "hello", hello, "" },
	{ "prog_load", prog_load,
	  "type insns license name expected_attach_type flags log_level" },
	{ "prog_info", prog_info, "fd" },
	{ "map_info", map_info, "fd" },
	{ "map_lookup", map_lookup, "fd key value_size" },
	{ "map_update", map_update, "fd key value" },
	{ "object_load", object_load, "path ftrace_type" },
	{ "object_close", object_close, "object" },
	{ "perf_open", perf_open, "attr pid cpu group_fd flags" },
	{ "perf_ioctl", perf_ioctl, "fd request arg attr" },
	{ "read_u64", read_u64, "fd" },
	{ "close", fd_close, "fd" },
	{ "dup", fd_dup, "fd" },
	{ "call", call_one, "target args" },
	{ "call_many", call_many, "calls" },
	{ "call_registers", call_registers, "" },
	{ "file_read", file_read, "path max" },
	{ "file_write", file_write, "path data append" },
	{ "file_list", file_list, "path" },
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

/* Find the answer to a line. */
static json_t *respond(const char *line, size_t length)
{
	json_t *answer = json_object();
	json_error_t error;
	json_t *request;
	int err;

	/* These come first in the line, for who reads it. */
	json_object_set_new(answer, "id", json_null());
	json_object_set_new(answer, "ok", json_null());

	if (length > LINE_SIZE) {
		err = fail_request(answer, "line is longer than %d bytes", LINE_SIZE);
		goto done;
	}
	request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
	if (!request) {
		err = fail_request(answer, "line is no JSON: %s", error.text);
		goto done;
	}
	if (json_is_object(request)) {
		json_t *id = json_object_get(request, "id");

		if (id)
			json_object_set(answer, "id", id);
		err = dispatch(request, answer);
	} else {
		err = fail_request(answer, "line is no JSON object");
	}
	json_decref(request);

done:
	json_object_set_new(answer, "ok", json_boolean(!err));

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

int main(void)
{
	size_t size = 0;
	char *line = NULL;
	ssize_t length;

	while ((length = getline(&line, &size, stdin)) > 0) {
		json_t *answer = respond(line, length);

		send_answer(answer);
		json_decref(answer);
	}
	free(line);

	return 0;
}
