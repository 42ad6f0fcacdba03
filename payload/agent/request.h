/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Taking values out of a request.
 *
 * Every function returns 0, or -1 after it has said in the answer what is
 * wrong with which key. One that takes an optional key leaves its result as it
 * was where the key is missing: the caller puts the default there.
 */
#ifndef AGENT_REQUEST_H
#define AGENT_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
	unsigned char *data;
	size_t size;
};

#define REQUEST_LIST_MAX 64

struct strings {
	const char *items[REQUEST_LIST_MAX];
	size_t nr;
};

struct numbers {
	int items[REQUEST_LIST_MAX];
	size_t nr;
};

/*
 * That a request has no keys but these, separated by blanks: a misspelt option
 * must not go unnoticed.
 */
int request_only(json_t *request, const char *keys, json_t *answer);

int request_int(json_t *request, const char *key, int *value, json_t *answer);
int request_int_opt(json_t *request, const char *key, int *value, json_t *answer);
int request_bool_opt(json_t *request, const char *key, bool *value, json_t *answer);

/* A hex string, as 64 bits do not fit a JSON number; small ones may be given. */
int request_u64(json_t *request, const char *key, uint64_t *value, json_t *answer);
int request_u64_value(json_t *value, const char *key, uint64_t *result, json_t *answer);

/* Strings belong to the request. */
int request_string(json_t *request, const char *key, const char **value, json_t *answer);
int request_string_opt(json_t *request, const char *key, const char **value, json_t *answer);

/* The caller frees bytes->data. */
int request_bytes(json_t *request, const char *key, struct bytes *bytes, json_t *answer);

int request_object(json_t *request, const char *key, json_t **value, json_t *answer);
int request_array(json_t *request, const char *key, size_t max, json_t **value,
		  json_t *answer);

/* Lists that have one entry at least. The strings belong to the request. */
int request_strings(json_t *request, const char *key, struct strings *strings,
		    json_t *answer);
int request_numbers(json_t *request, const char *key, struct numbers *numbers,
		    json_t *answer);

#endif /* AGENT_REQUEST_H */
