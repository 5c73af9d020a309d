/* SPDX-License-Identifier: MIT */
/*
 * Processes of a simulated guest. A process runs one command, or a shell script command by command;
 * commands are step functions that never block: they say what they wait for. Loop thread only.
 */
#include "backend/sim/sim_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Steps a process may take before others have their turn. */
#define SHARE 8

static char **strings_copy(const char *const *strings, int *count)
{
    int n = 0;

    while (strings[n])
        n++;
    char **copy = mvm__alloc((size_t)(n + 1) * sizeof(*copy));
    for (int i = 0; i < n; i++)
        copy[i] = mvm__strdup(strings[i]);
    if (count)
        *count = n;
    return copy;
}

static void strings_free(char **strings)
{
    for (char **s = strings; s && *s; s++)
        mvm__free(*s);
    mvm__free(strings);
}

mvm__sim_proc *mvm__sim_proc_new(mvm__sim *sim, mvm__sim_stream *stream, const char *cwd)
{
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                                      "SHELL=/bin/sh", NULL};
    mvm__sim_proc *p = mvm__alloc(sizeof(*p));

    p->sim = sim;
    p->stream = stream;
    p->pid = sim->next_pid++;
    p->cwd = mvm__strdup(cwd);
    p->env = strings_copy(env, NULL);
    mvm__list_append(&sim->procs, &p->link);
    return p;
}

void mvm__sim_command_clear(mvm__sim_proc *p)
{
    mvm__sim_unset(&p->task);
    strings_free(p->argv);
    p->argv = NULL;
    p->argc = 0;
    p->step = NULL;
    p->arg = 1;
    p->begun = p->waiting = p->broken = false;
    p->left = p->count = 0;
    if (p->has_source)
        mvm__sim_source_close(&p->source);
    if (p->has_in_file)
        mvm__sim_source_close(&p->in_file);
    p->has_source = p->has_in_file = false;
    for (int fd = 1; fd <= 2; fd++) {
        mvm__free(p->target[fd]);
        p->target[fd] = NULL;
        p->same[fd] = fd;
    }
}

void mvm__sim_proc_free(mvm__sim_proc *p)
{
    if (!p)
        return;
    mvm__sim_command_clear(p);
    while (p->script)
        mvm__sim_script_pop(p);
    mvm__list_remove(&p->link);
    strings_free(p->env);
    mvm__free(p->cwd);
    mvm__buf_free(&p->in);
    mvm__buf_free(&p->out[1]);
    mvm__buf_free(&p->out[2]);
    mvm__free(p);
}

/* ---- environment ------------------------------------------------------------------------ */

const char *mvm__sim_getenv(const mvm__sim_proc *p, const char *name, size_t len)
{
    for (char **e = p->env; *e; e++)
        if (strncmp(*e, name, len) == 0 && (*e)[len] == '=')
            return *e + len + 1;
    return NULL;
}

void mvm__sim_setenv(mvm__sim_proc *p, const char *pair, size_t len)
{
    const char *equals = memchr(pair, '=', len);
    size_t name = equals ? (size_t)(equals - pair) + 1 : len;
    size_t n = 0;

    for (; p->env[n]; n++)
        if (strncmp(p->env[n], pair, name) == 0) {
            mvm__free(p->env[n]);
            p->env[n] = mvm__strndup(pair, len);
            return;
        }
    p->env = mvm__realloc(p->env, (n + 2) * sizeof(*p->env));
    p->env[n] = mvm__strndup(pair, len);
    p->env[n + 1] = NULL;
}

/* ---- output and input ----------------------------------------------------------------------- */

static void put_file(mvm__sim_proc *p, int fd, const void *data, size_t len)
{
    int error = mvm__sim_append(p->sim, p->target[fd], data, len);

    if (error == 0)
        return;
    p->broken = true;
    if (fd == 1) /* said once: what follows of this command is lost */
        mvm__sim_printf(p, 2, "%s: write error: %s\n", p->argv ? p->argv[0] : "sh",
                        mvm__sim_strerror(error));
    mvm__free(p->target[fd]);
    p->target[fd] = mvm__strdup("/dev/null");
}

