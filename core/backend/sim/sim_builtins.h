/* SPDX-License-Identifier: MIT */
/* What the two files of built-in commands share. */
#ifndef MVM_BACKEND_SIM_BUILTINS_H
#define MVM_BACKEND_SIM_BUILTINS_H

#include "backend/sim/sim_internal.h"

/* Commands that end in one step; the table ends with a NULL name. */
extern const mvm__sim_builtin mvm__sim_quick[];

enum mvm__sim_step mvm__sim_done(mvm__sim_proc *p, int status);
/* "cmd: what: reason" on standard error, status 1. */
enum mvm__sim_step mvm__sim_complain(mvm__sim_proc *p, const char *what, int error);

#endif
