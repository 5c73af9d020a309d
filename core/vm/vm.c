/* SPDX-License-Identifier: MIT */
/*
 * The machine as an object: making and freeing, its configuration, its timeline, and the routing of
 * the back end's bytes to the agent session and the console.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "mvm/console.h"
#include "mvm/host.h"
#include "vm/record.h"
#include "vm/vm_struct.h"
#include "vm/vsock.h"

int mvm__vm_fail(const mvm_vm *vm, mvm_err *err, int code, const char *fmt, ...)
{
    char text[sizeof(err->message)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    mvm_fail(err, code, "%s", text);
    mvm_err_vm(err, vm->name);
    return code;
}

/* ---- life of the object ------------------------------------------------------------ */

static mvm_vm *find(mvm_lab *lab, const char *name)
{
    mvm__list_each (l, &lab->vms) {
        mvm_vm *vm = mvm__container_of(l, mvm_vm, link);
        if (strcmp(vm->name, name) == 0)
            return vm;
    }
    return NULL;
}

static int choose_name(mvm_lab *lab, const char *name, char out[72], mvm_err *err)
{
    static const mvm_field as_name = {.name = "name", .type = MVM_T_NAME};

    if (!name) {
        do
            snprintf(out, 72, "vm%u", ++lab->counter);
        while (find(lab, out));
        return 0;
    }
    mvm_value value = {.type = MVM_T_STRING}, parsed;
    value.as.string.ptr = name;
    value.as.string.len = strlen(name);
    if (mvm__field_parse(&as_name, &value, &parsed, err) != 0) {
        mvm_err_field(err, "name");
        return MVM_ECONFIG;
    }
    mvm__value_free(&parsed);
    if (find(lab, name)) {
        mvm_fail(err, MVM_ECONFIG, "another machine of this lab is called \"%s\"", name);
        mvm_err_field(err, "name");
        mvm_err_hint(err, "give each machine a name of its own");
        return MVM_ECONFIG;
    }
    snprintf(out, 72, "%s", name);
    return 0;
}

mvm_vm *mvm_vm_new(mvm_lab *lab, const char *name, mvm_err *err)
{
    char chosen[72];

    if (choose_name(lab, name, chosen, err) != 0)
        return NULL;
    mvm_vm *vm = mvm__alloc(sizeof(*vm));
    vm->lab = lab;
    vm->refs = 1;
    memcpy(vm->name, chosen, sizeof(chosen));
    mvm__list_init(&vm->waits);
    mvm__list_init(&vm->verb);
    mvm__list_init(&vm->stat_waits);
    mvm__list_init(&vm->subs);
    vm->config = mvm_record_new(mvm_schema_find("vm"));
    mvm_value value = {.type = MVM_T_STRING};
    value.as.string.ptr = chosen;
    value.as.string.len = strlen(chosen);
    mvm_record_set(vm->config, "name", &value, NULL);
    vm->agent = mvm__agent_new(vm);
    vm->console = mvm__console_new(vm, NULL);
    mvm__list_init(&vm->ports);
    vm->vsock = mvm__vm_vsock_new(vm);
    mvm__list_append(&lab->vms, &vm->link);
    return vm;
}

mvm_vm *mvm_vm_ref(mvm_vm *vm)
{
    vm->refs++;
    return vm;
}

void mvm_vm_unref(mvm_vm *vm)
{
    if (!vm || --vm->refs > 0)
        return;
    mvm_err gone;
    mvm__vm_fail(vm, &gone, MVM_ESTATE, "the machine is gone");
    mvm__waits_done(&vm->waits, &gone);
    mvm__waits_done(&vm->verb, &gone);
    mvm__waits_done(&vm->stat_waits, &gone);
    mvm__vm_drop_subs(vm);
    if (vm->ops && vm->ops->release)
        vm->ops->release(vm);
    mvm__vm_vsock_free(vm->vsock);
    mvm__agent_free(vm->agent);
    mvm__vm_ports_free(vm);
    mvm__vm_clear_stats(vm);
    mvm_record_unref(vm->config);
    mvm__list_remove(&vm->link);
    mvm__free(vm);
}

mvm_lab *mvm_vm_lab(const mvm_vm *vm)
{
    return vm->lab;
}

const char *mvm_vm_name(const mvm_vm *vm)
{
    return vm->name;
}

mvm_record *mvm_vm_config(mvm_vm *vm)
{
    return vm->config;
}

const char *mvm_vm_backend(const mvm_vm *vm)
{
    return vm->ops ? vm->ops->name : "";
}

/* ---- timeline -------------------------------------------------------------------------- */

void mvm__vm_mark_at(mvm_vm *vm, const char *name, double at)
{
    size_t i;

    for (i = 0; i < vm->nmarks; i++)
        if (strcmp(vm->marks[i].name, name) == 0)
            return; /* the first one counts: a reboot does not redraw the start */
    if (vm->nmarks == MVM__MARKS_MAX)
        return;
    at = MVM_MAX(at, 0);
    for (i = vm->nmarks++; i > 0 && vm->marks[i - 1].at > at; i--)
        vm->marks[i] = vm->marks[i - 1];
    vm->marks[i] = (mvm_mark){name, at};
}

void mvm__vm_mark(mvm_vm *vm, const char *name)
{
    mvm__vm_mark_at(vm, name, mvm_loop_now(vm->lab->loop) - vm->started);
}

size_t mvm_vm_timeline(const mvm_vm *vm, const mvm_mark **marks)
{
    *marks = vm->marks;
    return vm->nmarks;
}

/* ---- what the files of core/vm and back ends ask ------------------------------------------ */

mvm_loop *mvm__vm_loop(const mvm_vm *vm)
{
    return vm->lab->loop;
}

const mvm_backend_ops *mvm__vm_ops(const mvm_vm *vm)
{
    return vm->ops;
}

mvm__agent *mvm__vm_agent(const mvm_vm *vm)
{
    return vm->agent;
}

int mvm__vm_need_agent(const mvm_vm *vm, mvm_err *err)
{
    if (!mvm_vm_up(vm)) {
        mvm__vm_fail(vm, err, MVM_ESTATE, "the machine is %s", mvm_state_word(vm->state));
        mvm_err_hint(err, "start it first");
        return MVM_ESTATE;
    }
    if (mvm__vm_panicked(vm, err))
        return MVM_EAGENT;
    if (!mvm__agent_is_ready(vm->agent))
        return mvm__vm_fail(vm, err, MVM_EAGENT, "its agent is not ready");
    return 0;
}

void *mvm__vm_data(const mvm_vm *vm)
{
    return vm->data;
}

void mvm__vm_set_data(mvm_vm *vm, void *data)
{
    vm->data = data;
}

void mvm__vm_on_agent_port(mvm_vm *vm, bool open)
{
    mvm__agent_port(vm->agent, open);
}

void mvm__vm_on_agent_data(mvm_vm *vm, const void *data, size_t len)
{
    mvm__agent_data(vm->agent, data, len);
}

void mvm__vm_on_agent_writable(mvm_vm *vm)
{
    mvm__agent_writable(vm->agent);
}

void mvm__vm_on_console_data(mvm_vm *vm, const void *data, size_t len)
{
    mvm__console_data(vm->console, data, len);
}

void mvm__vm_on_console_writable(mvm_vm *vm)
{
    mvm__console_writable(vm->console);
}
