// SPDX-License-Identifier: GPL-2.0
/*
 * Many things at once: threads that attach filters, switch tracers, load
 * modules and call what is traced, each a fixed number of times or until the
 * others are done. Every answer of the kernel's is counted; which of them are
 * right is for the test to say.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "ftrace_target.h"
#include "ops.h"
#include "request.h"

#define WORKERS_MAX	16
#define LIST_MAX	64

/* Pairs of a call and an errno that one worker can meet. */
#define TALLIES_MAX	64

/* The nice value of workers without a number of rounds. */
#define PATIENCE	10

struct tally {
	const char *call;
	int error;
	unsigned long count;
};

struct list {
	const char *items[LIST_MAX];
	size_t nr;
};

struct worker {
	const struct kind *kind;
	pthread_t thread;
	int cpu;
	int rounds;		/* 0: until all those that count are done */
	unsigned long round;

	struct tally tallies[TALLIES_MAX];
	size_t nr_tallies;
	unsigned long nr_wrong;
	char wrong[160];	/* the first thing that was */

	int type;		/* of the PMU */
	int program_type;
	struct list functions;
	struct list paths;
	struct list texts;
	int programs[LIST_MAX];
	size_t nr_programs;
	int events[LIST_MAX];	/* held open, the oldest is closed first */
	int hold;
	int event;
	int map;
	int calls;
	int nr_args;
	int file;
	const char *name;
	void *data;
	size_t size;
};

struct kind {
	const char *name;
	const char *keys;
	int (*prepare)(struct worker *worker, json_t *request, json_t *answer);
	void (*round)(struct worker *worker);
	void (*finish)(struct worker *worker);
};

/* The workers that count and are not done yet. */
static atomic_int busy;

/* Calls of target functions that returned, of all workers. */
static atomic_ulong called;

static pthread_barrier_t start;

/* Count the outcome of a call that left errno behind if @result is negative. */
static void tally(struct worker *worker, const char *call, long result)
{
	int error = result < 0 ? errno : 0;
	struct tally *entry;
	size_t i;

	for (i = 0; i < worker->nr_tallies; i++) {
		entry = &worker->tallies[i];
		if (entry->error == error && !strcmp(entry->call, call)) {
			entry->count++;
			return;
		}
	}
	if (worker->nr_tallies == TALLIES_MAX)
		abort();

	entry = &worker->tallies[worker->nr_tallies++];
	*entry = (struct tally){ call, error, 1 };
}

