/* SPDX-License-Identifier: MIT */
/*
 * Starting QEMU and seeing it end. Its control socket, serial console and agent port are socket
 * pairs whose other ends it inherits: there is no path to choose, protect or clear away. The end of
 * a run is the reaping of the process and nothing else; whatever happens before only leads to it.
 * Loop thread only.
 */
#include "backend/qemu/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/qemu/dev.h"
#include "backend/qemu/firmware.h"
#include "backend/qemu/plan.h"
#include "base/base.h"
#include "base/buf.h"
#include "mvm/log.h"

#define GREETING_SECONDS 30
#define DRAIN_MAX        (16u << 20) /* far more than a socket holds */

enum { QMP, CONSOLE, AGENT, NSOCKETS = MVM__RUN_SOCKETS };

mvm__run *mvm__run_of(const mvm_vm *vm)
{
    return mvm__vm_data(vm);
}

/* ---- bytes ---------------------------------------------------------------------------- */

static void agent_data(void *ud, const void *data, size_t len)
{
    mvm__vm_on_agent_data(((mvm__run *)ud)->vm, data, len);
}

static void agent_writable(void *ud)
{
    mvm__vm_on_agent_writable(((mvm__run *)ud)->vm);
}

static void console_data(void *ud, const void *data, size_t len)
{
    mvm__vm_on_console_data(((mvm__run *)ud)->vm, data, len);
}

static void console_writable(void *ud)
{
    mvm__vm_on_console_writable(((mvm__run *)ud)->vm);
}

static void on_ended(void *ud, int error)
{
    (void)ud; /* QEMU is ending; its reaping tells */
    (void)error;
}

static const mvm__pipe_ops g_agent_ops = {agent_data, agent_writable, on_ended};
static const mvm__pipe_ops g_console_ops = {console_data, console_writable, on_ended};

/* ---- the end ------------------------------------------------------------------------------ */

/* QEMU's own words, without its name before each and without warnings when there is more. */
static const char *words_of(const mvm__run *run, char *out, size_t cap)
{
    char raw[MVM__PROC_ERRORS_MAX + 256];
    size_t len = 0;

    mvm__proc_errors(run->proc, raw, sizeof(raw));
    out[0] = '\0';
    for (char *line = raw; line && *line;) {
        char *next = strstr(line, "; ");
        if (next)
            *next = '\0';
        const char *colon = strncmp(line, "qemu", 4) == 0 ? strstr(line, ": ") : NULL;
        const char *text = colon ? colon + 2 : line;
        if (strncmp(text, "warning: ", 9) != 0 && len < cap) {
            snprintf(out + len, cap - len, "%s%.500s", len ? "; " : "", text);
            len += strlen(out + len);
        }
        line = next ? next + 2 : NULL;
    }
    return out;
}

static int describe_end(const mvm__run *run, int status, int signum, mvm_err *err)
{
    char words[768], how[128];

    words_of(run, words, sizeof(words));
    if (run->why.code) {
        *err = run->why;
        return err->code;
    }
    if (status == 0 && strncmp(run->ended, "guest-", 6) == 0)
        return 0;
    mvm__list_each (l, &run->devs)
        if (!run->running && mvm__disk_locked(mvm__container_of(l, mvm__dev, link), words, err))
            return MVM_ECONFIG;
    if (signum > 0)
        snprintf(how, sizeof(how), "was killed by signal %d (%s)", signum, strsignal(signum));
    else if (status == 0)
        snprintf(how, sizeof(how), "was told to end%s%s", run->ended[0] ? ": " : "", run->ended);
    else
        snprintf(how, sizeof(how), "ended with status %d", status);
    return mvm_fail(err, MVM_EBACKEND, "QEMU %s%s%s%s", run->running ? "" : "could not start: it ",
                    how, words[0] ? ": " : "", words);
}

static void run_free(mvm__run *run)
{
    mvm_timer_cancel(run->grace);
    mvm__qmp_close(run->qmp); /* first: its pending commands name devices */
    mvm__devs_release(run);
    mvm__firmware_release(run);
    mvm__pipe_close(run->agent);
    mvm__pipe_close(run->console);
    mvm__proc_free(run->proc);
    mvm__free(run);
}

/* What QEMU sent before it ended is still in the sockets: a last event, a panic's text, the rest of
 * a command's output. It counts as having come before the end. */
static void on_process_exit(void *ud, int status, int signum)
{
    mvm__run *run = ud;
    mvm_vm *vm = run->vm;
    mvm_err err;

    if (run->qmp)
        mvm__qmp_drain(run->qmp);
    mvm__pipe_drain(run->console, DRAIN_MAX);
    mvm__ports_drain(run);
    mvm__pipe_drain(run->agent, DRAIN_MAX);
    int rc = run->killed ? 0 : describe_end(run, status, signum, &err);
    mvm_log(MVM_LOG_INFO, "%s: QEMU has ended (status %d, signal %d)", mvm_vm_name(vm), status,
            signum);
    mvm__vm_set_data(vm, NULL);
    run_free(run);
    mvm__vm_on_exit(vm, rc == 0 ? NULL : &err);
}

/* ---- the beginning ------------------------------------------------------------------------ */

