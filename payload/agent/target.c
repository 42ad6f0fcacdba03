// SPDX-License-Identifier: GPL-2.0
/* Calls of the target module's functions. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "answer.h"
#include "ftrace_target.h"
#include "ops.h"
#include "request.h"

#define DEVICE_PATH "/dev/" FTRACE_TARGET_DEVICE

static const char *const functions[] = {
	[FTRACE_TARGET_ARGS0] = "args0",
	[FTRACE_TARGET_ARGS1] = "args1",
	[FTRACE_TARGET_ARGS2] = "args2",
	[FTRACE_TARGET_ARGS3] = "args3",
	[FTRACE_TARGET_ARGS4] = "args4",
	[FTRACE_TARGET_ARGS5] = "args5",
	[FTRACE_TARGET_ARGS6] = "args6",
	[FTRACE_TARGET_WIDE] = "wide",
};

static const char *const registers[FTRACE_TARGET_NR_REGS] = {
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

static int request_function(json_t *request, __u32 *function, json_t *answer)
{
	const char *name;
	size_t i;

	if (request_string(request, "target", &name, answer))
		return -1;

	for (i = 0; i < ARRAY_SIZE(functions); i++) {
		if (!strcmp(functions[i], name)) {
			*function = i;
			return 0;
		}
	}

	return fail_request(answer, "\"target\" knows no \"%s\"", name);
}

static int request_call(json_t *request, struct ftrace_target_call *call, json_t *answer)
{
	json_t *args, *arg;
	size_t i;

	memset(call, 0, sizeof(*call));
	if (request_function(request, &call->function, answer) ||
	    request_array(request, "args", FTRACE_TARGET_MAX_ARGS, &args, answer))
		return -1;

	json_array_foreach(args, i, arg) {
		uint64_t value;

		if (request_u64_value(arg, "args", &value, answer))
			return -1;
		call->args[i] = value;
	}

	return 0;
}

static int make_call(int device, struct ftrace_target_call *call, json_t *result,
		     json_t *answer)
{
	uint64_t received[FTRACE_TARGET_MAX_ARGS];
	size_t i;

	if (ioctl(device, FTRACE_TARGET_IOC_CALL, call))
		return fail_call(answer, "FTRACE_TARGET_IOC_CALL", errno);

	for (i = 0; i < FTRACE_TARGET_MAX_ARGS; i++)
		received[i] = call->received[i];
	json_object_set_new(result, "received", u64_list(received, FTRACE_TARGET_MAX_ARGS));
	answer_u64(result, "returned", call->returned);
	answer_u64(result, "returned_high", call->returned_high);

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
		if (request_only(one, "target args", answer) ||
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

static void answer_registers(json_t *answer, const char *key, const __u64 *values)
{
	json_t *snapshot = json_object();
	size_t i;

	for (i = 0; i < FTRACE_TARGET_NR_REGS; i++)
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

	answer_registers(answer, "before", regs.before);
	answer_registers(answer, "callee", regs.callee);
	answer_registers(answer, "after", regs.after);

	return 0;
}
