// SPDX-License-Identifier: GPL-2.0
/*
 * Observers of the module's own: what ftrace tells of a call, word by word,
 * read by someone who is neither a tracer nor a filter.
 *
 * Each also changes the way that a call takes. An ops that is alone gets a
 * trampoline made for it, one that wants all registers makes everyone at the
 * call site go through ftrace_regs_caller, and so on.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/ftrace.h>
#include <linux/stacktrace.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "functions.h"
#include "observer.h"

#ifdef CONFIG_DYNAMIC_FTRACE

#define MAX_OBSERVERS	8

struct observer {
	struct ftrace_ops ops;
	u32 kind;
	unsigned int depth;
	atomic_t count;
	struct ftrace_target_record records[FTRACE_TARGET_MAX_RECORDS];
};

/* Every observer is here before it is registered, and until it no longer is. */
static struct observer *observers[MAX_OBSERVERS];
static atomic_t wrong_ops, wrong_jumps;

/* The place for the next record, NULL if there is none. */
static notrace struct ftrace_target_record *next_record(struct observer *observer)
{
	unsigned int nr = atomic_inc_return(&observer->count) - 1;

	return nr < FTRACE_TARGET_MAX_RECORDS ? &observer->records[nr] : NULL;
}

/*
 * The trampoline hands over a pointer to the ops. It is looked up, as one that
 * is wrong would lead anywhere.
 */
static notrace struct observer *find_observer(const struct ftrace_ops *ops)
{
	unsigned int i;

	for (i = 0; i < MAX_OBSERVERS; i++) {
		struct observer *observer = READ_ONCE(observers[i]);

		if (observer && &observer->ops == ops)
			return observer;
	}

	return NULL;
}

static notrace struct observer *find_direct(void)
{
	unsigned int i;

	for (i = 0; i < MAX_OBSERVERS; i++) {
		struct observer *observer = READ_ONCE(observers[i]);

		if (observer && observer->kind == FTRACE_TARGET_DIRECT)
			return observer;
	}

	return NULL;
}

/*
 * Not by ftrace_partial_regs(), which is for users and changes CS and flags:
 * here it is the words themselves that matter.
 */
static notrace void record_slots(u64 *slots, struct ftrace_regs *fregs)
{
	const struct pt_regs *regs = &arch_ftrace_regs(fregs)->regs;

	slots[FTRACE_TARGET_RAX] = regs->ax;
	slots[FTRACE_TARGET_RBX] = regs->bx;
	slots[FTRACE_TARGET_RCX] = regs->cx;
	slots[FTRACE_TARGET_RDX] = regs->dx;
	slots[FTRACE_TARGET_RSI] = regs->si;
	slots[FTRACE_TARGET_RDI] = regs->di;
	slots[FTRACE_TARGET_RBP] = regs->bp;
	slots[FTRACE_TARGET_RSP] = regs->sp;
	slots[FTRACE_TARGET_R8] = regs->r8;
	slots[FTRACE_TARGET_R9] = regs->r9;
	slots[FTRACE_TARGET_R10] = regs->r10;
	slots[FTRACE_TARGET_R11] = regs->r11;
	slots[FTRACE_TARGET_R12] = regs->r12;
	slots[FTRACE_TARGET_R13] = regs->r13;
	slots[FTRACE_TARGET_R14] = regs->r14;
	slots[FTRACE_TARGET_R15] = regs->r15;
	slots[FTRACE_TARGET_RFLAGS] = regs->flags;
	slots[FTRACE_TARGET_RIP] = regs->ip;
	slots[FTRACE_TARGET_CS] = regs->cs;
	slots[FTRACE_TARGET_SS] = regs->ss;
	slots[FTRACE_TARGET_ORIG_RAX] = regs->orig_ax;
}

/*
 * What a callback writes to the saved registers is what the function receives.
 * The trampoline changes some of them only if a callback did, so that nobody
 * else would notice that it does not restore them.
 */
static notrace void change_registers(struct pt_regs *regs)
{
	regs->ax = ~regs->ax;
	regs->bx = ~regs->bx;
	regs->cx = ~regs->cx;
	regs->dx = ~regs->dx;
	regs->si = ~regs->si;
	regs->di = ~regs->di;
	regs->r8 = ~regs->r8;
	regs->r9 = ~regs->r9;
	regs->r10 = ~regs->r10;
	regs->r12 = ~regs->r12;
	regs->r13 = ~regs->r13;
	regs->r14 = ~regs->r14;
	regs->r15 = ~regs->r15;
	if (!IS_ENABLED(CONFIG_FRAME_POINTER))
		regs->bp = ~regs->bp;
	regs->flags ^= X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF |
		       X86_EFLAGS_ZF | X86_EFLAGS_SF | X86_EFLAGS_OF |
		       X86_EFLAGS_ID;
}

