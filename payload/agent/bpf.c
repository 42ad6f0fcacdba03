// SPDX-License-Identifier: GPL-2.0
/*
 * The bpf() system call as it is. libbpf's wrappers retry, probe and adjust,
 * and a test of the kernel's answers needs the first answer to its own question.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

/* Leaves room in an answer's line for the quoting of line ends. */
#define LOG_SIZE (LINE_SIZE / 2)

/* The largest value that fits a line in hex, and room for the rest. */
#define VALUE_SIZE_MAX (LINE_SIZE / 2 - 1024)

static int sys_bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

static uint64_t pointer(const void *object)
{
	return (uintptr_t)object;
}

int prog_load(json_t *request, json_t *answer)
{
	int type, flags = 0, expected_attach_type = 0, log_level = 1;
	const char *license, *name = "";
	union bpf_attr attr = {};
	struct bytes insns;
	char *log;
	int fd;

	if (request_int(request, "type", &type, answer) ||
	    request_string(request, "license", &license, answer) ||
	    request_string_opt(request, "name", &name, answer) ||
	    request_int_opt(request, "expected_attach_type", &expected_attach_type, answer) ||
	    request_int_opt(request, "flags", &flags, answer) ||
	    request_int_opt(request, "log_level", &log_level, answer))
		return -1;
	if (strlen(name) >= sizeof(attr.prog_name))
		return fail_request(answer, "\"name\" is longer than %zu bytes",
				    sizeof(attr.prog_name) - 1);
	if (request_bytes(request, "insns", &insns, answer))
		return -1;
	if (insns.size % sizeof(struct bpf_insn)) {
		free(insns.data);
		return fail_request(answer, "\"insns\" ends within an instruction");
	}

	log = calloc(1, LOG_SIZE);
	if (!log)
		abort();

	attr.prog_type = type;
	attr.expected_attach_type = expected_attach_type;
	attr.prog_flags = flags;
	attr.insns = pointer(insns.data);
	attr.insn_cnt = insns.size / sizeof(struct bpf_insn);
	attr.license = pointer(license);
	memcpy(attr.prog_name, name, strlen(name));
	if (log_level) {
		attr.log_level = log_level;
		attr.log_buf = pointer(log);
		attr.log_size = LOG_SIZE;
	}

	fd = sys_bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0)
		fail_call(answer, "BPF_PROG_LOAD", errno);
	else
		answer_int(answer, "fd", fd);
	if (*log)
		answer_text(answer, "log", log, strlen(log));

	free(log);
	free(insns.data);

	return fd < 0 ? -1 : 0;
}

static int get_info(int fd, void *info, size_t size, json_t *answer)
{
	union bpf_attr attr = {};

	attr.info.bpf_fd = fd;
	attr.info.info_len = size;
	attr.info.info = pointer(info);
	if (sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr))
		return fail_call(answer, "BPF_OBJ_GET_INFO_BY_FD", errno);

	return 0;
}

/*
 * The instructions, in a second step: how many there are is known only then.
 * Where the kernel does not show them the pointer comes back as zero.
 */
static int answer_xlated(json_t *answer, int fd, unsigned int length)
{
	void *insns = calloc(1, length + 1);
	struct bpf_prog_info info = {
		.xlated_prog_len = length,
		.xlated_prog_insns = pointer(insns),
	};
	int err;

	if (!insns)
		abort();

	err = get_info(fd, &info, sizeof(info), answer);
	if (!err && !info.xlated_prog_insns)
		err = fail_call(answer, "BPF_OBJ_GET_INFO_BY_FD", EPERM);
	if (!err)
		answer_bytes(answer, "xlated", insns, length);
	free(insns);

	return err;
}

int prog_info(json_t *request, json_t *answer)
{
	struct bpf_prog_info info = {};
	bool xlated = false;
	int fd;

	if (request_int(request, "fd", &fd, answer) ||
	    request_bool_opt(request, "xlated", &xlated, answer) ||
	    get_info(fd, &info, sizeof(info), answer))
		return -1;

	answer_int(answer, "prog_id", info.id);
	answer_int(answer, "type", info.type);
	answer_text(answer, "name", info.name, strlen(info.name));
	answer_bytes(answer, "tag", info.tag, sizeof(info.tag));
	/* Counted only while the sysctl kernel.bpf_stats_enabled is set. */
	answer_u64(answer, "run_cnt", info.run_cnt);
	answer_u64(answer, "recursion_misses", info.recursion_misses);

	return xlated ? answer_xlated(answer, fd, info.xlated_prog_len) : 0;
}

