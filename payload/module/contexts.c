// SPDX-License-Identifier: GPL-2.0
/*
 * The contexts that a function can be called in.
 *
 * In each of them tracers, filters and the trampoline run where they may
 * neither sleep nor be interrupted, or may be interrupted by themselves.
 */
#include <linux/completion.h>
#include <linux/context_tracking.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/ftrace.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <uapi/linux/sched/types.h>
#include <asm/apic.h>
#include <asm/msr.h>
#include <asm/nmi.h>

#include "compat.h"
#include "contexts.h"
#include "functions.h"

#define NMI_NAME	"ftrace_target"

/* A self NMI arrives at once. One that does not is not waited for any longer. */
#define NMI_TIMEOUT_US	1000000

/* What is on its way to another context, and what tells that it came back. */
static struct ftrace_target_call *pending;
static DECLARE_COMPLETION(done);

/* At more than 2 GHz it is less than a microsecond. */
#define CYCLES_PER_US	2000

static void call_and_hold(struct ftrace_target_call *call)
{
	u64 start, cycles = (u64)call->hold_us * CYCLES_PER_US;

	target_call_function(call);

	/*
	 * Not with udelay(), which is short by a factor of ten or more where the
	 * kernel has measured its loop while the host was busy. And there is
	 * no call in here for tracers to record.
	 */
	start = rdtsc_ordered();
	while (rdtsc_ordered() - start < cycles)
		cpu_relax();
}

static void without_irqs(struct ftrace_target_call *call)
{
	unsigned long flags;

	local_irq_save(flags);
	call_and_hold(call);
	local_irq_restore(flags);
}

/* As the idle task calls the last functions before the CPU halts. */
static void without_rcu(struct ftrace_target_call *call)
{
	unsigned long flags;

	local_irq_save(flags);
	ct_idle_enter();
	call_and_hold(call);
	ct_idle_exit();
	local_irq_restore(flags);
}

static void without_graph(struct ftrace_target_call *call)
{
	pause_graph_tracing();
	call_and_hold(call);
	unpause_graph_tracing();
}

static void without_preemption(struct ftrace_target_call *call)
{
	preempt_disable();
	call_and_hold(call);
	preempt_enable();
}

static void tasklet_call(struct tasklet_struct *unused)
{
	call_and_hold(pending);
	complete(&done);
}

static void in_softirq_context(struct ftrace_target_call *call)
{
	static DECLARE_TASKLET(tasklet, tasklet_call);

	pending = call;
	reinit_completion(&done);

	/* Enabling bottom halves again runs it here, not in ksoftirqd. */
	local_bh_disable();
	tasklet_schedule(&tasklet);
	local_bh_enable();

	wait_for_completion(&done);
	tasklet_kill(&tasklet);
}

static void irq_work_call(struct irq_work *unused)
{
	call_and_hold(pending);
}

static void in_hardirq_context(struct ftrace_target_call *call)
{
	/* An interrupt even where most work of that kind is done by threads. */
	static struct irq_work work = IRQ_WORK_INIT_HARD(irq_work_call);

	pending = call;
	irq_work_queue(&work);
	irq_work_sync(&work);
}

/* The CPU may have another task to run first. */
#define IDLE_WAIT_NS	(100 * NSEC_PER_USEC)
#define IDLE_TRIES	10000

static unsigned int idle_tries;

static enum hrtimer_restart idle_timer(struct hrtimer *timer)
{
	if (is_idle_task(current)) {
		call_and_hold(pending);
	} else if (--idle_tries) {
		hrtimer_forward_now(timer, IDLE_WAIT_NS);
		return HRTIMER_RESTART;
	}
	complete(&done);

	return HRTIMER_NORESTART;
}

static int in_idle_context(struct ftrace_target_call *call)
{
	struct hrtimer timer;

	pending = call;
	idle_tries = IDLE_TRIES;
	reinit_completion(&done);
	hrtimer_setup_on_stack(&timer, idle_timer, CLOCK_MONOTONIC,
			       HRTIMER_MODE_REL_PINNED_HARD);
	/* The task that waits here leaves the CPU to the idle one. */
	hrtimer_start(&timer, IDLE_WAIT_NS, HRTIMER_MODE_REL_PINNED_HARD);
	wait_for_completion(&done);
	hrtimer_cancel(&timer);
	destroy_hrtimer_on_stack(&timer);

	return idle_tries ? 0 : -ETIMEDOUT;
}

/* The call that waits for an NMI, which may only be taken once. */
static struct ftrace_target_call *nmi_call;
static int nmi_cpu;
static bool nmi_done;

