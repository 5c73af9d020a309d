/* SPDX-License-Identifier: MIT */
/*
 * Commands: each gets a session and process group of its own and three pipes.
 * posix_spawn tells at once whether the program could be started, and does not
 * copy the agent for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/agent.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

extern char **environ;

typedef struct command {
    uint32_t flags;
    char *text;  /* all strings, terminated */
    char **argv; /* two places are free before it, for a script without "#!" */
    char **envp;
    char **vector; /* the memory of argv and envp */
    char *cwd;
    char *program; /* what to execute; malloc'ed */
} command;

static struct rlimit files_of_commands;
static bool files_raised;

void mvm__exec_env(bool init)
{
    setenv("PATH", DEFAULT_PATH, init);
    setenv("HOME", "/root", init);
    setenv("TERM", "linux", init);
    if (init)
        setenv("USER", "root", 1);
}

/* The agent needs three descriptors a stream; commands keep the usual limit. */
void mvm__exec_limits(void)
{
    struct rlimit own;

    if (getrlimit(RLIMIT_NOFILE, &files_of_commands))
        return;
    own = files_of_commands;
    rlim_t need = 4 * MVM_AGENT_STREAMS_MAX;
    if (own.rlim_cur >= need)
        return;
    own.rlim_cur = MVM_MIN(need, own.rlim_max);
    files_raised = setrlimit(RLIMIT_NOFILE, &own) == 0;
}

static void limit_files(bool of_commands)
{
    struct rlimit own = files_of_commands;

    if (!files_raised)
        return;
    if (!of_commands)
        own.rlim_cur = MVM_MIN((rlim_t)4 * MVM_AGENT_STREAMS_MAX, own.rlim_max);
    setrlimit(RLIMIT_NOFILE, &own);
}

/* ---- what the frame says ------------------------------------------------------------ */

static void command_free(command *c)
{
    free(c->text);
    free(c->vector);
    free(c->program);
}

/* Moves one string of the payload to *at, terminated. */
static char *copy_str(mvm_agent_reader *r, char **at)
{
    size_t len;
    const char *s = mvm_agent_get_str(r, &len);
    char *copy = *at;

    memcpy(copy, s, len);
    copy[len] = '\0';
    *at += len + 1;
    return copy;
}

/* Puts NAME=value in the place of the same name among the first n, or at the end. */
static size_t env_put(char **envp, size_t inherited, size_t n, char *entry)
{
    size_t name = strcspn(entry, "=") + 1;

    for (size_t i = 0; i < inherited; i++) {
        if (strncmp(envp[i], entry, name) == 0) {
            envp[i] = entry;
            return n;
        }
    }
    envp[n] = entry;
    return n + 1;
}

/* 0, or an errno. */
static int command_parse(command *c, const mvm_agent_frame *f)
{
    mvm_agent_reader r = {.data = f->payload, .len = f->len};
    size_t inherited = 0;

    c->flags = mvm_agent_get_u32(&r);
    size_t argc = mvm_agent_get_u16(&r);
    size_t envc = mvm_agent_get_u16(&r);
    if (r.bad || argc == 0 || (argc + envc) * 2 > r.len)
        return EPROTO;
    while (environ[inherited])
        inherited++;
    c->text = malloc(2 * r.len); /* terminators too, also of strings that turn out to be bad */
    c->vector = calloc(argc + envc + inherited + 4, sizeof *c->vector);
    if (!c->text || !c->vector)
        return ENOMEM;
    char *at = c->text;
    c->cwd = copy_str(&r, &at);
    c->argv = c->vector + 1;
    for (size_t i = 0; i < argc; i++)
        c->argv[i] = copy_str(&r, &at);
    c->envp = c->argv + argc + 1;
    memcpy(c->envp, environ, inherited * sizeof *c->envp);
    size_t n = inherited;
    for (size_t i = 0; i < envc; i++) {
        char *entry = copy_str(&r, &at);
        if (!strchr(entry, '=') || entry[0] == '=')
            return EINVAL;
        n = env_put(c->envp, inherited, n, entry);
    }
    return r.bad || r.pos != r.len ? EPROTO : 0;
}

/* ---- which program -------------------------------------------------------------------- */

static const char *env_get(char *const *envp, const char *name_eq)
{
    size_t n = strlen(name_eq);

    for (; *envp; envp++)
        if (strncmp(*envp, name_eq, n) == 0)
            return *envp + n;
    return NULL;
}

static bool is_program(int cwd, const char *path)
{
    struct stat st;

    if (fstatat(cwd, path, &st, 0))
        return false;
    errno = EACCES;
    return S_ISREG(st.st_mode) && faccessat(cwd, path, X_OK, AT_EACCESS) == 0;
}

/* Looks a bare name up in the command's own PATH. 0, or an errno. */
static int find_program(command *c, int cwd)
{
    const char *name = c->argv[0];
    const char *path = env_get(c->envp, "PATH=");
    int why = ENOENT;

    if (strchr(name, '/')) {
        c->program = strdup(name);
        return c->program ? 0 : ENOMEM;
    }
    if (!path)
        path = DEFAULT_PATH;
    char *full = malloc(strlen(path) + strlen(name) + 3);
    if (!full)
        return ENOMEM;
    while (name[0]) {
        size_t n = strcspn(path, ":");
        memcpy(full, n ? path : ".", n ? n : 1);
        full[n ? n : 1] = '/';
        strcpy(full + (n ? n : 1) + 1, name);
        if (is_program(cwd, full)) {
            c->program = full;
            return 0;
        }
        if (errno == EACCES)
            why = EACCES;
        if (!path[n])
            break;
        path += n + 1;
    }
    free(full);
    return why;
}

