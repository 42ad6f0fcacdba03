// SPDX-License-Identifier: GPL-2.0
/* Files, those of tracefs above all, and file descriptors. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

/* Leaves room in a line for the quoting of line ends. */
#define READ_MAX (900 << 10)

int file_read(json_t *request, json_t *answer)
{
	int fd, max = READ_MAX, err = 0;
	size_t used = 0;
	const char *path;
	ssize_t got;
	char *text;

	if (request_string(request, "path", &path, answer) ||
	    request_int_opt(request, "max", &max, answer))
		return -1;
	if (max < 1 || max > READ_MAX)
		return fail_request(answer, "\"max\" is not in 1..%d", READ_MAX);

	/* Not blocking, for files that wait for more, such as trace_pipe. */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return fail_call(answer, "open", errno);

	/* One byte more than asked for shows whether that was all. */
	text = malloc(max + 1);
	if (!text)
		abort();

	do {
		got = read(fd, text + used, max + 1 - used);
		if (got > 0)
			used += got;
	} while (got > 0 && used <= (size_t)max);

	if (got < 0 && errno != EAGAIN) {
		err = fail_call(answer, "read", errno);
	} else {
		bool truncated = used > (size_t)max;

		answer_text(answer, "data", text, truncated ? (size_t)max : used);
		json_object_set_new(answer, "truncated", json_boolean(truncated));
	}
	free(text);
	close(fd);

	return err;
}

int file_write(json_t *request, json_t *answer)
{
	size_t size, written = 0;
	const char *path, *data;
	bool append = false;
	ssize_t took;
	int fd;

	if (request_string(request, "path", &path, answer) ||
	    request_string(request, "data", &data, answer) ||
	    request_bool_opt(request, "append", &append, answer))
		return -1;

	fd = open(path, O_WRONLY | O_CLOEXEC | (append ? O_APPEND : O_TRUNC));
	if (fd < 0)
		return fail_call(answer, "open", errno);

	/*
	 * As a shell's echo does it: at once, and again with the rest where the
	 * kernel took a part only. set_ftrace_filter takes a word at a time.
	 */
	size = strlen(data);
	do {
		took = write(fd, data + written, size - written);
		if (took < 0) {
			fail_call(answer, "write", errno);
			close(fd);
			return -1;
		}
		written += took;
	} while (took && written < size);

	/* Some files act, and find fault, only when they are closed. */
	if (close(fd))
		return fail_call(answer, "close", errno);

	answer_int(answer, "written", written);

	return 0;
}

int file_list(json_t *request, json_t *answer)
{
	struct dirent **entries;
	const char *path;
	json_t *names;
	int i, nr;

	if (request_string(request, "path", &path, answer))
		return -1;

	nr = scandir(path, &entries, NULL, alphasort);
	if (nr < 0)
		return fail_call(answer, "scandir", errno);

	names = json_array();
	for (i = 0; i < nr; i++) {
		const char *name = entries[i]->d_name;

		if (strcmp(name, ".") && strcmp(name, ".."))
			json_array_append_new(names, json_string(name));
		free(entries[i]);
	}
	free(entries);
	json_object_set_new(answer, "entries", names);

	return 0;
}

int dir_make(json_t *request, json_t *answer)
{
	const char *path;

	if (request_string(request, "path", &path, answer))
		return -1;

	if (mkdir(path, 0755))
		return fail_call(answer, "mkdir", errno);

	return 0;
}

int dir_remove(json_t *request, json_t *answer)
{
	const char *path;

	if (request_string(request, "path", &path, answer))
		return -1;

	if (rmdir(path))
		return fail_call(answer, "rmdir", errno);

	return 0;
}

int fd_close(json_t *request, json_t *answer)
{
	int fd;

	if (request_int(request, "fd", &fd, answer))
		return -1;
	/* Without them no answer would get through. */
	if (fd >= STDIN_FILENO && fd <= STDERR_FILENO)
		return fail_request(answer, "\"fd\" %d belongs to the agent", fd);

	if (close(fd))
		return fail_call(answer, "close", errno);

	return 0;
}

int fd_dup(json_t *request, json_t *answer)
{
	int fd, copy;

	if (request_int(request, "fd", &fd, answer))
		return -1;

	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return fail_call(answer, "dup", errno);

	answer_int(answer, "fd", copy);

	return 0;
}
