/* SPDX-License-Identifier: MIT */
/*
 * The Lua layer's only header, private to lua/. Everything here runs on the loop thread.
 *
 * Three rules hold in every file:
 *  1. A box is made closed (mvl_obj_new), then it acquires; no C resource is held in a local across
 *     a call that can raise. Scratch memory is a userdata on the stack.
 *  2. The loop comes into Lua through mvl_enter() only, or by resuming a task (task.c); both are
 *     protected and need no memory to be so.
 *  3. Nothing raises between mvl_wait_begin() and mvl_await().
 */
#ifndef MVL_H
#define MVL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#include "mvm/lab.h"
#include "mvm/record.h"
#include "mvm/stream.h"
#include "mvm/vm.h"
#include "mvm/wait.h"

typedef struct mvl_ctx mvl_ctx;
typedef struct mvl_obj mvl_obj;
typedef struct mvl_class mvl_class;
typedef struct mvl_wait mvl_wait;
typedef struct mvl_task mvl_task;

/* The head of every box (obj.c). */
struct mvl_obj {
    mvl_ctx *ctx;
    const mvl_class *class;
    mvl_obj *prev, *next;
    bool awaited; /* set by release: a callback of the loop may still come, with this box */
};

/* ---- waiting (task.c) --------------------------------------------------------------- */

/* Goes on after a wait, with what it left on the stack; err NULL: it came true. May raise. */
typedef int (*mvl_then)(lua_State *L, const mvm_err *err);

/* The one wait of a caller: of a task, or of the main program, which runs the loop itself. */
struct mvl_wait {
    mvl_ctx *ctx;
    mvl_task *task;    /* NULL: the main program */
    mvm_waiter waiter; /* give it to the core's function, and put its result into `core` */
    mvm_wait *core;
    mvm_timer *timer;      /* sleep, or the deadline of a join */
    mvl_task *target;      /* join */
    mvl_wait *next_joiner; /* in target's list */
    mvm_vm *vm; /* a state of this machine is waited for; borrowed from the caller's stack */
    mvl_then then;
    bool drain;    /* the end of everything else is waited for */
    bool shielded; /* __close: is not cancelled */
    bool armed, done, stuck;
    mvm_err err; /* fill it when arming fails; code 0 once done: success */
};

/* Begins a wait of the caller. Raises `state` where nobody can wait (inside a C function that
 * can't yield), and `cancelled` when the task was cancelled since its last wait. */
mvl_wait *mvl_wait_begin(lua_State *L, double timeout);
/* The same for a __close handler: not cancelled itself; what is asked meanwhile is raised by the
 * next wait that is not closing anything. */
mvl_wait *mvl_wait_closing(lua_State *L, double timeout);
/* Would mvl_wait_begin find a way to wait here? */
bool mvl_can_wait(lua_State *L);
/* In a task: suspends it and does not return; `then` is called when the wait is decided. In the
 * main program: runs the loop and returns the outcome, NULL for success. A wait that could not be
 * armed returns its error at once. So a verb ends with
 *     return then(L, mvl_await(L, w, then)); */
const mvm_err *mvl_await(lua_State *L, mvl_wait *w, mvl_then then);
/* Decides a wait that is not one of the core's; the waiter goes on in the next turn. */
void mvl_wait_decide(mvl_wait *w);
/* The usual `then`: raises the error, or returns the first argument. */
int mvl_then_self(lua_State *L, const mvm_err *err);

/* ---- tasks (task.c) ------------------------------------------------------------------- */

enum mvl_task_state {
    MVL_NEW,     /* not run yet */
    MVL_READY,   /* runs in the next turn */
    MVL_RUNNING, /* it is the current task */
    MVL_WAITING,
    MVL_IDLE, /* a service with nothing to do */
    MVL_DONE,
    MVL_FAILED,
    MVL_CANCELLED
};

struct mvl_task {
    mvl_obj obj;
    lua_State *co;         /* user value TASK_UV_CO; NULL once the box is released */
    mvl_task *prev, *next; /* in ctx->live, ctx->aside or ctx->failed */
    enum mvl_task_state state;
    bool service;   /* serves a queue: may idle */
    bool aside;     /* runs beside the lab: does not keep it alive, in ctx->aside */
    bool cancel;    /* asked, and not yet raised */
    bool cancelled; /* was ever asked */
    bool broken;    /* its body ended with an error */
    bool obedient;  /* ... which was `cancelled` */
    bool joined;    /* somebody took or takes the outcome */
    int nres;       /* values on co's stack: yielded, or the outcome */
    mvl_wait *joiners;
    mvl_wait wait;
};
enum { TASK_UV_CO = 1, TASK_UV_TRACE, TASK_NUV = TASK_UV_TRACE };

