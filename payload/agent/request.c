// SPDX-License-Identifier: GPL-2.0
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "request.h"

/* Whether a list, separated by blanks, has this word. */
static bool has_word(const char *list, const char *word)
{
	size_t length;

	for (list += strspn(list, " "); *list; list += strspn(list, " ")) {
		length = strcspn(list, " ");
		if (length == strlen(word) && !strncmp(list, word, length))
			return true;
		list += length;
	}

	return false;
}

int request_only(json_t *request, const char *keys, json_t *answer)
{
	const char *key;
	json_t *value;

	if (!json_is_object(request))
		return fail_request(answer, "an object with the keys %s is expected", keys);

	json_object_foreach(request, key, value) {
		if (!has_word(keys, key))
			return fail_request(answer, "\"%s\" is no key of this request", key);
	}

	return 0;
}

static int find(json_t *request, const char *key, json_t **value, json_t *answer)
{
	*value = json_object_get(request, key);
	if (!*value)
		return fail_request(answer, "\"%s\" is missing", key);

	return 0;
}

static int as_int(json_t *json, const char *key, int *value, json_t *answer)
{
	json_int_t number = json_integer_value(json);

	if (!json_is_integer(json) || number < INT_MIN || number > INT_MAX)
		return fail_request(answer, "\"%s\" is no 32-bit integer", key);

	*value = number;

	return 0;
}

static int as_string(json_t *json, const char *key, const char **value,
		     json_t *answer)
{
	const char *string = json_string_value(json);

	if (!string)
		return fail_request(answer, "\"%s\" is no string", key);

	*value = string;

	return 0;
}

int request_int(json_t *request, const char *key, int *value, json_t *answer)
{
	json_t *json;

	if (find(request, key, &json, answer))
		return -1;

	return as_int(json, key, value, answer);
}

int request_int_opt(json_t *request, const char *key, int *value, json_t *answer)
{
	json_t *json = json_object_get(request, key);

	return json ? as_int(json, key, value, answer) : 0;
}

int request_bool_opt(json_t *request, const char *key, bool *value, json_t *answer)
{
	json_t *json = json_object_get(request, key);

	if (!json)
		return 0;
	if (!json_is_boolean(json))
		return fail_request(answer, "\"%s\" is not true or false", key);

	*value = json_is_true(json);

	return 0;
}

int request_u64_value(json_t *value, const char *key, uint64_t *result, json_t *answer)
{
	const char *string = json_string_value(value);
	char *end;

	if (json_is_integer(value) && json_integer_value(value) >= 0) {
		*result = json_integer_value(value);
		return 0;
	}

	/* strtoull() would also take blanks, a sign, and no prefix. */
	if (!string || strncmp(string, "0x", 2) || !isxdigit(string[2]))
		goto wrong;

	errno = 0;
	*result = strtoull(string, &end, 16);
	if (errno || end != string + json_string_length(value))
		goto wrong;

	return 0;

wrong:
	return fail_request(answer, "\"%s\" is no \"0x...\" of up to 64 bits", key);
}

int request_u64(json_t *request, const char *key, uint64_t *value, json_t *answer)
{
	json_t *json;

	if (find(request, key, &json, answer))
		return -1;

	return request_u64_value(json, key, value, answer);
}

int request_string(json_t *request, const char *key, const char **value, json_t *answer)
{
	json_t *json;

	if (find(request, key, &json, answer))
		return -1;

	return as_string(json, key, value, answer);
}

int request_string_opt(json_t *request, const char *key, const char **value, json_t *answer)
{
	json_t *json = json_object_get(request, key);

	return json ? as_string(json, key, value, answer) : 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;

	return -1;
}

int request_bytes(json_t *request, const char *key, struct bytes *bytes, json_t *answer)
{
	const char *hex;
	size_t i;

	if (request_string(request, key, &hex, answer))
		return -1;
	if (strlen(hex) % 2)
		return fail_request(answer, "\"%s\" has half a byte too much", key);

	bytes->size = strlen(hex) / 2;
	bytes->data = malloc(bytes->size + 1);
	if (!bytes->data)
		abort();

	for (i = 0; i < bytes->size; i++) {
		int high = hex_digit(hex[2 * i]);
		int low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0) {
			free(bytes->data);
			return fail_request(answer, "\"%s\" is not in hex", key);
		}
		bytes->data[i] = high << 4 | low;
	}

	return 0;
}

int request_object(json_t *request, const char *key, json_t **value, json_t *answer)
{
	if (find(request, key, value, answer))
		return -1;
	if (!json_is_object(*value))
		return fail_request(answer, "\"%s\" is no object", key);

	return 0;
}

int request_array(json_t *request, const char *key, size_t max, json_t **value,
		  json_t *answer)
{
	if (find(request, key, value, answer))
		return -1;
	if (!json_is_array(*value))
		return fail_request(answer, "\"%s\" is no list", key);
	if (json_array_size(*value) > max)
		return fail_request(answer, "\"%s\" has more than %zu entries", key, max);

	return 0;
}

int request_strings(json_t *request, const char *key, struct strings *strings,
		    json_t *answer)
{
	json_t *array, *item;
	size_t i;

	if (request_array(request, key, REQUEST_LIST_MAX, &array, answer))
		return -1;

	json_array_foreach(array, i, item) {
		strings->items[i] = json_string_value(item);
		if (!strings->items[i])
			return fail_request(answer, "\"%s\" has an entry that is no string", key);
	}
	strings->nr = json_array_size(array);

	return strings->nr ? 0 : fail_request(answer, "\"%s\" is empty", key);
}

int request_numbers(json_t *request, const char *key, struct numbers *numbers,
		    json_t *answer)
{
	json_t *array, *item;
	size_t i;

	if (request_array(request, key, REQUEST_LIST_MAX, &array, answer))
		return -1;

	json_array_foreach(array, i, item) {
		if (!json_is_integer(item))
			return fail_request(answer, "\"%s\" has an entry that is no number", key);
		numbers->items[i] = json_integer_value(item);
	}
	numbers->nr = json_array_size(array);

	return numbers->nr ? 0 : fail_request(answer, "\"%s\" is empty", key);
}
