/* SPDX-License-Identifier: MIT */
/*
 * The commands of a simulated guest that end in one step: small ones of the shell, of files and of
 * the system. They answer as busybox does. Loop thread only.
 */
#include "backend/sim/sim_builtins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define done mvm__sim_done

static enum mvm__sim_step do_true(mvm__sim_proc *p)
{
    return done(p, 0);
}

static enum mvm__sim_step do_false(mvm__sim_proc *p)
{
    return done(p, 1);
}

static enum mvm__sim_step do_echo(mvm__sim_proc *p)
{
    bool newline = p->argc < 2 || strcmp(p->argv[1], "-n") != 0;

    for (int i = newline ? 1 : 2; i < p->argc; i++) {
        mvm__sim_put(p, 1, p->argv[i], strlen(p->argv[i]));
        if (i + 1 < p->argc)
            mvm__sim_put(p, 1, " ", 1);
    }
    if (newline)
        mvm__sim_put(p, 1, "\n", 1);
    return done(p, 0);
}

/* One backslash escape of printf at *s. */
static char escape(const char **s)
{
    static const char from[] = "ntr\\", to[] = "\n\t\r\\";
    const char *hit = **s ? strchr(from, **s) : NULL;
    int value = 0, digits = 0;

    if (hit) {
        (*s)++;
        return to[hit - from];
    }
    if (**s == 'x') {
        char hex[3] = {(*s)[1], (*s)[1] ? (*s)[2] : '\0', '\0'};
        char *end;
        value = (int)strtol(hex, &end, 16);
        *s += 1 + (end - hex);
        return (char)value;
    }
    for (; digits < 3 && **s >= '0' && **s <= '7'; digits++)
        value = value * 8 + *(*s)++ - '0';
    return digits ? (char)value : '\\';
}

/* printf FORMAT [word ...]: %s, %d, %% and escapes, the format once. */
static enum mvm__sim_step do_printf(mvm__sim_proc *p)
{
    int arg = 2;

    for (const char *s = p->argc > 1 ? p->argv[1] : ""; *s;) {
        char c = *s++;
        if (c == '\\') {
            c = escape(&s);
        } else if (c == '%' && (*s == 's' || *s == 'd')) {
            const char *word = arg < p->argc ? p->argv[arg] : *s == 'd' ? "0" : "";
            mvm__sim_put(p, 1, word, strlen(word));
            arg++;
            s++;
            continue;
        } else if (c == '%' && *s == '%') {
            s++;
        }
        mvm__sim_put(p, 1, &c, 1);
    }
    return done(p, 0);
}

static enum mvm__sim_step do_exit(mvm__sim_proc *p)
{
    int status = p->argc > 1 ? atoi(p->argv[1]) & 0xff : p->status;

    mvm__sim_script_pop(p);
    return done(p, status);
}

static enum mvm__sim_step do_env(mvm__sim_proc *p)
{
    for (char **e = p->env; *e && p->argc == 1; e++) {
        mvm__sim_put(p, 1, *e, strlen(*e));
        mvm__sim_put(p, 1, "\n", 1);
    }
    if (p->argc > 1)
        mvm__sim_printf(p, 2, "env: only listing is simulated\n");
    return done(p, p->argc > 1 ? 125 : 0);
}

static enum mvm__sim_step do_export(mvm__sim_proc *p)
{
    for (int i = 1; i < p->argc; i++)
        if (strchr(p->argv[i], '='))
            mvm__sim_setenv(p, p->argv[i], strlen(p->argv[i]));
    return done(p, 0);
}

static enum mvm__sim_step do_pwd(mvm__sim_proc *p)
{
    mvm__sim_put(p, 1, p->cwd, strlen(p->cwd));
    mvm__sim_put(p, 1, "\n", 1);
    return done(p, 0);
}

static enum mvm__sim_step do_cd(mvm__sim_proc *p)
{
    const char *where = p->argc > 1 ? p->argv[1] : "/root";
    char *path = mvm__sim_path(p->cwd, where);
    int kind = mvm__sim_kind(p->sim, path);

