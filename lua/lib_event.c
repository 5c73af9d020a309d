/* SPDX-License-Identifier: MIT */
/*
 * Subscriptions: vm:on. What happens is queued, and a service of the subscription calls the
 * handler for one event after the other, in their order; a handler may wait, and one that fails is
 * reported and does not keep the next from being called. One coroutine serves all events of a
 * subscription, and two tables take turns as its queue, so that an event costs no new object.
 *
 * The guest decides how many events there are: the queue is bounded, what goes beyond is dropped
 * and said so.
 */
#include "mvl.h"

enum {
    SUB_UV_FN = 1,
    SUB_UV_VM,
    SUB_UV_INBOX,
    SUB_UV_OUTBOX,
    SUB_UV_SERVICE,
    SUB_NUV = SUB_UV_SERVICE
};
enum { STRIDE = 4 }; /* of a queue: name, number of arguments, first, second */
enum { QUEUE_EVENTS = 262144, QUEUE_BYTES = 32 << 20 };

typedef struct mvl_sub {
    mvl_obj obj;
    mvm_vm *vm; /* a reference, so that `sub` can't end before us */
    mvm_sub *sub;
    mvl_task *service;     /* user value SUB_UV_SERVICE */
    bool all;              /* "*": the handler gets the event's name too */
    lua_Integer in;        /* events in the inbox */
    lua_Integer out, next; /* events in the outbox, and the next one of them */
    size_t bytes;          /* of text in the inbox */
    unsigned dropped;
} mvl_sub;

static void sub_release(void *box)
{
    mvl_sub *s = box;

    mvm_sub_cancel(s->sub);
    s->sub = NULL;
    mvm_vm_unref(s->vm);
    s->vm = NULL;
}

/* ---- the handler's side ------------------------------------------------------------------- */

/* Takes what has come meanwhile. Stack: sub, ... */
static bool refill(lua_State *L, mvl_sub *s)
{
    if (s->in == 0)
        return false;
    lua_getiuservalue(L, 1, SUB_UV_INBOX);
    lua_getiuservalue(L, 1, SUB_UV_OUTBOX);
    lua_setiuservalue(L, 1, SUB_UV_INBOX);
    lua_setiuservalue(L, 1, SUB_UV_OUTBOX);
    s->out = s->in;
    s->in = s->next = 0;
    s->bytes = 0;
    return true;
}

static int report_dropped(lua_State *L, mvl_sub *s)
{
    mvm_err err;

    mvm_fail(&err, MVM_ESTATE, "a handler is too slow: %u events were dropped", s->dropped);
    mvm_err_vm(&err, mvm_vm_name(s->vm));
    s->dropped = 0;
    mvl_push_error(L, &err, 0);
    mvl_report(L, -1, 0);
    lua_pop(L, 1);
    return 0;
}

/* Pushes the handler and its arguments for the next event; returns how many arguments. */
static int push_event(lua_State *L, mvl_sub *s)
{
    lua_Integer at = s->next++ * STRIDE;
    int nargs = 1;

    lua_getiuservalue(L, 1, SUB_UV_FN);
    lua_getiuservalue(L, 1, SUB_UV_VM);
    lua_getiuservalue(L, 1, SUB_UV_OUTBOX); // fn, vm, outbox
    int box = lua_gettop(L);
    lua_rawgeti(L, box, at + 2);
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (s->all) {
        lua_rawgeti(L, box, at + 1);
        nargs++;
    }
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, box, at + 3 + i);
        lua_pushboolean(L, 0);
        lua_rawseti(L, box, at + 3 + i); /* keeps the slot, not the value */
    }
    lua_remove(L, box);
    return nargs + n;
}

/* The service. Stack: sub. Goes on here after an idle time and after every handler. */
static int serve(lua_State *L, int status, lua_KContext k)
{
    mvl_sub *s = mvl_check(L, 1, &mvl_sub_class);

    (void)k;
    for (;;) {
        bool failed = status != LUA_OK && status != LUA_YIELD;
        if (failed && !(s->service->cancelled && mvl_is_error(L, -1, "cancelled")))
            mvl_report(L, -1, 0);
        s->service->cancel = s->service->cancelled = false; /* was meant for that handler */
        lua_settop(L, 1);
        if (s->sub && s->dropped > 0)
            report_dropped(L, s);
        if (!s->sub || (s->next == s->out && !refill(L, s))) {
            s->next = s->out;
            return mvl_idle(L, serve);
        }
        int nargs = push_event(L, s);
        status = lua_pcallk(L, nargs, 0, 0, 0, serve);
    }
}

static int serve_first(lua_State *L)
{
    return serve(L, LUA_OK, 0);
}

/* ---- the machine's side ------------------------------------------------------------------- */

typedef struct told {
    mvl_sub *sub;
    const mvm_event *event;
} told;

