// SPDX-License-Identifier: GPL-2.0
/*
 * Functions to be traced, and /dev/ftrace_target to call them through.
 *
 * User space chooses the arguments and so knows the truth; every function also
 * tells what it received itself. What tracers, filters and probes report about
 * a call is compared with these two.
 */
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>
#include <asm/ibt.h>

#include "contexts.h"
#include "ftrace_target.h"
#include "functions.h"
#include "observer.h"
#include "registers.h"

/* Serialises all calls: what the functions record is kept in static storage. */
static DEFINE_MUTEX(target_lock);

/* Serialises what is done with observers from user space. */
static DEFINE_MUTEX(observer_lock);

static bool valid(const struct ftrace_target_call *call)
{
	if (call->function >= FTRACE_TARGET_NR_FUNCTIONS ||
	    call->context >= FTRACE_TARGET_NR_CONTEXTS ||
	    call->hold_us > FTRACE_TARGET_MAX_HOLD_US)
		return false;

	return call->function != FTRACE_TARGET_SLEEP2 ||
	       call->context == FTRACE_TARGET_TASK;
}

static long call_target(void __user *user)
{
	struct ftrace_target_call call;
	int err;

	if (copy_from_user(&call, user, sizeof(call)))
		return -EFAULT;
	if (!valid(&call))
		return -EINVAL;

	mutex_lock(&target_lock);
	err = target_call_in_context(&call);
	target_report(&call);
	mutex_unlock(&target_lock);
	if (err)
		return err;

	return copy_to_user(user, &call, sizeof(call)) ? -EFAULT : 0;
}

static long call_registers(void __user *user)
{
	unsigned long entry = (unsigned long)target_registers;
	struct ftrace_target_registers regs;

	/* As a sum, it would be a reference to what no ENDBR stands at. */
	OPTIMIZER_HIDE_VAR(entry);

	mutex_lock(&target_lock);
	target_poison_stack();
	target_registers_call();
	regs = target_snapshots;
	regs.entry = entry + ENDBR_INSN_SIZE;
	mutex_unlock(&target_lock);

	return copy_to_user(user, &regs, sizeof(regs)) ? -EFAULT : 0;
}

static long observe(struct file *file, void __user *user)
{
	struct ftrace_target_observe wanted;
	struct observer *observer;
	long err = 0;

	if (copy_from_user(&wanted, user, sizeof(wanted)))
		return -EFAULT;
	wanted.names[sizeof(wanted.names) - 1] = '\0';

	mutex_lock(&observer_lock);
	if (file->private_data) {
		err = -EBUSY;
		goto unlock;
	}
	observer = target_observer_start(&wanted);
	if (IS_ERR(observer))
		err = PTR_ERR(observer);
	else
		file->private_data = observer;
unlock:
	mutex_unlock(&observer_lock);

	return err;
}

static long observed(struct file *file, void __user *user)
{
	long err = -ENOENT;

	mutex_lock(&observer_lock);
	if (file->private_data)
		err = target_observer_report(file->private_data, user);
	mutex_unlock(&observer_lock);

	return err;
}

static long target_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case FTRACE_TARGET_IOC_CALL:
		return call_target(user);
	case FTRACE_TARGET_IOC_REGISTERS:
		return call_registers(user);
	case FTRACE_TARGET_IOC_OBSERVE:
		return observe(file, user);
	case FTRACE_TARGET_IOC_OBSERVED:
		return observed(file, user);
	default:
		return -ENOTTY;
	}
}

static int target_open(struct inode *inode, struct file *file)
{
	/* The misc device has left a pointer to itself there. */
	file->private_data = NULL;

	return nonseekable_open(inode, file);
}

static int target_release(struct inode *inode, struct file *file)
{
	mutex_lock(&observer_lock);
	if (file->private_data)
		target_observer_end(file->private_data);
	mutex_unlock(&observer_lock);

	return 0;
}

static const struct file_operations target_fops = {
	.owner = THIS_MODULE,
	.open = target_open,
	.release = target_release,
	.unlocked_ioctl = target_ioctl,
};

static struct miscdevice target_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = FTRACE_TARGET_DEVICE,
	.fops = &target_fops,
};

static int __init target_init(void)
{
	int err;

	err = target_contexts_init();
	if (err)
		return err;
	err = misc_register(&target_device);
	if (err)
		target_contexts_exit();

	return err;
}
module_init(target_init);

static void __exit target_exit(void)
{
	misc_deregister(&target_device);
	target_contexts_exit();
}
module_exit(target_exit);

MODULE_DESCRIPTION("Functions to be traced, with known arguments");
MODULE_LICENSE("GPL");
