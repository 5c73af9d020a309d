/* SPDX-License-Identifier: MIT */
/*
 * Turning the loop, and seeing what goes wrong in the whole: waits that can never come true, and
 * errors of tasks that nobody takes.
 *
 * The rule for a task's error: it goes to who joins. One that nobody has taken stays with the task,
 * for a later join; when the task can't be reached any more it is reported (core.on_error), and so
 * are those still held when the run ends. To know soon, the turn after a task failed collects
 * garbage.
 */
#include "mvl.h"

#include "mvm/log.h"

static int report_all(lua_State *L);

static const char reports_key; /* list of tasks whose error is to be reported */

/* ---- turning ---------------------------------------------------------------------------- */

/* Does it wait for something that only another task or machine could bring about? */
static bool wait_stuck(const mvl_wait *w)
{
    return w->armed && (w->target || w->drain || (w->vm && !w->stuck && !mvm_vm_up(w->vm)));
}

/* Is there nothing but those who wait for the end of everything? */
static bool drained(const mvl_ctx *ctx)
{
    bool any = ctx->main_wait.armed && ctx->main_wait.drain;

    if (mvm_lab_up(ctx->lab) > 0 || (ctx->main_wait.armed && !any))
        return false;
    for (const mvl_task *t = ctx->live; t; t = t->next) {
        if (t->state != MVL_WAITING || !t->wait.drain)
            return false;
        any = true;
    }
    return any;
}

static bool stuck(const mvl_ctx *ctx)
{
    if (ctx->holds || mvm_lab_up(ctx->lab) > 0 || (!ctx->live && !ctx->main_wait.armed))
        return false;
    for (const mvl_task *t = ctx->live; t; t = t->next) {
        if (t->state != MVL_WAITING || !wait_stuck(&t->wait))
            return false;
    }
    return !ctx->main_wait.armed || wait_stuck(&ctx->main_wait);
}

static bool wake_machine_wait(mvl_wait *w)
{
    if (!w->armed || !w->vm)
        return false;
    w->stuck = true; /* makes the error say so */
    mvm_wait_cancel(w->core);
    return true;
}

/* Does following the joins from this wait lead back to it, within so many steps? One of them with
 * a deadline opens the circle. */
static bool in_circle(const mvl_wait *w, size_t steps)
{
    const mvl_task *t = w->target;

    for (; t && t->wait.armed && !t->wait.timer && steps > 0; steps--, t = t->wait.target) {
        if (&t->wait == w)
            return true;
    }
    return false;
}

static void wake_circle(mvl_ctx *ctx)
{
    size_t live = 0;

    for (mvl_task *t = ctx->live; t; t = t->next)
        live++;
    for (mvl_task *t = ctx->live; t; t = t->next)
        t->wait.stuck = t->wait.armed && in_circle(&t->wait, live);
    for (mvl_task *t = ctx->live; t; t = t->next) {
        if (!t->wait.armed || !t->wait.stuck)
            continue;
        mvm_fail(&t->wait.err, MVM_ESTATE, "these tasks wait for each other: none would ever end");
        mvl_wait_decide(&t->wait);
    }
}

static void wake_stuck(mvl_ctx *ctx)
{
    bool any = wake_machine_wait(&ctx->main_wait);

    for (mvl_task *t = ctx->live; t; t = t->next)
        any = wake_machine_wait(&t->wait) || any;
    if (!any)
        wake_circle(ctx);
}

static void end_drains(mvl_ctx *ctx)
{
    /* Errors that nobody took are reported first; that may bring new tasks. */
    mvl_enter(ctx, report_all, ctx);
    if (!drained(ctx))
        return;
    for (mvl_task *t = ctx->live; t; t = t->next)
        mvl_wait_decide(&t->wait);
    if (ctx->main_wait.armed)
        mvl_wait_decide(&ctx->main_wait);
}

void mvl_step(mvl_ctx *ctx, bool block)
{
    if (block && drained(ctx)) {
        if (ctx->stuck_turns++ > 0)
            end_drains(ctx);
        block = false;
    } else if (block && ctx->stuck_turns < 2 && stuck(ctx)) {
        /* Once more without blocking: what the last turn decided may not have been told yet. */
        if (ctx->stuck_turns++ > 0)
            wake_stuck(ctx);
        block = false;
    } else {
        ctx->stuck_turns = 0;
    }
    ctx->looping = true;
    mvm_loop_step(ctx->loop, block);
    ctx->looping = false;
}

bool mvl_alive(const mvl_ctx *ctx)
{
    return ctx->live || ctx->holds || mvm_lab_up(ctx->lab) > 0;
}

/* ---- errors that nobody took ------------------------------------------------------------- */

/* The task at idx goes onto the list of reports. */
static void queue_report(lua_State *L, int idx)
{
    mvl_task *t = mvl_box(L, idx);

    idx = lua_absindex(L, idx);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &reports_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &reports_key);
    }
    lua_pushvalue(L, idx);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
    t->joined = true;
}

/* A task is garbage: when its error was not taken, it lives on until that is reported. */
int mvl_task_finalise(lua_State *L)
{
    mvl_task *t = mvl_box(L, 1);

    if (t->state != MVL_FAILED || t->joined)
        return 0;
    queue_report(L, 1);
    mvl_reap_later(t->obj.ctx);
    lua_pushboolean(L, 1);
    return 1;
}

static void take_failed(lua_State *L, mvl_ctx *ctx)
{
    for (mvl_task *t = ctx->failed, *next; t; t = next) {
        next = t->next;
        if (t->joined || !mvl_obj_push(L, t))
            continue;
        queue_report(L, -1);
        lua_pop(L, 1);
    }
}

static int report_all(lua_State *L)
{
    mvl_ctx *ctx = mvl_of(L);
    bool all = lua_touserdata(L, 1) != NULL; /* not only those that can't be reached any more */

    lua_gc(L, LUA_GCCOLLECT);
    ctx->reaping = false;
    if (all || ctx->eager)
        take_failed(L, ctx);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &reports_key) != LUA_TTABLE)
        return 0;
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &reports_key);
    for (lua_Integer i = 1; lua_rawgeti(L, 2, i) == LUA_TUSERDATA; i++) {
        mvl_task *t = mvl_box(L, 3);
        if (t->co && t->nres > 0 && lua_checkstack(t->co, 1)) {
            lua_pushvalue(t->co, -1);
            lua_xmove(t->co, L, 1);
            mvl_report(L, 4, 3);
        }
        lua_settop(L, 2);
    }
    return 0;
}

static void reap(void *ud)
{
    mvl_ctx *ctx = ud;

    if (mvl_enter(ctx, report_all, NULL) != LUA_OK)
        ctx->reaping = false;
}

void mvl_reap_later(mvl_ctx *ctx)
{
    if (ctx->reaping || !ctx->lab)
        return;
    ctx->reaping = true;
    mvm_loop_defer(ctx->loop, reap, ctx);
}

void mvl_run(mvl_ctx *ctx)
{
    /* What the last machine or task has to say comes in the turns after its end. */
    for (int quiet = 0; quiet < 3 && !ctx->quit; quiet++) {
        if (mvl_alive(ctx))
            quiet = 0;
        mvl_step(ctx, mvl_alive(ctx));
        if (quiet == 1)
            mvl_enter(ctx, report_all, ctx); /* the hook may begin something new */
    }
}
