// SPDX-License-Identifier: GPL-2.0
/* Load: what else changes meanwhile, in files such as tracefs', and modules. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "load.h"
#include "request.h"

/* write: one text after the other, each to its file. */

struct writer {
	struct strings paths;
	struct strings texts;
};

static int write_prepare(struct worker *worker, json_t *request, json_t *answer)
{
	struct writer *writer = worker->state;

	if (request_strings(request, "paths", &writer->paths, answer) ||
	    request_strings(request, "texts", &writer->texts, answer))
		return -1;
	if (writer->paths.nr != writer->texts.nr)
		return fail_request(answer,
				    "\"paths\" and \"texts\" differ in length");

	return 0;
}

static void write_round(struct worker *worker)
{
	struct writer *writer = worker->state;
	size_t i = worker->round % writer->paths.nr;
	const char *path = writer->paths.items[i];
	const char *text = writer->texts.items[i];
	size_t size = strlen(text), written = 0;
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	ssize_t took;
	int fd;

	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0) {
		tally(&worker->tallies, name, -1);
		return;
	}
	do {
		took = write(fd, text + written, size - written);
		if (took < 0)
			break;
		written += took;
	} while (took && written < size);
	tally(&worker->tallies, name, took);

	/* The kernel may act, and find fault, only when a file is closed. */
	if (close(fd))
		tally(&worker->tallies, name, -1);
}

const struct kind write_kind = {
	.name = "write",
	.keys = "do cpu rounds paths texts",
	.state_size = sizeof(struct writer),
	.prepare = write_prepare,
	.round = write_round,
};

/* module: a module comes and goes. */

struct visitor {
	const char *name;
	int calls;
	void *data;
	size_t size;
};

/* The whole file; the caller frees @visitor->data. */
static int read_module(const char *path, struct visitor *visitor,
		       json_t *answer)
{
	struct stat stat;
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail_call(answer, "open", errno);
	if (fstat(fd, &stat)) {
		err = fail_call(answer, "open", errno);
		goto close;
	}

	visitor->size = stat.st_size;
	visitor->data = malloc(visitor->size);
	if (!visitor->data)
		abort();
	if (read(fd, visitor->data, visitor->size) != (ssize_t)visitor->size) {
		err = fail_call(answer, "read", errno);
		free(visitor->data);
		goto close;
	}
	err = 0;

close:
	close(fd);

	return err;
}

static int module_prepare(struct worker *worker, json_t *request,
			  json_t *answer)
{
	struct visitor *visitor = worker->state;
	const char *path;

	if (request_string(request, "path", &path, answer) ||
	    request_string(request, "name", &visitor->name, answer) ||
	    request_int_opt(request, "calls", &visitor->calls, answer))
		return -1;

	return read_module(path, visitor, answer);
}

static void module_round(struct worker *worker)
{
	struct visitor *visitor = worker->state;

	tally(&worker->tallies, "init_module",
	      syscall(__NR_init_module, visitor->data, visitor->size, ""));
	wait_for_calls(visitor->calls);
	tally(&worker->tallies, "delete_module",
	      syscall(__NR_delete_module, visitor->name, O_NONBLOCK));
}

static void module_finish(struct worker *worker)
{
	struct visitor *visitor = worker->state;

	free(visitor->data);
}

const struct kind module_kind = {
	.name = "module",
	.keys = "do cpu rounds path name calls",
	.state_size = sizeof(struct visitor),
	.prepare = module_prepare,
	.round = module_round,
	.finish = module_finish,
};
