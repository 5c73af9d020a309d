/* SPDX-License-Identifier: MIT */
/* What the files of proc share: launching, and the child's side between fork and exec. */
#ifndef MVM_IO_PROC_CHILD_H
#define MVM_IO_PROC_CHILD_H

#include <stddef.h>
#include <sys/types.h>

#include "io/proc.h"

enum { MVM__CHILD_SETUP, MVM__CHILD_CWD, MVM__CHILD_ENTER, MVM__CHILD_EXEC };

typedef struct mvm__child_report {
    int stage, error;
} mvm__child_report;

typedef struct mvm__child {
    const char *path;
    const char *const *argv, *const *env;
    const char *cwd;
    int fds[3 + MVM__PROC_FDS_MAX]; /* what goes to 0, 1, 2, 3, ... */
    size_t nfds;
    int (*enter)(const void *arg);
    const void *enter_arg;
    int report_fd; /* close-on-exec; takes one mvm__child_report when something fails */
    pid_t parent;
} mvm__child;

/* Both ends close-on-exec; -errno. */
int mvm__cloexec_pipe(int fds[2]);
/* Looks the program up and starts it with these three standard streams. Its pid, or a negative
 * code. */
int mvm__proc_launch(const mvm__proc_spec *spec, const int streams[3], mvm_err *err);

void mvm__child_run(const mvm__child *child) __attribute__((noreturn));

#endif
