// SPDX-License-Identifier: GPL-2.0
/* Calls of the target module's functions, and what its observers saw of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "ftrace_target.h"
#include "ops.h"
#include "request.h"

/* Of one call; main.c names them as well. */
#define CALL_KEYS "target args context hold_us"

#define DEVICE_PATH "/dev/" FTRACE_TARGET_DEVICE

static const char *const functions[] = {
	[FTRACE_TARGET_ARGS0] = "args0",
	[FTRACE_TARGET_ARGS1] = "args1",
	[FTRACE_TARGET_ARGS2] = "args2",
	[FTRACE_TARGET_ARGS3] = "args3",
	[FTRACE_TARGET_ARGS4] = "args4",
	[FTRACE_TARGET_ARGS5] = "args5",
	[FTRACE_TARGET_ARGS6] = "args6",
	[FTRACE_TARGET_ARGS7] = "args7",
	[FTRACE_TARGET_ARGS8] = "args8",
	[FTRACE_TARGET_WIDE] = "wide",
	[FTRACE_TARGET_SLEEP2] = "sleep2",
};

static const char *const contexts[] = {
	[FTRACE_TARGET_TASK] = "task",
	[FTRACE_TARGET_IRQS_OFF] = "irqs-off",
	[FTRACE_TARGET_PREEMPT_OFF] = "preempt-off",
	[FTRACE_TARGET_SOFTIRQ] = "softirq",
	[FTRACE_TARGET_HARDIRQ] = "hardirq",
	[FTRACE_TARGET_NMI] = "nmi",
	[FTRACE_TARGET_NO_RCU] = "no-rcu",
	[FTRACE_TARGET_IDLE] = "idle",
	[FTRACE_TARGET_GRAPH_PAUSED] = "graph-paused",
	[FTRACE_TARGET_WAKEUP] = "wakeup",
	[FTRACE_TARGET_WAKEUP_RT] = "wakeup-rt",
	[FTRACE_TARGET_WAKEUP_DL] = "wakeup-dl",
};

static const struct {
	__u32 bit;
	const char *name;
} findings[] = {
	{ FTRACE_TARGET_IN_SOFTIRQ, "in-softirq" },
	{ FTRACE_TARGET_IN_HARDIRQ, "in-hardirq" },
	{ FTRACE_TARGET_IN_NMI, "in-nmi" },
	{ FTRACE_TARGET_WITHOUT_IRQS, "irqs-off" },
	{ FTRACE_TARGET_WITHOUT_PREEMPT, "preempt-off" },
	{ FTRACE_TARGET_WITHOUT_RCU, "no-rcu" },
	{ FTRACE_TARGET_IN_IDLE, "in-idle" },
	{ FTRACE_TARGET_IN_REPLACEMENT, "in-replacement" },
};

/* The first FTRACE_TARGET_NR_REGS are those of a snapshot. */
static const char *const registers[FTRACE_TARGET_NR_SLOTS] = {
	[FTRACE_TARGET_RAX] = "rax",
	[FTRACE_TARGET_RBX] = "rbx",
	[FTRACE_TARGET_RCX] = "rcx",
	[FTRACE_TARGET_RDX] = "rdx",
	[FTRACE_TARGET_RSI] = "rsi",
	[FTRACE_TARGET_RDI] = "rdi",
	[FTRACE_TARGET_RBP] = "rbp",
	[FTRACE_TARGET_RSP] = "rsp",
	[FTRACE_TARGET_R8] = "r8",
	[FTRACE_TARGET_R9] = "r9",
	[FTRACE_TARGET_R10] = "r10",
	[FTRACE_TARGET_R11] = "r11",
	[FTRACE_TARGET_R12] = "r12",
	[FTRACE_TARGET_R13] = "r13",
	[FTRACE_TARGET_R14] = "r14",
	[FTRACE_TARGET_R15] = "r15",
	[FTRACE_TARGET_RFLAGS] = "rflags",
	[FTRACE_TARGET_RIP] = "rip",
	[FTRACE_TARGET_CS] = "cs",
	[FTRACE_TARGET_SS] = "ss",
	[FTRACE_TARGET_ORIG_RAX] = "orig_rax",
};

static const char *const observers[] = {
	[FTRACE_TARGET_OPS] = "ops",
	[FTRACE_TARGET_OPS_REGS] = "ops-regs",
	[FTRACE_TARGET_OPS_JUMP] = "ops-jump",
	[FTRACE_TARGET_OPS_CHANGE] = "ops-change",
	[FTRACE_TARGET_OPS_GUARDED] = "ops-guarded",
	[FTRACE_TARGET_REPLACE] = "replace",
	[FTRACE_TARGET_DIRECT] = "direct",
};

