// SPDX-License-Identifier: GPL-2.0
/*
 * What Debian 13's libelf.a calls and does not contain (elfutils 0.192; 0.193
 * has it, see https://sourceware.org/bugzilla/show_bug.cgi?id=32293). The tree
 * caches raw chunks of a file, of which libbpf reads none: it stays empty.
 *
 * Weak, so that a libelf.a which brings them has its own taken.
 */
#include <search.h>
#include <stddef.h>

struct search_tree {
	void *root;
};

__attribute__((weak)) void eu_search_tree_init(struct search_tree *tree)
{
	tree->root = NULL;
}

__attribute__((weak)) void eu_search_tree_fini(struct search_tree *tree, void (*free_node)(void *))
{
	tdestroy(tree->root, free_node);
	tree->root = NULL;
}