static int nmi_handler(unsigned int type, struct pt_regs *regs)
{
	struct ftrace_target_call *call;

	if (raw_smp_processor_id() != READ_ONCE(nmi_cpu))
		return NMI_DONE;
	call = xchg(&nmi_call, NULL);
	if (!call)
		return NMI_DONE;

	call_and_hold(call);
	WRITE_ONCE(nmi_done, true);

	return NMI_HANDLED;
}

static int in_nmi_context(struct ftrace_target_call *call)
{
	unsigned int us;
	int err = 0;
	int cpu;

	cpu = get_cpu();
	WRITE_ONCE(nmi_cpu, cpu);
	WRITE_ONCE(nmi_done, false);
	xchg(&nmi_call, call);

	/* Not send_IPI_self(): its shorthand is for fixed interrupts only. */
	apic->send_IPI(cpu, NMI_VECTOR);

	for (us = 0; !READ_ONCE(nmi_done); us++) {
		if (us == NMI_TIMEOUT_US) {
			err = -ETIMEDOUT;
			break;
		}
		udelay(1);
	}
	xchg(&nmi_call, NULL);
	put_cpu();

	return err;
}

static int sleeper(void *unused)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	complete(&done);
	schedule();

	/* Not by returning: the module may be gone as soon as this completes. */
	kthread_complete_and_exit(&done, 0);
}

/* A thread that sleeps, and will wake up on this CPU. */
static struct task_struct *make_sleeper(int cpu)
{
	struct task_struct *task;

	task = kthread_create(sleeper, NULL, "ftrace_target/%d", cpu);
	if (IS_ERR(task))
		return task;

	reinit_completion(&done);
	kthread_bind(task, cpu);
	wake_up_process(task);
	wait_for_completion(&done);

	/* It may stay on the queue for a while after it went to sleep. */
	while (READ_ONCE(task->on_rq))
		schedule_timeout_uninterruptible(1);

	return task;
}

static int set_class(struct task_struct *task, u32 context)
{
	/* A share of a thousandth: a thread that ended keeps it for a while. */
	const struct sched_attr deadline = {
		.size		= sizeof(deadline),
		.sched_policy	= SCHED_DEADLINE,
		.sched_runtime	= 100 * NSEC_PER_USEC,
		.sched_deadline	= 100 * NSEC_PER_MSEC,
		.sched_period	= 100 * NSEC_PER_MSEC,
	};

	switch (context) {
	case FTRACE_TARGET_WAKEUP_RT:
		sched_set_fifo(task);
		return 0;
	case FTRACE_TARGET_WAKEUP_DL:
		/*
		 * The deadline class takes no task that is bound to a CPU. One
		 * that is not wakes up where it went to sleep.
		 */
		set_cpus_allowed_ptr(task, cpu_possible_mask);
		return sched_setattr_nocheck(task, &deadline);
	default:
		/* The tracer looks at tasks that go before the current one. */
		sched_set_normal(task, MIN_NICE);
		return 0;
	}
}

static int with_wakeup(struct ftrace_target_call *call)
{
	struct task_struct *task;
	int err;

	migrate_disable();
	task = make_sleeper(raw_smp_processor_id());
	if (IS_ERR(task)) {
		migrate_enable();
		return PTR_ERR(task);
	}
	err = set_class(task, call->context);

	reinit_completion(&done);
	preempt_disable();
	wake_up_process(task);
	if (!err)
		call_and_hold(call);
	preempt_enable();
	wait_for_completion(&done);
	migrate_enable();

	return err;
}

int target_call_in_context(struct ftrace_target_call *call)
{
	switch (call->context) {
	case FTRACE_TARGET_TASK:
		call_and_hold(call);
		return 0;
	case FTRACE_TARGET_IRQS_OFF:
		without_irqs(call);
		return 0;
	case FTRACE_TARGET_PREEMPT_OFF:
		without_preemption(call);
		return 0;
	case FTRACE_TARGET_SOFTIRQ:
		in_softirq_context(call);
		return 0;
	case FTRACE_TARGET_HARDIRQ:
		in_hardirq_context(call);
		return 0;
	case FTRACE_TARGET_NMI:
		return in_nmi_context(call);
	case FTRACE_TARGET_NO_RCU:
		without_rcu(call);
		return 0;
	case FTRACE_TARGET_GRAPH_PAUSED:
		without_graph(call);
		return 0;
	case FTRACE_TARGET_IDLE:
		return in_idle_context(call);
	default:
		return with_wakeup(call);
	}
}

int target_contexts_init(void)
{
	return register_nmi_handler(NMI_LOCAL, nmi_handler, 0, NMI_NAME);
}

void target_contexts_exit(void)
{
	unregister_nmi_handler(NMI_LOCAL, NMI_NAME);
}
