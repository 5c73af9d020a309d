/* SPDX-License-Identifier: MIT */
/*
 * What the files of the sim back end share. A machine of sim is one mvm__sim: what a script set
 * (it outlives runs), the op in flight, and the simulated guest with a clock of its own, which
 * stands still while the machine is paused. No thread, no descriptor, no process.
 */
#ifndef MVM_BACKEND_SIM_INTERNAL_H
#define MVM_BACKEND_SIM_INTERNAL_H

#include <stdint.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/list.h"
#include "mvm/loop.h"
#include "mvm/backend.h"
#include "mvm/sim.h"
#include "wire/agent_wire.h"

/* Bytes that wait between a command and its reader, and on the agent's port. */
#define MVM__SIM_PIPE  32768u
#define MVM__SIM_PORT  (2u * (MVM_AGENT_PAYLOAD_MAX + MVM_AGENT_HEADER))
#define MVM__SIM_CHUNK 8192u /* what one step of a command moves */

typedef struct mvm__sim mvm__sim;
typedef struct mvm__sim_proc mvm__sim_proc;
typedef struct mvm__sim_stream mvm__sim_stream;

/* ---- the guest's clock (sim_clock.c) ---------------------------------------------- */

/* Something that happens at a time of the guest's clock. Embedded; zeroed is "not armed". */
typedef struct mvm__sim_task {
    mvm__link link;
    double due;
    mvm_fn fn;
    void *ud;
} mvm__sim_task;

typedef struct mvm__sim_clock {
    mvm_loop *loop;
    mvm_timer *timer;
    mvm__list tasks; /* by due time */
    double base;     /* the guest's time when the clock last began to run */
    double since;    /* the loop's time then */
    bool running;
} mvm__sim_clock;

void mvm__sim_clock_init(mvm__sim_clock *clock, mvm_loop *loop);
void mvm__sim_clock_run(mvm__sim_clock *clock, bool on);
void mvm__sim_clock_clear(mvm__sim_clock *clock); /* drops all tasks; back to 0, standing */
double mvm__sim_clock_now(const mvm__sim_clock *clock);
/* Arms a task again if it was; fn(ud) is called from the loop when the clock gets there. */
void mvm__sim_at(mvm__sim_clock *clock, mvm__sim_task *task, double delay, mvm_fn fn, void *ud);
void mvm__sim_unset(mvm__sim_task *task);

/* ---- files (sim_files.c) -------------------------------------------------------------- */

typedef struct mvm__sim_blob {
    int refs;
    mvm__buf bytes;
} mvm__sim_blob;

mvm__sim_blob *mvm__sim_blob_new(const void *data, size_t len);
mvm__sim_blob *mvm__sim_blob_ref(mvm__sim_blob *blob);
void mvm__sim_blob_unref(mvm__sim_blob *blob); /* NULL is fine */

typedef struct mvm__sim_node {
    mvm__link link;
    char *path; /* absolute, normalised */
    int perm;
    bool dir;
    size_t limit;        /* of a mounted directory: bytes below it; 0: none of its own */
    mvm__sim_blob *blob; /* of a file */
} mvm__sim_node;

/* An open file being read: bytes of a blob, or one of the endless devices. */
typedef struct mvm__sim_source {
    enum { MVM__SIM_BLOB, MVM__SIM_ZERO, MVM__SIM_RANDOM } kind;
    mvm__sim_blob *blob;
    size_t pos;
} mvm__sim_source;

/* Errors are Linux errno numbers, as the agent's wire has them. */
char *mvm__sim_path(const char *cwd, const char *path); /* normalised copy */
int mvm__sim_kind(mvm__sim *sim, const char *path);     /* 'd', 'f', 'c' (device) or 0: not there */
int mvm__sim_perm(mvm__sim *sim, const char *path);
int mvm__sim_chmod(mvm__sim *sim, const char *path, int perm);
int mvm__sim_open(mvm__sim *sim, const char *path, mvm__sim_source *source);
size_t mvm__sim_read(mvm__sim *sim, mvm__sim_source *source, char *out, size_t len); /* 0: end */
void mvm__sim_source_close(mvm__sim_source *source);
/* May a regular file be made or replaced at `path`? */
int mvm__sim_may_write(mvm__sim *sim, const char *path);
/* Is there room for `more` bytes at `path`? 0 or ENOSPC. */
int mvm__sim_room(mvm__sim *sim, const char *path, size_t more);
/* perm -1: keeps that of a file that is there, else 0644. Takes over the reference of blob. */
int mvm__sim_store(mvm__sim *sim, const char *path, mvm__sim_blob *blob, int perm);
/* `>` and `>>` of the shell: opens (and truncates), then appends. Devices too. */
int mvm__sim_truncate(mvm__sim *sim, const char *path, bool append);
int mvm__sim_append(mvm__sim *sim, const char *path, const void *data, size_t len);
int mvm__sim_mkdir(mvm__sim *sim, const char *path, size_t limit);
int mvm__sim_remove(mvm__sim *sim, const char *path, bool recursive);
/* Adds to, or replaces in, the image that every run begins with. */
void mvm__sim_image_add(mvm__sim *sim, const char *path, const void *data, size_t len);
void mvm__sim_files_boot(mvm__sim *sim); /* as the image has them */
void mvm__sim_files_clear(mvm__list *list);
/* Names directly below a directory, in order, one a line. */
void mvm__sim_list(mvm__sim *sim, const char *path, mvm__buf *out);

