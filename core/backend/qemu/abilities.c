/* SPDX-License-Identifier: MIT */
/*
 * What QEMU can't on this host, of what the table of abilities says that it could: a version, a
 * program, a device or a right is missing. Loop thread only.
 */
#include "mvm/ability.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/qemu/dev.h"
#include "backend/qemu/firmware.h"
#include "backend/qemu/virtiofsd.h"
#include "base/base.h"

/* ---- what is here -------------------------------------------------------------------- */

static int here_x86_64(mvm_vm *vm, mvm_err *err)
{
    (void)vm;
    return mvm__arch_check(mvm__arch_named("x86_64"), err);
}

static int here_aarch64(mvm_vm *vm, mvm_err *err)
{
    (void)vm;
    return mvm__arch_check(mvm__arch_named("aarch64"), err);
}

static int here_efi(mvm_vm *vm, mvm_err *err)
{
    mvm__firmware found;

    return mvm__firmware_find(mvm__arch_of(vm), &found, err);
}

static int here_virtiofs(mvm_vm *vm, mvm_err *err)
{
    char path[4096];

    (void)vm;
    return mvm__virtiofsd_find(path, sizeof(path))
               ? 0
               : mvm_fail(err, MVM_EUNSUPPORTED, "there is no virtiofsd on this host");
}

static int here_vhost_vsock(mvm_vm *vm, mvm_err *err)
{
    (void)vm;
    if (access("/dev/vhost-vsock", F_OK) != 0)
        return mvm_fail(err, MVM_EUNSUPPORTED, "this host has no /dev/vhost-vsock");
    if (access("/dev/vhost-vsock", R_OK | W_OK) != 0)
        return mvm_fail(err, MVM_EUNSUPPORTED, "/dev/vhost-vsock can't be opened");
    return 0;
}

#define CAP_NET_ADMIN_BIT 12

static bool may_admin_network(void)
{
    char line[256];
    unsigned long long caps = 0;
    FILE *f = fopen("/proc/self/status", "re");

    while (f && fgets(line, sizeof(line), f) && sscanf(line, "CapEff: %llx", &caps) != 1)
        continue;
    if (f)
        fclose(f);
    return caps >> CAP_NET_ADMIN_BIT & 1;
}

static int here_bridged(mvm_vm *vm, mvm_err *err)
{
    (void)vm;
    if (access("/dev/net/tun", R_OK | W_OK) != 0)
        return mvm_fail(err, MVM_EUNSUPPORTED, "/dev/net/tun can't be opened");
    if (!may_admin_network())
        return mvm_fail(err, MVM_EUNSUPPORTED, "macvm has no right to change the host's network");
    return 0;
}

static bool any_file(const char *pattern)
{
    glob_t found;
    bool any = glob(pattern, 0, NULL, &found) == 0;

    globfree(&found);
    return any;
}

/* Where QEMU is built of modules, the window is one of them. */
static int here_window(mvm_vm *vm, mvm_err *err)
{
    (void)vm;
    if (!getenv("DISPLAY") && !getenv("WAYLAND_DISPLAY"))
        return mvm_fail(err, MVM_EUNSUPPORTED, "there is no desktop here");
    if (any_file("/usr/lib*/*/qemu/*.so") && !any_file("/usr/lib*/*/qemu/ui-gtk.so"))
        return mvm_fail(err, MVM_EUNSUPPORTED, "QEMU's GTK module is not installed");
    return 0;
}

static const struct {
    const char *word;
    int (*here)(mvm_vm *vm, mvm_err *err);
} g_words[] = {
    {"x86_64", here_x86_64},
    {"aarch64", here_aarch64},
    {"efi", here_efi},
    {"share.virtiofs", here_virtiofs},
    {"net.bridged", here_bridged},
    {"vsock.kernel", here_vhost_vsock},
    {"display.window", here_window},
};

/* ---- asking ----------------------------------------------------------------------------- */

/* As "8.2" and "10.0.1": number by number. */
static bool older(const char *version, const char *since)
{
    while (*version && *since) {
        long a = strtol(version, (char **)&version, 10), b = strtol(since, (char **)&since, 10);
        if (a != b)
            return a < b;
        version += *version == '.';
        since += *since == '.';
    }
    return false;
}

static int check_version(mvm_vm *vm, const mvm_ability *ability, mvm_err *err)
{
    static char known[4096], version[32]; /* of the program that was asked last */
    const mvm__arch *arch = mvm__arch_of(vm);
    char path[sizeof(known)];

    if (!mvm__proc_which(arch->binary, path, sizeof(path)))
        return mvm__arch_check(arch, err);
    if (strcmp(path, known) != 0) {
        mvm__qemu_version(path, version, sizeof(version));
        memcpy(known, path, sizeof(known));
    }
    if (!version[0] || !older(version, ability->qemu.since))
        return 0;
    return mvm_fail(err, MVM_EUNSUPPORTED, "QEMU %s has no virtio-%s, which came with %s", version,
                    ability->word, ability->qemu.since);
}

static bool has_kind(const char *kind)
{
    for (size_t i = 0; mvm__dev_ops_at(i); i++)
        if (strcmp(mvm__dev_ops_at(i)->kind, kind) == 0)
            return true;
    return false;
}

static int ask(mvm_vm *vm, const char *what, mvm_err *err)
{
    const mvm_ability *ability = mvm_ability_find(what);

    mvm_fail(err, MVM_EUNSUPPORTED, "%s", ""); /* no field, no hint */
    if (!ability)
        return 0;
    if (ability->qemu.since && check_version(vm, ability, err) != 0)
        return MVM_EUNSUPPORTED;
    if (mvm_ability_is_device(ability) && !has_kind(what))
        return mvm_fail(err, MVM_EUNSUPPORTED, "the qemu back end has no such device");
    for (size_t i = 0; i < MVM_COUNT(g_words); i++)
        if (strcmp(g_words[i].word, what) == 0)
            return g_words[i].here(vm, err);
    return 0;
}

const char *mvm__qemu_cannot(mvm_vm *vm, const char *what)
{
    static mvm_err why;

    return ask(vm, what, &why) == 0 ? NULL : why.message;
}

const char *mvm__qemu_cure(mvm_vm *vm, const char *what)
{
    static mvm_err why;

    if (ask(vm, what, &why) == 0)
        return NULL;
    return why.hint[0] ? why.hint : mvm_ability_find(what)->qemu.cure;
}
