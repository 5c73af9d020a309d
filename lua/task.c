/* SPDX-License-Identifier: MIT */
/*
 * Tasks: coroutines that the loop resumes, and the waits that suspend them. With coroutine.c the
 * only place of lua_resume and lua_yieldk. A task is resumed from the loop only, never from inside
 * another; what wakes it from Lua (the end of a task that it joins, cancel) goes through
 * mvm_loop_defer. Ending a task needs no memory: its coroutine is kept, and the results or the
 * error stay on that coroutine's stack.
 */
#include "mvl.h"

#include <assert.h>

const char mvl_sentinel = 0;

static void run(void *ud);
static void wait_done(void *ud, const mvm_err *err);

/* ---- lists ------------------------------------------------------------------------------ */

static void list_add(mvl_task **list, mvl_task *t)
{
    t->prev = NULL;
    t->next = *list;
    if (t->next)
        t->next->prev = t;
    *list = t;
}

static void list_remove(mvl_task **list, mvl_task *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else if (*list == t)
        *list = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->prev = t->next = NULL;
}

/* Where a task is that has not ended. */
static mvl_task **list_of(mvl_task *t)
{
    return t->aside ? &t->obj.ctx->aside : &t->obj.ctx->live;
}

/* ---- waits ------------------------------------------------------------------------------ */

bool mvl_can_wait(lua_State *L)
{
    mvl_ctx *ctx = mvl_of(L);

    if (ctx->current && L == ctx->top && ctx->pass && lua_isyieldable(L))
        return true;
    return !ctx->looping;
}

static mvl_wait *wait_begin(lua_State *L, double timeout, bool shielded)
{
    mvl_ctx *ctx = mvl_of(L);

    if (!mvl_can_wait(L))
        mvl_failf(L, MVM_ESTATE, "wait in a task of its own: macvm.spawn(function() ... end)",
                  "can't wait here: a C function that can't be suspended was called in between, "
                  "such as a sort, a gsub, require or a finaliser");
    luaL_checkstack(L, 4, NULL); /* room for mvl_await, which must not raise */
    mvl_task *t = ctx->looping ? ctx->current : NULL;
    if (t && t->cancel && !shielded) {
        t->cancel = false;
        mvl_failf(L, MVM_ECANCELLED, NULL, "the task was cancelled");
    }
    mvl_wait *w = t ? &t->wait : &ctx->main_wait;
    w->ctx = ctx;
    w->task = t;
    w->waiter = (mvm_waiter){timeout, wait_done, w};
    w->core = NULL;
    w->timer = NULL;
    w->target = NULL;
    w->next_joiner = NULL;
    w->vm = NULL;
    w->drain = false;
    w->shielded = shielded;
    w->armed = w->done = w->stuck = false;
    w->err.code = 0;
    return w;
}

mvl_wait *mvl_wait_begin(lua_State *L, double timeout)
{
    return wait_begin(L, timeout, false);
}

mvl_wait *mvl_wait_closing(lua_State *L, double timeout)
{
    return wait_begin(L, timeout, true);
}

static void wait_finish(mvl_wait *w)
{
    w->done = true;
    w->armed = false;
    if (w->task)
        run(w->task);
}

/* The core's callback of every wait. */
static void wait_done(void *ud, const mvm_err *err)
{
    mvl_wait *w = ud;

    w->core = NULL;
    if (err && err->code == MVM_ECANCELLED && w->stuck) {
        mvm_fail(&w->err, MVM_ESTATE, "is %s and nothing is left that could start it",
                 mvm_state_word(mvm_vm_state(w->vm)));
        mvm_err_vm(&w->err, mvm_vm_name(w->vm));
    } else if (err) {
        w->err = *err;
    }
    wait_finish(w);
}

static void leave_joiners(mvl_wait *w)
{
    if (!w->target)
        return;
    for (mvl_wait **p = &w->target->joiners; *p; p = &(*p)->next_joiner) {
        if (*p == w) {
            *p = w->next_joiner;
            break;
        }
    }
    w->target = NULL;
}

static void timer_fired(void *ud)
{
    mvl_wait *w = ud;

    w->timer = NULL;
    if (w->target) {
        leave_joiners(w);
        mvm_fail(&w->err, MVM_ETIMEOUT, "timed out after %g s waiting for a task to end",
                 w->waiter.timeout);
    }
    wait_finish(w);
}

void mvl_wait_decide(mvl_wait *w)
{
    mvm_timer_cancel(w->timer);
    w->timer = NULL;
    leave_joiners(w);
    w->done = true;
    w->armed = false;
    if (w->task) {
        w->task->state = MVL_READY;
        mvm_loop_defer(w->ctx->loop, run, w->task);
    }
}

static int wait_continue(lua_State *L, int status, lua_KContext k)
{
    mvl_task *t = mvl_of(L)->current;
    mvl_wait *w = &t->wait;

    (void)status;
    (void)k;
    if (t->cancel && !w->shielded) {
        t->cancel = false;
        mvm_fail(&w->err, MVM_ECANCELLED, "the task was cancelled");
    }
    return w->then(L, w->err.code ? &w->err : NULL);
}