/* ---- commands (sim_proc.c, sim_shell.c, sim_builtins.c) ----------------------------------- */

/* What one step of a command came to. */
enum mvm__sim_step {
    MVM__SIM_DONE,  /* status is set */
    MVM__SIM_AGAIN, /* moved something, go on when there is room */
    MVM__SIM_INPUT, /* needs standard input */
    MVM__SIM_TIME,  /* `task` is armed */
};
typedef enum mvm__sim_step (*mvm__sim_step_fn)(mvm__sim_proc *p);

typedef struct mvm__sim_builtin {
    const char *name;
    mvm__sim_step_fn step;
    bool shell; /* only inside sh, as `cd` */
} mvm__sim_builtin;

/* A text being interpreted; nested for `sh -c` inside a script. */
typedef struct mvm__sim_script {
    struct mvm__sim_script *outer;
    char *text;
    size_t pos;
    int skip; /* the next command follows a `&&` (1) or `||` (2) */
} mvm__sim_script;

struct mvm__sim_proc {
    mvm__link link; /* sim->procs */
    mvm__sim *sim;
    mvm__sim_stream *stream; /* whose command it is; NULL: the console's */
    int pid;
    char **env; /* "NAME=value", terminated */
    char *cwd;
    mvm__sim_script *script; /* NULL: one command, given as a list */

    /* the command that runs now */
    char **argv; /* terminated */
    int argc;
    mvm__sim_step_fn step;          /* NULL: none */
    int arg;                        /* next argument that it looks at */
    bool begun, broken, has_source; /* broken: not all of its output could be written */
    int64_t left, count;
    mvm__sim_source source;  /* what it reads instead of standard input */
    char *target[3];         /* 1, 2: file that this output goes to */
    int same[3];             /* 1, 2: the channel that this output goes to */
    mvm__sim_source in_file; /* `< file` */
    bool has_in_file;
    mvm__sim_task task;

    mvm__buf in, out[3]; /* standard input; 1 and 2: not sent yet */
    bool in_eof;
    size_t taken; /* of standard input since credit was last granted */
    bool waiting, stopped, ended;
    int status, signal;
};