int prog_test_run(json_t *request, json_t *answer)
{
	struct bytes ctx = {};
	union bpf_attr attr = {};
	int fd, err = 0;

	if (request_int(request, "fd", &fd, answer))
		return -1;
	if (json_object_get(request, "ctx") && request_bytes(request, "ctx", &ctx, answer))
		return -1;

	attr.test.prog_fd = fd;
	attr.test.ctx_in = pointer(ctx.data);
	attr.test.ctx_size_in = ctx.size;
	if (sys_bpf(BPF_PROG_TEST_RUN, &attr))
		err = fail_call(answer, "BPF_PROG_TEST_RUN", errno);
	else
		answer_u64(answer, "retval", attr.test.retval);
	free(ctx.data);

	return err;
}

int task_fd_query(json_t *request, json_t *answer)
{
	union bpf_attr attr = {};
	int pid = getpid(), fd;

	if (request_int_opt(request, "pid", &pid, answer) ||
	    request_int(request, "fd", &fd, answer))
		return -1;

	attr.task_fd_query.pid = pid;
	attr.task_fd_query.fd = fd;
	if (sys_bpf(BPF_TASK_FD_QUERY, &attr))
		return fail_call(answer, "BPF_TASK_FD_QUERY", errno);

	answer_int(answer, "prog_id", attr.task_fd_query.prog_id);
	answer_int(answer, "fd_type", attr.task_fd_query.fd_type);

	return 0;
}

int map_create(json_t *request, json_t *answer)
{
	int type, key_size, value_size, max_entries, fd;
	union bpf_attr attr = {};

	if (request_int(request, "type", &type, answer) ||
	    request_int(request, "key_size", &key_size, answer) ||
	    request_int(request, "value_size", &value_size, answer) ||
	    request_int(request, "max_entries", &max_entries, answer))
		return -1;

	attr.map_type = type;
	attr.key_size = key_size;
	attr.value_size = value_size;
	attr.max_entries = max_entries;
	fd = sys_bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0)
		return fail_call(answer, "BPF_MAP_CREATE", errno);

	answer_int(answer, "fd", fd);

	return 0;
}

int map_info(json_t *request, json_t *answer)
{
	struct bpf_map_info info = {};
	int fd;

	if (request_int(request, "fd", &fd, answer) ||
	    get_info(fd, &info, sizeof(info), answer))
		return -1;

	answer_int(answer, "map_id", info.id);
	answer_int(answer, "type", info.type);
	answer_text(answer, "name", info.name, strlen(info.name));
	answer_int(answer, "key_size", info.key_size);
	answer_int(answer, "value_size", info.value_size);
	answer_int(answer, "max_entries", info.max_entries);

	return 0;
}

int map_lookup(json_t *request, json_t *answer)
{
	union bpf_attr attr = {};
	int fd, size, err = 0;
	struct bytes key;
	void *value;

	if (request_int(request, "fd", &fd, answer) ||
	    request_int(request, "value_size", &size, answer))
		return -1;
	if (size < 1 || size > VALUE_SIZE_MAX)
		return fail_request(answer, "\"value_size\" is not in 1..%d", VALUE_SIZE_MAX);
	if (request_bytes(request, "key", &key, answer))
		return -1;

	value = calloc(1, size);
	if (!value)
		abort();

	attr.map_fd = fd;
	attr.key = pointer(key.data);
	attr.value = pointer(value);
	if (sys_bpf(BPF_MAP_LOOKUP_ELEM, &attr))
		err = fail_call(answer, "BPF_MAP_LOOKUP_ELEM", errno);
	else
		answer_bytes(answer, "value", value, size);

	free(value);
	free(key.data);

	return err;
}

