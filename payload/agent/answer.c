// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"

/*
 * The kernel's own ENOTSUPP, not meant for user space but seen there: BPF
 * answers it for what a program type does not implement.
 */
#define KERNEL_ENOTSUPP 524

static const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	if (name)
		return name;

	return error == KERNEL_ENOTSUPP ? "ENOTSUPP" : "UNKNOWN";
}

int fail_call(json_t *answer, const char *call, int error)
{
	answer_int(answer, "errno", error);
	json_object_set_new(answer, "name", json_string(error_name(error)));
	json_object_set_new(answer, "call", json_string(call));
	json_object_set_new(answer, "message",
			    json_sprintf("%s: %s", call, strerror(error)));

	return -1;
}

int fail_request(json_t *answer, const char *format, ...)
{
	va_list args;

	answer_int(answer, "errno", 0);
	json_object_set_new(answer, "name", json_string("REQUEST"));
	va_start(args, format);
	json_object_set_new(answer, "message", json_vsprintf(format, args));
	va_end(args);

	return -1;
}

void answer_int(json_t *answer, const char *key, long value)
{
	json_object_set_new(answer, key, json_integer(value));
}

json_t *u64_string(uint64_t value)
{
	return json_sprintf("0x%" PRIx64, value);
}

void answer_u64(json_t *answer, const char *key, uint64_t value)
{
	json_object_set_new(answer, key, u64_string(value));
}

json_t *u64_list(const uint64_t *values, size_t nr)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < nr; i++)
		json_array_append_new(list, u64_string(values[i]));

	return list;
}

void answer_bytes(json_t *answer, const char *key, const void *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *byte = data;
	char *hex = malloc(2 * size + 1);
	size_t i;

	if (!hex)
		abort();

	for (i = 0; i < size; i++) {
		hex[2 * i] = digits[byte[i] >> 4];
		hex[2 * i + 1] = digits[byte[i] & 0xf];
	}
	json_object_set_new(answer, key, json_stringn(hex, 2 * size));
	free(hex);
}

void answer_text(json_t *answer, const char *key, char *text, size_t size)
{
	json_t *string = json_stringn(text, size);
	size_t i;

	if (!string) {
		for (i = 0; i < size; i++) {
			if (text[i] & 0x80)
				text[i] = '?';
		}
		string = json_stringn(text, size);
	}
	json_object_set_new(answer, key, string);
}
