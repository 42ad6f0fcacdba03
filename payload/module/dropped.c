// SPDX-License-Identifier: GPL-2.0
/*
 * Functions next to weak ones that the linker drops, as functions.c has others of
 * their names: then they have no symbol, and their calls of ftrace are still there.
 * The Kbuild file keeps the compiler from changing the order.
 */
#include <linux/compiler.h>

#include "functions.h"

noinline notrace void target_untraced(void)
{
	barrier();
}

noinline __weak void target_dropped1(void)
{
	barrier();
}

noinline void target_neighbour(void)
{
	barrier();
}

/* More than one: which of the calls behind a symbol is found is a matter of luck. */
noinline __weak void target_dropped2(void)
{
	barrier();
}

noinline __weak void target_dropped3(void)
{
	barrier();
}

noinline __weak void target_dropped4(void)
{
	barrier();
}
