/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The load: what a worker is to the engine in load.c, and what the kinds of
 * workers, in load_events.c, load_system.c and load_calls.c, may use of it.
 */
#ifndef AGENT_LOAD_H
#define AGENT_LOAD_H

#include <jansson.h>
#include <pthread.h>
#include <stddef.h>

#include "request.h"

#define WORKERS_MAX	16

/* Pairs of a call and an errno that one worker can meet. */
#define TALLIES_MAX	64

struct tally {
	const char *call;
	int error;
	unsigned long count;
};

struct tallies {
	struct tally entries[TALLIES_MAX];
	size_t nr;
};

struct worker {
	const struct kind *kind;
	void *state;		/* the kind's own */
	pthread_t thread;
	int cpu;
	int rounds;		/* 0: until all those that count are done */
	unsigned long round;

	struct tallies tallies;
	unsigned long nr_wrong;
	char wrong[160];	/* the first thing that was */
};

/*
 * What a worker does. The engine allocates @state_size bytes of zeroes before
 * @prepare and frees them behind @finish.
 *
 * @prepare fills the state from the request. If it fails, it has released what
 * it acquired, and has said why in the answer.
 * @round is what the worker's thread does again and again.
 * @finish, where there is one, releases what @prepare and the rounds acquired.
 * It follows the last round, or @prepare if no thread is started.
 */
struct kind {
	const char *name;
	const char *keys;
	size_t state_size;
	int (*prepare)(struct worker *worker, json_t *request, json_t *answer);
	void (*round)(struct worker *worker);
	void (*finish)(struct worker *worker);
};

/* load_events.c */
extern const struct kind attach_kind;
extern const struct kind toggle_kind;
extern const struct kind expire_kind;
extern const struct kind last_kind;

/* load_system.c */
extern const struct kind write_kind;
extern const struct kind module_kind;

/* load_calls.c */
extern const struct kind call_kind;
extern const struct kind seek_kind;

/*
 * Count the outcome of a call that left errno behind if @result is negative.
 * The name has to live as long as the request does.
 */
void tally(struct tallies *tallies, const char *call, long result);

/* What became of each call, {call: {errno or "OK": count}}. */
json_t *outcomes_of(const struct tallies *tallies);

/* Count what no kernel may do, and keep the first of it. */
void wrong(struct worker *worker, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A call of a target function has returned. */
void count_call(void);

/* Return when so many more calls were counted, of all workers. */
void wait_for_calls(int calls);

/* Filters to open in turn: on these functions, with these programs. */
struct filters {
	int type;		/* of the PMU */
	struct strings functions;
	struct numbers programs;
};

/* load_events.c, all that load_race.c does without a worker */
int request_filters(json_t *request, struct filters *filters, json_t *answer);
int open_filter(struct tallies *tallies, int type, const char *function);
void close_filter(struct tallies *tallies, int event);

#endif /* AGENT_LOAD_H */