/* Pushes a new task for the function and its nargs arguments on the stack (which it pops); it runs
 * from the next turn of the loop. */
mvl_task *mvl_spawn(lua_State *L, int nargs);
/* The same beside the lab: it does not keep it alive, is not one of its tasks (core.tasks), and is
 * dropped where it is when the lab ends. */
mvl_task *mvl_spawn_aside(lua_State *L, int nargs);
/* The same for a C function that serves a queue: it does not run until it is woken, and may idle:
 * an idle service does not keep the lab alive. */
mvl_task *mvl_service(lua_State *L, int nargs);
/* From inside a service: until the next wake. Does not return. */
int mvl_idle(lua_State *L, lua_KFunction then);
/* Lets an idle or new service run in the next turn. Needs no memory. */
void mvl_wake(mvl_task *task);
void mvl_cancel(mvl_task *task);
bool mvl_ended(const mvl_task *task);
/* Pushes the results, and returns how many, or raises the error of an ended task. */
int mvl_task_outcome(lua_State *L, mvl_task *task);
/* Raises unless the value can be called. */
void mvl_check_callable(lua_State *L, int idx, const char *who);
int mvl_sleep(lua_State *L, double seconds);
/* Lets the loop turn once; is not cancelled. */
const mvm_err *mvl_turn(lua_State *L, mvl_then then);
/* Waits until it has ended. */
const mvm_err *mvl_task_await(lua_State *L, mvl_task *task, double timeout, mvl_then then);
/* Arms a wait for the end of a task that has not ended. */
void mvl_join(mvl_wait *w, mvl_task *task);
void mvl_task_release(void *box);
/* sched.c: sees to the errors of failed tasks in the next turn. */
void mvl_reap_later(mvl_ctx *ctx);
int mvl_task_finalise(lua_State *L);
/* coroutine.c: a blocking verb inside a script's own coroutine suspends the whole task. */
void mvl_open_coroutine(lua_State *L);
extern const char mvl_sentinel; /* its address is what a blocking verb yields */

/* ---- the context (state.c) ------------------------------------------------------------ */

struct mvl_ctx {
    lua_State *L; /* the main thread; every call from the loop runs on it */
    mvm_lab *lab; /* NULL: closed */
    mvm_loop *loop;
    mvl_obj *objs; /* every open box */
    /* task.c */
    mvl_task *live, *failed; /* not ended and not idle; ended with an error that nobody took */
    mvl_task *aside;         /* not ended, and not the lab's */
    mvl_task *current;
    lua_State
        *top;     /* the innermost coroutine that was resumed in a way we can pass a wait through */
    bool pass;    /* everything between `top` and the current task can yield */
    bool looping; /* inside mvm_loop_step */
    bool reaping; /* the report of failed tasks is on its way */
    int stuck_turns; /* turns in a row in which nothing could ever happen */
    mvl_wait main_wait;
    /* policy */
    bool checking; /* core.check_mode */
    bool eager;    /* report failed tasks at once, joinable or not (interactive use) */
    bool quit;     /* core.exit was called */
    int quit_status;
    int holds;         /* reasons to stay alive without a task or machine (a prompt) */
    unsigned failures; /* errors that were reported without a hook that took them */
    mvm_watch *signals[3];
    int *leaks; /* where to leave what mvm_lab_close returned, or NULL */
};

/* The context of a state that has macvm.core; raises when it is closed. */
mvl_ctx *mvl_of(lua_State *L);
/* The same, or NULL; a context whose `lab` is NULL is closed. */
mvl_ctx *mvl_peek(lua_State *L);
/* Makes the context, or finds the one that the state has. */
mvl_ctx *mvl_open(lua_State *L);
/* One turn of the loop. Wakes waits that can never come true. */
void mvl_step(mvl_ctx *ctx, bool block);
/* Is there a task that has not ended, a machine that is up, or a hold? */
bool mvl_alive(const mvl_ctx *ctx);
/* Turns the loop while the lab is alive and nobody asked to quit, then reports what nobody joined.
 */
void mvl_run(mvl_ctx *ctx);

/* ---- from the loop into Lua (enter.c) --------------------------------------------------- */

/* Calls fn(L) protected, on the main thread, with ud as its only argument (a light userdata).
 * What it raises is reported; returns the status of lua_pcall. */
