// SPDX-License-Identifier: GPL-2.0
/*
 * Functions to be traced, and /dev/ftrace_target to call them through.
 *
 * User space chooses the arguments and so knows the truth; every function also
 * tells what it received itself. What tracers, filters and probes report about
 * a call is compared with these two.
 */
#include <linux/compiler.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "ftrace_target.h"
#include "registers.h"

/* Serialises all calls: what the functions record is kept in static storage. */
static DEFINE_MUTEX(target_lock);

static u64 received[FTRACE_TARGET_MAX_ARGS];

/* A System V ABI structure of two words, returned in RAX and RDX. */
struct wide {
	u64 low;
	u64 high;
};

/* Inlined, as there is to be one traced function per call, not two. */
static __always_inline u64 record(const u64 *args, unsigned int nr)
{
	u64 result = nr;
	unsigned int i;

	/* Without an effect, target_args0() need not be called to be known. */
	barrier();

	for (i = 0; i < nr; i++) {
		received[i] = args[i];
		result = result * 31 + args[i];
	}

	return result;
}

/*
 * The traced functions. Not inlined or cloned: a copy such as
 * target_args3.isra.0 would be called in place of the function by that name,
 * and need not follow the calling convention.
 */
static noinline __noclone u64 target_args0(void)
{
	return record(NULL, 0);
}

static noinline __noclone u64 target_args1(u64 arg1)
{
	const u64 args[] = { arg1 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args2(u64 arg1, u64 arg2)
{
	const u64 args[] = { arg1, arg2 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args3(u64 arg1, u64 arg2, u64 arg3)
{
	const u64 args[] = { arg1, arg2, arg3 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args4(u64 arg1, u64 arg2, u64 arg3,
					   u64 arg4)
{
	const u64 args[] = { arg1, arg2, arg3, arg4 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args5(u64 arg1, u64 arg2, u64 arg3,
					   u64 arg4, u64 arg5)
{
	const u64 args[] = { arg1, arg2, arg3, arg4, arg5 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone u64 target_args6(u64 arg1, u64 arg2, u64 arg3,
					   u64 arg4, u64 arg5, u64 arg6)
{
	const u64 args[] = { arg1, arg2, arg3, arg4, arg5, arg6 };

	return record(args, ARRAY_SIZE(args));
}

static noinline __noclone struct wide target_wide(u64 arg1, u64 arg2)
{
	const u64 args[] = { arg1, arg2 };
	struct wide result;

	result.low = record(args, ARRAY_SIZE(args));
	result.high = ~result.low;

	return result;
}

static int dispatch(struct ftrace_target_call *call)
{
	const u64 *args = call->args;
	struct wide result = {};

	switch (call->function) {
	case FTRACE_TARGET_ARGS0:
		result.low = target_args0();
		break;
	case FTRACE_TARGET_ARGS1:
		result.low = target_args1(args[0]);
		break;
	case FTRACE_TARGET_ARGS2:
		result.low = target_args2(args[0], args[1]);
		break;
	case FTRACE_TARGET_ARGS3:
		result.low = target_args3(args[0], args[1], args[2]);
		break;
	case FTRACE_TARGET_ARGS4:
		result.low = target_args4(args[0], args[1], args[2], args[3]);
		break;
	case FTRACE_TARGET_ARGS5:
		result.low = target_args5(args[0], args[1], args[2], args[3],
					  args[4]);
		break;
	case FTRACE_TARGET_ARGS6:
		result.low = target_args6(args[0], args[1], args[2], args[3],
					  args[4], args[5]);
		break;
	case FTRACE_TARGET_WIDE:
		result = target_wide(args[0], args[1]);
		break;
	default:
		return -EINVAL;
	}

	call->returned = result.low;
	call->returned_high = result.high;

	return 0;
}

static long call_target(void __user *user)
{
	struct ftrace_target_call call;
	int err;

	if (copy_from_user(&call, user, sizeof(call)))
		return -EFAULT;

	mutex_lock(&target_lock);
	memset(received, 0, sizeof(received));
	err = dispatch(&call);
	memcpy(call.received, received, sizeof(received));
	mutex_unlock(&target_lock);
	if (err)
		return err;

	return copy_to_user(user, &call, sizeof(call)) ? -EFAULT : 0;
}

static long call_registers(void __user *user)
{
	struct ftrace_target_registers regs;

	mutex_lock(&target_lock);
	target_registers_call();
	regs = target_snapshots;
	mutex_unlock(&target_lock);

	return copy_to_user(user, &regs, sizeof(regs)) ? -EFAULT : 0;
}

static long target_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case FTRACE_TARGET_IOC_CALL:
		return call_target(user);
	case FTRACE_TARGET_IOC_REGISTERS:
		return call_registers(user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations target_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.unlocked_ioctl = target_ioctl,
};

static struct miscdevice target_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = FTRACE_TARGET_DEVICE,
	.fops = &target_fops,
};
module_misc_device(target_device);

MODULE_DESCRIPTION("Functions to be traced, with known arguments");
MODULE_LICENSE("GPL");
