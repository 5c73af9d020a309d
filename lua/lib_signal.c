/* SPDX-License-Identifier: MIT */
/*
 * core.on_signal: signals as tasks. They are seen by the loop; for a script that computes without
 * end and never lets the loop turn there is a second way: the handler of Ctrl-C sets a hook on the
 * Lua thread that runs (as the stock lua does), and when a while later the loop has still not
 * seen the signal, that computation is ended with `cancelled`. The signal handler runs on whatever
 * thread the kernel picks; everything else runs on the loop thread.
 */
#include "mvl.h"

#include <signal.h>

#include "mvm/loop.h"

enum { PATIENCE = 20000000 }; /* instructions of the Lua machine: some tenths of a second */

enum { SIGNALS = 3 };
static const char *const names[SIGNALS + 1] = {"INT", "TERM", "HUP", NULL};
static const int numbers[SIGNALS] = {SIGINT, SIGTERM, SIGHUP};
static const char handlers_key[SIGNALS]; /* their addresses are keys of the registry */

/* ---- a computation without end ------------------------------------------------------------ */

/* A signal belongs to the process, and so do these: the context that asked last gets it. */
static mvl_ctx *volatile interrupt_ctx;
static volatile sig_atomic_t interrupt_unseen;
static struct sigaction loop_action;

static void give_up(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    if (!interrupt_unseen)
        return; /* the loop has turned meanwhile */
    interrupt_unseen = 0;
    mvl_failf(L, MVM_ECANCELLED, NULL, "interrupted");
}

static void on_interrupt(int number)
{
    mvl_ctx *ctx = interrupt_ctx;
    lua_State *running = ctx ? ctx->top : NULL;

    interrupt_unseen = 1;
    if (running)
        lua_sethook(running, give_up, LUA_MASKCOUNT, PATIENCE);
    loop_action.sa_handler(number);
}

/* Puts our handler in front of the loop's, which was installed by the watch. */
static void guard_interrupts(mvl_ctx *ctx)
{
    struct sigaction action;

    if (sigaction(SIGINT, NULL, &action) != 0 || action.sa_handler == SIG_DFL ||
        action.sa_handler == SIG_IGN || (action.sa_flags & SA_SIGINFO))
        return;
    interrupt_ctx = ctx;
    if (action.sa_handler == on_interrupt)
        return;
    loop_action = action;
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, NULL);
}

void mvl_signals_close(mvl_ctx *ctx)
{
    if (interrupt_ctx == ctx)
        interrupt_ctx = NULL;
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
    mvl_enter(ctx, deliver_entered, (void *)&handlers_key[i]);
}

static void on_int(void *ud)
{
    interrupt_unseen = 0;
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
/// itself; nil gives that back. A computation that never waits is ended by `INT` with `cancelled`.
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
    if (on && numbers[i] == SIGINT)
        guard_interrupts(ctx);
    return 0;
}
