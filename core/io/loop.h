/* SPDX-License-Identifier: MIT */
/* The loop's libuv side, for the files of core/io and core/device. */
#ifndef MVM_IO_LOOP_H
#define MVM_IO_LOOP_H

#include <uv.h>

#include "mvm/loop.h"

/* Handles opened on it must be closed, and their memory freed in the close callback, before
 * mvm_loop_close; what is left is counted there. */
uv_loop_t *mvm__loop_uv(mvm_loop *loop);

/* One value of the loop's owner that others find through the loop: the table of children that
 * core/io/proc.c keeps. Freed by its own module, before mvm_loop_close, through `drop`. */
void *mvm__loop_children(const mvm_loop *loop);
void mvm__loop_set_children(mvm_loop *loop, void *children, void (*drop)(void *children));

#endif