    if (kind != 'd') {
        mvm__free(path);
        mvm__sim_printf(p, 2, "sh: cd: can't cd to %s: %s\n", where,
                        mvm__sim_strerror(kind ? ENOTDIR : ENOENT));
        return done(p, 2);
    }
    mvm__free(p->cwd);
    p->cwd = path;
    return done(p, 0);
}

static enum mvm__sim_step do_sh(mvm__sim_proc *p)
{
    if (p->argc < 3 || strcmp(p->argv[1], "-c") != 0) {
        mvm__sim_printf(p, 2, "sh: only -c is simulated\n");
        return done(p, 2);
    }
    mvm__sim_script_push(p, p->argv[2], strlen(p->argv[2]));
    return done(p, 0);
}

/* ---- the system ---------------------------------------------------------------------------- */

static enum mvm__sim_step do_hostname(mvm__sim_proc *p)
{
    mvm__sim_printf(p, 1, "%s\n", mvm__sim_hostname(p->sim));
    return done(p, 0);
}

static enum mvm__sim_step do_uname(mvm__sim_proc *p)
{
    const char *arch = mvm_record_str(mvm_vm_config(p->sim->vm), "arch");
    const char *option = p->argc > 1 ? p->argv[1] : "-s";

    arch = arch ? arch : "x86_64";
    if (strcmp(option, "-a") == 0)
        mvm__sim_printf(p, 1, "Linux %s 6.1.0-sim #1 SMP %s GNU/Linux\n", mvm__sim_hostname(p->sim),
                        arch);
    else if (strcmp(option, "-n") == 0)
        return do_hostname(p);
    else
        mvm__sim_printf(p, 1, "%s\n",
                        strcmp(option, "-r") == 0   ? "6.1.0-sim"
                        : strcmp(option, "-m") == 0 ? arch
                                                    : "Linux");
    return done(p, 0);
}

static enum mvm__sim_step do_nproc(mvm__sim_proc *p)
{
    mvm__sim_printf(p, 1, "%lld\n", (long long)mvm_record_int(mvm_vm_config(p->sim->vm), "cpus"));
    return done(p, 0);
}

static enum mvm__sim_step do_kill(mvm__sim_proc *p)
{
    int signum = 15, arg = 1;

    if (arg < p->argc && p->argv[arg][0] == '-')
        signum = mvm__sim_signum(p->argv[arg++] + 1);
    int pid = arg < p->argc ? atoi(p->argv[arg]) : 0;
    if (signum < 0 || pid <= 0) {
        mvm__sim_printf(p, 2, "sh: bad signal or process\n");
        return done(p, 1);
    }
    mvm__list_each (it, &p->sim->procs) {
        mvm__sim_proc *other = mvm__container_of(it, mvm__sim_proc, link);
        if (other->pid != pid || other->ended)
            continue;
        mvm__sim_proc_signal(other, signum);
        return done(p, other->ended && other == p ? p->status : 0);
    }
    mvm__sim_printf(p, 2, "sh: can't kill pid %d: No such process\n", pid);
    return done(p, 1);
}

static enum mvm__sim_step do_power(mvm__sim_proc *p)
{
    mvm__sim_power(p->sim, strcmp(p->argv[0], "reboot") == 0);
    return done(p, 0);
}

/* ---- files -------------------------------------------------------------------------------------
 */

/* Calls act for every argument that is no option; complains of the ones that fail. */
static enum mvm__sim_step each_path(mvm__sim_proc *p,
                                    int (*act)(mvm__sim_proc *p, const char *path), bool quiet)
{
    int status = 0;

    for (int i = p->arg; i < p->argc; i++) {
        if (p->argv[i][0] == '-')
            continue;
        MVM_AUTO_FREE char *path = mvm__sim_path(p->cwd, p->argv[i]);
        int error = act(p, path);
        if (error != 0 && !quiet) {
            mvm__sim_complain(p, p->argv[i], error);
            status = 1;
        }
    }
    return done(p, status);
}

