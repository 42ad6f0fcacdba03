// SPDX-License-Identifier: GPL-2.0
/* Load: filters that come, are switched off and on, and go. */
#include <bpf/bpf.h>
#include <linux/perf_event.h>
#include <linux/types.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "load.h"
#include "ops.h"
#include "request.h"

/* Filters that an attacher can have open at once. */
#define HOLD_MAX	64

int request_filters(json_t *request, struct filters *filters, json_t *answer)
{
	if (request_int(request, "type", &filters->type, answer) ||
	    request_strings(request, "functions", &filters->functions,
			    answer) ||
	    request_numbers(request, "programs", &filters->programs, answer))
		return -1;

	return 0;
}

int open_filter(struct tallies *tallies, int type, const char *function)
{
	struct perf_event_attr attr = {
		.type = type,
		.size = sizeof(attr),
		.config1 = (uintptr_t)function,
	};
	int fd = syscall(__NR_perf_event_open, &attr, -1, 0, -1,
			 PERF_FLAG_FD_CLOEXEC);

	tally(tallies, "perf_event_open", fd);

	return fd;
}

void close_filter(struct tallies *tallies, int event)
{
	tally(tallies, "close", close(event));
}

static void set_program(struct tallies *tallies, int event, int program)
{
	tally(tallies, "SET_BPF",
	      ioctl(event, PERF_EVENT_IOC_SET_BPF, program));
}

static void switch_filter(struct tallies *tallies, int event)
{
	tally(tallies, "DISABLE", ioctl(event, PERF_EVENT_IOC_DISABLE, 0));
	tally(tallies, "ENABLE", ioctl(event, PERF_EVENT_IOC_ENABLE, 0));
}

/* attach: a filter comes, is switched off and on, and goes. */

struct attach {
	struct filters filters;
	int calls;
	int hold;
	int events[HOLD_MAX];	/* held open, the oldest is closed first */
};

static int attach_prepare(struct worker *worker, json_t *request,
			  json_t *answer)
{
	struct attach *attach = worker->state;
	int i;

	attach->hold = 1;
	if (request_filters(request, &attach->filters, answer) ||
	    request_int_opt(request, "hold", &attach->hold, answer) ||
	    request_int_opt(request, "calls", &attach->calls, answer))
		return -1;
	if (attach->hold < 0 || attach->hold > HOLD_MAX)
		return fail_request(answer, "\"hold\" is not in 0..%d",
				    HOLD_MAX);

	for (i = 0; i < HOLD_MAX; i++)
		attach->events[i] = -1;

	return 0;
}

static void attach_round(struct worker *worker)
{
	struct attach *attach = worker->state;
	const struct strings *functions = &attach->filters.functions;
	const struct numbers *programs = &attach->filters.programs;
	struct tallies *tallies = &worker->tallies;
	unsigned long round = worker->round;
	int *slot = &attach->events[attach->hold ? round % attach->hold : 0];

	if (*slot >= 0)
		close_filter(tallies, *slot);
	*slot = open_filter(tallies, attach->filters.type,
			    functions->items[round % functions->nr]);
	if (*slot < 0)
		return;

	set_program(tallies, *slot, programs->items[round % programs->nr]);
	switch_filter(tallies, *slot);
	wait_for_calls(attach->calls);
	if (!attach->hold) {
		close_filter(tallies, *slot);
		*slot = -1;
	}
}

static void attach_finish(struct worker *worker)
{
	struct attach *attach = worker->state;
	int i;

	for (i = 0; i < attach->hold; i++) {
		if (attach->events[i] >= 0)
			close_filter(&worker->tallies, attach->events[i]);
	}
}

const struct kind attach_kind = {
	.name = "attach",
	.keys = "do cpu rounds type functions programs hold calls",
	.state_size = sizeof(struct attach),
	.prepare = attach_prepare,
	.round = attach_round,
	.finish = attach_finish,
};

/* toggle: one filter, off and on. */

struct toggle {
	int event;		/* the request's, which stays open */
};

static int toggle_prepare(struct worker *worker, json_t *request,
			  json_t *answer)
{
	struct toggle *toggle = worker->state;

	return request_int(request, "event", &toggle->event, answer);
}