static void wrong(struct worker *worker, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void wrong(struct worker *worker, const char *format, ...)
{
	va_list args;

	if (worker->nr_wrong++)
		return;

	va_start(args, format);
	vsnprintf(worker->wrong, sizeof(worker->wrong), format, args);
	va_end(args);
}

/* Values that have nothing in common: Marsaglia's xorshift. */
static uint64_t next_value(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;

	return *state;
}

/* Return when as many calls were made as a round wants to see. */
static void wait_for_calls(struct worker *worker)
{
	unsigned long until = atomic_load(&called) + worker->calls;

	while (atomic_load(&called) < until)
		sched_yield();
}

/* attach: a filter comes, is switched off and on, and goes. */

static int open_filter(struct worker *worker, const char *function)
{
	struct perf_event_attr attr = {
		.type = worker->type,
		.size = sizeof(attr),
		.config1 = (uintptr_t)function,
	};
	int fd = syscall(__NR_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);

	tally(worker, "perf_event_open", fd);

	return fd;
}

static void set_program(struct worker *worker, int event, int program)
{
	tally(worker, "SET_BPF", ioctl(event, PERF_EVENT_IOC_SET_BPF, program));
}

static void toggle(struct worker *worker, int event)
{
	tally(worker, "DISABLE", ioctl(event, PERF_EVENT_IOC_DISABLE, 0));
	tally(worker, "ENABLE", ioctl(event, PERF_EVENT_IOC_ENABLE, 0));
}

static void close_event(struct worker *worker, int event)
{
	tally(worker, "close", close(event));
}

static void attach_round(struct worker *worker)
{
	int *slot = &worker->events[worker->hold ? worker->round % worker->hold : 0];
	const char *function = worker->functions.items[worker->round % worker->functions.nr];
	int program = worker->programs[worker->round % worker->nr_programs];

	if (*slot >= 0)
		close_event(worker, *slot);
	*slot = open_filter(worker, function);
	if (*slot < 0)
		return;

	set_program(worker, *slot, program);
	toggle(worker, *slot);
	wait_for_calls(worker);
	if (!worker->hold) {
		close_event(worker, *slot);
		*slot = -1;
	}
}

static void attach_finish(struct worker *worker)
{
	int i;

	for (i = 0; i < worker->hold; i++) {
		if (worker->events[i] >= 0)
			close_event(worker, worker->events[i]);
	}
}

static int request_list(json_t *request, const char *key, struct list *list, json_t *answer)
{
	json_t *array, *item;
	size_t i;

	if (request_array(request, key, LIST_MAX, &array, answer))
		return -1;

	json_array_foreach(array, i, item) {
		list->items[i] = json_string_value(item);
		if (!list->items[i])
			return fail_request(answer, "\"%s\" has an entry that is no string", key);
	}
	list->nr = json_array_size(array);

	return list->nr ? 0 : fail_request(answer, "\"%s\" is empty", key);
}

static int request_fds(json_t *request, const char *key, int *fds, size_t *nr, json_t *answer)
{
	json_t *array, *item;
	size_t i;

	if (request_array(request, key, LIST_MAX, &array, answer))
		return -1;

	json_array_foreach(array, i, item) {
		if (!json_is_integer(item))
			return fail_request(answer, "\"%s\" has an entry that is no number", key);
		fds[i] = json_integer_value(item);
	}
	*nr = json_array_size(array);

	return *nr ? 0 : fail_request(answer, "\"%s\" is empty", key);
}

static int attach_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	int i;

	worker->hold = 1;
	if (request_int(request, "type", &worker->type, answer) ||
	    request_list(request, "functions", &worker->functions, answer) ||
	    request_fds(request, "programs", worker->programs, &worker->nr_programs, answer) ||
	    request_int_opt(request, "hold", &worker->hold, answer) ||
	    request_int_opt(request, "calls", &worker->calls, answer))
		return -1;
	if (worker->hold < 0 || worker->hold > LIST_MAX)
		return fail_request(answer, "\"hold\" is not in 0..%d", LIST_MAX);

	for (i = 0; i < LIST_MAX; i++)
		worker->events[i] = -1;

	return 0;
}

/* toggle: one filter, off and on. */

static int toggle_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	return request_int(request, "event", &worker->event, answer);
}

static void toggle_round(struct worker *worker)
{
	toggle(worker, worker->event);
}

/* expire: once a filter is closed its program does not run again. */

static uint64_t runs_of(struct worker *worker)
{
	__u64 runs = 0;
	__u32 key = 0;

	tally(worker, "BPF_MAP_LOOKUP_ELEM", bpf_map_lookup_elem(worker->map, &key, &runs));

	return runs;
}

static void expire_round(struct worker *worker)
{
	uint64_t before = runs_of(worker), closed, later;
	int event = open_filter(worker, worker->functions.items[0]);

	if (event < 0)
		return;

	set_program(worker, event, worker->programs[0]);
	wait_for_calls(worker);
	close_event(worker, event);

	/* No run starts any more, nor is one under way that is counted later. */
	closed = runs_of(worker);
	if (closed == before)
		wrong(worker, "round %lu: %d calls, and the program did not run",
		      worker->round, worker->calls);

	wait_for_calls(worker);
	later = runs_of(worker);
	if (later != closed)
		wrong(worker, "round %lu: the program ran %lu times after its filter was closed",
		      worker->round, (unsigned long)(later - closed));
}

static int expire_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	if (request_int(request, "type", &worker->type, answer) ||
	    request_list(request, "functions", &worker->functions, answer) ||
	    request_fds(request, "programs", worker->programs, &worker->nr_programs, answer) ||
	    request_int(request, "map", &worker->map, answer) ||
	    request_int(request, "calls", &worker->calls, answer))
		return -1;
	/* A call that was under way at the start may be the first that returns. */
	if (worker->calls < 2)
		return fail_request(answer, "\"calls\" is less than 2");

	return 0;
}