const mvm_err *mvl_await(lua_State *L, mvl_wait *w, mvl_then then)
{
    if (!w->core && !w->timer && !w->target && !w->drain)
        return &w->err; /* it could not be armed */
    w->armed = true;
    w->then = then;
    if (w->task) {
        w->task->state = MVL_WAITING;
        lua_pushlightuserdata(L, (void *)&mvl_sentinel);
        lua_yieldk(L, 1, 0, wait_continue);
    }
    while (!w->done)
        mvl_step(w->ctx, true);
    return w->err.code ? &w->err : NULL;
}

int mvl_then_self(lua_State *L, const mvm_err *err)
{
    if (err)
        return mvl_fail(L, err);
    lua_settop(L, 1);
    return 1;
}

/* ---- a task's life ---------------------------------------------------------------------- */

static int task_traceback(lua_State *co)
{
    mvl_task *t = mvl_of(co)->current;

    /* Error objects say where they come from; other errors are kept with the way that led there. */
    if (lua_type(co, 1) == LUA_TSTRING && mvl_obj_push(co, t)) {
        luaL_traceback(co, co, lua_tostring(co, 1), 1);
        lua_setiuservalue(co, -2, TASK_UV_TRACE);
        lua_pop(co, 1);
    }
    return 1;
}

static int task_ended(lua_State *co, int status, lua_KContext k)
{
    mvl_task *t = mvl_of(co)->current;

    (void)k;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(co) - 1;
    t->obedient = t->cancelled && mvl_is_error(co, -1, "cancelled");
    t->broken = true;
    return 1;
}

/* The coroutine's main function: (fn, ...). The protected call is inside the coroutine, so that
 * to-be-closed variables are closed in it and may wait. */
static int task_body(lua_State *co)
{
    lua_pushcfunction(co, task_traceback);
    lua_insert(co, 1);
    int status = lua_pcallk(co, lua_gettop(co) - 2, LUA_MULTRET, 1, 0, task_ended);
    return task_ended(co, status, 0);
}

static void wake_joiners(mvl_task *t)
{
    while (t->joiners)
        mvl_wait_decide(t->joiners); /* takes itself off the list */
}

static void end(mvl_task *t, bool failed, int nres)
{
    mvl_ctx *ctx = t->obj.ctx;

    t->nres = nres;
    t->state = !failed ? MVL_DONE : t->obedient ? MVL_CANCELLED : MVL_FAILED;
    list_remove(list_of(t), t);
    if (t->joiners)
        t->joined = true;
    wake_joiners(t);
    if (t->state == MVL_FAILED) {
        list_add(&ctx->failed, t);
        if (!t->joined)
            mvl_reap_later(ctx);
    }
    mvl_obj_pin(t, false);
}

/* From the loop: lets the task go on. The task is pinned. */
static void run(void *ud)
{
    mvl_task *t = ud;
    mvl_ctx *ctx = t->obj.ctx;
    lua_State *co = t->co;
    int nres = 0;

    if (!ctx->lab || !co || !mvl_obj_push(ctx->L, t))
        return; /* the state is being closed, or the task was garbage */
    lua_pop(ctx->L, 1);
    assert(t->state == MVL_NEW || t->state == MVL_READY || t->state == MVL_WAITING);
    if (t->state == MVL_NEW && t->cancel && !t->service) {
        lua_settop(co, 0);
        t->obedient = true;
        end(t, true, 0);
        return;
    }
    int nargs = t->state == MVL_NEW ? lua_gettop(co) - 1 : 0;
    lua_pop(co, t->nres); /* what it yielded */
    t->nres = 0;
    assert(!ctx->current);
    t->state = MVL_RUNNING;
    ctx->stuck_turns = 0;
    ctx->current = t;
    ctx->top = co;
    ctx->pass = true;
    int status = lua_resume(co, ctx->L, nargs, &nres);
    ctx->current = NULL;
    ctx->top = NULL;
    if (status != LUA_YIELD) {
        if (status != LUA_OK) { /* not even its body could run: no memory */
            lua_resetthread(co);
            t->broken = true;
            nres = 1;
        }
        end(t, t->broken, nres);
        return;
    }
    t->nres = nres;
    if (t->state == MVL_IDLE) {
        list_remove(&ctx->live, t);
        mvl_obj_pin(t, false);
    } else if (t->state == MVL_RUNNING) { /* the script's own yield: it lets others go first */
        t->state = MVL_READY;
        mvm_loop_defer(ctx->loop, run, t);
    }
}