static void close_pairs(int pairs[NSOCKETS][2])
{
    for (int i = 0; i < NSOCKETS; i++)
        for (int side = 0; side < 2; side++)
            if (pairs[i][side] >= 0)
                close(pairs[i][side]);
}

static int make_pairs(int pairs[NSOCKETS][2], mvm_err *err)
{
    for (int i = 0; i < NSOCKETS; i++)
        pairs[i][0] = pairs[i][1] = -1;
    for (int i = 0; i < NSOCKETS; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) != 0) {
            mvm_fail(err, MVM_EIO, "can't make a socket pair: %s", strerror(errno));
            close_pairs(pairs);
            return MVM_EIO;
        }
        fcntl(pairs[i][0], F_SETFD, FD_CLOEXEC);
        fcntl(pairs[i][1], F_SETFD, FD_CLOEXEC);
    }
    return 0;
}

static void log_argv(const mvm_vm *vm, char *const *argv)
{
    mvm__buf line = {0};

    for (; *argv; argv++)
        mvm__buf_printf(&line, strpbrk(*argv, " '\"$") ? " '%s'" : " %s", *argv);
    mvm_log(MVM_LOG_INFO, "%s:%s", mvm_vm_name(vm), mvm__buf_str(&line));
    mvm__buf_free(&line);
}

static mvm__proc *spawn(mvm__run *run, int pairs[NSOCKETS][2], const char *dir, mvm_err *err)
{
    char binary[4096];
    mvm__plan plan;
    MVM_AUTO_FREE char *tmpdir = mvm__asprintf("TMPDIR=%s", dir);
    int fds[NSOCKETS + MVM_COUNT(run->fds)] = {pairs[QMP][1], pairs[CONSOLE][1], pairs[AGENT][1]};

    if (!mvm__proc_which(mvm__arch_of(run->vm)->binary, binary, sizeof(binary))) {
        mvm__arch_check(mvm__arch_of(run->vm), err); /* it says what to install */
        return NULL;
    }
    mvm__plan_make(run, binary, &plan);
    memcpy(fds + NSOCKETS, run->fds, run->nfds * sizeof(int));
    plan.spec.qmp_fd = 3 + QMP;
    plan.spec.console_fd = 3 + CONSOLE;
    plan.spec.agent_fd = 3 + AGENT;
    char **argv = mvm_qemu_argv(&plan.spec);
    log_argv(run->vm, argv);
    mvm__proc *proc =
        mvm__proc_spawn(mvm_lab_loop(mvm_vm_lab(run->vm)),
                        &(mvm__proc_spec){
                            .argv = (const char *const *)argv,
                            /* Else a window starts helpers, and the sandbox ends QEMU. */
                            .env = (const char *const[]){tmpdir, "NO_AT_BRIDGE=1", NULL},
                            .cwd = dir,
                            .fds = fds,
                            .nfds = NSOCKETS + run->nfds,
                            .on_exit = on_process_exit,
                            .ud = run,
                        },
                        err);
    mvm_qemu_argv_free(argv);
    mvm__plan_free(&plan);
    return proc;
}

/* Of devices: QEMU has its own now, or never will. */
static void close_fds(mvm__run *run)
{
    while (run->nfds > 0)
        close(run->fds[--run->nfds]);
}

static int run_spawn(mvm__run *run, int pairs[NSOCKETS][2], const char *dir, mvm_err *err)
{
    int rc = mvm__plan_boots_disk(run->vm) ? mvm__firmware_prepare(run, err) : 0;

    if (rc == 0)
        rc = mvm__devs_prepare(run, err);
    if (rc != 0)
        return rc;
    rc = make_pairs(pairs, err);
    if (rc != 0)
        return rc;
    run->proc = spawn(run, pairs, dir, err);
    close_fds(run);
    if (run->proc)
        return 0;
    close_pairs(pairs);
    return err ? err->code : MVM_EIO;
}

int mvm__run_start(mvm_vm *vm, mvm_err *err)
{
    mvm_loop *loop = mvm_lab_loop(mvm_vm_lab(vm));
    int pairs[NSOCKETS][2];
    const char *dir = mvm_lab_dir(mvm_vm_lab(vm), err);

    if (!dir)
        return err ? err->code : MVM_EIO;
    mvm__run *run = mvm__alloc(sizeof(*run));
    run->vm = vm;
    mvm__list_init(&run->devs);
    int rc = run_spawn(run, pairs, dir, err);
    if (rc != 0) {
        close_fds(run);
        mvm__devs_release(run);
        mvm__firmware_release(run);
        mvm__free(run);
        return rc;
    }
    mvm__vm_mark(vm, "process");
    for (int i = 0; i < NSOCKETS; i++)
        close(pairs[i][1]);
    run->console = mvm__pipe_open(loop, pairs[CONSOLE][0], &g_console_ops, run);
    run->agent = mvm__pipe_open(loop, pairs[AGENT][0], &g_agent_ops, run);
    run->qmp = mvm__qmp_open(loop, pairs[QMP][0], GREETING_SECONDS, &mvm__control_ops, run);
    mvm__vm_set_data(vm, run);
    return 0;
}
