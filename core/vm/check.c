/* SPDX-License-Identifier: MIT */
/*
 * Checking a whole configuration against the host before anything starts:
 * the back end, limits and files; check_device.c goes on with the devices.
 * Reads the file system; changes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "vm/check.h"

/* ---- the back end ---------------------------------------------------------------- */

static const mvm_backend_ops *backend_named(const char *name)
{
    const mvm_backend_ops *ops;

    for (size_t i = 0; (ops = mvm__backend_at(i)) != NULL; i++)
        if (strcmp(ops->name, name) == 0)
            return ops;
    return NULL;
}

int mvm__vm_pick_backend(mvm_vm *vm, mvm_err *err)
{
    const char *name = mvm_record_str(vm->config, "backend");
    const mvm_backend_ops *ops = name ? backend_named(name) : vm->lab->backend;

    if (name && !ops) {
        mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "this build of macvm has no back end \"%s\"", name);
        mvm_err_field(err, "backend");
        return MVM_EUNSUPPORTED;
    }
    for (size_t i = 0; !ops; i++) {
        const mvm_backend_ops *candidate = mvm__backend_at(i);
        mvm_err why;
        if (!candidate)
            return mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "this host has no hypervisor");
        if (!candidate->real)
            continue;
        int rc = candidate->probe(&why);
        if (rc == 0) {
            ops = candidate;
        } else if (!mvm__backend_at(i + 1) || !mvm__backend_at(i + 1)->real) {
            mvm__vm_fail(vm, err, rc, "%s", why.message);
            mvm_err_hint(err, "%s", why.hint);
            return rc;
        }
    }
    if (vm->ops != ops) {
        if (vm->ops && vm->ops->release)
            vm->ops->release(vm);
        vm->ops = ops;
    }
    return 0;
}

int mvm_lab_backend(mvm_lab *lab, const char *name, mvm_err *err)
{
    const mvm_backend_ops *ops = name ? backend_named(name) : NULL;

    if (name && !ops) {
        mvm_fail(err, MVM_ECONFIG, "there is no back end \"%.40s\"", name);
        mvm_err_hint(err, "this build has qemu and sim");
        return MVM_ECONFIG;
    }
    lab->backend = ops;
    return 0;
}

/* ---- files ------------------------------------------------------------------------- */

int mvm__check_bad_file(const mvm_vm *vm, const char *path, const char *why, mvm_err *err,
                        const char *field)
{
    mvm__vm_fail(vm, err, MVM_ECONFIG, "%s: %s", path, why);
    mvm_err_field(err, "%s", field);
    return MVM_ECONFIG;
}

/* A pipe without a writer would hold up whoever opens it; QEMU takes regular files alone. */
int mvm__check_readable(const mvm_vm *vm, const char *path, const char *field, mvm_err *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return mvm__check_bad_file(vm, path, strerror(errno), err, field);
    if (!S_ISREG(st.st_mode))
        return mvm__check_bad_file(
            vm, path, S_ISDIR(st.st_mode) ? "is a directory, not a file" : "is not a regular file",
            err, field);
    if (access(path, R_OK) != 0)
        return mvm__check_bad_file(vm, path, strerror(errno), err, field);
    return 0;
}

static int check_boot(const mvm_vm *vm, mvm_err *err)
{
    const mvm_record *boot = mvm_record_peek(vm->config, "boot");
    const char *kernel = boot ? mvm_record_str(boot, "kernel") : NULL;
    const char *initrd = boot ? mvm_record_str(boot, "initrd") : NULL;

    if (initrd && !kernel) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "an initrd needs a kernel");
        mvm_err_field(err, "boot.initrd");
        mvm_err_hint(err, "set boot.kernel too");
        return MVM_ECONFIG;
    }
    if (kernel && mvm__check_readable(vm, kernel, "boot.kernel", err) != 0)
        return MVM_ECONFIG;
    if (initrd && mvm__check_readable(vm, initrd, "boot.initrd", err) != 0)
        return MVM_ECONFIG;
    return 0;
}

/* ---- the rest ------------------------------------------------------------------------------ */

static int check_host(const mvm_vm *vm, mvm_err *err)
{
    int64_t cpus = mvm_record_int(vm->config, "cpus");
    int64_t memory = mvm_record_int(vm->config, "memory");
    char want[24], have[24];

    if (cpus > mvm_host_cpus()) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "%" PRId64 " is more than the host's %d", cpus,
                     mvm_host_cpus());
        mvm_err_field(err, "cpus");
        mvm_err_hint(err, "1 to %d", mvm_host_cpus());
        return MVM_ECONFIG;
    }
    if (memory > mvm_host_memory()) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "%s is more than the host's %s",
                     mvm_format_size(memory, want, sizeof(want)),
                     mvm_format_size(mvm_host_memory() >> 20 << 20, have, sizeof(have)));
        mvm_err_field(err, "memory");
        return MVM_ECONFIG;
    }
    return 0;
}

int mvm_vm_check(mvm_vm *vm, mvm_err *err)
{
    if (mvm_vm_up(vm))
        return 0; /* what runs has been checked, and is frozen */
    int rc = mvm__vm_pick_backend(vm, err);
    if (rc == 0 && vm->ops->real)
        rc = check_host(vm, err);
    if (rc == 0)
        rc = check_boot(vm, err);
    mvm_record *device;
    for (size_t i = 0; rc == 0 && (device = mvm_record_item(vm->config, "devices", i)) != NULL; i++)
        rc = mvm__vm_check_device(vm, device, err);
    if (rc == 0 && vm->ops->check(vm, err) != 0) {
        rc = err ? err->code : MVM_ECONFIG;
        mvm_err_vm(err, vm->name);
    }
    return rc;
}
