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

static int object_info(json_t *request, json_t *answer, void *info, size_t size)
{
	union bpf_attr attr = {};
	int fd;

	if (request_int(request, "fd", &fd, answer))
		return -1;

	attr.info.bpf_fd = fd;
	attr.info.info_len = size;
	attr.info.info = pointer(info);
	if (sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr))
		return fail_call(answer, "BPF_OBJ_GET_INFO_BY_FD", errno);

	return 0;
}

int prog_info(json_t *request, json_t *answer)
{
	struct bpf_prog_info info = {};

	if (object_info(request, answer, &info, sizeof(info)))
		return -1;

	answer_int(answer, "prog_id", info.id);
	answer_int(answer, "type", info.type);
	answer_text(answer, "name", info.name, strlen(info.name));
	answer_bytes(answer, "tag", info.tag, sizeof(info.tag));
	/* Counted only while the sysctl kernel.bpf_stats_enabled is set. */
	answer_u64(answer, "run_cnt", info.run_cnt);
	answer_u64(answer, "recursion_misses", info.recursion_misses);

	return 0;
}

int map_info(json_t *request, json_t *answer)
{
	struct bpf_map_info info = {};

	if (object_info(request, answer, &info, sizeof(info)))
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
