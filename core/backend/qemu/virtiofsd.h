/* SPDX-License-Identifier: MIT */
/*
 * Finding virtiofsd, the program that serves a directory to a guest, and running it for a share:
 * QEMU's own, written in C (Debian 12), or the later one, written in Rust. Loop thread only.
 */
#ifndef MVM_QEMU_VIRTIOFSD_H
#define MVM_QEMU_VIRTIOFSD_H

#include <stddef.h>

#include "backend/qemu/virtiofsd_jail.h"
#include "io/proc.h"

/* How one will be run. */
typedef struct mvm__virtiofsd {
    char program[512];
    char path[4096];                  /* the share, without symbolic links */
    bool rust;                        /* which command line it takes */
    bool has_readonly, tell_readonly; /* of the Rust one: its own option exists, and is used */
    const char *sandbox;              /* "namespace", "chroot" or "none" */
    bool jailed;                      /* it enters `jail` first */
    mvm__jail jail;                   /* its path is `path` */
} mvm__virtiofsd;

/* In PATH, or where distributions keep it. */
bool mvm__virtiofsd_find(char *path, size_t cap);

/* Finds out how a share can be served here, in the strictest sandbox that works: the processes that
 * this takes have ended. MVM_EUNSUPPORTED with the reason, and a hint what to install. The plan
 * stays where it is. */
int mvm__virtiofsd_plan(mvm__virtiofsd *plan, const char *dir, bool readonly, mvm_err *err);

/* Its command line, NULL-terminated, to be freed by mvm__virtiofsd_argv_free. The listening socket
 * is its descriptor 3. Pure. */
char **mvm__virtiofsd_argv(const mvm__virtiofsd *plan);
void mvm__virtiofsd_argv_free(char **argv);

/* Starts it on a listening socket, which stays the caller's. */
mvm__proc *mvm__virtiofsd_start(const mvm__virtiofsd *plan, mvm_loop *loop, int listen_fd,
                                mvm__proc_exit_fn on_exit, void *ud, mvm_err *err);

#endif