/*
 * The device is opened for each request: held open, it would keep the module
 * from being unloaded, which is a thing to test.
 */
static int open_device(json_t *answer)
{
	int device = open(DEVICE_PATH, O_RDWR | O_CLOEXEC);

	if (device < 0)
		fail_call(answer, "open " DEVICE_PATH, errno);

	return device;
}

/* The number of the word that a key has, one of a table. */
static int request_word(json_t *request, const char *key, const char *const *words, size_t nr,
			__u32 *number, json_t *answer)
{
	const char *word;
	size_t i;

	if (request_string(request, key, &word, answer))
		return -1;

	for (i = 0; i < nr; i++) {
		if (!strcmp(words[i], word)) {
			*number = i;
			return 0;
		}
	}

	return fail_request(answer, "\"%s\" knows no \"%s\"", key, word);
}

/* A list of values; there is room for as many. */
static int request_args(json_t *request, __u64 *values, size_t max, json_t *answer)
{
	json_t *args, *arg;
	size_t i;

	if (request_array(request, "args", max, &args, answer))
		return -1;

	json_array_foreach(args, i, arg) {
		uint64_t value;

		if (request_u64_value(arg, "args", &value, answer))
			return -1;
		values[i] = value;
	}

	return 0;
}

static int request_call(json_t *request, struct ftrace_target_call *call, json_t *answer)
{
	int hold_us = 0;

	memset(call, 0, sizeof(*call));
	if (request_word(request, "target", functions, ARRAY_SIZE(functions), &call->function,
			 answer) ||
	    request_args(request, call->args, FTRACE_TARGET_MAX_ARGS, answer) ||
	    request_int_opt(request, "hold_us", &hold_us, answer))
		return -1;
	call->hold_us = hold_us;
	if (!json_object_get(request, "context"))
		return 0;

	return request_word(request, "context", contexts, ARRAY_SIZE(contexts), &call->context,
			    answer);
}

static int make_call(int device, struct ftrace_target_call *call, json_t *result,
		     json_t *answer)
{
	uint64_t received[FTRACE_TARGET_MAX_ARGS];
	json_t *found = json_array();
	size_t i;

	json_object_set_new(result, "found", found);
	if (ioctl(device, FTRACE_TARGET_IOC_CALL, call))
		return fail_call(answer, "FTRACE_TARGET_IOC_CALL", errno);

	for (i = 0; i < FTRACE_TARGET_MAX_ARGS; i++)
		received[i] = call->received[i];
	json_object_set_new(result, "received", u64_list(received, FTRACE_TARGET_MAX_ARGS));
	answer_u64(result, "returned", call->returned);
	answer_u64(result, "returned_high", call->returned_high);
	answer_u64(result, "entry", call->entry);
	answer_u64(result, "returns_to", call->returns_to);
	for (i = 0; i < ARRAY_SIZE(findings); i++) {
		if (call->found & findings[i].bit)
			json_array_append_new(found, json_string(findings[i].name));
	}

	return 0;
}

int call_one(json_t *request, json_t *answer)
{
	struct ftrace_target_call call;
	int device, err;

	if (request_call(request, &call, answer))
		return -1;
	device = open_device(answer);
	if (device < 0)
		return -1;

	err = make_call(device, &call, answer, answer);
	close(device);

	return err;
}

/* All calls are understood before the first is made. */
static struct ftrace_target_call *request_calls(json_t *request, size_t *nr, json_t *answer)
{
	struct ftrace_target_call *calls;
	json_t *list, *one;
	size_t i;

	if (request_array(request, "calls", SIZE_MAX, &list, answer))
		return NULL;

	*nr = json_array_size(list);
	calls = calloc(*nr + 1, sizeof(*calls));
	if (!calls)
		abort();

	json_array_foreach(list, i, one) {
		if (request_only(one, CALL_KEYS, answer) ||
		    request_call(one, &calls[i], answer)) {
			free(calls);
			return NULL;
		}
	}

	return calls;
}

int call_many(json_t *request, json_t *answer)
{
	struct ftrace_target_call *calls;
	json_t *results;
	int device, err = 0;
	size_t i, nr;

	calls = request_calls(request, &nr, answer);
	if (!calls)
		return -1;
	device = open_device(answer);
	if (device < 0) {
		free(calls);
		return -1;
	}

	results = json_array();
	for (i = 0; i < nr && !err; i++) {
		json_t *result = json_object();

		err = make_call(device, &calls[i], result, answer);
		json_array_append_new(results, result);
	}
	json_object_set_new(answer, "results", results);
	close(device);
	free(calls);

	return err;
}

