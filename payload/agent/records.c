// SPDX-License-Identifier: GPL-2.0
/* The records that events leave in a buffer which they share with the kernel. */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

#define MAX_BUFFERS 16

/* A power of two; one answer has room for all of it in hex. */
#define PAGES 8

static struct buffer {
	int fd;
	size_t size;
	struct perf_event_mmap_page *control;
} buffers[MAX_BUFFERS];
static size_t nr_buffers;

int perf_map(json_t *request, json_t *answer)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *memory;
	int fd;

	if (request_int(request, "fd", &fd, answer))
		return -1;
	if (nr_buffers == MAX_BUFFERS)
		return fail_request(answer, "no more than %d buffers a session", MAX_BUFFERS);

	memory = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return fail_call(answer, "mmap", errno);

	buffers[nr_buffers++] = (struct buffer){ fd, PAGES * page, memory };

	return 0;
}

/* Bytes of the ring, of which the last may lie before the first. */
static void copy(const struct buffer *buffer, uint64_t from, void *to, size_t size)
{
	const char *data = (const char *)buffer->control + sysconf(_SC_PAGESIZE);
	char *byte = to;
	size_t i;

	for (i = 0; i < size; i++)
		byte[i] = data[(from + i) % buffer->size];
}

static int take(const struct buffer *buffer, json_t *answer)
{
	uint64_t head = __atomic_load_n(&buffer->control->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = buffer->control->data_tail;
	json_t *records = json_array();
	struct perf_event_header header;
	char data[UINT16_MAX];
	json_t *record;

	for (; tail < head; tail += header.size) {
		copy(buffer, tail, &header, sizeof(header));
		if (header.size < sizeof(header) || header.size > head - tail) {
			json_decref(records);
			return fail_request(answer, "a record of %u bytes, with %zu in the buffer",
					    header.size, (size_t)(head - tail));
		}
		copy(buffer, tail + sizeof(header), data, header.size - sizeof(header));
		record = json_object();
		answer_int(record, "type", header.type);
		answer_int(record, "misc", header.misc);
		answer_bytes(record, "data", data, header.size - sizeof(header));
		json_array_append_new(records, record);
	}
	__atomic_store_n(&buffer->control->data_tail, tail, __ATOMIC_RELEASE);
	json_object_set_new(answer, "records", records);

	return 0;
}

int perf_records(json_t *request, json_t *answer)
{
	size_t i;
	int fd;

	if (request_int(request, "fd", &fd, answer))
		return -1;

	for (i = nr_buffers; i--;) {
		if (buffers[i].fd == fd)
			return take(&buffers[i], answer);
	}

	return fail_request(answer, "\"fd\" has no buffer: perf_map makes one");
}