static bool has_option(const mvm__sim_proc *p, char option)
{
    for (int i = 1; i < p->argc; i++)
        if (p->argv[i][0] == '-' && strchr(p->argv[i] + 1, option))
            return true;
    return false;
}

static int make_dir(mvm__sim_proc *p, const char *path)
{
    for (const char *s = path + 1; has_option(p, 'p') && (s = strchr(s, '/')) != NULL; s++) {
        MVM_AUTO_FREE char *parent = mvm__strndup(path, (size_t)(s - path));
        mvm__sim_mkdir(p->sim, parent, 0);
    }
    int error = mvm__sim_mkdir(p->sim, path, 0);
    return has_option(p, 'p') && mvm__sim_kind(p->sim, path) == 'd' ? 0 : error;
}

static enum mvm__sim_step do_mkdir(mvm__sim_proc *p)
{
    return each_path(p, make_dir, false);
}

static int remove_path(mvm__sim_proc *p, const char *path)
{
    return mvm__sim_remove(p->sim, path, has_option(p, 'r'));
}

static enum mvm__sim_step do_rm(mvm__sim_proc *p)
{
    return each_path(p, remove_path, has_option(p, 'f'));
}

static int touch_path(mvm__sim_proc *p, const char *path)
{
    return mvm__sim_truncate(p->sim, path, true);
}

static enum mvm__sim_step do_touch(mvm__sim_proc *p)
{
    return each_path(p, touch_path, false);
}

static int change_mode(mvm__sim_proc *p, const char *path)
{
    return mvm__sim_chmod(p->sim, path, (int)strtol(p->argv[1], NULL, 8));
}

static enum mvm__sim_step do_chmod(mvm__sim_proc *p)
{
    if (p->argc < 3 || strspn(p->argv[1], "01234567") != strlen(p->argv[1])) {
        mvm__sim_printf(p, 2, "chmod: only octal modes are simulated\n");
        return done(p, 1);
    }
    p->arg = 2;
    return each_path(p, change_mode, false);
}

/* stat -c %a FILE: its permissions */
static int print_mode(mvm__sim_proc *p, const char *path)
{
    if (!mvm__sim_kind(p->sim, path))
        return ENOENT;
    mvm__sim_printf(p, 1, "%o\n", (unsigned)mvm__sim_perm(p->sim, path));
    return 0;
}

static enum mvm__sim_step do_stat(mvm__sim_proc *p)
{
    if (p->argc < 4 || strcmp(p->argv[1], "-c") != 0 || strcmp(p->argv[2], "%a") != 0) {
        mvm__sim_printf(p, 2, "stat: only -c %%a is simulated\n");
        return done(p, 1);
    }
    p->arg = 3;
    return each_path(p, print_mode, false);
}

static int list_path(mvm__sim_proc *p, const char *path)
{
    int kind = mvm__sim_kind(p->sim, path);
    mvm__buf names = {0};

    if (!kind)
        return ENOENT;
    if (kind == 'd')
        mvm__sim_list(p->sim, path, &names);
    else
        mvm__buf_printf(&names, "%s\n", path);
    mvm__sim_put(p, 1, mvm__buf_str(&names), mvm__buf_len(&names));
    mvm__buf_free(&names);
    return 0;
}

/* ls: one name a line; options are ignored. */
static enum mvm__sim_step do_ls(mvm__sim_proc *p)
{
    bool any = false;

    for (int i = 1; i < p->argc; i++)
        any |= p->argv[i][0] != '-';
    if (any)
        return each_path(p, list_path, false);
    list_path(p, p->cwd);
    return done(p, 0);
}

/* test and [: -e -f -d -s PATH, -n -z WORD, A = B, A != B, A -eq B */
static enum mvm__sim_step do_test(mvm__sim_proc *p)
{
    int n = p->argc - 1 - (p->argv[0][0] == '[');
    char **a = p->argv + 1;
    bool not = n > 0 && strcmp(a[0], "!") == 0;
    bool yes = false;

