/* SPDX-License-Identifier: MIT */
/* What there is of QEMU on this host, for `macvm doctor` and for the error when there is none. */
#include <stdio.h>
#include <string.h>

#include "backend/qemu/accel.h"
#include "backend/qemu/run.h"
#include "base/base.h"

#define PROGRAM_SECONDS 10

int mvm__qemu_probe(mvm_err *err)
{
    return mvm__arch_check(mvm__arch_of(NULL), err);
}

void mvm__qemu_version(const char *path, char *out, size_t cap)
{
    char text[512];
    int status = 0;
    const char *const argv[] = {path, "--version", NULL};

    out[0] = '\0';
    if (mvm__proc_output(argv, PROGRAM_SECONDS, text, sizeof(text), &status, NULL) != 0 || status)
        return;
    const char *at = strpbrk(text, "0123456789");
    if (at)
        snprintf(out, cap, "%.*s", (int)strspn(at, "0123456789."), at);
}

/* A program that is looked for in PATH and in the places given. */
static mvm_finding program(const char *what, const char *const *places, const char *cure)
{
    mvm_finding f = {.what = what};
    char path[200], version[32];

    for (; *places && !f.ok; places++)
        f.ok = mvm__proc_which(*places, path, sizeof(path));
    if (!f.ok) {
        snprintf(f.detail, sizeof(f.detail), "not found");
        snprintf(f.cure, sizeof(f.cure), "%s", cure);
        return f;
    }
    mvm__qemu_version(path, version, sizeof(version));
    snprintf(f.detail, sizeof(f.detail), "%s%s%s", version, version[0] ? ", " : "", path);
    return f;
}

/* Machines run without KVM too, so that is no defect; the cure says what would make them quicker.
 */
static mvm_finding accelerator(void)
{
    const mvm__accel *accel = mvm__accel_get();
    mvm_finding f = {.what = "accelerator", .ok = true};

    if (accel->kvm) {
        snprintf(f.detail, sizeof(f.detail), "kvm: %s", accel->reason);
        return f;
    }
    snprintf(f.detail, sizeof(f.detail), "%s (software, some ten times slower than KVM): %s",
             accel->name, accel->reason);
    snprintf(f.cure, sizeof(f.cure), "a host with KVM, or nested virtualisation turned on for it");
    return f;
}

size_t mvm__qemu_findings(mvm_finding *out, size_t cap)
{
    const mvm__arch *arch = mvm__arch_of(NULL);
    MVM_AUTO_FREE char *install = mvm__asprintf("apt-get install %s", arch->packages);
    const mvm_finding all[] = {
        program("qemu", (const char *const[]){arch->binary, NULL}, install),
        accelerator(),
        program("qemu-img", (const char *const[]){"qemu-img", NULL}, "apt-get install qemu-utils"),
    };
    size_t n = MVM_MIN(cap, MVM_COUNT(all));

    memcpy(out, all, n * sizeof(*out));
    return n;
}
