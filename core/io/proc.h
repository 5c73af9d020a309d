/* SPDX-License-Identifier: MIT */
/*
 * Child processes of the host. A child lives in a session of its own (a terminal's Ctrl-C is not
 * for it), holds no descriptor but those it was given, and dies with this process, also when that
 * is killed. Loop thread only, except mvm__proc_which and mvm__proc_output, which need no loop.
 */
#ifndef MVM_IO_PROC_H
#define MVM_IO_PROC_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/loop.h"
#include "mvm/status.h"

#define MVM__PROC_FDS_MAX    32u
#define MVM__PROC_ERRORS_MAX 4096u /* bytes of its standard error that are kept */

typedef struct mvm__proc mvm__proc;

/* status: 0..255, or -1 when `signum` (> 0) ended it; 255 also when another part of this process
 * has taken its status. Its standard error has been read by then. */
typedef void (*mvm__proc_exit_fn)(void *ud, int status, int signum);

typedef struct mvm__proc_spec {
    const char *const *argv; /* argv[0]: a path, or a name that is looked up in PATH */
    const char *const *env;  /* "NAME=value" over our own environment; NULL-terminated or NULL */
    const char *cwd;         /* NULL: ours */
    const int *fds;          /* what the child finds at 3, 4, 5, ...; they stay the caller's */
    size_t nfds;
    /* Called in the child before the program is run: 0 or an errno. Only async-signal-safe calls.
     * NULL: nothing to do. */
    int (*enter)(const void *arg);
    const void *enter_arg;
    mvm__proc_exit_fn on_exit;
    void *ud;
} mvm__proc_spec;

/*
 * Standard input is empty, standard output goes nowhere, standard error is kept. Returns when the
 * program runs. NULL with MVM_EUNSUPPORTED when there is no such program, MVM_EIO for anything
 * else.
 */
mvm__proc *mvm__proc_spawn(mvm_loop *loop, const mvm__proc_spec *spec, mvm_err *err);
int mvm__proc_pid(const mvm__proc *proc);         /* 0 once it has ended */
void mvm__proc_kill(mvm__proc *proc, int signum); /* no-op once it has ended */
/* The last lines of its standard error, joined by "; ". Returns out. */
const char *mvm__proc_errors(const mvm__proc *proc, char *out, size_t cap);
/* A child that still runs is killed, and reaped later; on_exit is not called any more. */
void mvm__proc_free(mvm__proc *proc);

/* The path of a program: `name` itself when it has a slash, else the first hit in PATH. */
bool mvm__proc_which(const char *name, char *path, size_t cap);

/*
 * Runs a program to its end without the loop and gives its exit status (128 + signal for a signal)
 * and the first cap - 1 bytes of its standard output. It is killed after `seconds` (MVM_ETIMEOUT).
 */
int mvm__proc_output(const char *const *argv, double seconds, char *out, size_t cap, int *status,
                     mvm_err *err);

/*
 * Runs a program that sends one descriptor over the unix socket at its descriptor 3, and gives that
 * descriptor, close-on-exec. It gets so many seconds, and is killed then, also when it was quicker.
 * Without one: MVM_EIO, and `words` holds what it wrote to its standard error.
 */
int mvm__proc_ask_fd(const char *const *argv, double seconds, char *words, size_t cap,
                     mvm_err *err);

#endif