void mvm__sim_put(mvm__sim_proc *p, int fd, const void *data, size_t len)
{
    if (p->same[fd] != fd && !p->target[fd])
        fd = p->same[fd];
    if (p->target[fd])
        put_file(p, fd, data, len);
    else
        mvm__buf_append(&p->out[fd], data, len);
}

void mvm__sim_printf(mvm__sim_proc *p, int fd, const char *fmt, ...)
{
    char line[512];
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (len > 0)
        mvm__sim_put(p, fd, line, MVM_MIN((size_t)len, sizeof(line) - 1));
}

size_t mvm__sim_input(mvm__sim_proc *p, char *out, size_t len, bool *eof)
{
    if (p->has_in_file) {
        size_t n = mvm__sim_read(p->sim, &p->in_file, out, len);
        *eof = n == 0;
        return n;
    }
    size_t n = MVM_MIN(len, mvm__buf_len(&p->in));
    if (n > 0)
        memcpy(out, mvm__buf_ptr(&p->in), n);
    mvm__buf_consume(&p->in, n);
    p->taken += n;
    *eof = n == 0 && p->in_eof;
    return n;
}

/* ---- life -------------------------------------------------------------------------------------
 */

int mvm__sim_proc_begin(mvm__sim_proc *p, const char *const *argv)
{
    const char *name = strrchr(argv[0], '/');
    const mvm__sim_builtin *b;

    name = name ? name + 1 : argv[0];
    b = mvm__sim_builtin_find(name, strlen(name));
    if (!b || b->shell)
        return ENOENT;
    mvm__sim_command_clear(p);
    p->argv = strings_copy(argv, &p->argc);
    p->step = b->step;
    return 0;
}

void mvm__sim_proc_script(mvm__sim_proc *p, const char *text, size_t len)
{
    mvm__sim_command_clear(p);
    mvm__sim_script_push(p, text, len);
}

void mvm__sim_proc_end(mvm__sim_proc *p, int status, int signum)
{
    if (p->ended)
        return;
    mvm__sim_command_clear(p);
    while (p->script)
        mvm__sim_script_pop(p);
    p->ended = true;
    p->status = signum ? 128 + signum : status & 0xff;
    p->signal = signum;
}

/* Numbers of Linux: what is ignored, stops, goes on, or else ends a process. */
void mvm__sim_proc_signal(mvm__sim_proc *p, int signum)
{
    switch (signum) {
    case 0:
    case 17: /* CHLD */
    case 23: /* URG */
    case 28: /* WINCH */
        return;
    case 19: /* STOP, TSTP, TTIN, TTOU */
    case 20:
    case 21:
    case 22:
        p->stopped = true;
        return;
    case 18: /* CONT */
        p->stopped = false;
        break;
    default:
        mvm__sim_proc_end(p, 0, signum);
    }
    mvm__sim_wake(p->sim);
}

bool mvm__sim_proc_run(mvm__sim_proc *p)
{
    for (int i = 0; i < SHARE && !p->ended && !p->stopped && !p->waiting; i++) {
        if (mvm__buf_len(&p->out[1]) >= MVM__SIM_PIPE || mvm__buf_len(&p->out[2]) >= MVM__SIM_PIPE)
            return false;
        if (!p->step) {
            if (!p->script || !mvm__sim_shell_next(p))
                mvm__sim_proc_end(p, p->status, 0);
            continue;
        }
        switch (p->step(p)) {
        case MVM__SIM_DONE:
            if (p->broken && p->status == 0)
                p->status = 1;
            mvm__sim_command_clear(p);
            break;
        case MVM__SIM_AGAIN:
            break;
        case MVM__SIM_INPUT:
            return false;
        case MVM__SIM_TIME:
            p->waiting = true;
        }
    }
    return !p->ended && !p->stopped && !p->waiting;
}
