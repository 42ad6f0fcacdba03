/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The handlers of the operations, documented at the head of main.c.
 *
 * Each takes its values from the request and puts its results into the answer.
 * It returns 0, or -1 when it has put a failure there.
 */
#ifndef AGENT_OPS_H
#define AGENT_OPS_H

#include <jansson.h>

/* The longest line in either direction. */
#define LINE_SIZE (1 << 20)

/* The agent run by this word, and a descriptor, is a child: see process.c. */
#define HOLD_COMMAND "hold"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* bpf.c */
int prog_load(json_t *request, json_t *answer);
int prog_info(json_t *request, json_t *answer);
int prog_test_run(json_t *request, json_t *answer);
int task_fd_query(json_t *request, json_t *answer);
int map_create(json_t *request, json_t *answer);
int map_info(json_t *request, json_t *answer);
int map_lookup(json_t *request, json_t *answer);
int map_read(json_t *request, json_t *answer);
int map_update(json_t *request, json_t *answer);
int map_delete(json_t *request, json_t *answer);
int link_create(json_t *request, json_t *answer);

/* object.c */
int object_load(json_t *request, json_t *answer);
int object_close(json_t *request, json_t *answer);

/* perf.c */
int perf_open(json_t *request, json_t *answer);
int perf_ioctl(json_t *request, json_t *answer);
int read_u64(json_t *request, json_t *answer);

/* records.c */
int perf_map(json_t *request, json_t *answer);
int perf_records(json_t *request, json_t *answer);

/* target.c */
int call_one(json_t *request, json_t *answer);
int call_many(json_t *request, json_t *answer);
int call_registers(json_t *request, json_t *answer);
int call_mmap(json_t *request, json_t *answer);
int observe(json_t *request, json_t *answer);
int observed(json_t *request, json_t *answer);

/* files.c */
int file_read(json_t *request, json_t *answer);
int file_write(json_t *request, json_t *answer);
int file_list(json_t *request, json_t *answer);
int dir_make(json_t *request, json_t *answer);
int dir_remove(json_t *request, json_t *answer);
int fd_close(json_t *request, json_t *answer);
int fd_dup(json_t *request, json_t *answer);

/* leftovers.c */
int leftovers(json_t *request, json_t *answer);

/* load.c */
int storm(json_t *request, json_t *answer);

/* load_race.c */
int set_bpf_race(json_t *request, json_t *answer);

/* process.c */
int pin(json_t *request, json_t *answer);
int drop_capabilities(json_t *request, json_t *answer);
int enter_user_namespace(json_t *request, json_t *answer);
int start_child(json_t *request, json_t *answer);
int end_child(json_t *request, json_t *answer);
void end_children(void);
int hold(int argc, char **argv);

/* module.c */
int module_load(json_t *request, json_t *answer);
int module_unload(json_t *request, json_t *answer);

#endif /* AGENT_OPS_H */