/* last: a filter that has the last reference to its program, a new one each time. */

static void last_round(struct worker *worker)
{
	const struct bpf_insn pass[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int program, event;

	program = bpf_prog_load(worker->program_type, NULL, "GPL", pass, ARRAY_SIZE(pass), NULL);
	tally(worker, "bpf_prog_load", program);
	if (program < 0)
		return;

	event = open_filter(worker, worker->functions.items[0]);
	if (event >= 0)
		set_program(worker, event, program);
	close(program);
	if (event < 0)
		return;

	wait_for_calls(worker);
	close_event(worker, event);
}

static int last_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	if (request_int(request, "type", &worker->type, answer) ||
	    request_int(request, "program_type", &worker->program_type, answer) ||
	    request_list(request, "functions", &worker->functions, answer) ||
	    request_int(request, "calls", &worker->calls, answer))
		return -1;

	return 0;
}

/* write: one text after the other, each to its file. */

static void write_round(struct worker *worker)
{
	size_t i = worker->round % worker->paths.nr;
	const char *path = worker->paths.items[i], *text = worker->texts.items[i];
	size_t size = strlen(text), written = 0;
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	ssize_t took;
	int fd;

	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0) {
		tally(worker, name, -1);
		return;
	}
	do {
		took = write(fd, text + written, size - written);
		if (took < 0)
			break;
		written += took;
	} while (took && written < size);
	tally(worker, name, took);

	/* The kernel may act, and find fault, only when a file is closed. */
	if (close(fd))
		tally(worker, name, -1);
}

static int write_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	if (request_list(request, "paths", &worker->paths, answer) ||
	    request_list(request, "texts", &worker->texts, answer))
		return -1;
	if (worker->paths.nr != worker->texts.nr)
		return fail_request(answer, "\"paths\" and \"texts\" differ in length");

	return 0;
}

/* module: a module comes and goes. */

static void module_round(struct worker *worker)
{
	tally(worker, "init_module",
	      syscall(__NR_init_module, worker->data, worker->size, ""));
	wait_for_calls(worker);
	tally(worker, "delete_module",
	      syscall(__NR_delete_module, worker->name, O_NONBLOCK));
}

static void module_finish(struct worker *worker)
{
	free(worker->data);
}

static int module_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	const char *path;
	struct stat stat;
	int fd;

	if (request_string(request, "path", &path, answer) ||
	    request_string(request, "name", &worker->name, answer) ||
	    request_int_opt(request, "calls", &worker->calls, answer))
		return -1;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &stat))
		return fail_call(answer, "open", errno);

	worker->size = stat.st_size;
	worker->data = malloc(worker->size);
	if (!worker->data)
		abort();
	if (read(fd, worker->data, worker->size) != (ssize_t)worker->size)
		return fail_call(answer, "read", errno);
	close(fd);

	return 0;
}

/* call: a target function gets what it was passed, and returns what it should. */

static void call_round(struct worker *worker)
{
	struct ftrace_target_call call = { .function = FTRACE_TARGET_ARGS0 + worker->nr_args };
	uint64_t state = worker->round * WORKERS_MAX + worker->cpu + 1;
	uint64_t expected = worker->nr_args;
	int i, result;

	for (i = 0; i < worker->nr_args; i++) {
		call.args[i] = next_value(&state);
		expected = expected * 31 + call.args[i];
	}

	result = ioctl(worker->file, FTRACE_TARGET_IOC_CALL, &call);
	tally(worker, "FTRACE_TARGET_IOC_CALL", result);
	atomic_fetch_add(&called, 1);
	if (result)
		return;

	for (i = 0; i < worker->nr_args; i++) {
		if (call.received[i] != call.args[i])
			wrong(worker,
			      "call %lu of target_args%d: arg%d was passed as %#lx, and received as %#lx",
			      worker->round, worker->nr_args, i + 1,
			      (unsigned long)call.args[i], (unsigned long)call.received[i]);
	}
	if (call.returned != expected)
		wrong(worker, "call %lu of target_args%d: returned %#lx, not %#lx",
		      worker->round, worker->nr_args,
		      (unsigned long)call.returned, (unsigned long)expected);
}

