/* SPDX-License-Identifier: MIT */
/*
 * A lab: one loop, the machines that live on it, and a private directory for
 * what they need on disk. A process may have several; they share nothing.
 */
#ifndef MVM_LAB_H
#define MVM_LAB_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/loop.h"
#include "mvm/vm.h"

/* Nothing is touched on disk until a machine needs it. */
mvm_lab *mvm_lab_new(void);
/* Kills what runs and frees all. Whoever holds a machine lets go of it before. Returns what
 * mvm_loop_close returned. */
int mvm_lab_close(mvm_lab *lab);
mvm_loop *mvm_lab_loop(mvm_lab *lab);

/* The back end for machines that name none: "qemu", "vz", "sim", or NULL for the host's own
 * hypervisor. MVM_ECONFIG for a name that does not exist. */
int mvm_lab_backend(mvm_lab *lab, const char *name, mvm_err *err);

/* Living machines in the order of their making; NULL past the end. Borrowed. */
mvm_vm *mvm_lab_vm(mvm_lab *lab, size_t i);
size_t mvm_lab_up(const mvm_lab *lab); /* how many are up */

/* The lab's private directory (0700), made on first use under $XDG_RUNTIME_DIR/macvm or
 * /tmp/macvm-UID, removed by close. Leftovers of labs whose process is gone are removed when
 * one is made. NULL with *err filled. */
const char *mvm_lab_dir(mvm_lab *lab, mvm_err *err);

/* The private directories of this user's labs, in whatever process, with its PID. Those of
 * processes that were killed may be among them. */
void mvm_lab_list(void (*found)(void *ud, long pid, const char *dir), void *ud);

#endif
