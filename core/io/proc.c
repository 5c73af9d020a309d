/* SPDX-License-Identifier: MIT */
/*
 * Child processes: fork and exec with a child side of our own (core/io/proc_child.c), reaping by
 * SIGCHLD and by pid, so that children of others in this process are left alone. One signal watch a
 * loop, open while there are children. Runs on the loop's thread.
 */
#include "io/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/list.h"
#include "io/loop.h"
#include "io/proc_child.h"

typedef struct children {
    mvm_loop *loop;
    mvm_watch *watch;
    mvm__list running;
    bool reaping; /* on_sigchld walks the list, whatever becomes of the children in it */
} children;

struct mvm__proc {
    mvm__link link; /* in children.running, or in the list of those just reaped */
    mvm_loop *loop;
    pid_t pid; /* 0: reaped */
    int stderr_fd;
    mvm_watch *stderr_watch;
    mvm__buf errors;
    bool orphan; /* freed by its owner; only to be reaped */
    mvm__proc_exit_fn on_exit;
    void *ud;
};

/* ---- standard error ------------------------------------------------------------ */

/* Keeps whole lines: what is dropped from the front ends at a newline. */
static void trim_errors(mvm__buf *buf)
{
    size_t len = mvm__buf_len(buf);

    if (len <= MVM__PROC_ERRORS_MAX)
        return;
    size_t drop = len - MVM__PROC_ERRORS_MAX;
    const char *text = mvm__buf_ptr(buf);
    const char *newline = memchr(text + drop, '\n', len - drop - 1);
    mvm__buf_consume(buf, newline ? (size_t)(newline - text) + 1 : drop);
}

static void stderr_close(mvm__proc *p)
{
    if (p->stderr_fd < 0)
        return;
    mvm_watch_close(p->stderr_watch);
    p->stderr_watch = NULL;
    close(p->stderr_fd);
    p->stderr_fd = -1;
}

/* One read a call, so that a child that prints without end does not hold up the loop. */
static bool stderr_read(mvm__proc *p)
{
    char chunk[4096];
    ssize_t n = read(p->stderr_fd, chunk, sizeof(chunk));

    if (n > 0) {
        mvm__buf_append(&p->errors, chunk, (size_t)n);
        trim_errors(&p->errors);
        return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        stderr_close(p);
    return n < 0 && errno == EINTR;
}

static void on_stderr(void *ud)
{
    stderr_read(ud);
}

const char *mvm__proc_errors(const mvm__proc *proc, char *out, size_t cap)
{
    const char *text = mvm__buf_ptr(&proc->errors), *end = text + mvm__buf_len(&proc->errors);
    size_t len = 0;

    out[0] = '\0';
    while (text && text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((newline ? newline : end) - text);
        if (n > 0 && text[n - 1] == '\r')
            n--;
        if (n > 0 && len < cap) {
            snprintf(out + len, cap - len, "%s%.*s", len ? "; " : "", (int)n, text);
            len += strlen(out + len);
        }
        text = newline ? newline + 1 : end;
    }
    return out;
}

/* ---- reaping -------------------------------------------------------------------- */

static void proc_release(mvm__proc *p)
{
    mvm__list_remove(&p->link);
    stderr_close(p);
    mvm__buf_free(&p->errors);
    mvm__free(p);
}

static void children_close_if_idle(children *c)
{
    if (c->reaping || !mvm__list_empty(&c->running))
        return;
    mvm__loop_set_children(c->loop, NULL, NULL);
    mvm_watch_close(c->watch);
    mvm__free(c);
}

static void report_exit(mvm__proc *p, int wait_status)
{
    for (int i = 0; i < 64 && p->stderr_fd >= 0 && stderr_read(p); i++)
        continue;
    stderr_close(p);
    if (p->orphan) {
        proc_release(p);
        return;
    }
    bool signalled = WIFSIGNALED(wait_status);
    p->on_exit(p->ud, signalled ? -1 : WEXITSTATUS(wait_status),
               signalled ? WTERMSIG(wait_status) : 0);
}

/* Has it ended? One that another part of this process has reaped has, nobody knows how. */
static bool reap(const mvm__proc *p, int *wait_status)
{
    pid_t pid = waitpid(p->pid, wait_status, WNOHANG);

    if (pid < 0 && errno == ECHILD)
        *wait_status = W_EXITCODE(255, 0);
    return pid == p->pid || (pid < 0 && errno == ECHILD);
}

static void on_sigchld(void *ud)
{
    children *c = ud;

    c->reaping = true;
    /* A callback may free any child or start one, so the walk begins anew after each. */
    for (bool again = true; again;) {
        again = false;
        mvm__list_each (l, &c->running) {
            mvm__proc *p = mvm__container_of(l, mvm__proc, link);
            int wait_status = 0;
            if (!reap(p, &wait_status))
                continue;
            mvm__list_remove(&p->link);
            p->pid = 0;
            report_exit(p, wait_status);
            again = true;
            break;
        }
    }
    c->reaping = false;
    children_close_if_idle(c);
}

/* The loop is being closed with children in it. */
static void children_drop(void *ud)
{
    children *c = ud;

    for (mvm__link *l; (l = mvm__list_shift(&c->running)) != NULL;) {
        mvm__proc *p = mvm__container_of(l, mvm__proc, link);
        kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        p->pid = 0;
        stderr_close(p);
        if (p->orphan)
            proc_release(p);
    }
    children_close_if_idle(c);
}

static children *children_get(mvm_loop *loop)
{
    children *c = mvm__loop_children(loop);

    if (c)
        return c;
    c = mvm__alloc(sizeof(*c));
    c->loop = loop;
    mvm__list_init(&c->running);
    c->watch = mvm_watch_signal(loop, SIGCHLD, on_sigchld, c);
    mvm__loop_set_children(loop, c, children_drop);
    return c;
}

/* ---- starting -------------------------------------------------------------------- */

mvm__proc *mvm__proc_spawn(mvm_loop *loop, const mvm__proc_spec *spec, mvm_err *err)
{
    int pipe_fds[2];
    MVM_AUTO_FD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null_fd < 0 || mvm__cloexec_pipe(pipe_fds) != 0) {
        mvm_fail(err, MVM_EIO, "can't prepare %s: %s", spec->argv[0], strerror(errno));
        return NULL;
    }
    children *c = children_get(loop); /* it watches before there is anything to miss */
    int pid = mvm__proc_launch(spec, (int[3]){null_fd, null_fd, pipe_fds[1]}, err);
    close(pipe_fds[1]);
    if (pid < 0) {
        close(pipe_fds[0]);
        children_close_if_idle(c);
        return NULL;
    }

    mvm__proc *p = mvm__alloc(sizeof(*p));
    *p = (mvm__proc){.loop = loop, .pid = pid, .stderr_fd = pipe_fds[0]};
    p->on_exit = spec->on_exit;
    p->ud = spec->ud;
    fcntl(p->stderr_fd, F_SETFL, O_NONBLOCK);
    p->stderr_watch = mvm_watch_fd(loop, p->stderr_fd, on_stderr, p);
    mvm__list_append(&c->running, &p->link);
    return p;
}

int mvm__proc_pid(const mvm__proc *proc)
{
    return proc->pid;
}

void mvm__proc_kill(mvm__proc *proc, int signum)
{
    if (proc->pid > 0)
        kill(proc->pid, signum);
}

void mvm__proc_free(mvm__proc *proc)
{
    if (!proc)
        return;
    if (proc->pid == 0) {
        proc_release(proc);
        return;
    }
    proc->orphan = true;
    stderr_close(proc);
    kill(proc->pid, SIGKILL);
}
