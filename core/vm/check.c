/* SPDX-License-Identifier: MIT */
/*
 * Checking a whole configuration against the host before anything starts:
 * the back end, limits, files, and what two devices or machines can't share.
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
#include "vm/vm_struct.h"

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

static int bad_file(const mvm_vm *vm, const char *path, const char *why, mvm_err *err,
                    const char *field)
{
    mvm__vm_fail(vm, err, MVM_ECONFIG, "%s: %s", path, why);
    mvm_err_field(err, "%s", field);
    return MVM_ECONFIG;
}

/* A pipe without a writer would hold up whoever opens it; QEMU takes regular files alone. */
static int check_readable(const mvm_vm *vm, const char *path, const char *field, mvm_err *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return bad_file(vm, path, strerror(errno), err, field);
    if (!S_ISREG(st.st_mode))
        return bad_file(
            vm, path, S_ISDIR(st.st_mode) ? "is a directory, not a file" : "is not a regular file",
            err, field);
    if (access(path, R_OK) != 0)
        return bad_file(vm, path, strerror(errno), err, field);
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
    if (kernel && check_readable(vm, kernel, "boot.kernel", err) != 0)
        return MVM_ECONFIG;
    if (initrd && check_readable(vm, initrd, "boot.initrd", err) != 0)
        return MVM_ECONFIG;
    return 0;
}

/* ---- disks ---------------------------------------------------------------------------- */

static mvm_record *device_of_kind(const mvm_vm *vm, size_t *i, const char *kind)
{
    mvm_record *d;

    while ((d = mvm_record_item(vm->config, "devices", (*i)++)) != NULL)
        if (strcmp(mvm_record_schema(d)->kind, kind) == 0)
            return d;
    return NULL;
}

static int check_disk(const mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err)
{
    char field[64];
    const char *path = mvm_record_str(disk, "path");
    const char *id = mvm_record_str(disk, "id");
    bool create = mvm_record_bool(disk, "create");
    struct stat st;

    snprintf(field, sizeof(field), "%s.path", at);
    if (!path) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "a disk needs a path");
        mvm_err_field(err, "%s", field);
        mvm_err_hint(err, "the image on the host");
        return MVM_ECONFIG;
    }
    if (id && strlen(id) > 20) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "\"%s\" is longer than the 20 bytes of a serial number",
                     id);
        mvm_err_field(err, "%s.id", at);
        return MVM_ECONFIG;
    }
    if (stat(path, &st) == 0) {
        if (check_readable(vm, path, field, err) != 0)
            return MVM_ECONFIG;
        if (!mvm_record_bool(disk, "readonly") && access(path, W_OK) != 0) {
            bad_file(vm, path, strerror(errno), err, field);
            mvm_err_hint(err, "readonly = true, or a file that you may write");
            return MVM_ECONFIG;
        }
        return 0;
    }
    if (errno != ENOENT || !create) {
        bool missing = errno == ENOENT;
        bad_file(vm, path, strerror(errno), err, field);
        if (missing)
            mvm_err_hint(err, "create = true with a size makes it");
        return MVM_ECONFIG;
    }
    if (!mvm_record_has(disk, "size")) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "a disk that is created needs a size");
        mvm_err_field(err, "%s.size", at);
        mvm_err_hint(err, "as in size = \"4G\"");
        return MVM_ECONFIG;
    }
    return 0;
}

static bool same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    if (strcmp(a, b) == 0)
        return true;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* One image, writable at one of two places, would be destroyed. */
static int check_image_free(const mvm_vm *vm, const mvm_record *disk, const char *at,
                            const mvm_vm *other, const mvm_record *own_limit, mvm_err *err)
{
    mvm_record *d;

    for (size_t i = 0; (d = device_of_kind(other, &i, "disk")) != NULL && d != own_limit;) {
        const char *path = mvm_record_str(d, "path");
        if (!path || (mvm_record_bool(d, "readonly") && mvm_record_bool(disk, "readonly")) ||
            !same_file(path, mvm_record_str(disk, "path")))
            continue;
        if (other == vm)
            mvm__vm_fail(vm, err, MVM_ECONFIG, "two disks use %s", path);
        else
            mvm__vm_fail(vm, err, MVM_ECONFIG, "%s is a disk of the machine \"%s\", which is %s",
                         path, other->name, mvm_state_word(other->state));
        mvm_err_field(err, "%s.path", at);
        mvm_err_hint(err, "an image has one user, unless every use of it is readonly");
        return MVM_ECONFIG;
    }
    return 0;
}

static int check_disks(const mvm_vm *vm, mvm_err *err)
{
    mvm_record *d;

    for (size_t i = 0; (d = device_of_kind(vm, &i, "disk")) != NULL;) {
        char at[32];
        snprintf(at, sizeof(at), "devices[%zu]", i);
        if (check_disk(vm, d, at, err) != 0 || check_image_free(vm, d, at, vm, d, err) != 0)
            return err ? err->code : MVM_ECONFIG;
        mvm__list_each (l, &vm->lab->vms) {
            const mvm_vm *other = mvm__container_of(l, mvm_vm, link);
            if (other != vm && mvm_vm_up(other) &&
                check_image_free(vm, d, at, other, NULL, err) != 0)
                return MVM_ECONFIG;
        }
    }
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

static int check_consoles(const mvm_vm *vm, mvm_err *err)
{
    size_t i = 0;

    if (device_of_kind(vm, &i, "console") && device_of_kind(vm, &i, "console")) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "a machine has one serial console");
        mvm_err_field(err, "devices[%zu]", i);
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
    if (rc == 0)
        rc = check_disks(vm, err);
    if (rc == 0)
        rc = check_consoles(vm, err);
    if (rc == 0 && vm->ops->check(vm, err) != 0) {
        rc = err ? err->code : MVM_ECONFIG;
        mvm_err_vm(err, vm->name);
    }
    return rc;
}