/* ---- starting it ------------------------------------------------------------------------ */

/* The child's ends are [0] of stdin and [1] of the others. */
typedef struct pipes {
    int in[2], out[2], err[2];
} pipes;

static void close_all(pipes *p)
{
    int *all[] = {p->in, p->in + 1, p->out, p->out + 1, p->err, p->err + 1};

    for (size_t i = 0; i < MVM_COUNT(all); i++) {
        if (*all[i] >= 0)
            close(*all[i]);
        *all[i] = -1;
    }
}

static int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

static int open_pipes(pipes *p, bool with_stdin)
{
    if ((with_stdin && pipe2(p->in, O_CLOEXEC)) || pipe2(p->out, O_CLOEXEC) ||
        pipe2(p->err, O_CLOEXEC))
        return errno;
    /* Only our ends: they are descriptions of their own. */
    if ((with_stdin && fcntl(p->in[1], F_SETFL, O_NONBLOCK)) ||
        fcntl(p->out[0], F_SETFL, O_NONBLOCK) || fcntl(p->err[0], F_SETFL, O_NONBLOCK))
        return errno;
    return 0;
}

void mvm__spawn_attr(posix_spawnattr_t *attr)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(attr);
    posix_spawnattr_setflags(attr,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
}

static int spawn(command *c, const pipes *p, int cwd, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;

    mvm__spawn_attr(&attr);
    posix_spawn_file_actions_init(&actions);
    if (p->in[0] >= 0)
        posix_spawn_file_actions_adddup2(&actions, p->in[0], 0);
    else
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, p->out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, p->err[1], 2);
    posix_spawn_file_actions_addfchdir_np(&actions, cwd);

    limit_files(true);
    int rc = posix_spawn(pid, c->program, &actions, &attr, c->argv, c->envp);
    if (rc == ENOEXEC) { /* a script without "#!": the shell reads it, as execvp would have it */
        char shell[] = "/bin/sh";
        char *name = c->argv[0];
        c->argv[0] = c->program;
        c->argv[-1] = shell;
        rc = posix_spawn(pid, shell, &actions, &attr, c->argv - 1, c->envp);
        c->argv[0] = name;
    }
    limit_files(false);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return rc;
}

static void say_started(const mvm__stream *s)
{
    mvm_agent_writer w = {.data = mvm__out_frame(8), .cap = 8};

    mvm_agent_put_u32(&w, (uint32_t)s->pid);
    mvm_agent_put_u32(&w, (uint32_t)-1);
    mvm__out_commit(MVM_AGENT_STARTED, 0, s->id, w.len);
}

/* The command runs: its stream takes our ends of the pipes over. */
static void adopt(uint32_t id, pid_t pid, pipes *p)
{
    mvm__stream *s = mvm__stream_new(id, MVM__EXEC);

    if (!s) {
        kill(-pid, SIGKILL);
        mvm__out_error(id, ENOMEM, NULL);
        return;
    }
    s->pid = pid;
    say_started(s);
    if (p->in[1] >= 0)
        mvm__sink_open(s, take_fd(&p->in[1]));
    int rc = mvm__tap_open(s, 1, take_fd(&p->out[0]));
    if (rc == 0)
        rc = mvm__tap_open(s, 2, take_fd(&p->err[0]));
    if (rc)
        mvm__stream_fail(s, -rc, "output of the command");
}

/* 0, or an errno; *what names what it is about. */
static int start(uint32_t id, command *c, const char **what)
{
    pipes p = {{-1, -1}, {-1, -1}, {-1, -1}};
    pid_t pid;

    *what = c->cwd;
    int cwd = open(c->cwd[0] ? c->cwd : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cwd < 0)
        return errno;
    *what = c->argv[0];
    int rc = find_program(c, cwd);
    if (rc == 0)
        rc = open_pipes(&p, !(c->flags & MVM_AGENT_EXEC_STDIN_NULL));
    if (rc == 0)
        rc = spawn(c, &p, cwd, &pid);
    if (rc == 0)
        adopt(id, pid, &p);
    close_all(&p);
    close(cwd);
    return rc;
}

void mvm__exec(const mvm_agent_frame *f)
{
    command c = {0};
    const char *what = "bad EXEC";
    int rc = command_parse(&c, f);

    if (rc == 0)
        rc = start(f->stream, &c, &what);
    if (rc)
        mvm__out_error(f->stream, rc, what);
    command_free(&c);
}

/* ---- signals and ends --------------------------------------------------------------------- */

void mvm__exec_signal(mvm__stream *s, int signum)
{
    if (s->kind != MVM__EXEC || signum < 1 || signum > 64)
        return;
    /* The group may outlive its leader, and the stream lives as long as one of it holds an output
     * open. When none does, the number may be another command's by now. */
    if (s->exited && mvm__stream_of_pid(s->pid))
        return;
    kill(-s->pid, signum);
}

void mvm__exec_ended(pid_t pid, int wait_status)
{
    mvm__stream *s = mvm__stream_of_pid(pid);

    if (!s)
        return;
    if (s->kind == MVM__MOUNT) {
        mvm__mount_ended(s);
        return;
    }
    int signum = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    mvm__stream_exit(s, signum ? 128 + signum : WEXITSTATUS(wait_status), signum);
}
