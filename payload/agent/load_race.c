// SPDX-License-Identifier: GPL-2.0
/* Two threads that want to be the one to set an event's program. */
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "answer.h"
#include "load.h"
#include "ops.h"
#include "request.h"

struct rival {
	pthread_t thread;
	pthread_barrier_t *gate;
	const int *event;
	int rounds;
	int program;
	int error;
};

static void *compete(void *argument)
{
	struct rival *rival = argument;
	int round;

	for (round = 0; round < rival->rounds; round++) {
		pthread_barrier_wait(rival->gate);
		rival->error = ioctl(*rival->event, PERF_EVENT_IOC_SET_BPF,
				     rival->program) ? errno : 0;
		pthread_barrier_wait(rival->gate);
	}

	return NULL;
}

/* "OK EEXIST", the better one first. */
static void count_outcome(json_t *outcomes, int one, int other)
{
	const char *first = strerrorname_np(one < other ? one : other);
	const char *second = strerrorname_np(one < other ? other : one);
	char name[64];
	long count;

	if (!one || !other)
		first = "OK";
	if (!one && !other)
		second = "OK";
	snprintf(name, sizeof(name), "%s %s", first, second);
	count = json_integer_value(json_object_get(outcomes, name));
	answer_int(outcomes, name, count + 1);
}

int set_bpf_race(json_t *request, json_t *answer)
{
	struct filters filters = {};
	struct tallies tallies = {};
	struct rival rivals[2] = {};
	int event = -1, rounds, round;
	pthread_barrier_t gate;
	json_t *outcomes;
	size_t i;

	if (request_filters(request, &filters, answer) ||
	    request_int(request, "rounds", &rounds, answer))
		return -1;
	if (filters.programs.nr != ARRAY_SIZE(rivals))
		return fail_request(answer, "\"programs\" are not %zu",
				    ARRAY_SIZE(rivals));

	outcomes = json_object();
	pthread_barrier_init(&gate, NULL, ARRAY_SIZE(rivals) + 1);
	for (i = 0; i < ARRAY_SIZE(rivals); i++) {
		rivals[i] = (struct rival){
			.gate = &gate,
			.event = &event,
			.rounds = rounds,
			.program = filters.programs.items[i],
		};
		if (pthread_create(&rivals[i].thread, NULL, compete,
				   &rivals[i]))
			abort();
	}

	for (round = 0; round < rounds; round++) {
		event = open_filter(&tallies, filters.type,
				    filters.functions.items[0]);
		pthread_barrier_wait(&gate);
		pthread_barrier_wait(&gate);
		count_outcome(outcomes, rivals[0].error, rivals[1].error);
		if (event >= 0)
			close_filter(&tallies, event);
	}

	for (i = 0; i < ARRAY_SIZE(rivals); i++)
		pthread_join(rivals[i].thread, NULL);
	pthread_barrier_destroy(&gate);
	json_object_set_new(answer, "calls", outcomes_of(&tallies));
	json_object_set_new(answer, "outcomes", outcomes);

	return 0;
}
