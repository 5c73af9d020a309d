/* SPDX-License-Identifier: MIT */
/*
 * Checking the devices of a machine: whether it can have each here, how many of
 * a kind there may be, that no two have the same name, and what each kind has
 * of its own. The same for a device that is plugged in later. Loop thread only.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "vm/check.h"

static const struct {
    const char *kind;
    size_t most; /* of them in one machine */
    int (*check)(mvm_vm *vm, const mvm_record *device, const char *at, mvm_err *err);
} g_kinds[] = {
    {"disk", 24, mvm__check_disk},
    {"net", 8, mvm__check_net},
    {"share", 16, mvm__check_share},
    {"vsock", 1, mvm__check_vsock},
    {"console", 8, mvm__check_console},
    {"entropy", 1, NULL},
    {"balloon", 1, NULL},
    {"sound", 1, NULL},
    {"display", 1, mvm__check_display},
    {"keyboard", 1, NULL},
    {"pointer", 1, NULL},
    {"clipboard", 1, NULL},
};

mvm_record *mvm__check_next(const mvm_vm *vm, size_t *i, const char *kind)
{
    mvm_record *d;

    while ((d = mvm_record_item(vm->config, "devices", (*i)++)) != NULL)
        if (strcmp(mvm_record_schema(d)->kind, kind) == 0)
            return d;
    return NULL;
}

int mvm__check_fail(const mvm_vm *vm, const char *at, const char *field, const char *hint,
                    mvm_err *err, const char *fmt, ...)
{
    char text[sizeof(err->message)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    mvm__vm_fail(vm, err, MVM_ECONFIG, "%s", text);
    if (field)
        mvm_err_field(err, "%s.%s", at, field);
    else
        mvm_err_field(err, "%s", at);
    if (hint)
        mvm_err_hint(err, "%s", hint);
    return MVM_ECONFIG;
}

/* Only the devices before it count: of two, the second is the one too many. */
static int check_among(mvm_vm *vm, const mvm_record *device, size_t most, const char *at,
                       mvm_err *err)
{
    const char *kind = mvm_record_schema(device)->kind;
    char name[48], other[48];
    size_t n = 0;
    mvm_record *d;

    (void)mvm__vm_device_name(vm, device, name);
    for (size_t i = 0; (d = mvm__check_next(vm, &i, kind)) != NULL && d != device; n++) {
        if (strcmp(mvm__vm_device_name(vm, d, other), name) == 0)
            return mvm__check_fail(vm, at, strcmp(kind, "share") == 0 ? "tag" : "id", NULL, err,
                                   "another %s of this machine is called \"%s\"", kind, name);
    }
    if (n < most)
        return 0;
    return mvm__check_fail(vm, at, NULL, NULL, err, "a machine has at most %zu %s%s", most, kind,
                           most == 1 ? "" : "s");
}

int mvm__vm_check_device(mvm_vm *vm, const mvm_record *device, mvm_err *err)
{
    const char *kind = mvm_record_schema(device)->kind;
    const char *reason = NULL;
    char at[32];
    size_t index = 0;

    while (mvm_record_item(vm->config, "devices", index) != device)
        index++;
    snprintf(at, sizeof(at), "devices[%zu]", index + 1);
    if (!mvm_vm_can(vm, kind, &reason)) {
        mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "no %s here: %s", kind, reason);
        mvm_err_field(err, "%s", at);
        return MVM_EUNSUPPORTED;
    }
    for (size_t i = 0; i < MVM_COUNT(g_kinds); i++) {
        if (strcmp(g_kinds[i].kind, kind) != 0)
            continue;
        int rc = check_among(vm, device, g_kinds[i].most, at, err);
        if (rc == 0 && g_kinds[i].check)
            rc = g_kinds[i].check(vm, device, at, err);
        if (rc != 0)
            return rc;
    }
    int rc = vm->ops->check_device ? vm->ops->check_device(vm, device, at, err) : 0;
    if (rc != 0)
        mvm_err_vm(err, vm->name);
    return rc;
}
