// SPDX-License-Identifier: GPL-2.0
/*
 * Many things at once: threads that attach filters, switch tracers, load
 * modules and call what is traced, each a fixed number of times or until the
 * others are done. Every answer of the kernel's is counted; which of them are
 * right is for the test to say.
 *
 * Here is what all workers have in common. The other load_*.c have the kinds.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "answer.h"
#include "load.h"
#include "ops.h"
#include "request.h"

/* The nice value of workers without a number of rounds. */
#define PATIENCE	10

static const struct kind *const kinds[] = {
	&attach_kind, &toggle_kind, &expire_kind, &last_kind,
	&write_kind, &module_kind,
	&call_kind, &seek_kind,
};

/* The workers that count and are not done yet. */
static atomic_int busy;

/* Calls of target functions that returned, of all workers. */
static atomic_ulong called;

static pthread_barrier_t start;

void tally(struct tallies *tallies, const char *call, long result)
{
	int error = result < 0 ? errno : 0;
	struct tally *entry;
	size_t i;

	for (i = 0; i < tallies->nr; i++) {
		entry = &tallies->entries[i];
		if (entry->error == error && !strcmp(entry->call, call)) {
			entry->count++;
			return;
		}
	}
	if (tallies->nr == TALLIES_MAX)
		abort();

	entry = &tallies->entries[tallies->nr++];
	*entry = (struct tally){ call, error, 1 };
}

json_t *outcomes_of(const struct tallies *tallies)
{
	json_t *calls = json_object();
	size_t i;

	for (i = 0; i < tallies->nr; i++) {
		const struct tally *entry = &tallies->entries[i];
		const char *name = entry->error ?
				   strerrorname_np(entry->error) : "OK";
		json_t *outcomes = json_object_get(calls, entry->call);

		if (!outcomes) {
			outcomes = json_object();
			json_object_set_new(calls, entry->call, outcomes);
		}
		answer_int(outcomes, name ? name : "UNKNOWN", entry->count);
	}

	return calls;
}

void wrong(struct worker *worker, const char *format, ...)
{
	va_list args;

	if (worker->nr_wrong++)
		return;

	va_start(args, format);
	vsnprintf(worker->wrong, sizeof(worker->wrong), format, args);
	va_end(args);
}

void count_call(void)
{
	atomic_fetch_add(&called, 1);
}

void wait_for_calls(int calls)
{
	unsigned long until = atomic_load(&called) + calls;

	while (atomic_load(&called) < until)
		sched_yield();
}

/* The opposite of request_worker(); what was counted stays. */
static void release_worker(struct worker *worker)
{
	if (worker->kind->finish)
		worker->kind->finish(worker);
	free(worker->state);
	worker->state = NULL;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct tallies *tallies = &worker->tallies;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(worker->cpu, &cpus);
	tally(tallies, "sched_setaffinity",
	      sched_setaffinity(0, sizeof(cpus), &cpus));
	/* Who waits for the others is to fill the gaps, not to hold them up. */
	if (!worker->rounds)
		tally(tallies, "setpriority",
		      setpriority(PRIO_PROCESS, gettid(), PATIENCE));

	pthread_barrier_wait(&start);
	do {
		worker->kind->round(worker);
		worker->round++;
	} while (worker->rounds ?
		 worker->round < (unsigned long)worker->rounds :
		 atomic_load(&busy) > 0);
	if (worker->rounds)
		atomic_fetch_sub(&busy, 1);
	release_worker(worker);

	return NULL;
}

static int request_worker(json_t *request, struct worker *worker,
			  json_t *answer)
{
	const char *name;
	size_t i;

	if (request_string(request, "do", &name, answer))
		return -1;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kinds[i]->name, name))
			worker->kind = kinds[i];
	}
	if (!worker->kind)
		return fail_request(answer, "\"do\" knows no \"%s\"", name);
	if (request_only(request, worker->kind->keys, answer) ||
	    request_int_opt(request, "cpu", &worker->cpu, answer) ||
	    request_int_opt(request, "rounds", &worker->rounds, answer))
		return -1;
	if (worker->cpu < 0 || worker->cpu >= CPU_SETSIZE)
		return fail_request(answer, "\"cpu\" %d is out of range",
				    worker->cpu);
	if (worker->rounds < 0)
		return fail_request(answer, "\"rounds\" is negative");

	worker->state = calloc(1, worker->kind->state_size);
	if (!worker->state)
		abort();
	if (worker->kind->prepare(worker, request, answer)) {
		free(worker->state);
		return -1;
	}

	return 0;
}

/* All workers, or none: what those before a failure acquired is released. */
static int request_workers(json_t *list, struct worker *workers, json_t *answer)
{
	json_t *one;
	size_t nr;

	atomic_store(&busy, 0);
	json_array_foreach(list, nr, one) {
		if (request_worker(one, &workers[nr], answer))
			goto release;
		if (workers[nr].rounds)
			atomic_fetch_add(&busy, 1);
	}
	if (atomic_load(&busy))
		return 0;

	fail_request(answer, "no worker has \"rounds\"");

release:
	while (nr--)
		release_worker(&workers[nr]);

	return -1;
}

/* Each thread releases its worker at its end. */
static void run_workers(struct worker *workers, size_t nr)
{
	size_t i;

	atomic_store(&called, 0);
	pthread_barrier_init(&start, NULL, nr);
	for (i = 0; i < nr; i++) {
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			abort();
	}
	for (i = 0; i < nr; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&start);
}

static json_t *result_of(const struct worker *worker)
{
	json_t *result = json_object();

	answer_int(result, "rounds", worker->round);
	json_object_set_new(result, "calls", outcomes_of(&worker->tallies));
	answer_int(result, "nr_wrong", worker->nr_wrong);
	json_object_set_new(result, "wrong", json_string(worker->wrong));

	return result;
}

int storm(json_t *request, json_t *answer)
{
	struct worker *workers;
	json_t *list, *results;
	size_t i, nr;
	int err;

	if (request_array(request, "workers", WORKERS_MAX, &list, answer))
		return -1;

	workers = calloc(WORKERS_MAX, sizeof(*workers));
	if (!workers)
		abort();
	err = request_workers(list, workers, answer);
	if (err)
		goto out;

	nr = json_array_size(list);
	run_workers(workers, nr);
	results = json_array();
	for (i = 0; i < nr; i++)
		json_array_append_new(results, result_of(&workers[i]));
	json_object_set_new(answer, "workers", results);

out:
	free(workers);

	return err;
}
