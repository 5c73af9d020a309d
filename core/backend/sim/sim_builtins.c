/* SPDX-License-Identifier: MIT */
/*
 * The commands of a simulated guest that move bytes or take time, and the table of all. Each is a
 * step function (sim_internal.h): it does a bounded piece of work and says what it waits for. They
 * answer as busybox does. Loop thread only.
 */
#include "backend/sim/sim_builtins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mvm__sim_step mvm__sim_done(mvm__sim_proc *p, int status)
{
    p->status = status;
    return MVM__SIM_DONE;
}

enum mvm__sim_step mvm__sim_complain(mvm__sim_proc *p, const char *what, int error)
{
    mvm__sim_printf(p, 2, "%s: %s: %s\n", p->argv[0], what, mvm__sim_strerror(error));
    return mvm__sim_done(p, 1);
}

/* ---- reading files or standard input --------------------------------------------------- */

/* Bytes of the argument being read, or of standard input. len 0 with *eof: its end. */
static size_t pull(mvm__sim_proc *p, char *out, size_t len, bool *eof)
{
    if (!p->has_source)
        return mvm__sim_input(p, out, len, eof);
    size_t n = mvm__sim_read(p->sim, &p->source, out, len);
    *eof = n == 0;
    return n;
}

/* Opens argument `arg` as what is read; "-" is standard input. false: complained. */
static bool open_arg(mvm__sim_proc *p, const char *arg)
{
    if (p->has_source)
        mvm__sim_source_close(&p->source);
    p->has_source = false;
    if (strcmp(arg, "-") == 0)
        return true;
    MVM_AUTO_FREE char *path = mvm__sim_path(p->cwd, arg);
    int error = mvm__sim_open(p->sim, path, &p->source);
    if (error == 0) {
        p->has_source = true;
        return true;
    }
    if (error == EISDIR)
        mvm__sim_printf(p, 2, "%s: read error: Is a directory\n", p->argv[0]);
    else
        mvm__sim_printf(p, 2, "%s: can't open '%s': %s\n", p->argv[0], arg,
                        mvm__sim_strerror(error));
    p->count = 1; /* the status in the end */
    return false;
}

static enum mvm__sim_step do_cat(mvm__sim_proc *p)
{
    char chunk[MVM__SIM_CHUNK];
    bool eof = false;

    if (!p->begun) {
        p->begun = true;
        if (p->argc > 1 && !open_arg(p, p->argv[1]))
            eof = true;
    }
    size_t n = eof ? 0 : pull(p, chunk, sizeof(chunk), &eof);
    if (n > 0) {
        mvm__sim_put(p, 1, chunk, n);
        return MVM__SIM_AGAIN;
    }
    if (!eof)
        return MVM__SIM_INPUT;
    while (++p->arg < p->argc)
        if (open_arg(p, p->argv[p->arg]))
            return MVM__SIM_AGAIN;
    return mvm__sim_done(p, (int)p->count);
}

/* head -c N | -n N | -N [file] */
static bool head_options(mvm__sim_proc *p, bool *lines)
{
    const char *number = "10";

    *lines = true;
    if (p->argc > 1 && p->argv[1][0] == '-' && p->argv[1][1]) {
        const char *option = p->argv[1] + 1;
        p->arg = 2;
        *lines = *option != 'c';
        number = option + (*option == 'c' || *option == 'n');
        if (!*number && p->argc > 2)
            number = p->argv[p->arg++];
    }
    char *end;
    p->left = strtoll(number, &end, 10);
    if (*end == 'k' || *end == 'M')
        p->left <<= *end++ == 'k' ? 10 : 20;
    return *number && !*end && p->left >= 0;
}

static enum mvm__sim_step do_head(mvm__sim_proc *p)
{
    char chunk[MVM__SIM_CHUNK];
    bool eof = false;

    if (!p->begun) {
        bool lines;
        p->begun = true;
        if (!head_options(p, &lines)) {
            mvm__sim_printf(p, 2, "head: invalid number\n");
            return mvm__sim_done(p, 1);
        }
        p->argc = p->arg < p->argc ? p->argc : p->arg;
        if (p->arg < p->argc && !open_arg(p, p->argv[p->arg]))
            return mvm__sim_done(p, 1);
        p->arg = lines; /* from now on: what `left` counts */
    }
    if (p->left == 0)
        return mvm__sim_done(p, 0);
    size_t most = p->arg ? 1 : (size_t)MVM_MIN(p->left, (int64_t)sizeof(chunk));
    size_t n = 0, got;
    do {
        got = pull(p, chunk + n, p->arg ? 1 : most, &eof);
        n += got;
        p->left -= p->arg ? got > 0 && chunk[n - 1] == '\n' : (int64_t)got;
    } while (p->arg && got > 0 && p->left > 0 && n < sizeof(chunk));
    mvm__sim_put(p, 1, chunk, n);
    if (eof)
        return mvm__sim_done(p, 0);
    return n > 0 ? MVM__SIM_AGAIN : MVM__SIM_INPUT;
}

