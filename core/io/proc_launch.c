/* SPDX-License-Identifier: MIT */
/*
 * Launching a program: looking it up, its environment, fork, and the wait for its exec; and running
 * one to its end without a loop. The child's side is proc_child.c. Any thread.
 */
#include "io/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"
#include "io/proc_child.h"

bool mvm__proc_which(const char *name, char *path, size_t cap)
{
    struct stat st;

    if (strchr(name, '/')) {
        snprintf(path, cap, "%s", name);
        return access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    }
    const char *dirs = getenv("PATH");
    for (const char *dir = dirs ? dirs : "/usr/local/bin:/usr/bin:/bin"; *dir;) {
        size_t len = strcspn(dir, ":");
        int n = snprintf(path, cap, "%.*s/%s", (int)len, dir, name);
        if (len > 0 && n > 0 && (size_t)n < cap && access(path, X_OK) == 0 &&
            stat(path, &st) == 0 && S_ISREG(st.st_mode))
            return true;
        dir += len + (dir[len] == ':');
    }
    return false;
}

extern char **environ;

static bool env_names(const char *entry, const char *const *over)
{
    size_t len = strcspn(entry, "=") + 1;

    for (; over && *over; over++)
        if (strncmp(entry, *over, len) == 0)
            return true;
    return false;
}

/* Our environment with `over` put over it; the strings are borrowed. */
static const char **env_merge(const char *const *over)
{
    size_t n = 0;

    for (char **e = environ; *e; e++)
        n++;
    for (const char *const *o = over; o && *o; o++)
        n++;
    const char **env = mvm__alloc((n + 1) * sizeof(*env));
    n = 0;
    for (char **e = environ; *e; e++)
        if (!env_names(*e, over))
            env[n++] = *e;
    for (const char *const *o = over; o && *o; o++)
        env[n++] = *o;
    return env;
}

int mvm__cloexec_pipe(int fds[2])
{
    if (pipe(fds) != 0)
        return -errno;
    fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFD, FD_CLOEXEC);
    return 0;
}

/* Turns what the child wrote before it gave up into words. */
static int child_failed(const mvm__child_report *report, const char *path, const char *cwd,
                        mvm_err *err)
{
    switch (report->stage) {
    case MVM__CHILD_CWD:
        return mvm_fail(err, MVM_EIO, "can't enter the directory %s: %s", cwd,
                        strerror(report->error));
    case MVM__CHILD_EXEC:
        return mvm_fail(err, MVM_EIO, "can't run %s: %s", path, strerror(report->error));
    default:
        return mvm_fail(err, MVM_EIO, "can't prepare %s: %s", path, strerror(report->error));
    }
}

/*
 * Forks with every signal blocked, so that no handler of ours runs in the child, and waits for the
 * exec: the report pipe closes by it. Returns the pid, or a negative code.
 */
static int launch(mvm__child *child, mvm_err *err)
{
    int report_pipe[2];
    sigset_t all, old;

    if (mvm__cloexec_pipe(report_pipe) != 0)
        return mvm_fail(err, MVM_EIO, "can't make a pipe: %s", strerror(errno));
    child->report_fd = report_pipe[1];
    child->parent = getpid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = fork();
    if (pid == 0)
        mvm__child_run(child);
    int fork_errno = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(report_pipe[1]);

    mvm__child_report report = {0};
    ssize_t n = 0;
    if (pid > 0)
        while ((n = read(report_pipe[0], &report, sizeof(report))) < 0 && errno == EINTR)
            continue;
    close(report_pipe[0]);
    if (pid < 0)
        return mvm_fail(err, MVM_EIO, "can't fork: %s", strerror(fork_errno));
    if (n == 0)
        return pid; /* the exec closed the pipe */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return child_failed(&report, child->path, child->cwd, err);
}

int mvm__proc_launch(const mvm__proc_spec *spec, const int streams[3], mvm_err *err)
{
    char path[4096];

    if (spec->nfds > MVM__PROC_FDS_MAX)
        return mvm_fail(err, MVM_EIO, "too many descriptors for %s", spec->argv[0]);
    if (!mvm__proc_which(spec->argv[0], path, sizeof(path)))
        return mvm_fail(err, MVM_EUNSUPPORTED, "the program %s was not found%s", spec->argv[0],
                        strchr(spec->argv[0], '/') ? "" : " in PATH");
    mvm__child child = {.path = path, .argv = spec->argv, .cwd = spec->cwd, .nfds = 3 + spec->nfds};
    child.enter = spec->enter;
    child.enter_arg = spec->enter_arg;
    memcpy(child.fds, streams, 3 * sizeof(int));
    if (spec->nfds > 0)
        memcpy(child.fds + 3, spec->fds, spec->nfds * sizeof(int));
    const char **env = env_merge(spec->env);
    child.env = env;
    int pid = launch(&child, err);
    mvm__free(env);
    return pid;
}

/* ---- without the loop -------------------------------------------------------------- */

/* Reads `fd` to its end, keeps the first cap - 1 bytes. False: the deadline passed. */
static bool read_until(int fd, double seconds, char *out, size_t cap)
{
    uint64_t end = uv_hrtime() + (uint64_t)(seconds * 1e9);
    size_t len = 0;

    for (;;) {
        uint64_t now = uv_hrtime();
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        if (now >= end)
            return false;
        int ready = poll(&pfd, 1, (int)((end - now) / 1000000) + 1);
        if (ready <= 0)
            continue; /* the clock decides */
        char chunk[1024];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0 || (n < 0 && errno != EINTR))
            return true;
        size_t take = n > 0 ? MVM_MIN((size_t)n, cap - 1 - len) : 0;
        memcpy(out + len, chunk, take);
        len += take;
        out[len] = '\0';
    }
}

int mvm__proc_output(const char *const *argv, double seconds, char *out, size_t cap, int *status,
                     mvm_err *err)
{
    int text[2], life[2];
    char dummy[2];
    MVM_AUTO_FD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    out[0] = '\0';
    if (null_fd < 0 || mvm__cloexec_pipe(text) != 0)
        return mvm_fail(err, MVM_EIO, "can't prepare %s: %s", argv[0], strerror(errno));
    MVM_AUTO_FD int text_fd = text[0];
    if (mvm__cloexec_pipe(life) != 0) {
        close(text[1]);
        return mvm_fail(err, MVM_EIO, "can't prepare %s: %s", argv[0], strerror(errno));
    }
    /* The child's descriptor 3 is a pipe that it does not know of: its end is the child's end. */
    MVM_AUTO_FD int life_fd = life[0];
    mvm__proc_spec spec = {.argv = argv, .fds = &life[1], .nfds = 1};
    int pid = mvm__proc_launch(&spec, (int[3]){null_fd, text[1], null_fd}, err);
    close(text[1]);
    close(life[1]);
    if (pid < 0)
        return pid;

    uint64_t begin = uv_hrtime();
    bool ended = read_until(text_fd, seconds, out, cap) &&
                 read_until(life_fd, seconds - (double)(uv_hrtime() - begin) * 1e-9, dummy, 2);
    int wait_status = 0;
    if (!ended)
        kill(pid, SIGKILL);
    while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
        continue;
    if (!ended)
        return mvm_fail(err, MVM_ETIMEOUT, "%s did not end within %g s", argv[0], seconds);
    *status = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    return 0;
}
