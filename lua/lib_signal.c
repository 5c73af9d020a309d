/* SPDX-License-Identifier: MIT */
/*
 * core.on_signal: signals as tasks. They are seen by the loop; for a script that computes without
 * end and never lets the loop turn there is a second way: our handler stands in front of the loop's
 * and sets a hook on the Lua thread that runs (as the stock lua does), and when a while later the
 * loop has still not seen the signal, that computation is ended with `cancelled`. Where even that
 * does not help (the error is caught, or a C function computes), the next signal has its default
 * action: it ends the process. The signal handler runs on whatever thread the kernel picks;
 * everything else runs on the loop thread.
 */
#include "mvl.h"

#include <signal.h>
#include <time.h>

#include "mvm/loop.h"

enum {
    PATIENCE = 20000000, /* instructions of the Lua machine: some tenths of a second */
    ECHO_NS = 1000000    /* the same signal again so soon is no second one */
};

enum { SIGNALS = 3 };
static const char *const names[SIGNALS + 1] = {"INT", "TERM", "HUP", NULL};
static const int numbers[SIGNALS] = {SIGINT, SIGTERM, SIGHUP};
static const char handlers_key[SIGNALS]; /* their addresses are keys of the registry */

/* ---- a computation without end ------------------------------------------------------------ */

/* A signal belongs to the process, and so do these: the context that asked last gets it. */
static mvl_ctx *volatile early_ctx;
static volatile sig_atomic_t unseen; /* one came that the loop has not seen yet */
static struct sigaction loop_actions[SIGNALS];
static volatile int64_t last_ns[SIGNALS];

static void give_up(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    if (unseen) /* else the loop has turned meanwhile */
        mvl_failf(L, MVM_ECANCELLED, NULL, "interrupted");
}

/* timeout(1) sends its signal to its child and at once to the group that the child is in: that is
 * one signal. */
static bool is_echo(int i)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec, before = last_ns[i];
    last_ns[i] = ns;
    return before != 0 && ns - before < ECHO_NS;
}

/* Async-signal-safe: nothing here locks or allocates. */
static void on_early(int number)
{
    int i = number == SIGINT ? 0 : number == SIGTERM ? 1 : 2;
    mvl_ctx *ctx = early_ctx;

    if (ctx && ctx->signals[i]) {
        lua_State *running = ctx->top;

        if (is_echo(i))
            return;
        if (unseen) {
            signal(number, SIG_DFL);
            raise(number); /* comes when this handler returns; QEMU dies with its parent */
            return;
        }
        unseen = 1;
        if (running)
            lua_sethook(running, give_up, LUA_MASKCOUNT, PATIENCE);
    }
    loop_actions[i].sa_handler(number);
}

/* Puts our handler in front of the loop's, which was installed by the watch. */
static void guard(mvl_ctx *ctx, int i)
{
    struct sigaction action;

    if (sigaction(numbers[i], NULL, &action) != 0 || action.sa_handler == SIG_DFL ||
        action.sa_handler == SIG_IGN || (action.sa_flags & SA_SIGINFO))
        return;
    early_ctx = ctx;
    if (action.sa_handler == on_early)
        return;
    loop_actions[i] = action;
    action.sa_handler = on_early;
    sigaction(numbers[i], &action, NULL);
}

void mvl_signals_close(mvl_ctx *ctx)
{
    if (early_ctx == ctx)
        early_ctx = NULL;
    for (int i = 0; i < SIGNALS; i++) {
        mvm_watch_close(ctx->signals[i]);
        ctx->signals[i] = NULL;
    }
}

/* ---- delivery ----------------------------------------------------------------------------- */

static int deliver_entered(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1)) == LUA_TFUNCTION)
        mvl_spawn(L, 0);
    return 0;
}

static void deliver(mvl_ctx *ctx, int i)
{
    unseen = 0;
    mvl_enter(ctx, deliver_entered, (void *)&handlers_key[i]);
}

static void on_int(void *ud)
{
    deliver(ud, 0);
}

static void on_term(void *ud)
{
    deliver(ud, 1);
}

static void on_hup(void *ud)
{
    deliver(ud, 2);
}

/// core.on_signal(name: "INT"|"TERM"|"HUP", fn: function|nil)
/// Runs `fn` in a task of its own whenever the signal arrives, instead of what the signal does by
/// itself; nil gives that back. A computation that never waits is ended with `cancelled`; when the
/// function of a signal can't run even so, the next signal ends the process.
int mvl_on_signal(lua_State *L)
{
    static const mvm_fn callbacks[] = {on_int, on_term, on_hup};
    mvl_ctx *ctx = mvl_of(L);
    int i = luaL_checkoption(L, 1, NULL, names);

    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    bool on = !lua_isnil(L, 2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handlers_key[i]);
    if (!on) {
        mvm_watch_close(ctx->signals[i]);
        ctx->signals[i] = NULL;
    } else if (!ctx->signals[i]) {
        ctx->signals[i] = mvm_watch_signal(ctx->loop, numbers[i], callbacks[i], ctx);
    }
    if (on)
        guard(ctx, i);
    return 0;
}
