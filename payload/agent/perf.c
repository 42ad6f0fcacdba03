// SPDX-License-Identifier: GPL-2.0
/* Performance events. */
#include <errno.h>
#include <linux/perf_event.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

/*
 * The attributes up to what Linux 6.3 added to them, config3, which the headers
 * that the agent is built with need not have.
 */
#define CONFIG3_OFFSET 128

union attr {
	struct perf_event_attr perf;
	char space[CONFIG3_OFFSET + sizeof(__u64)];
};

/* The programs that one QUERY_BPF has room for. */
#define QUERY_MAX 64

/*
 * The fields of struct perf_event_attr by name. A bit field has no address, so
 * its entry has size 0 and tells which bits it is of the word that follows
 * read_format. Their order is ABI.
 */
static const struct field {
	const char *name;
	size_t offset;
	size_t size;
	unsigned int shift;
	unsigned int width;
} fields[] = {
#define FIELD(name) \
	{ #name, offsetof(struct perf_event_attr, name), \
	  sizeof(((struct perf_event_attr *)NULL)->name), 0, 0 }
#define BITS(name, shift, width) { #name, 0, 0, shift, width }
	FIELD(type),
	FIELD(size),
	FIELD(config),
	FIELD(config1),
	FIELD(config2),
	{ "config3", CONFIG3_OFFSET, sizeof(__u64), 0, 0 },
	FIELD(sample_period),
	FIELD(sample_freq),
	FIELD(sample_type),
	FIELD(read_format),
	FIELD(wakeup_events),
	FIELD(bp_type),
	FIELD(branch_sample_type),
	FIELD(sample_regs_user),
	FIELD(sample_stack_user),
	FIELD(sample_regs_intr),
	BITS(disabled, 0, 1),
	BITS(inherit, 1, 1),
	BITS(pinned, 2, 1),
	BITS(exclusive, 3, 1),
	BITS(exclude_user, 4, 1),
	BITS(exclude_kernel, 5, 1),
	BITS(exclude_hv, 6, 1),
	BITS(exclude_idle, 7, 1),
	BITS(mmap, 8, 1),
	BITS(comm, 9, 1),
	BITS(freq, 10, 1),
	BITS(inherit_stat, 11, 1),
	BITS(enable_on_exec, 12, 1),
	BITS(task, 13, 1),
	BITS(watermark, 14, 1),
	BITS(precise_ip, 15, 2),
	BITS(exclude_host, 19, 1),
	BITS(exclude_guest, 20, 1),
	BITS(exclude_callchain_kernel, 21, 1),
	BITS(exclude_callchain_user, 22, 1),
	BITS(ksymbol, 29, 1),
	BITS(text_poke, 33, 1),
#undef BITS
#undef FIELD
};

#define FLAGS_OFFSET (offsetof(struct perf_event_attr, read_format) + sizeof(uint64_t))

static const struct field *find_field(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!strcmp(fields[i].name, name))
			return &fields[i];
	}

	return NULL;
}

static int set_field(union attr *attr, const char *name, json_t *json,
		     json_t *answer)
{
	const struct field *field = find_field(name);
	unsigned int width;
	uint64_t value, flags;

	if (!field)
		return fail_request(answer, "\"attr\" knows no \"%s\"", name);

	if (json_is_boolean(json))
		value = json_is_true(json);
	else if (request_u64_value(json, name, &value, answer))
		return -1;

	width = field->size ? 8 * field->size : field->width;
	if (width < 64 && value >> width)
		return fail_request(answer, "\"%s\" does not fit %u bits", name, width);

	if (field->size) {
		/* Little endian: the low bytes come first. */
		memcpy((char *)attr + field->offset, &value, field->size);
		return 0;
	}

	memcpy(&flags, (char *)attr + FLAGS_OFFSET, sizeof(flags));
	flags |= value << field->shift;
	memcpy((char *)attr + FLAGS_OFFSET, &flags, sizeof(flags));

	return 0;
}

static int request_attr(json_t *request, union attr *attr, json_t *answer)
{
	json_t *object, *value;
	const char *name;

	if (request_object(request, "attr", &object, answer))
		return -1;

	memset(attr, 0, sizeof(*attr));
	attr->perf.size = CONFIG3_OFFSET;
	if (json_object_get(object, "config3"))
		attr->perf.size = sizeof(*attr);

	json_object_foreach(object, name, value) {
		if (strcmp(name, "function")) {
			if (set_field(attr, name, value, answer))
				return -1;
			continue;
		}
		if (!json_is_string(value))
			return fail_request(answer, "\"function\" is no string");
		if (json_object_get(object, "config1"))
			return fail_request(answer, "\"function\" and \"config1\" are one field");
		/* Valid as long as the request, which outlives the system call. */
		attr->perf.config1 = (uintptr_t)json_string_value(value);
	}

	return 0;
}

