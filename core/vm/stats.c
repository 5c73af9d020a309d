/* SPDX-License-Identifier: MIT */
/* The figures of a machine: what the core knows itself, then what the back end adds. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "mvm/console.h"
#include "vm/vm_struct.h"
#include "vm/vsock.h"

struct mvm__stat {
    char name[80];
    mvm_value value; /* texts are owned */
};

void mvm__vm_clear_stats(mvm_vm *vm)
{
    for (size_t i = 0; i < vm->nstats; i++)
        if (vm->stats[i].value.type == MVM_T_STRING)
            mvm__free((char *)(uintptr_t)vm->stats[i].value.as.string.ptr);
    mvm__free(vm->stats);
    vm->stats = NULL;
    vm->nstats = 0;
}

void mvm__vm_stat_add(mvm_vm *vm, const mvm_value *value, const char *name_fmt, ...)
{
    vm->stats = mvm__realloc(vm->stats, (vm->nstats + 1) * sizeof(*vm->stats));
    struct mvm__stat *s = &vm->stats[vm->nstats++];
    va_list args;

    va_start(args, name_fmt);
    vsnprintf(s->name, sizeof(s->name), name_fmt, args);
    va_end(args);
    s->value = *value;
    if (value->type == MVM_T_STRING)
        s->value.as.string.ptr = mvm__strndup(value->as.string.ptr, value->as.string.len);
}

static void add_text(mvm_vm *vm, const char *name, const char *text)
{
    mvm_value v = {.type = MVM_T_STRING};

    v.as.string.ptr = text;
    v.as.string.len = strlen(text);
    mvm__vm_stat_add(vm, &v, "%s", name);
}

static void add_int(mvm_vm *vm, const char *name, int64_t n)
{
    mvm__vm_stat_add(vm, &(mvm_value){.type = MVM_T_INT, .as.integer = n}, "%s", name);
}

mvm_wait *mvm_vm_stats(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err)
{
    if (!mvm_vm_up(vm)) {
        mvm__vm_fail(vm, err, MVM_ESTATE, "has no figures while it is %s",
                     mvm_state_word(vm->state));
        return NULL;
    }
    mvm__vm_clear_stats(vm);
    add_text(vm, "backend", vm->ops->name);
    add_text(vm, "state", mvm_state_word(vm->state));
    add_int(vm, "cpus", mvm_record_int(vm->config, "cpus"));
    add_int(vm, "memory.size", mvm_record_int(vm->config, "memory"));
    add_int(vm, "console.bytes", (int64_t)mvm_console_end(vm->console));
    double up = mvm_loop_now(vm->lab->loop) - vm->started;
    mvm__vm_stat_add(vm, &(mvm_value){.type = MVM_T_NUMBER, .as.number = up}, "uptime");
    if (mvm_vm_ready(vm)) {
        const mvm__agent_info *about = mvm__agent_about(vm->agent);
        add_text(vm, "guest.kernel", about->kernel);
        add_text(vm, "guest.hostname", about->hostname);
        add_text(vm, "guest.agent", about->version);
    }
    mvm__vm_vsock_stats(vm);
    if (vm->ops->stats(vm, err) != 0) {
        mvm_err_vm(err, vm->name);
        return NULL;
    }
    mvm_wait *w =
        mvm__wait_new(vm->lab->loop, &vm->stat_waits, waiter, "%s: its figures", vm->name);
    return w;
}

void mvm__vm_on_stats(mvm_vm *vm, const mvm_err *err)
{
    mvm__waits_done(&vm->stat_waits, err);
}

bool mvm_vm_stat(const mvm_vm *vm, size_t i, const char **name, mvm_value *value)
{
    if (i >= vm->nstats)
        return false;
    *name = vm->stats[i].name;
    *value = vm->stats[i].value;
    return true;
}