int mvl_enter(mvl_ctx *ctx, lua_CFunction fn, void *ud);
/* Tells the hook of core.on_error, or else the log, of the error at idx. `task` may be 0 (none). */
void mvl_report(lua_State *L, int idx, int task);
int mvl_on_error(lua_State *L);

/* ---- boxes (obj.c) ---------------------------------------------------------------------- */

struct mvl_class {
    const char *name;           /* "vm", what core.class() calls it */
    const char *tname;          /* "macvm.vm" */
    size_t size;                /* of the box, which begins with an mvl_obj; zeroed is closed */
    int nuv;                    /* user values */
    bool pinned;                /* can be found by its address and pinned */
    void (*release)(void *box); /* lets go of the C side. Idempotent, raises nothing */
    const luaL_Reg *methods;
    lua_CFunction index, newindex, tostring, close; /* close NULL: release */
    lua_CFunction
        finalise; /* before release by __gc; returns true: the box lives on. May be NULL */
};

/* Pushes the userdata of a new, closed box. The only way to make one. */
void *mvl_obj_new(lua_State *L, const mvl_class *class);
/* The box of a userdata that is known to be of a class of ours. NULL: it was finalised. */
void *mvl_box(lua_State *L, int idx);
/* When the context ends: lets go of every box, and frees them. */
void mvl_obj_release_all(mvl_ctx *ctx);
void mvl_obj_free_all(mvl_ctx *ctx);
/* Pushes the userdata of a pinned class's box; false (nothing pushed): it is being collected. */
bool mvl_obj_push(lua_State *L, const void *box);
/* Keeps the box from being collected, or no longer. Needs no memory, raises nothing. */
void mvl_obj_pin(void *box, bool on);
/* Remembers weakly which userdata (on top of the stack, which stays) stands for a C pointer. */
void mvl_id_set(lua_State *L, const void *ptr);
bool mvl_id_push(lua_State *L, const void *ptr);
void *mvl_check(lua_State *L, int idx, const mvl_class *class);
/* For __index functions: pushes the method named by the key at 2, or returns false. */
bool mvl_method(lua_State *L);
void mvl_classes_open(lua_State *L, const mvl_class *const *classes);

extern const mvl_class mvl_vm_class, mvl_device_class, mvl_record_class, mvl_process_class,
    mvl_stream_class, mvl_file_class, mvl_console_class, mvl_sub_class, mvl_task_class,
    mvl_listener_class, mvl_server_class;

/* ---- errors (err.c) --------------------------------------------------------------------- */

#define MVL_ERROR "macvm.error"

/* Pushes an error object. `level` as in luaL_where, 0: no place; frames of macvm's own Lua are
 * passed over, so that the place is the script's. */