static void toggle_round(struct worker *worker)
{
	struct toggle *toggle = worker->state;

	switch_filter(&worker->tallies, toggle->event);
}

const struct kind toggle_kind = {
	.name = "toggle",
	.keys = "do cpu rounds event",
	.state_size = sizeof(struct toggle),
	.prepare = toggle_prepare,
	.round = toggle_round,
};

/* expire: once a filter is closed its program does not run again. */

struct expire {
	struct filters filters;
	int map;		/* with the count of runs */
	int calls;
};

static int expire_prepare(struct worker *worker, json_t *request,
			  json_t *answer)
{
	struct expire *expire = worker->state;

	if (request_filters(request, &expire->filters, answer) ||
	    request_int(request, "map", &expire->map, answer) ||
	    request_int(request, "calls", &expire->calls, answer))
		return -1;
	/* The first that returns may be a call that was under way before. */
	if (expire->calls < 2)
		return fail_request(answer, "\"calls\" is less than 2");

	return 0;
}

static __u64 runs_of(struct worker *worker)
{
	struct expire *expire = worker->state;
	__u64 runs = 0;
	__u32 key = 0;

	tally(&worker->tallies, "BPF_MAP_LOOKUP_ELEM",
	      bpf_map_lookup_elem(expire->map, &key, &runs));

	return runs;
}

static void expire_round(struct worker *worker)
{
	struct expire *expire = worker->state;
	struct filters *filters = &expire->filters;
	struct tallies *tallies = &worker->tallies;
	__u64 before = runs_of(worker), closed, later;
	int event = open_filter(tallies, filters->type,
				filters->functions.items[0]);

	if (event < 0)
		return;

	set_program(tallies, event, filters->programs.items[0]);
	wait_for_calls(expire->calls);
	close_filter(tallies, event);

	/* No run starts any more, and none under way is counted later. */
	closed = runs_of(worker);
	if (closed == before)
		wrong(worker,
		      "round %lu: %d calls, and the program did not run",
		      worker->round, expire->calls);

	wait_for_calls(expire->calls);
	later = runs_of(worker);
	if (later != closed)
		wrong(worker,
		      "round %lu: the program ran %lu times after its filter was closed",
		      worker->round, (unsigned long)(later - closed));
}

const struct kind expire_kind = {
	.name = "expire",
	.keys = "do cpu rounds type functions programs map calls",
	.state_size = sizeof(struct expire),
	.prepare = expire_prepare,
	.round = expire_round,
};

/*
 * last: a filter that has the last reference to its program, a new one each
 * time.
 */

struct last {
	int type;		/* of the PMU */
	int program_type;
	struct strings functions;
	int calls;
};

static int last_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	struct last *last = worker->state;

	if (request_int(request, "type", &last->type, answer) ||
	    request_int(request, "program_type", &last->program_type, answer) ||
	    request_strings(request, "functions", &last->functions, answer) ||
	    request_int(request, "calls", &last->calls, answer))
		return -1;

	return 0;
}

static void last_round(struct worker *worker)
{
	const struct bpf_insn pass[] = {
		{
			.code = BPF_ALU64 | BPF_MOV | BPF_K,
			.dst_reg = BPF_REG_0,
			.imm = 1,
		},
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct last *last = worker->state;
	struct tallies *tallies = &worker->tallies;
	int program, event;

	program = bpf_prog_load(last->program_type, NULL, "GPL", pass,
				ARRAY_SIZE(pass), NULL);
	tally(tallies, "bpf_prog_load", program);
	if (program < 0)
		return;

	event = open_filter(tallies, last->type, last->functions.items[0]);
	if (event >= 0)
		set_program(tallies, event, program);
	close(program);
	if (event < 0)
		return;

	wait_for_calls(last->calls);
	close_filter(tallies, event);
}

const struct kind last_kind = {
	.name = "last",
	.keys = "do cpu rounds type program_type functions calls",
	.state_size = sizeof(struct last),
	.prepare = last_prepare,
	.round = last_round,
};