int perf_open(json_t *request, json_t *answer)
{
	int pid = -1, cpu = 0, group_fd = -1, flags = PERF_FLAG_FD_CLOEXEC;
	union attr attr;
	int fd;

	if (request_attr(request, &attr, answer) ||
	    request_int_opt(request, "pid", &pid, answer) ||
	    request_int_opt(request, "cpu", &cpu, answer) ||
	    request_int_opt(request, "group_fd", &group_fd, answer) ||
	    request_int_opt(request, "flags", &flags, answer))
		return -1;

	fd = syscall(__NR_perf_event_open, &attr, pid, cpu, group_fd, (unsigned long)flags);
	if (fd < 0)
		return fail_call(answer, "perf_event_open", errno);

	answer_int(answer, "fd", fd);

	return 0;
}

struct perf_request {
	const char *name;
	const char *call;
	unsigned long command;
	int (*run)(const struct perf_request *request, int fd, json_t *json, json_t *answer);
};

static int do_ioctl(const struct perf_request *perf, int fd, unsigned long arg, json_t *answer)
{
	int result = ioctl(fd, perf->command, arg);

	if (result < 0)
		return fail_call(answer, perf->call, errno);

	answer_int(answer, "result", result);

	return 0;
}

static int with_flags(const struct perf_request *perf, int fd, json_t *request, json_t *answer)
{
	int arg = 0;

	if (request_int_opt(request, "arg", &arg, answer))
		return -1;

	return do_ioctl(perf, fd, (unsigned long)arg, answer);
}

static int with_int(const struct perf_request *perf, int fd, json_t *request, json_t *answer)
{
	int arg;

	if (request_int(request, "arg", &arg, answer))
		return -1;

	return do_ioctl(perf, fd, (unsigned long)arg, answer);
}

static int with_u64(const struct perf_request *perf, int fd, json_t *request, json_t *answer)
{
	uint64_t arg;

	if (request_u64(request, "arg", &arg, answer))
		return -1;

	return do_ioctl(perf, fd, (uintptr_t)&arg, answer);
}

static int with_string(const struct perf_request *perf, int fd, json_t *request, json_t *answer)
{
	const char *arg;

	if (request_string(request, "arg", &arg, answer))
		return -1;

	return do_ioctl(perf, fd, (uintptr_t)arg, answer);
}

static int with_attr(const struct perf_request *perf, int fd, json_t *request, json_t *answer)
{
	union attr attr;

	if (request_attr(request, &attr, answer))
		return -1;

	return do_ioctl(perf, fd, (uintptr_t)&attr, answer);
}

static int get_id(const struct perf_request *perf, int fd, json_t *request, json_t *answer)
{
	uint64_t id = 0;

	(void)request;
	if (do_ioctl(perf, fd, (uintptr_t)&id, answer))
		return -1;

	answer_u64(answer, "value", id);

	return 0;
}

static int query_bpf(const struct perf_request *perf, int fd, json_t *request, json_t *answer)
{
	union {
		struct perf_event_query_bpf header;
		char space[sizeof(struct perf_event_query_bpf) + QUERY_MAX * sizeof(__u32)];
	} query = {};
	json_t *ids;
	__u32 i;

	(void)request;
	query.header.ids_len = QUERY_MAX;
	if (do_ioctl(perf, fd, (uintptr_t)&query, answer))
		return -1;

	ids = json_array();
	for (i = 0; i < query.header.prog_cnt; i++)
		json_array_append_new(ids, json_integer(query.header.ids[i]));
	json_object_set_new(answer, "ids", ids);

	return 0;
}

static const struct perf_request requests[] = {
#define REQUEST(name, run) \
	{ #name, "PERF_EVENT_IOC_" #name, PERF_EVENT_IOC_##name, run }
	REQUEST(ENABLE, with_flags),
	REQUEST(DISABLE, with_flags),
	REQUEST(REFRESH, with_int),
	REQUEST(RESET, with_flags),
	REQUEST(PERIOD, with_u64),
	REQUEST(SET_FILTER, with_string),
	REQUEST(ID, get_id),
	REQUEST(SET_BPF, with_int),
	REQUEST(PAUSE_OUTPUT, with_int),
	REQUEST(QUERY_BPF, query_bpf),
	REQUEST(MODIFY_ATTRIBUTES, with_attr),
#undef REQUEST
};

int perf_ioctl(json_t *request, json_t *answer)
{
	const char *name;
	size_t i;
	int fd;

	if (request_int(request, "fd", &fd, answer) ||
	    request_string(request, "request", &name, answer))
		return -1;

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		if (!strcmp(requests[i].name, name))
			return requests[i].run(&requests[i], fd, request, answer);
	}

	return fail_request(answer, "\"request\" knows no \"%s\"", name);
}

int read_u64(json_t *request, json_t *answer)
{
	uint64_t value;
	ssize_t size;
	int fd;

	if (request_int(request, "fd", &fd, answer))
		return -1;

	size = read(fd, &value, sizeof(value));
	if (size < 0)
		return fail_call(answer, "read", errno);
	if (size != sizeof(value))
		return fail_request(answer, "\"fd\" gave %zd bytes of 8", size);

	answer_u64(answer, "value", value);

	return 0;
}