/* wc -c | -l [file] */
static enum mvm__sim_step do_wc(mvm__sim_proc *p)
{
    char chunk[MVM__SIM_CHUNK];
    bool eof = false;
    bool lines = p->argc > 1 && strcmp(p->argv[1], "-l") == 0;

    if (!p->begun) {
        p->begun = true;
        if (!lines && (p->argc < 2 || strcmp(p->argv[1], "-c") != 0)) {
            mvm__sim_printf(p, 2, "wc: only -c and -l are simulated\n");
            return mvm__sim_done(p, 2);
        }
        if (p->argc > 2 && !open_arg(p, p->argv[2]))
            return mvm__sim_done(p, 1);
        p->count = 0;
    }
    size_t n = pull(p, chunk, sizeof(chunk), &eof);
    for (size_t i = 0; lines && i < n; i++)
        p->count += chunk[i] == '\n';
    p->count += lines ? 0 : (int64_t)n;
    if (n > 0)
        return MVM__SIM_AGAIN;
    if (!eof)
        return MVM__SIM_INPUT;
    const char *name = p->argc > 2 ? p->argv[2] : NULL;
    mvm__sim_printf(p, 1, "%lld%s%s\n", (long long)p->count, name ? " " : "", name ? name : "");
    return mvm__sim_done(p, 0);
}

/* read NAME: one line of standard input */
static enum mvm__sim_step do_read(mvm__sim_proc *p)
{
    bool eof = false;
    char c;

    if (!p->begun) {
        p->begun = true;
        MVM_AUTO_FREE char *empty = mvm__asprintf("%s=", p->argc > 1 ? p->argv[1] : "REPLY");
        mvm__sim_setenv(p, empty, strlen(empty));
    }
    const char *name = p->argc > 1 ? p->argv[1] : "REPLY";
    mvm__buf pair = {0};
    size_t n;
    mvm__buf_printf(&pair, "%s=%s", name, mvm__sim_getenv(p, name, strlen(name)));
    while ((n = mvm__sim_input(p, &c, 1, &eof)) > 0 && c != '\n')
        mvm__buf_append(&pair, &c, 1);
    mvm__sim_setenv(p, mvm__buf_ptr(&pair), mvm__buf_len(&pair));
    mvm__buf_free(&pair);
    if (n > 0 || eof)
        return mvm__sim_done(p, eof ? 1 : 0);
    return MVM__SIM_INPUT;
}

/* ---- without end, and time ------------------------------------------------------------------ */

static enum mvm__sim_step do_yes(mvm__sim_proc *p)
{
    char chunk[MVM__SIM_CHUNK];
    const char *word = p->argc > 1 ? p->argv[1] : "y";
    size_t len = MVM_MIN(strlen(word), sizeof(chunk) - 1), n = 0;

    while (n + len + 1 <= sizeof(chunk)) {
        memcpy(chunk + n, word, len);
        chunk[n + len] = '\n';
        n += len + 1;
    }
    mvm__sim_put(p, 1, chunk, n);
    return MVM__SIM_AGAIN;
}

/* seq [FIRST] LAST */
static enum mvm__sim_step do_seq(mvm__sim_proc *p)
{
    if (!p->begun) {
        p->begun = true;
        p->count = p->argc > 2 ? atoll(p->argv[1]) : 1;
        p->left = p->argc > 1 ? atoll(p->argv[p->argc - 1]) : 0;
    }
    for (int i = 0; i < 256 && p->count <= p->left; i++)
        mvm__sim_printf(p, 1, "%lld\n", (long long)p->count++);
    return p->count <= p->left ? MVM__SIM_AGAIN : mvm__sim_done(p, 0);
}

static void awake(void *ud)
{
    mvm__sim_proc *p = ud;

    p->waiting = false;
    mvm__sim_wake(p->sim);
}

static enum mvm__sim_step do_sleep(mvm__sim_proc *p)
{
    char *end = NULL;
    double seconds = p->argc > 1 ? strtod(p->argv[1], &end) : -1;

    if (p->begun)
        return mvm__sim_done(p, 0);
    if (!end || end == p->argv[1] || *end || !(seconds >= 0)) {
        mvm__sim_printf(p, 2, "sleep: invalid number '%s'\n", p->argc > 1 ? p->argv[1] : "");
        return mvm__sim_done(p, 1);
    }
    p->begun = true;
    mvm__sim_at(&p->sim->clock, &p->task, MVM_MIN(seconds, 1e9), awake, p);
    return MVM__SIM_TIME;
}

/* ---- the table ----------------------------------------------------------------------------------
 */

static const mvm__sim_builtin g_moving[] = {
    {"cat", do_cat, false},  {"head", do_head, false}, {"wc", do_wc, false},
    {"yes", do_yes, false},  {"seq", do_seq, false},   {"sleep", do_sleep, false},
    {"read", do_read, true}, {NULL, NULL, false},
};

static const mvm__sim_builtin *find(const mvm__sim_builtin *table, const char *name, size_t len)
{
    for (; table->name; table++)
        if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
            return table;
    return NULL;
}

const mvm__sim_builtin *mvm__sim_builtin_find(const char *name, size_t len)
{
    const mvm__sim_builtin *found = find(g_moving, name, len);

    return found ? found : find(mvm__sim_quick, name, len);
}