    a += not ;
    n -= not ;
    if (n == 1) {
        yes = a[0][0] != '\0';
    } else if (n == 2 && (a[0][1] == 'n' || a[0][1] == 'z')) {
        yes = (a[1][0] != '\0') == (a[0][1] == 'n');
    } else if (n == 2) {
        MVM_AUTO_FREE char *path = mvm__sim_path(p->cwd, a[1]);
        int kind = mvm__sim_kind(p->sim, path);
        yes = a[0][1] == 'e' ? kind != 0 : kind == a[0][1];
    } else if (n == 3 && strcmp(a[1], "-eq") == 0) {
        yes = atoll(a[0]) == atoll(a[2]);
    } else if (n == 3) {
        yes = (strcmp(a[0], a[2]) == 0) == (a[1][0] == '=');
    }
    return done(p, yes != not ? 0 : 1);
}

/* mount -t tmpfs -o size=64k none DIR: a directory with a limit */
static enum mvm__sim_step do_mount(mvm__sim_proc *p)
{
    int64_t size = 0;

    for (int i = 1; i + 1 < p->argc; i++)
        if (strcmp(p->argv[i], "-o") == 0 && strncmp(p->argv[i + 1], "size=", 5) == 0) {
            char *end;
            size = strtoll(p->argv[i + 1] + 5, &end, 10);
            size <<= *end == 'k' ? 10 : *end == 'm' || *end == 'M' ? 20 : 0;
        }
    if (p->argc < 4 || size <= 0) {
        mvm__sim_printf(p, 2, "mount: only tmpfs with a size is simulated\n");
        return done(p, 1);
    }
    MVM_AUTO_FREE char *path = mvm__sim_path(p->cwd, p->argv[p->argc - 1]);
    int error = mvm__sim_kind(p->sim, path) == 'd' ? 0 : ENOENT;
    if (error == 0)
        error = mvm__sim_mkdir(p->sim, path, (size_t)size);
    return error ? mvm__sim_complain(p, p->argv[p->argc - 1], error) : done(p, 0);
}

const mvm__sim_builtin mvm__sim_quick[] = {
    {"true", do_true, false},    {"false", do_false, false},
    {"echo", do_echo, false},    {"printf", do_printf, false},
    {"env", do_env, false},      {"pwd", do_pwd, false},
    {"sh", do_sh, false},        {"hostname", do_hostname, false},
    {"uname", do_uname, false},  {"nproc", do_nproc, false},
    {"kill", do_kill, false},    {"poweroff", do_power, false},
    {"reboot", do_power, false}, {"sync", do_true, false},
    {"mkdir", do_mkdir, false},  {"rm", do_rm, false},
    {"touch", do_touch, false},  {"chmod", do_chmod, false},
    {"stat", do_stat, false},    {"ls", do_ls, false},
    {"test", do_test, false},    {"[", do_test, false},
    {"mount", do_mount, false},  {":", do_true, true},
    {"exit", do_exit, true},     {"cd", do_cd, true},
    {"export", do_export, true}, {NULL, NULL, false},
};

/* ---- words of errors and signals ----------------------------------------------------------------
 */

const char *mvm__sim_strerror(int error)
{
    return strerror(error);
}

int mvm__sim_signum(const char *word)
{
    static const struct {
        const char *name;
        int signum;
    } signals[] = {{"HUP", 1},   {"INT", 2},   {"QUIT", 3},  {"KILL", 9}, {"USR1", 10},
                   {"USR2", 12}, {"TERM", 15}, {"CONT", 18}, {"STOP", 19}};

    if (strncmp(word, "SIG", 3) == 0)
        word += 3;
    for (size_t i = 0; i < MVM_COUNT(signals); i++)
        if (strcmp(signals[i].name, word) == 0)
            return signals[i].signum;
    char *end;
    long n = strtol(word, &end, 10);
    return *word && !*end && n >= 0 && n <= 64 ? (int)n : -1;
}
