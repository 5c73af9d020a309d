/* SPDX-License-Identifier: MIT */
/*
 * What a child does between fork and exec. Only async-signal-safe calls: the process that forked
 * may have had threads that held any lock. All signals are blocked when it begins.
 */
#include "io/proc_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#endif

static void give_up(int report_fd, int stage, int error) __attribute__((noreturn));

static void give_up(int report_fd, int stage, int error)
{
    mvm__child_report report = {.stage = stage, .error = error};

    (void)!write(report_fd, &report, sizeof(report));
    _exit(127);
}

/*
 * The kernel kills the child when the thread that forked it is gone; a parent that died before the
 * call is noticed by the changed parent. macOS has no such service: there a child outlives a parent
 * that was killed, and the next lab clears it away.
 */
static void die_with_parent(pid_t parent)
{
#ifdef __linux__
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(127);
#else
    if (getppid() != parent)
        _exit(127);
#endif
}

static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};

    for (int signum = 1; signum < NSIG; signum++)
        sigaction(signum, &action, NULL); /* fails for KILL and STOP, and that is fine */
}

/* Whatever else is open, ours or what the shell left to us, ends with the exec. */
static void close_on_exec_from(int first)
{
#if defined(__linux__) && defined(SYS_close_range)
    if (syscall(SYS_close_range, (unsigned)first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
#endif
    long max = sysconf(_SC_OPEN_MAX);
    for (int fd = first; fd < (max > 0 && max < 65536 ? max : 65536); fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* First all of them out of the way of their places, then each to its place. */
static int place_fds(const mvm__child *child, int *report_fd)
{
    int moved[3 + MVM__PROC_FDS_MAX];

    *report_fd = fcntl(child->report_fd, F_DUPFD_CLOEXEC, (int)child->nfds);
    if (*report_fd < 0)
        return -1;
    for (size_t i = 0; i < child->nfds; i++) {
        moved[i] = fcntl(child->fds[i], F_DUPFD_CLOEXEC, (int)child->nfds);
        if (moved[i] < 0)
            return -1;
    }
    for (size_t i = 0; i < child->nfds; i++)
        if (dup2(moved[i], (int)i) < 0)
            return -1;
    return 0;
}

void mvm__child_run(const mvm__child *child)
{
    int report_fd = child->report_fd;
    sigset_t none;

    die_with_parent(child->parent);
    reset_signals();
    setsid();
    if (place_fds(child, &report_fd) != 0)
        give_up(report_fd >= 0 ? report_fd : child->report_fd, MVM__CHILD_SETUP, errno);
    close_on_exec_from((int)child->nfds);
    if (child->cwd && chdir(child->cwd) != 0)
        give_up(report_fd, MVM__CHILD_CWD, errno);
    int error = child->enter ? child->enter(child->enter_arg) : 0;
    if (error)
        give_up(report_fd, MVM__CHILD_ENTER, error);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(child->path, (char *const *)child->argv, (char *const *)child->env);
    give_up(report_fd, MVM__CHILD_EXEC, errno);
}