static noinline __noclone void target_inner(void)
{
	barrier();
}

/* Where nobody guards it from that, it would not come to an end. */
static notrace void call_inner(struct observer *observer)
{
	if (observer->depth == FTRACE_TARGET_MAX_DEPTH)
		return;

	observer->depth++;
	target_inner();
	observer->depth--;
}

static notrace void observe(unsigned long ip, unsigned long parent_ip,
			    struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct observer *observer = find_observer(ops);
	unsigned long stack[FTRACE_TARGET_MAX_STACK];
	struct ftrace_target_record *record;
	unsigned int i, nr;

	if (!observer) {
		atomic_inc(&wrong_ops);
		return;
	}

	record = next_record(observer);
	if (record) {
		record->ip = ip;
		record->parent_ip = parent_ip;
		for (i = 0; i < FTRACE_TARGET_REG_ARGS; i++)
			record->args[i] = ftrace_regs_get_argument(fregs, i);
		record_slots(record->slots, fregs);
		record->has_regs = !!ftrace_get_regs(fregs);
		nr = stack_trace_save(stack, ARRAY_SIZE(stack), 0);
		for (i = 0; i < nr; i++)
			record->stack[i] = stack[i];
	}

#ifdef CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS
	if (observer->kind == FTRACE_TARGET_OPS_JUMP)
		set_direct_caller(fregs, (unsigned long)target_direct);
#endif
	if (observer->kind == FTRACE_TARGET_OPS_CHANGE)
		change_registers(&arch_ftrace_regs(fregs)->regs);
	if (observer->kind == FTRACE_TARGET_OPS_GUARDED)
		call_inner(observer);
	if (observer->kind == FTRACE_TARGET_REPLACE)
		ftrace_regs_set_instruction_pointer(fregs, (unsigned long)target_replacement);
}

asmlinkage notrace void target_direct_called(const u64 *regs, unsigned long ip,
					     unsigned long parent_ip)
{
	struct observer *observer = find_direct();
	struct ftrace_target_record *record;

	if (!observer) {
		atomic_inc(&wrong_jumps);
		return;
	}

	record = next_record(observer);
	if (record) {
		record->ip = ip - MCOUNT_INSN_SIZE;
		record->parent_ip = parent_ip;
		memcpy(record->slots, regs, sizeof(*regs) * FTRACE_TARGET_NR_REGS);
		record->slots[FTRACE_TARGET_RIP] = ip;
	}
}

#ifdef CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS

static int register_direct(struct ftrace_ops *ops)
{
	return register_direct_ops(ops, (unsigned long)target_direct);
}

static void unregister_direct(struct ftrace_ops *ops)
{
	unregister_direct_ops(ops, (unsigned long)target_direct);
}

#else

static int register_direct(struct ftrace_ops *ops)
{
	return -EOPNOTSUPP;
}

static void unregister_direct(struct ftrace_ops *ops)
{
}

#endif /* CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS */

/* What the kernel must have for an observer, and how its ops is marked. */
static int set_flags(struct observer *observer)
{
	struct ftrace_ops *ops = &observer->ops;

	switch (observer->kind) {
	case FTRACE_TARGET_OPS:
		if (!IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_ARGS))
			return -EOPNOTSUPP;
		ops->flags = FTRACE_OPS_FL_SAVE_ARGS;
		return 0;
	case FTRACE_TARGET_OPS_GUARDED:
		if (!IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_ARGS))
			return -EOPNOTSUPP;
		ops->flags = FTRACE_OPS_FL_SAVE_ARGS | FTRACE_OPS_FL_RECURSION;
		return 0;
	case FTRACE_TARGET_OPS_JUMP:
		if (!IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS))
			return -EOPNOTSUPP;
		fallthrough;
	case FTRACE_TARGET_OPS_CHANGE:
	case FTRACE_TARGET_OPS_REGS:
		if (!IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_REGS))
			return -EOPNOTSUPP;
		ops->flags = FTRACE_OPS_FL_SAVE_REGS;
		return 0;
	case FTRACE_TARGET_REPLACE:
		if (!IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_ARGS))
			return -EOPNOTSUPP;
		ops->flags = FTRACE_OPS_FL_SAVE_ARGS | FTRACE_OPS_FL_IPMODIFY;
		return 0;
	default:
		return 0;
	}
}