static void answer_registers(json_t *answer, const char *key, const __u64 *values, size_t nr)
{
	json_t *snapshot = json_object();
	size_t i;

	for (i = 0; i < nr; i++)
		answer_u64(snapshot, registers[i], values[i]);
	json_object_set_new(answer, key, snapshot);
}

int call_registers(json_t *request, json_t *answer)
{
	struct ftrace_target_registers regs;
	int device, err;

	(void)request;
	device = open_device(answer);
	if (device < 0)
		return -1;

	err = ioctl(device, FTRACE_TARGET_IOC_REGISTERS, &regs);
	if (err)
		fail_call(answer, "FTRACE_TARGET_IOC_REGISTERS", errno);
	close(device);
	if (err)
		return -1;

	answer_registers(answer, "before", regs.before, FTRACE_TARGET_NR_REGS);
	answer_registers(answer, "callee", regs.callee, FTRACE_TARGET_NR_REGS);
	answer_registers(answer, "after", regs.after, FTRACE_TARGET_NR_REGS);
	answer_u64(answer, "entry", regs.entry);
	answer_u64(answer, "returns_to", regs.returns_to);

	return 0;
}

int call_mmap(json_t *request, json_t *answer)
{
	__u64 args[6] = {};
	void *mapped;

	if (request_args(request, args, ARRAY_SIZE(args), answer))
		return -1;

	/* Not by mmap(), which has ideas of its own about some values. */
	errno = 0;
	mapped = (void *)syscall(SYS_mmap, args[0], args[1], args[2], args[3], args[4], args[5]);
	answer_int(answer, "result", errno);
	if (mapped != MAP_FAILED)
		munmap(mapped, args[1]);

	return 0;
}

/* The names in one string, as the module wants them. */
static int request_names(json_t *request, char *names, size_t size, json_t *answer)
{
	json_t *list, *name;
	size_t i, length = 0;

	if (request_array(request, "functions", SIZE_MAX, &list, answer))
		return -1;

	json_array_foreach(list, i, name) {
		if (!json_is_string(name))
			return fail_request(answer, "\"functions\" has no string in it");
		length += snprintf(names + length, size - length, "%s%s", i ? " " : "",
				   json_string_value(name));
		if (length >= size)
			return fail_request(answer, "\"functions\" is too long");
	}

	return 0;
}

int observe(json_t *request, json_t *answer)
{
	struct ftrace_target_observe wanted = {};
	int device;

	if (request_word(request, "observer", observers, ARRAY_SIZE(observers), &wanted.observer,
			 answer) ||
	    request_names(request, wanted.names, sizeof(wanted.names), answer))
		return -1;
	device = open_device(answer);
	if (device < 0)
		return -1;

	if (ioctl(device, FTRACE_TARGET_IOC_OBSERVE, &wanted)) {
		fail_call(answer, "FTRACE_TARGET_IOC_OBSERVE", errno);
		close(device);
		return -1;
	}
	answer_int(answer, "fd", device);

	return 0;
}

static json_t *record_json(const struct ftrace_target_record *record)
{
	uint64_t args[FTRACE_TARGET_REG_ARGS];
	json_t *json = json_object();
	json_t *stack = json_array();
	size_t i;

	for (i = 0; i < FTRACE_TARGET_REG_ARGS; i++)
		args[i] = record->args[i];
	for (i = 0; i < FTRACE_TARGET_MAX_STACK && record->stack[i]; i++)
		json_array_append_new(stack, u64_string(record->stack[i]));

	answer_u64(json, "ip", record->ip);
	answer_u64(json, "parent_ip", record->parent_ip);
	json_object_set_new(json, "args", u64_list(args, FTRACE_TARGET_REG_ARGS));
	json_object_set_new(json, "stack", stack);
	json_object_set_new(json, "has_regs", json_boolean(record->has_regs));
	answer_registers(json, "slots", record->slots, FTRACE_TARGET_NR_SLOTS);

	return json;
}

int observed(json_t *request, json_t *answer)
{
	static struct ftrace_target_observed seen;
	json_t *records;
	int device;
	size_t i;

	if (request_int(request, "fd", &device, answer))
		return -1;
	if (ioctl(device, FTRACE_TARGET_IOC_OBSERVED, &seen))
		return fail_call(answer, "FTRACE_TARGET_IOC_OBSERVED", errno);

	records = json_array();
	for (i = 0; i < seen.count && i < FTRACE_TARGET_MAX_RECORDS; i++)
		json_array_append_new(records, record_json(&seen.records[i]));
	answer_int(answer, "count", seen.count);
	answer_int(answer, "wrong_ops", seen.wrong_ops);
	answer_int(answer, "wrong_jumps", seen.wrong_jumps);
	json_object_set_new(answer, "records", records);

	return 0;
}