static void push_arg(lua_State *L, const mvm_event *event, int i)
{
    if (event->err)
        mvl_push_error(L, event->err, 0);
    else
        mvl_push_value(L, &event->args[i]);
}

/* Stack: a light userdata of `told`. */
static int enqueue(lua_State *L)
{
    const told *t = lua_touserdata(L, 1);
    mvl_sub *s = t->sub;
    int n = t->event->err ? 1 : t->event->nargs;

    if (!mvl_obj_push(L, s))
        return 0;
    lua_getiuservalue(L, 2, SUB_UV_INBOX);
    lua_Integer at = s->in * STRIDE;
    if (s->all)
        lua_pushstring(L, t->event->name);
    else
        lua_pushboolean(L, 0); /* no hole: the table stays an array */
    lua_rawseti(L, 3, at + 1);
    lua_pushinteger(L, n);
    lua_rawseti(L, 3, at + 2);
    for (int i = 0; i < 2; i++) {
        if (i < n)
            push_arg(L, t->event, i);
        else
            lua_pushboolean(L, 0);
        lua_rawseti(L, 3, at + 3 + i);
        if (i < n && !t->event->err && t->event->args[i].type == MVM_T_STRING)
            s->bytes += t->event->args[i].as.string.len;
    }
    s->in++;
    return 0;
}

static void on_event(void *ud, mvm_vm *vm, const mvm_event *event)
{
    mvl_sub *s = ud;
    told t = {s, event};

    (void)vm;
    if (!s->obj.ctx->lab)
        return;
    if (s->in >= QUEUE_EVENTS || s->bytes >= QUEUE_BYTES)
        s->dropped++;
    else
        mvl_enter(s->obj.ctx, enqueue, &t);
    if (s->sub && (s->in > 0 || s->dropped > 0))
        mvl_wake(s->service);
}

/// vm:on(event: string, handler: fun(vm: vm, ...)) -> subscription
/// Calls the handler for every such event from now on, one after the other, in a task of its own
/// (it may wait): `"state"` (vm, new, old), `"ready"`, `"console"` (vm, line), `"panic"` (vm,
/// text),
/// `"guest-shutdown"` (vm, reason), `"error"` (vm, error) and the others of core.events(); `"*"`
/// gets (vm, event, ...) of all. An error in a handler is reported (core.on_error).
/// Raises `config` for an event that does not exist.
int mvl_vm_on(lua_State *L)
{
    mvm_vm *vm = mvl_check_vm(L, 1);
    const char *event = mvl_arg_text(L, 2, "the event", NULL);
    mvm_err err;

    mvl_check_callable(L, 3, "a handler");
    lua_settop(L, 3);
    mvl_sub *s = mvl_obj_new(L, &mvl_sub_class); // vm, event, fn, sub
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 4, SUB_UV_FN);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 4, SUB_UV_VM);
    for (int uv = SUB_UV_INBOX; uv <= SUB_UV_OUTBOX; uv++) {
        lua_newtable(L);
        lua_setiuservalue(L, 4, uv);
    }
    lua_pushcfunction(L, serve_first);
    lua_pushvalue(L, 4);
    s->service = mvl_service(L, 1);
    lua_setiuservalue(L, 4, SUB_UV_SERVICE);
    s->all = event[0] == '*';
    s->sub = mvm_vm_subscribe(vm, event, on_event, s, &err);
    if (!s->sub)
        return mvl_fail(L, &err);
    s->vm = mvm_vm_ref(vm);
    mvl_vm_keep(L, 1, 4);
    return 1;
}

/// subscription:cancel()
/// No further event is handed to the handler; those that wait for it are dropped.
static int sub_cancel(lua_State *L)
{
    mvl_sub *s = mvl_check(L, 1, &mvl_sub_class);

    if (!s->sub)
        return 0;
    sub_release(s);
    s->in = 0;
    s->out = s->next;
    lua_getiuservalue(L, 1, SUB_UV_VM);
    mvl_vm_let_go(L, -1, s);
    return 0;
}

static int sub_tostring(lua_State *L)
{
    const mvl_sub *s = mvl_check(L, 1, &mvl_sub_class);

    if (s->sub)
        lua_pushfstring(L, "subscription of %s", mvm_vm_name(s->vm));
    else
        lua_pushliteral(L, "subscription (cancelled)");
    return 1;
}

static const luaL_Reg sub_methods[] = {
    {"cancel", sub_cancel},
    {NULL, NULL},
};

const mvl_class mvl_sub_class = {
    .name = "subscription",
    .tname = "macvm.subscription",
    .size = sizeof(mvl_sub),
    .nuv = SUB_NUV,
    .pinned = true,
    .release = sub_release,
    .methods = sub_methods,
    .tostring = sub_tostring,
    .close = sub_cancel,
};