void mvl_push_error(lua_State *L, const mvm_err *err, int level);
int mvl_fail(lua_State *L, const mvm_err *err);
int mvl_fail_at(lua_State *L, const mvm_err *err, int level);
/* hint may be NULL. */
int mvl_failf(lua_State *L, int code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The error on top of the stack, if it is ours and has no place (it was raised where no script's
 * function is, in a task of macvm's own), gets the caller's. */
void mvl_place_error(lua_State *L);
/* What a plan can't know raises this: `cancelled`, with plan = true. */
int mvl_fail_plan(lua_State *L);
bool mvl_is_error(lua_State *L, int idx, const char *code);
/* Makes the error class and pushes core.error. */
void mvl_open_error(lua_State *L);

/* ---- values (conv.c) -------------------------------------------------------------------- */

void mvl_push_value(lua_State *L, const mvm_value *value);
/* Sets one field of a record from the value at idx, whatever its type. `path` leads to the record,
 * "" or "boot."; errors are raised with the place of `level`. */
void mvl_record_set(lua_State *L, mvm_record *rec, const char *path, const char *field, int idx,
                    int level);
/* Sets all fields from the table at idx but `skip` (may be NULL). */
void mvl_record_fill(lua_State *L, mvm_record *rec, const char *path, int idx, const char *skip,
                     int level);
/* Pushes a field, nil for one that is not set. Returns false (nothing pushed): no such field. */
bool mvl_record_push(lua_State *L, mvm_record *rec, const char *field);

/* The text (or number) and the integer at idx; others raise `config`, which calls them `what`. */
const char *mvl_arg_text(lua_State *L, int idx, const char *what, size_t *len);
/* Bytes, or "512M". */
int64_t mvl_arg_size(lua_State *L, int idx, const char *what);
lua_Integer mvl_arg_integer(lua_State *L, int idx, const char *what);
/* The options at idx (a table or nothing): a timeout in seconds, and, where `extra` is given, more
 * fields ("button double") that the caller reads itself. Unknown keys are errors. -1: no deadline.
 */
double mvl_opt_timeout(lua_State *L, int idx, double fallback, const char *extra);

/* ---- what the lib files offer each other --------------------------------------------------- */

/* The box of a machine (lib_vm.c). */
typedef struct mvl_vm {
    mvl_obj obj;
    mvm_vm *vm;
    mvm_sub *watch; /* our own listener of "state" */
    bool unpinning; /* a deferred unpin is on its way */
    bool untold;    /* it was up, and not everybody has been told that it is down */
    bool planned;   /* check mode: its start was asked */
} mvl_vm;

mvm_vm *mvl_check_vm(lua_State *L, int idx);
mvl_vm *mvl_check_vm_box(lua_State *L, int idx);
int mvl_vm_close(lua_State *L);
/* The box of the machine at `vm` keeps the userdata at `idx` alive, until it lets go of its box. */
void mvl_vm_keep(lua_State *L, int vm, int idx);
void mvl_vm_let_go(lua_State *L, int vm, const void *box);
extern const luaL_Reg mvl_vm_life[];
void mvl_push_vm(lua_State *L, mvm_vm *vm);
mvm_record *mvl_check_device(lua_State *L, int idx);
void mvl_push_device(lua_State *L, mvm_record *rec);
void mvl_push_sub_record(lua_State *L, mvm_record *parent, const char *field);
/* lib_console.c: of the machine whose userdata is at 1: its first console, a table of all. */
void mvl_push_console(lua_State *L, mvm_vm *vm);
void mvl_push_consoles(lua_State *L, mvm_vm *vm);
/* lib_clipboard.c: vm.clipboard, and its new value at idx. */
void mvl_push_clipboard(lua_State *L, mvm_vm *vm);
void mvl_set_clipboard(lua_State *L, mvm_vm *vm, int idx);
/* Pushes a stream that keeps the userdata at `owner` alive. `input`: close means end of input. */
void mvl_push_stream(lua_State *L, mvm_stream *stream, int owner, bool input);

/* lib_signal.c */
int mvl_on_signal(lua_State *L);
void mvl_signals_close(mvl_ctx *ctx);

/* lib_net.c, lib_balloon.c */
int mvl_vm_forwards(lua_State *L);
int mvl_net_link(lua_State *L);
int mvl_vm_balloon(lua_State *L);

/* lib_disk.c */
int mvl_disk_resize(lua_State *L);

/* lib_screen.c */
int mvl_vm_screenshot(lua_State *L);
int mvl_vm_type(lua_State *L);
int mvl_vm_key(lua_State *L);
int mvl_vm_move(lua_State *L);
int mvl_vm_click(lua_State *L);

/* lib_plug.c */
int mvl_vm_attach(lua_State *L);
int mvl_vm_detach(lua_State *L);

/* lib_vsock.c */
int mvl_vm_connect(lua_State *L);
int mvl_vm_listen(lua_State *L);

int mvl_vm_spawn(lua_State *L);
int mvl_vm_open(lua_State *L);
int mvl_vm_push(lua_State *L);
int mvl_vm_pull(lua_State *L);
int mvl_vm_on(lua_State *L);
int mvl_sim_script(lua_State *L);
int mvl_sim_fail(lua_State *L);
int mvl_sim_file(lua_State *L);
int mvl_sim_inject(lua_State *L);
/* User values of a VM's box. */
enum { VM_UV_KEPT = 1, VM_UV_CONSOLE, VM_UV_SCRIPT, VM_UV_REPLY, VM_NUV = VM_UV_REPLY };

extern const luaL_Reg mvl_lib_vm[], mvl_lib_device[], mvl_lib_task[], mvl_lib_host[],
    mvl_lib_schema[], mvl_lib_sock[];

/* ---- modules ---------------------------------------------------------------------------- */

int luaopen_macvm_core(lua_State *L);
int luaopen_macvm(lua_State *L);
/* repl.c, in the macvm command only: pushes the table that is core.repl. */
int mvl_open_repl(lua_State *L);
/* Adds the searcher of the embedded Lua files to package.searchers. */
void mvl_open_embedded(lua_State *L);

typedef struct mvl_embedded_file {
    const char *name; /* "macvm.cli.run" */
    const char *path; /* "macvm/cli/run.lua" */
    const char *data;
    size_t len;
} mvl_embedded_file;
extern const mvl_embedded_file mvl_embedded[]; /* generated; ends with name NULL */

#endif