/* Without a single name an ops would be for all functions there are. */
static int set_filter(struct ftrace_ops *ops, char *names)
{
	int err = -EINVAL;
	bool first = true;
	char *name;

	while ((name = strsep(&names, " "))) {
		if (!*name)
			continue;
		err = ftrace_set_filter(ops, name, strlen(name), first);
		if (err)
			break;
		first = false;
	}

	return err;
}

static int start(struct observer *observer, char *names)
{
	struct ftrace_ops *ops = &observer->ops;
	int err;

	err = set_flags(observer);
	if (err)
		return err;

	err = set_filter(ops, names);
	if (err)
		goto free;

	/* A direct call comes with a callback of its own. */
	if (observer->kind == FTRACE_TARGET_DIRECT) {
		err = register_direct(ops);
	} else {
		ops->func = observe;
		err = register_ftrace_function(ops);
	}
	if (!err)
		return 0;
free:
	ftrace_free_filter(ops);

	return err;
}

/* Some observers are for one function only, and would break others. */
static bool valid(const struct ftrace_target_observe *wanted)
{
	switch (wanted->observer) {
	case FTRACE_TARGET_OPS_CHANGE:
		return !strcmp(wanted->names, "target_registers");
	case FTRACE_TARGET_REPLACE:
		/* Not that target_args7 may be called as long as it is replaced. */
		return !strcmp(wanted->names, "target_args8") ||
		       !strcmp(wanted->names, "target_args7") ||
		       !strcmp(wanted->names, "target_args7 target_args8");
	default:
		return wanted->observer < FTRACE_TARGET_NR_OBSERVERS;
	}
}

struct observer *target_observer_start(struct ftrace_target_observe *wanted)
{
	unsigned int i, place = MAX_OBSERVERS, others = 0;
	struct observer *observer;
	int err;

	if (!valid(wanted))
		return ERR_PTR(-EINVAL);

	for (i = 0; i < MAX_OBSERVERS; i++) {
		if (observers[i])
			others++;
		else
			place = i;
	}
	if (place == MAX_OBSERVERS)
		return ERR_PTR(-ENOSPC);
	if (!others) {
		atomic_set(&wrong_ops, 0);
		atomic_set(&wrong_jumps, 0);
	}

	observer = vzalloc(sizeof(*observer));
	if (!observer)
		return ERR_PTR(-ENOMEM);
	observer->kind = wanted->observer;

	/* There is one trampoline, and it must know whom to tell. */
	if (observer->kind == FTRACE_TARGET_DIRECT && find_direct()) {
		vfree(observer);
		return ERR_PTR(-EBUSY);
	}
	WRITE_ONCE(observers[place], observer);
	err = start(observer, wanted->names);
	if (err) {
		WRITE_ONCE(observers[place], NULL);
		vfree(observer);
		return ERR_PTR(err);
	}

	return observer;
}

long target_observer_report(struct observer *observer, void __user *user)
{
	struct ftrace_target_observed __user *to = user;
	u32 count = atomic_read(&observer->count);
	size_t size;

	size = min_t(u32, count, FTRACE_TARGET_MAX_RECORDS) *
	       sizeof(*observer->records);
	if (put_user(count, &to->count) ||
	    put_user(atomic_read(&wrong_ops), &to->wrong_ops) ||
	    put_user(atomic_read(&wrong_jumps), &to->wrong_jumps) ||
	    copy_to_user(to->records, observer->records, size))
		return -EFAULT;

	return 0;
}

void target_observer_end(struct observer *observer)
{
	unsigned int i;

	/* These wait until nobody is in the observer or its trampoline. */
	if (observer->kind == FTRACE_TARGET_DIRECT)
		unregister_direct(&observer->ops);
	else
		unregister_ftrace_function(&observer->ops);
	ftrace_free_filter(&observer->ops);

	for (i = 0; i < MAX_OBSERVERS; i++) {
		if (observers[i] == observer)
			WRITE_ONCE(observers[i], NULL);
	}
	vfree(observer);
}

#else /* !CONFIG_DYNAMIC_FTRACE */

/* Without call sites to choose from there are no functions to observe. */
struct observer *target_observer_start(struct ftrace_target_observe *wanted)
{
	return ERR_PTR(-EOPNOTSUPP);
}

long target_observer_report(struct observer *observer, void __user *user)
{
	return -ENOENT;
}

void target_observer_end(struct observer *observer)
{
}

#endif /* CONFIG_DYNAMIC_FTRACE */
