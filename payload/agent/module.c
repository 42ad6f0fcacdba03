// SPDX-License-Identifier: GPL-2.0
/* Kernel modules, loaded and unloaded. */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "ops.h"
#include "request.h"

int module_load(json_t *request, json_t *answer)
{
	int fd, err, failed;
	const char *path, *parameters = "";

	if (request_string(request, "path", &path, answer) ||
	    request_string_opt(request, "parameters", &parameters, answer))
		return -1;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail_call(answer, "open", errno);
	err = syscall(SYS_finit_module, fd, parameters, 0);
	failed = errno;
	close(fd);
	if (err)
		return fail_call(answer, "finit_module", failed);

	return 0;
}

int module_unload(json_t *request, json_t *answer)
{
	const char *name;

	if (request_string(request, "name", &name, answer))
		return -1;

	/* Not waiting for who uses it: busy is an answer. */
	if (syscall(SYS_delete_module, name, O_NONBLOCK))
		return fail_call(answer, "delete_module", errno);

	return 0;
}
