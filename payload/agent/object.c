// SPDX-License-Identifier: GPL-2.0
/* BPF programs compiled from C, with their maps, loaded through libbpf. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

/* The section of a filter. A released libbpf does not know it. */
#define FILTER_SECTION "ftrace"

/* A request names an object by its index. */
static struct bpf_object *objects[256];

/* libbpf's messages have no context to put a pointer in. */
static char messages[LINE_SIZE / 4];
static size_t messages_size;

static int keep_message(enum libbpf_print_level level, const char *format, va_list args)
{
	size_t room = sizeof(messages) - messages_size;
	int length;

	if (level == LIBBPF_DEBUG)
		return 0;

	length = vsnprintf(messages + messages_size, room, format, args);
	if (length > 0)
		messages_size += (size_t)length < room ? (size_t)length : room - 1;

	return length;
}

static int free_handle(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(objects); i++) {
		if (!objects[i])
			return i;
	}

	return -1;
}

static int set_filter_type(struct bpf_object *object, int type, json_t *answer)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		if (strcmp(bpf_program__section_name(program), FILTER_SECTION))
			continue;
		if (type < 0)
			return fail_request(answer,
					    "\"ftrace_type\" is missing, and program \"%s\" needs it",
					    bpf_program__name(program));
		bpf_program__set_type(program, type);
	}

	return 0;
}

/* For an attach type that came after the released libbpf. */
static void set_attach_type(struct bpf_object *object, int attach_type)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
		bpf_program__set_expected_attach_type(program, attach_type);
}

static void answer_fds(json_t *answer, struct bpf_object *object)
{
	json_t *programs = json_object(), *maps = json_object();
	struct bpf_program *program;
	struct bpf_map *map;

	bpf_object__for_each_program(program, object)
		answer_int(programs, bpf_program__name(program), bpf_program__fd(program));
	bpf_object__for_each_map(map, object)
		answer_int(maps, bpf_map__name(map), bpf_map__fd(map));

	json_object_set_new(answer, "programs", programs);
	json_object_set_new(answer, "maps", maps);
}

static int load(const char *path, int type, int attach_type, int handle, json_t *answer)
{
	struct bpf_object *object;

	object = bpf_object__open_file(path, NULL);
	if (!object)
		return fail_call(answer, "bpf_object__open_file", errno);

	if (set_filter_type(object, type, answer))
		goto close;
	if (attach_type >= 0)
		set_attach_type(object, attach_type);

	if (bpf_object__load(object)) {
		fail_call(answer, "bpf_object__load", errno);
		goto close;
	}

	objects[handle] = object;
	answer_int(answer, "object", handle);
	answer_fds(answer, object);

	return 0;

close:
	bpf_object__close(object);

	return -1;
}

int object_load(json_t *request, json_t *answer)
{
	int err, handle, type = -1, attach_type = -1;
	const char *path;

	if (request_string(request, "path", &path, answer) ||
	    request_int_opt(request, "ftrace_type", &type, answer) ||
	    request_int_opt(request, "expected_attach_type", &attach_type, answer))
		return -1;

	handle = free_handle();
	if (handle < 0)
		return fail_request(answer, "too many objects are loaded");

	messages_size = 0;
	libbpf_set_print(keep_message);
	err = load(path, type, attach_type, handle, answer);
	if (messages_size)
		answer_text(answer, "log", messages, messages_size);

	return err;
}

int object_close(json_t *request, json_t *answer)
{
	int handle;

	if (request_int(request, "object", &handle, answer))
		return -1;
	if (handle < 0 || handle >= (int)ARRAY_SIZE(objects) || !objects[handle])
		return fail_request(answer, "\"object\" %d is not loaded", handle);

	bpf_object__close(objects[handle]);
	objects[handle] = NULL;

	return 0;
}
