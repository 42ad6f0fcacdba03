// SPDX-License-Identifier: GPL-2.0
/* Load: calls of what is traced, each with other values. */
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "answer.h"
#include "ftrace_target.h"
#include "load.h"
#include "request.h"

/* Where a worker's values begin, other ones for each of its rounds. */
static __u64 first_state(const struct worker *worker)
{
	return worker->round * WORKERS_MAX + worker->cpu + 1;
}

/* Values that have nothing in common: Marsaglia's xorshift. */
static __u64 next_value(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;

	return *state;
}

/*
 * call: a target function gets what it was passed, and returns what it should.
 */

struct caller {
	int device;
	int nr_args;
};

static int call_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	struct caller *caller = worker->state;

	if (request_int(request, "args", &caller->nr_args, answer))
		return -1;
	if (caller->nr_args < 0 || caller->nr_args > FTRACE_TARGET_MAX_ARGS)
		return fail_request(answer, "\"args\" is not in 0..%d",
				    FTRACE_TARGET_MAX_ARGS);

	caller->device = open("/dev/" FTRACE_TARGET_DEVICE, O_RDWR | O_CLOEXEC);
	if (caller->device < 0)
		return fail_call(answer, "open", errno);

	return 0;
}

static void check_call(struct worker *worker, int nr_args,
		       const struct ftrace_target_call *call, __u64 expected)
{
	int i;

	for (i = 0; i < nr_args; i++) {
		if (call->received[i] != call->args[i])
			wrong(worker,
			      "call %lu of target_args%d: arg%d was passed as %#lx, and received as %#lx",
			      worker->round, nr_args, i + 1,
			      (unsigned long)call->args[i],
			      (unsigned long)call->received[i]);
	}
	if (call->returned != expected)
		wrong(worker,
		      "call %lu of target_args%d: returned %#lx, not %#lx",
		      worker->round, nr_args, (unsigned long)call->returned,
		      (unsigned long)expected);
}

static void call_round(struct worker *worker)
{
	struct caller *caller = worker->state;
	struct ftrace_target_call call = {
		.function = FTRACE_TARGET_ARGS0 + caller->nr_args,
	};
	__u64 state = first_state(worker);
	__u64 expected = caller->nr_args;
	int i, result;

	for (i = 0; i < caller->nr_args; i++) {
		call.args[i] = next_value(&state);
		expected = expected * 31 + call.args[i];
	}

	result = ioctl(caller->device, FTRACE_TARGET_IOC_CALL, &call);
	tally(&worker->tallies, "FTRACE_TARGET_IOC_CALL", result);
	count_call();
	if (!result)
		check_call(worker, caller->nr_args, &call, expected);
}

static void call_finish(struct worker *worker)
{
	struct caller *caller = worker->state;

	close(caller->device);
}

const struct kind call_kind = {
	.name = "call",
	.keys = "do cpu rounds args",
	.state_size = sizeof(struct caller),
	.prepare = call_prepare,
	.round = call_round,
	.finish = call_finish,
};

/* seek: functions of the kernel's own, called on all processors at once. */

struct seeker {
	int file;
};

static int seek_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	struct seeker *seeker = worker->state;

	(void)request;
	seeker->file = memfd_create("seek", MFD_CLOEXEC);
	if (seeker->file < 0)
		return fail_call(answer, "memfd_create", errno);

	return 0;
}

static void seek_round(struct worker *worker)
{
	struct seeker *seeker = worker->state;
	__u64 state = first_state(worker);
	off_t offset = next_value(&state) >> 2;
	off_t result = lseek(seeker->file, offset, SEEK_SET);

	tally(&worker->tallies, "lseek", result);
	if (result >= 0 && result != offset)
		wrong(worker, "lseek %lu to %#lx went to %#lx", worker->round,
		      (unsigned long)offset, (unsigned long)result);
}

static void seek_finish(struct worker *worker)
{
	struct seeker *seeker = worker->state;

	close(seeker->file);
}

const struct kind seek_kind = {
	.name = "seek",
	.keys = "do cpu rounds",
	.state_size = sizeof(struct seeker),
	.prepare = seek_prepare,
	.round = seek_round,
	.finish = seek_finish,
};
