/* SPDX-License-Identifier: MIT */
/* A private directory of this process, removed with it; and the clearing away of what processes
 * that died have left. */
#ifndef MVM_IO_RUNDIR_H
#define MVM_IO_RUNDIR_H

#include "mvm/status.h"

typedef struct mvm__rundir mvm__rundir;

/* Makes $XDG_RUNTIME_DIR/macvm/lab-PID-N (or /tmp/macvm-UID/...), all 0700, after removing those
 * beside it whose lock nobody holds. NULL with *err filled. */
mvm__rundir *mvm__rundir_new(mvm_err *err);
/* Calls found() for each such directory of this user's, with the PID in its name; whether its owner
 * still lives is not looked at. */
void mvm__rundir_list(void (*found)(void *ud, long pid, const char *path), void *ud);
const char *mvm__rundir_path(const mvm__rundir *dir);
void mvm__rundir_free(mvm__rundir *dir); /* removes it; NULL is fine */

#endif
