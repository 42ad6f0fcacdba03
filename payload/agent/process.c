// SPDX-License-Identifier: GPL-2.0
/*
 * What a session is allowed to do, where it runs, and who else holds what it
 * opened.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

/* Children that have not been ended yet. */
static pid_t children[64];

int pin(json_t *request, json_t *answer)
{
	cpu_set_t set;
	int cpu;

	if (request_int(request, "cpu", &cpu, answer))
		return -1;
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return fail_request(answer, "\"cpu\" is not in 0..%d", CPU_SETSIZE - 1);

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return fail_call(answer, "sched_setaffinity", errno);

	return 0;
}

int drop_capabilities(json_t *request, json_t *answer)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	json_t *list, *number;
	size_t i;

	if (request_array(request, "capabilities", SIZE_MAX, &list, answer))
		return -1;
	if (syscall(SYS_capget, &header, data))
		return fail_call(answer, "capget", errno);

	json_array_foreach(list, i, number) {
		json_int_t capability = json_integer_value(number);
		__u32 mask;

		if (!json_is_integer(number) || capability < 0 || capability > CAP_LAST_CAP)
			return fail_request(answer, "\"capabilities\" are not in 0..%d",
					    CAP_LAST_CAP);
		mask = CAP_TO_MASK(capability);
		data[CAP_TO_INDEX(capability)].effective &= ~mask;
		data[CAP_TO_INDEX(capability)].permitted &= ~mask;
		data[CAP_TO_INDEX(capability)].inheritable &= ~mask;
	}

	if (syscall(SYS_capset, &header, data))
		return fail_call(answer, "capset", errno);

	return 0;
}

int enter_user_namespace(json_t *request, json_t *answer)
{
	(void)request;

	if (unshare(CLONE_NEWUSER))
		return fail_call(answer, "unshare", errno);

	return 0;
}

/* A child that only is there: whatever it inherited stays open until it ends. */
static _Noreturn void stay(int ready)
{
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

int hold(int argc, char **argv)
{
	if (argc != 3)
		return 2;

	stay(atoi(argv[2]));
}

/* In the child, of which the agent knows nothing but that it says it is ready. */
static _Noreturn void be_child(int ready, bool exec)
{
	char number[16];
	int null;

	/* The last resort: the agent ends its children itself, see end_children(). */
	prctl(PR_SET_PDEATHSIG, SIGKILL);

	/* Not to hold the channel, which is over when all of its ends are closed. */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0)
		_exit(1);

	if (!exec)
		stay(ready);

	/* Said by the new program, so that all that exec closes is closed by then. */
	if (fcntl(ready, F_SETFD, 0))
		_exit(1);
	snprintf(number, sizeof(number), "%d", ready);
	execl("/proc/self/exe", "agent", HOLD_COMMAND, number, (char *)NULL);
	_exit(1);
}

static pid_t *find_child(pid_t pid)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(children); i++) {
		if (children[i] == pid)
			return &children[i];
	}

	return NULL;
}

int start_child(json_t *request, json_t *answer)
{
	int ready[2], failed;
	bool exec = false;
	pid_t *child, pid;
	ssize_t said;
	char byte;

	if (request_bool_opt(request, "exec", &exec, answer))
		return -1;

	child = find_child(0);
	if (!child)
		return fail_request(answer, "there are too many children");
	if (pipe2(ready, O_CLOEXEC))
		return fail_call(answer, "pipe2", errno);

	pid = fork();
	if (!pid)
		be_child(ready[1], exec);
	failed = errno;
	close(ready[1]);
	said = pid < 0 ? 0 : read(ready[0], &byte, 1);
	close(ready[0]);
	if (pid < 0)
		return fail_call(answer, "fork", failed);

	*child = pid;
	if (said != 1) {
		end_children();
		return fail_request(answer, "the child ended before it was ready");
	}
	answer_int(answer, "pid", pid);

	return 0;
}

/* Its descriptors are closed when its parent is told of its end. */
static void end(pid_t *child)
{
	kill(*child, SIGKILL);
	while (waitpid(*child, NULL, 0) < 0 && errno == EINTR)
		;
	*child = 0;
}

int end_child(json_t *request, json_t *answer)
{
	pid_t *child;
	int pid;

	if (request_int(request, "pid", &pid, answer))
		return -1;
	child = pid > 0 ? find_child(pid) : NULL;
	if (!child)
		return fail_request(answer, "\"pid\" %d is no child of this session", pid);

	end(child);

	return 0;
}

void end_children(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(children); i++) {
		if (children[i])
			end(&children[i]);
	}
}
