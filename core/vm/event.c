/* SPDX-License-Identifier: MIT */
/*
 * Events of a machine and their fan-out. An event is copied when it happens
 * and delivered from the loop's next turn, in order, to everybody who had
 * subscribed before it happened and has not cancelled since.
 */
#include <string.h>

#include "base/base.h"
#include "vm/vm_struct.h"

struct mvm_sub {
    mvm__link link;
    mvm_vm *vm;       /* NULL once the machine is gone */
    const char *name; /* static, from the map; NULL: all */
    uint64_t since;   /* hears events with a greater number */
    mvm_event_fn fn;  /* NULL: cancelled during delivery */
    void *ud;
};

typedef struct pending {
    mvm_vm *vm;
    uint64_t seq;
    mvm_event event;
    mvm_err err;
} pending;

static const char *const g_events[] = {
#define X(name, args) name,
    MVM_EVENT_MAP(X)
#undef X
};

static const char *event_name(const char *name)
{
    for (size_t i = 0; i < MVM_COUNT(g_events); i++)
        if (strcmp(g_events[i], name) == 0)
            return g_events[i];
    return NULL;
}

mvm_sub *mvm_vm_subscribe(mvm_vm *vm, const char *name, mvm_event_fn fn, void *ud, mvm_err *err)
{
    const char *known = NULL;

    if (strcmp(name, "*") != 0) {
        known = event_name(name);
        if (!known) {
            const char *near = mvm_nearest(name, g_events, MVM_COUNT(g_events));
            mvm__vm_fail(vm, err, MVM_ECONFIG, "there is no event \"%.40s\"", name);
            if (near)
                mvm_err_hint(err, "did you mean \"%s\"?", near);
            return NULL;
        }
    }
    mvm_sub *sub = mvm__alloc(sizeof(*sub));
    *sub = (mvm_sub){.vm = vm, .name = known, .since = vm->event_seq, .fn = fn, .ud = ud};
    mvm__list_append(&vm->subs, &sub->link);
    return sub;
}

void mvm_sub_cancel(mvm_sub *sub)
{
    if (!sub)
        return;
    if (sub->vm && sub->vm->emitting > 0) {
        sub->fn = NULL; /* the delivery that is under way frees it */
        return;
    }
    mvm__list_remove(&sub->link);
    mvm__free(sub);
}

/* The machine goes; its subscriptions stay, mute, until their owners cancel them. */
void mvm__vm_drop_subs(mvm_vm *vm)
{
    mvm__list_each (l, &vm->subs) {
        mvm__container_of(l, mvm_sub, link)->vm = NULL;
        mvm__list_remove(l);
    }
}

static bool hears(const mvm_sub *sub, uint64_t seq, const char *name)
{
    return sub->fn && sub->since < seq && (!sub->name || sub->name == name);
}

static void deliver(void *ud)
{
    pending *p = ud;
    mvm_vm *vm = p->vm;

    vm->emitting++;
    /* Listeners may append to the list, and cancelling only mutes: no link goes away here. */
    for (mvm__link *l = vm->subs.next; l != &vm->subs; l = l->next) {
        mvm_sub *sub = mvm__container_of(l, mvm_sub, link);
        if (hears(sub, p->seq, p->event.name))
            sub->fn(sub->ud, vm, &p->event);
    }
    vm->emitting--;
    mvm__list_each (l, &vm->subs) {
        mvm_sub *sub = mvm__container_of(l, mvm_sub, link);
        if (!sub->fn && vm->emitting == 0)
            mvm_sub_cancel(sub);
    }
    for (int i = 0; i < p->event.nargs; i++)
        if (p->event.args[i].type == MVM_T_STRING)
            mvm__free((char *)(uintptr_t)p->event.args[i].as.string.ptr);
    mvm__free(p);
    mvm_vm_unref(vm);
}

void mvm__vm_emit(mvm_vm *vm, const mvm_event *event)
{
    const char *name = event_name(event->name);
    bool heard = false;

    vm->event_seq++;
    for (mvm__link *l = vm->subs.next; l != &vm->subs && !heard; l = l->next)
        heard = hears(mvm__container_of(l, mvm_sub, link), vm->event_seq, name);
    if (!heard)
        return;
    pending *p = mvm__alloc(sizeof(*p));
    p->vm = mvm_vm_ref(vm);
    p->seq = vm->event_seq;
    p->event = *event;
    p->event.name = name;
    p->event.at = mvm_loop_now(vm->lab->loop);
    for (int i = 0; i < event->nargs; i++) {
        mvm_value *arg = &p->event.args[i];
        if (arg->type == MVM_T_STRING)
            arg->as.string.ptr = mvm__strndup(arg->as.string.ptr, arg->as.string.len);
    }
    if (event->err) {
        p->err = *event->err;
        p->event.err = &p->err;
    }
    mvm_loop_defer(vm->lab->loop, deliver, p);
}

void mvm__vm_emit_text(mvm_vm *vm, const char *name, const char *text)
{
    mvm_event event = {.name = name, .nargs = 1};

    event.args[0].type = MVM_T_STRING;
    event.args[0].as.string.ptr = text;
    event.args[0].as.string.len = strlen(text);
    mvm__vm_emit(vm, &event);
}
