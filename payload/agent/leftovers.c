// SPDX-License-Identifier: GPL-2.0
/* What a test may have left in the kernel, in one answer: it is asked often. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

/* Enough to name what is left; these files should be all but empty. */
#define FILE_SIZE 4096

/* More than a list of all functions of a kernel takes. */
#define LIST_SIZE (8 << 20)

/* Of those that are held as many are named; if it is all of them, an answer has no room. */
#define MAX_NAMED 64

/* Returns the size of what was read, or -1 where there is no such file. */
static ssize_t read_start(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	size_t used = 0;
	ssize_t got = 0;

	if (fd < 0)
		return -1;

	while (used < size) {
		got = read(fd, text + used, size - used);
		if (got <= 0)
			break;
		used += got;
	}
	close(fd);

	return got < 0 && errno != EAGAIN ? -1 : (ssize_t)used;
}

static json_t *file_start(const char *path)
{
	char text[FILE_SIZE];
	ssize_t size = read_start(path, text, sizeof(text));

	return size < 0 ? json_null() : json_stringn(text, size);
}

/*
 * Whether a line of touched_functions is mere history: nobody is counted, and
 * no flag is set but the one for a modification in the past.
 *
 *	target_args0 [ftrace_target] (0)           M  ->ftrace_stub+0x0/0x10
 *	__ftrace_invalid_address___1234
 */
static bool is_history(const char *line)
{
	const char *rest = strstr(line, " (0)");

	if (!rest)
		return !strncmp(line, "__ftrace_invalid_address__", 26);

	rest += 4;
	rest += strspn(rest, " M\t");

	return !*rest || !strncmp(rest, "->", 2);
}

/* How many functions such a file has, and which of them are held. */
static json_t *functions(const char *path)
{
	char *text = malloc(LIST_SIZE + 1), *line, *next;
	ssize_t size = read_start(path, text, LIST_SIZE);
	json_t *held, *seen;
	bool truncated;
	long nr = 0, nr_held = 0;

	if (size < 0) {
		free(text);
		return json_null();
	}

	text[size] = '\0';
	truncated = size == LIST_SIZE;
	held = json_array();
	for (line = text; (next = strchr(line, '\n')); line = next + 1) {
		*next = '\0';
		nr++;
		if (is_history(line))
			continue;
		if (nr_held++ < MAX_NAMED)
			json_array_append_new(held, json_string(line));
	}
	free(text);

	seen = json_object();
	answer_int(seen, "nr", nr);
	answer_int(seen, "nr_held", nr_held);
	json_object_set_new(seen, "held", held);
	json_object_set_new(seen, "truncated", json_boolean(truncated));

	return seen;
}

static json_t *entries(const char *path)
{
	struct dirent **found;
	json_t *names;
	int i, nr;

	nr = scandir(path, &found, NULL, alphasort);
	if (nr < 0)
		return json_null();

	names = json_array();
	for (i = 0; i < nr; i++) {
		if (found[i]->d_name[0] != '.')
			json_array_append_new(names, json_string(found[i]->d_name));
		free(found[i]);
	}
	free(found);

	return names;
}

/* For each path of the list under @key, what @look makes of it. */
static int look_at(json_t *request, const char *key, json_t *(*look)(const char *path),
		   json_t *answer)
{
	json_t *paths, *path, *seen;
	size_t i;

	if (request_array(request, key, 64, &paths, answer))
		return -1;

	seen = json_object();
	json_array_foreach(paths, i, path) {
		if (!json_is_string(path)) {
			json_decref(seen);
			return fail_request(answer, "\"%s\" has an entry that is no string", key);
		}
		json_object_set_new(seen, json_string_value(path),
				    look(json_string_value(path)));
	}
	json_object_set_new(answer, key, seen);

	return 0;
}

static json_t *add_entry(json_t *list, __u32 id, __u32 type, char *name)
{
	json_t *entry = json_object();

	answer_int(entry, "id", id);
	answer_int(entry, "type", type);
	answer_text(entry, "name", name, strlen(name));
	json_array_append_new(list, entry);

	return entry;
}

/* One that is gone by the time that it is looked at was not left. */
static void add_program(json_t *list, __u32 id)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0)
		return;

	if (!bpf_obj_get_info_by_fd(fd, &info, &size))
		answer_int(add_entry(list, id, info.type, info.name), "misses",
			   info.recursion_misses);
	close(fd);
}

static void add_map(json_t *list, __u32 id)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);
	int fd = bpf_map_get_fd_by_id(id);

	if (fd < 0)
		return;

	if (!bpf_obj_get_info_by_fd(fd, &info, &size))
		add_entry(list, id, info.type, info.name);
	close(fd);
}

static void answer_ids(json_t *answer, const char *key, int (*next)(__u32 id, __u32 *next_id),
		       void (*add)(json_t *list, __u32 id))
{
	json_t *list = json_array();
	__u32 id = 0;

	while (!next(id, &id))
		add(list, id);
	json_object_set_new(answer, key, list);
}

int leftovers(json_t *request, json_t *answer)
{
	if (look_at(request, "files", file_start, answer) ||
	    look_at(request, "functions", functions, answer) ||
	    look_at(request, "directories", entries, answer))
		return -1;

	answer_ids(answer, "programs", bpf_prog_get_next_id, add_program);
	answer_ids(answer, "maps", bpf_map_get_next_id, add_map);

	return 0;
}
