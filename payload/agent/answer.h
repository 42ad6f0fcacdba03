/* SPDX-License-Identifier: GPL-2.0 */
/* Putting values into an answer. */
#ifndef AGENT_ANSWER_H
#define AGENT_ANSWER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The two ways to fail. They return -1, for the caller to pass on.
 * @call is the system call, or the command of one, that returned @error.
 */
int fail_call(json_t *answer, const char *call, int error);
int fail_request(json_t *answer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void answer_int(json_t *answer, const char *key, long value);
void answer_u64(json_t *answer, const char *key, uint64_t value);
void answer_bytes(json_t *answer, const char *key, const void *data, size_t size);

/* Text as the kernel wrote it: what is not UTF-8 becomes question marks. */
void answer_text(json_t *answer, const char *key, char *text, size_t size);

/* A list of hex strings. */
json_t *u64_list(const uint64_t *values, size_t nr);
json_t *u64_string(uint64_t value);

#endif /* AGENT_ANSWER_H */