/* Stack: ..., fn, args -> ..., task */
static mvl_task *task_new(lua_State *L, int nargs)
{
    mvl_task *t = mvl_obj_new(L, &mvl_task_class);
    lua_State *co = lua_newthread(L); // fn, args, task, co

    lua_setiuservalue(L, -2, TASK_UV_CO);
    lua_insert(L, -2 - nargs); // task, fn, args
    if (!lua_checkstack(co, nargs + 2))
        luaL_error(L, "too many arguments for a task");
    lua_pushcfunction(co, task_body);
    lua_xmove(L, co, nargs + 1);
    t->co = co;
    t->state = MVL_NEW;
    return t;
}

static mvl_task *begin(mvl_task *t)
{
    list_add(list_of(t), t);
    mvl_obj_pin(t, true);
    mvm_loop_defer(t->obj.ctx->loop, run, t);
    return t;
}

mvl_task *mvl_spawn(lua_State *L, int nargs)
{
    return begin(task_new(L, nargs));
}

mvl_task *mvl_spawn_aside(lua_State *L, int nargs)
{
    mvl_task *t = task_new(L, nargs);

    t->aside = true;
    return begin(t);
}

mvl_task *mvl_service(lua_State *L, int nargs)
{
    mvl_task *t = task_new(L, nargs);

    t->service = true;
    return t;
}

int mvl_idle(lua_State *L, lua_KFunction then)
{
    mvl_of(L)->current->state = MVL_IDLE;
    return lua_yieldk(L, 0, 0, then);
}

void mvl_wake(mvl_task *t)
{
    mvl_ctx *ctx = t->obj.ctx;

    if (t->state == MVL_IDLE)
        t->state = MVL_READY;
    else if (t->state != MVL_NEW || t->prev || ctx->live == t)
        return; /* it is on its way */
    list_add(&ctx->live, t);
    mvl_obj_pin(t, true);
    mvm_loop_defer(ctx->loop, run, t);
}

void mvl_cancel(mvl_task *t)
{
    mvl_wait *w = &t->wait;

    if (mvl_ended(t) || t->state == MVL_IDLE)
        return;
    t->cancel = t->cancelled = true;
    if (t->state != MVL_WAITING || w->shielded)
        return; /* its next wait, or its start, sees the flag */
    if (w->core)
        mvm_wait_cancel(w->core); /* its callback comes from the loop */
    else
        mvl_wait_decide(w);
}

bool mvl_ended(const mvl_task *t)
{
    return t->state >= MVL_DONE;
}

/* ---- joining ---------------------------------------------------------------------------- */

void mvl_join(mvl_wait *w, mvl_task *t)
{
    w->target = t;
    w->next_joiner = t->joiners;
    t->joiners = w;
    if (w->waiter.timeout >= 0)
        w->timer = mvm_timer_start(w->ctx->loop, w->waiter.timeout, timer_fired, w);
}

const mvm_err *mvl_task_await(lua_State *L, mvl_task *t, double timeout, mvl_then then)
{
    if (mvl_ended(t))
        return NULL;
    mvl_wait *w = mvl_wait_begin(L, timeout);
    if (w->task == t) {
        mvm_fail(&w->err, MVM_ESTATE, "a task can't wait for its own end");
        return &w->err;
    }
    mvl_join(w, t);
    return mvl_await(L, w, then);
}

int mvl_task_outcome(lua_State *L, mvl_task *t)
{
    int n = t->nres;

    if (!t->co || (t->state == MVL_CANCELLED && n == 0))
        return mvl_failf(L, MVM_ECANCELLED, NULL, "the task was cancelled");
    luaL_checkstack(L, n + 6, "too many results");
    if (!lua_checkstack(t->co, 1))
        return luaL_error(L, "not enough memory");
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(t->co, lua_gettop(t->co) - n + i);
        lua_xmove(t->co, L, 1);
    }
    t->joined = true;
    if (t->state == MVL_DONE)
        return n;
    mvl_place_error(L);
    return lua_error(L);
}

static int slept(lua_State *L, const mvm_err *err)
{
    return err ? mvl_fail(L, err) : 0;
}

void mvl_task_release(void *box)
{
    mvl_task *t = box;

    list_remove(t->state == MVL_FAILED ? &t->obj.ctx->failed : list_of(t), t);
    t->co = NULL; /* who still decides its wait, or meant to run it, finds nobody */
    t->obj.awaited = t->state == MVL_NEW || t->state == MVL_READY || t->state == MVL_WAITING;
    if (t->state != MVL_WAITING)
        return;
    mvm_timer_cancel(t->wait.timer);
    t->wait.timer = NULL;
    if (t->wait.core)
        mvm_wait_cancel(t->wait.core);
}

const mvm_err *mvl_turn(lua_State *L, mvl_then then)
{
    mvl_wait *w = mvl_wait_closing(L, 0);

    w->timer = mvm_timer_start(w->ctx->loop, 0, timer_fired, w);
    return mvl_await(L, w, then);
}

int mvl_sleep(lua_State *L, double seconds)
{
    mvl_wait *w = mvl_wait_begin(L, seconds);

    w->timer = mvm_timer_start(w->ctx->loop, seconds, timer_fired, w);
    return slept(L, mvl_await(L, w, slept));
}