int map_read(json_t *request, json_t *answer)
{
	int fd, size, count, err = 0;
	json_t *values, *found;
	__u32 key;
	void *value;

	if (request_int(request, "fd", &fd, answer) ||
	    request_int(request, "value_size", &size, answer) ||
	    request_int(request, "count", &count, answer))
		return -1;
	if (size < 1 || count < 0 || count > VALUE_SIZE_MAX / size)
		return fail_request(answer, "the values do not fit %d bytes", VALUE_SIZE_MAX);

	value = calloc(1, size);
	if (!value)
		abort();

	values = json_array();
	found = json_object();
	for (key = 0; key < (__u32)count && !err; key++) {
		union bpf_attr attr = {};

		attr.map_fd = fd;
		attr.key = pointer(&key);
		attr.value = pointer(value);
		if (sys_bpf(BPF_MAP_LOOKUP_ELEM, &attr)) {
			err = fail_call(answer, "BPF_MAP_LOOKUP_ELEM", errno);
		} else {
			answer_bytes(found, "value", value, size);
			json_array_append(values, json_object_get(found, "value"));
		}
	}
	json_decref(found);
	json_object_set_new(answer, "values", values);
	free(value);

	return err;
}

int map_update(json_t *request, json_t *answer)
{
	struct bytes key, value;
	union bpf_attr attr = {};
	int fd, err = 0;

	if (request_int(request, "fd", &fd, answer) ||
	    request_bytes(request, "key", &key, answer))
		return -1;
	if (request_bytes(request, "value", &value, answer)) {
		free(key.data);
		return -1;
	}

	attr.map_fd = fd;
	attr.key = pointer(key.data);
	attr.value = pointer(value.data);
	attr.flags = BPF_ANY;
	if (sys_bpf(BPF_MAP_UPDATE_ELEM, &attr))
		err = fail_call(answer, "BPF_MAP_UPDATE_ELEM", errno);

	free(value.data);
	free(key.data);

	return err;
}

int map_delete(json_t *request, json_t *answer)
{
	union bpf_attr attr = {};
	struct bytes key;
	int fd, err = 0;

	if (request_int(request, "fd", &fd, answer) ||
	    request_bytes(request, "key", &key, answer))
		return -1;

	attr.map_fd = fd;
	attr.key = pointer(key.data);
	if (sys_bpf(BPF_MAP_DELETE_ELEM, &attr))
		err = fail_call(answer, "BPF_MAP_DELETE_ELEM", errno);

	free(key.data);

	return err;
}

/* The names of the functions, valid as long as the request. */
static const char **request_symbols(json_t *request, size_t *nr, json_t *answer)
{
	const char **symbols;
	json_t *list, *one;
	size_t i;

	if (request_array(request, "symbols", SIZE_MAX, &list, answer))
		return NULL;

	*nr = json_array_size(list);
	symbols = calloc(*nr + 1, sizeof(*symbols));
	if (!symbols)
		abort();

	json_array_foreach(list, i, one) {
		if (!json_is_string(one)) {
			fail_request(answer, "\"symbols\" has something that is no string");
			free(symbols);
			return NULL;
		}
		symbols[i] = json_string_value(one);
	}

	return symbols;
}

int link_create(json_t *request, json_t *answer)
{
	int prog_fd, attach_type, target_fd = 0, flags = 0;
	const char **symbols = NULL;
	union bpf_attr attr = {};
	bool on_return = false;
	size_t nr = 0;
	int fd;

	if (request_int(request, "prog_fd", &prog_fd, answer) ||
	    request_int(request, "attach_type", &attach_type, answer) ||
	    request_int_opt(request, "target_fd", &target_fd, answer) ||
	    request_int_opt(request, "flags", &flags, answer) ||
	    request_bool_opt(request, "return", &on_return, answer))
		return -1;

	attr.link_create.prog_fd = prog_fd;
	attr.link_create.target_fd = target_fd;
	attr.link_create.attach_type = attach_type;
	attr.link_create.flags = flags;
	if (json_object_get(request, "symbols")) {
		symbols = request_symbols(request, &nr, answer);
		if (!symbols)
			return -1;
		attr.link_create.kprobe_multi.syms = pointer(symbols);
		attr.link_create.kprobe_multi.cnt = nr;
	}
	if (on_return)
		attr.link_create.kprobe_multi.flags = BPF_F_KPROBE_MULTI_RETURN;

	fd = sys_bpf(BPF_LINK_CREATE, &attr);
	if (fd < 0)
		fail_call(answer, "BPF_LINK_CREATE", errno);
	else
		answer_int(answer, "fd", fd);
	free(symbols);

	return fd < 0 ? -1 : 0;
}