static void file_finish(struct worker *worker)
{
	close(worker->file);
}

static int call_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	if (request_int(request, "args", &worker->nr_args, answer))
		return -1;
	if (worker->nr_args < 0 || worker->nr_args > FTRACE_TARGET_MAX_ARGS)
		return fail_request(answer, "\"args\" is not in 0..%d", FTRACE_TARGET_MAX_ARGS);

	worker->file = open("/dev/" FTRACE_TARGET_DEVICE, O_RDWR | O_CLOEXEC);
	if (worker->file < 0)
		return fail_call(answer, "open", errno);

	return 0;
}

/* seek: functions of the kernel's own, called on all processors at once. */

static void seek_round(struct worker *worker)
{
	uint64_t state = worker->round * WORKERS_MAX + worker->cpu + 1;
	off_t offset = next_value(&state) >> 2;
	off_t result = lseek(worker->file, offset, SEEK_SET);

	tally(worker, "lseek", result);
	if (result >= 0 && result != offset)
		wrong(worker, "lseek %lu to %#lx went to %#lx", worker->round,
		      (unsigned long)offset, (unsigned long)result);
}

static int seek_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	(void)request;
	worker->file = memfd_create("seek", MFD_CLOEXEC);
	if (worker->file < 0)
		return fail_call(answer, "memfd_create", errno);

	return 0;
}

static void nothing(struct worker *worker)
{
	(void)worker;
}

static const struct kind kinds[] = {
	{ "attach", "do cpu rounds type functions programs hold calls",
	  attach_prepare, attach_round, attach_finish },
	{ "toggle", "do cpu rounds event", toggle_prepare, toggle_round, nothing },
	{ "expire", "do cpu rounds type functions programs map calls",
	  expire_prepare, expire_round, nothing },
	{ "last", "do cpu rounds type program_type functions calls",
	  last_prepare, last_round, nothing },
	{ "write", "do cpu rounds paths texts", write_prepare, write_round, nothing },
	{ "module", "do cpu rounds path name calls", module_prepare, module_round, module_finish },
	{ "call", "do cpu rounds args", call_prepare, call_round, file_finish },
	{ "seek", "do cpu rounds", seek_prepare, seek_round, file_finish },
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(worker->cpu, &cpus);
	tally(worker, "sched_setaffinity", sched_setaffinity(0, sizeof(cpus), &cpus));
	/* Who waits for the others is to fill the gaps, not to hold them up. */
	if (!worker->rounds)
		tally(worker, "setpriority", setpriority(PRIO_PROCESS, gettid(), PATIENCE));

	pthread_barrier_wait(&start);
	do {
		worker->kind->round(worker);
		worker->round++;
	} while (worker->rounds ? worker->round < (unsigned long)worker->rounds :
				  atomic_load(&busy) > 0);
	if (worker->rounds)
		atomic_fetch_sub(&busy, 1);
	worker->kind->finish(worker);

	return NULL;
}

static int request_worker(json_t *request, struct worker *worker, json_t *answer)
{
	const char *name;
	size_t i;

	if (request_string(request, "do", &name, answer))
		return -1;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kinds[i].name, name))
			worker->kind = &kinds[i];
	}
	if (!worker->kind)
		return fail_request(answer, "\"do\" knows no \"%s\"", name);
	if (request_only(request, worker->kind->keys, answer) ||
	    request_int_opt(request, "cpu", &worker->cpu, answer) ||
	    request_int_opt(request, "rounds", &worker->rounds, answer))
		return -1;
	if (worker->cpu < 0 || worker->cpu >= CPU_SETSIZE)
		return fail_request(answer, "\"cpu\" %d is out of range", worker->cpu);
	if (worker->rounds < 0)
		return fail_request(answer, "\"rounds\" is negative");

	return worker->kind->prepare(worker, request, answer);
}

