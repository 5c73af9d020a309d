/* SPDX-License-Identifier: MIT */
/* What there is of QEMU on this host, for `macvm doctor` and for the error when there is none. */
#include <stdio.h>
#include <string.h>

#include "backend/qemu/accel.h"
#include "backend/qemu/plan.h"
#include "backend/qemu/run.h"
#include "base/base.h"

#define INSTALL_QEMU    "apt-get install qemu-system-x86"
#define PROGRAM_SECONDS 10

int mvm__qemu_probe(mvm_err *err)
{
    char path[4096];

    if (mvm__proc_which(MVM__QEMU_BINARY, path, sizeof(path)))
        return 0;
    mvm_fail(err, MVM_EUNSUPPORTED, "QEMU is not installed: no %s in PATH", MVM__QEMU_BINARY);
    mvm_err_hint(err, "%s", INSTALL_QEMU);
    return MVM_EUNSUPPORTED;
}

/* "QEMU emulator version 7.2.22 (Debian ...)" gives "7.2.22"; "" when there is no such word. */
static void version_of(const char *path, char *out, size_t cap)
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
    version_of(path, version, sizeof(version));
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
    const mvm_finding all[] = {
        program("qemu", (const char *const[]){MVM__QEMU_BINARY, NULL}, INSTALL_QEMU),
        accelerator(),
        program("qemu-img", (const char *const[]){"qemu-img", NULL}, "apt-get install qemu-utils"),
        program("virtiofsd",
                (const char *const[]){"virtiofsd", "/usr/libexec/virtiofsd",
                                      "/usr/lib/qemu/virtiofsd", NULL},
                "apt-get install qemu-system-common, or virtiofsd where there is such a package"),
    };
    size_t n = MVM_MIN(cap, MVM_COUNT(all));

    memcpy(out, all, n * sizeof(*out));
    return n;
}