mvm__sim_proc *mvm__sim_proc_new(mvm__sim *sim, mvm__sim_stream *stream, const char *cwd);
void mvm__sim_proc_free(mvm__sim_proc *p); /* NULL is fine */
void mvm__sim_setenv(mvm__sim_proc *p, const char *pair, size_t len);
const char *mvm__sim_getenv(const mvm__sim_proc *p, const char *name, size_t len); /* or NULL */
/* Begins argv (copied). 0, or ENOENT: no such command. */
int mvm__sim_proc_begin(mvm__sim_proc *p, const char *const *argv);
void mvm__sim_proc_script(mvm__sim_proc *p, const char *text, size_t len);
/* Runs until it waits or its share is used up; true: it could go on. */
bool mvm__sim_proc_run(mvm__sim_proc *p);
void mvm__sim_proc_signal(mvm__sim_proc *p, int signum);
void mvm__sim_proc_end(mvm__sim_proc *p, int status, int signum);
/* Output of the command that runs now, through its redirections. */
void mvm__sim_put(mvm__sim_proc *p, int fd, const void *data, size_t len);
void mvm__sim_printf(mvm__sim_proc *p, int fd, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
size_t mvm__sim_input(mvm__sim_proc *p, char *out, size_t len, bool *eof);
void mvm__sim_command_clear(mvm__sim_proc *p);

const mvm__sim_builtin *mvm__sim_builtin_find(const char *name, size_t len);
/* Takes the next command of the script into argv and step; false: the script is over. */
bool mvm__sim_shell_next(mvm__sim_proc *p);
void mvm__sim_script_push(mvm__sim_proc *p, const char *text, size_t len);
void mvm__sim_script_pop(mvm__sim_proc *p);
const char *mvm__sim_strerror(int error);
int mvm__sim_signum(const char *word); /* "9", "KILL", "SIGKILL"; -1 */

/* ---- the agent (sim_guest.c, sim_stream.c) ------------------------------------------- */

void mvm__sim_agent_start(mvm__sim *sim);
void mvm__sim_agent_stop(mvm__sim *sim, bool report); /* drops every stream; report: port closed */
void mvm__sim_agent_clear(mvm__sim *sim);
size_t mvm__sim_agent_write(mvm_vm *vm, const void *data, size_t len);
void mvm__sim_agent_read(mvm_vm *vm, bool on);
void mvm__sim_wake(mvm__sim *sim); /* something changed: look at every command again */

/* ---- the console (sim_console.c) ----------------------------------------------------------------
 */

void mvm__sim_console_boot(mvm__sim *sim);
void mvm__sim_console_login(mvm__sim *sim); /* the prompt is there */
void mvm__sim_console_clear(mvm__sim *sim);
size_t mvm__sim_console_write(mvm_vm *vm, const void *data, size_t len);
bool mvm__sim_console_pump(mvm__sim *sim);                                /* true: it could go on */
void mvm__sim_console_print(mvm__sim *sim, const void *data, size_t len); /* \n becomes \r\n */
void mvm__sim_kmsg(mvm__sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void mvm__sim_console_panic(mvm__sim *sim, const char *why);

/* ---- devices (sim_device.c) ------------------------------------------------------------ */

void mvm__sim_devices_clear(mvm__sim *sim); /* verbs under way end with an error */
int mvm__sim_plug(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err);
int mvm__sim_unplug(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err);
int mvm__sim_balloon(mvm_vm *vm, int64_t bytes, mvm__job *job, mvm_err *err);
int mvm__sim_resize(mvm_vm *vm, mvm_record *disk, int64_t bytes, mvm__job *job, mvm_err *err);
int mvm__sim_set_link(mvm_vm *vm, mvm_record *net, bool up, mvm__job *job, mvm_err *err);

/* ---- the machine (sim.c, sim_script.c)
 * -------------------------------------------------------------- */

enum mvm__sim_op {
    MVM__SIM_NO_OP,
    MVM__SIM_START,
    MVM__SIM_PAUSE,
    MVM__SIM_RESUME,
    MVM__SIM_RESET,
    MVM__SIM_STOP,
    MVM__SIM_EXIT,
};

struct mvm__sim {
    mvm_vm *vm;
    mvm_loop *loop;

    /* what outlives runs */
    mvm_sim_exec_fn script;
    void *script_ud;
    mvm__list failures, injections;
    mvm__list image; /* files that every run begins with */

    /* the run */
    bool up, agent, ignores;
    double boot_seconds, latency;
    enum mvm__sim_op op;
    mvm_timer *op_timer, *stats_timer, *inject_timer;
    mvm_err *op_err; /* how the op will end; NULL: well */
    uint64_t rng;
    mvm__list acts;  /* verbs of devices under way */
    int64_t balloon; /* what the guest has been left; 0: all */

    /* the guest */
    mvm__sim_clock clock;
    bool halted; /* it does nothing any more */
    bool powering;
    int next_pid;
    mvm__list files, procs;
    mvm__sim_task boot, pump, act;
    struct {
        bool open, reading, refused;
        mvm__buf in, out;
        mvm__list streams;
        unsigned nstreams;
    } port;
    struct {
        bool busy; /* a typed command runs */
        bool refused;
        mvm__buf in;         /* typed, not looked at yet */
        mvm__buf line;       /* being typed */
        mvm__sim_proc *proc; /* the shell; NULL until the system is up */
    } tty;
};

mvm__sim *mvm__sim_of(mvm_vm *vm); /* made when there is none */
uint64_t mvm__sim_random(mvm__sim *sim);
const char *mvm__sim_hostname(const mvm__sim *sim);
/* Takes one scripted failure of `op`: NULL, or its message, valid until the next call. */
const char *mvm__sim_failure(mvm__sim *sim, const char *op);
void mvm__sim_failures_clear(mvm__sim *sim);
void mvm__sim_injections_clear(mvm__sim *sim);
void mvm__sim_power(mvm__sim *sim, bool reboot); /* the guest shuts itself down */
void mvm__sim_panic(mvm__sim *sim, const char *why);
void mvm__sim_die(mvm__sim *sim, const char *why);

#endif