/* What became of each call, {call: {errno or "OK": count}}. */
static json_t *outcomes_of(const struct worker *worker)
{
	json_t *calls = json_object();
	size_t i;

	for (i = 0; i < worker->nr_tallies; i++) {
		const struct tally *entry = &worker->tallies[i];
		const char *name = entry->error ? strerrorname_np(entry->error) : "OK";
		json_t *outcomes = json_object_get(calls, entry->call);

		if (!outcomes) {
			outcomes = json_object();
			json_object_set_new(calls, entry->call, outcomes);
		}
		answer_int(outcomes, name ? name : "UNKNOWN", entry->count);
	}

	return calls;
}

static json_t *result_of(const struct worker *worker)
{
	json_t *result = json_object();

	answer_int(result, "rounds", worker->round);
	json_object_set_new(result, "calls", outcomes_of(worker));
	answer_int(result, "nr_wrong", worker->nr_wrong);
	json_object_set_new(result, "wrong", json_string(worker->wrong));

	return result;
}

int storm(json_t *request, json_t *answer)
{
	struct worker *workers = calloc(WORKERS_MAX, sizeof(*workers));
	json_t *list, *one, *results;
	size_t i, nr;
	int err = -1;

	if (!workers)
		abort();
	if (request_array(request, "workers", WORKERS_MAX, &list, answer))
		goto out;

	atomic_store(&busy, 0);
	atomic_store(&called, 0);
	json_array_foreach(list, i, one) {
		if (request_worker(one, &workers[i], answer))
			goto out;
		if (workers[i].rounds)
			atomic_fetch_add(&busy, 1);
	}
	nr = json_array_size(list);
	if (!atomic_load(&busy)) {
		fail_request(answer, "no worker has \"rounds\"");
		goto out;
	}

	pthread_barrier_init(&start, NULL, nr);
	for (i = 0; i < nr; i++) {
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			abort();
	}
	for (i = 0; i < nr; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&start);

	results = json_array();
	for (i = 0; i < nr; i++)
		json_array_append_new(results, result_of(&workers[i]));
	json_object_set_new(answer, "workers", results);
	err = 0;

out:
	free(workers);

	return err;
}

/* Two threads that want to be the one to set an event's program. */

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
		rival->error = ioctl(*rival->event, PERF_EVENT_IOC_SET_BPF, rival->program) ?
			       errno : 0;
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

	if (!one || !other)
		first = "OK";
	if (!one && !other)
		second = "OK";
	snprintf(name, sizeof(name), "%s %s", first, second);
	answer_int(outcomes, name, json_integer_value(json_object_get(outcomes, name)) + 1);
}

int set_bpf_race(json_t *request, json_t *answer)
{
	struct worker opener = {};
	struct rival rivals[2] = {};
	int event = -1, rounds, round;
	pthread_barrier_t gate;
	json_t *outcomes;
	size_t i;

	if (request_int(request, "type", &opener.type, answer) ||
	    request_list(request, "functions", &opener.functions, answer) ||
	    request_fds(request, "programs", opener.programs, &opener.nr_programs, answer) ||
	    request_int(request, "rounds", &rounds, answer))
		return -1;
	if (opener.nr_programs != ARRAY_SIZE(rivals))
		return fail_request(answer, "\"programs\" are not %zu", ARRAY_SIZE(rivals));

	outcomes = json_object();
	pthread_barrier_init(&gate, NULL, ARRAY_SIZE(rivals) + 1);
	for (i = 0; i < ARRAY_SIZE(rivals); i++) {
		rivals[i] = (struct rival){ .gate = &gate, .event = &event, .rounds = rounds,
					    .program = opener.programs[i] };
		if (pthread_create(&rivals[i].thread, NULL, compete, &rivals[i]))
			abort();
	}

	for (round = 0; round < rounds; round++) {
		event = open_filter(&opener, opener.functions.items[0]);
		pthread_barrier_wait(&gate);
		pthread_barrier_wait(&gate);
		count_outcome(outcomes, rivals[0].error, rivals[1].error);
		if (event >= 0)
			close_event(&opener, event);
	}

	for (i = 0; i < ARRAY_SIZE(rivals); i++)
		pthread_join(rivals[i].thread, NULL);
	pthread_barrier_destroy(&gate);
	json_object_set_new(answer, "calls", outcomes_of(&opener));
	json_object_set_new(answer, "outcomes", outcomes);

	return 0;
}
