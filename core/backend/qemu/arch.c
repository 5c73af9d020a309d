/* SPDX-License-Identifier: MIT */
/*
 * The table of architectures, and the recognition of their kernels. What is here is measured under
 * TCG, which is where the choice matters. Any thread.
 */
#include "backend/qemu/arch.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "io/proc.h"
#include "mvm/host.h"

static const char *const g_efi_x86_64[][2] = {
    {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},         /* Debian */
    {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},     /* Fedora */
    {"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"}, /* Arch */
    {"+/edk2-x86_64-code.fd", "+/edk2-i386-vars.fd"}, /* QEMU's own, as Homebrew installs it */
    {NULL, NULL},
};

static const char *const g_efi_aarch64[][2] = {
    {"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
    {"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
     "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
    {"+/edk2-aarch64-code.fd", "+/edk2-arm-vars.fd"},
    {NULL, NULL},
};

static const mvm__arch g_arches[] = {
    {
        .name = "x86_64",
        .binary = "qemu-system-x86_64",
        .packages = "qemu-system-x86",
        /* Less to emulate and to probe: no USB, SATA or SMBus controller and no VMware port; what
         * macvm offers is on virtio. q35 and not microvm, because devices can be plugged into its
         * PCI bus and distributions boot on it. */
        .machine = "q35,usb=off,sata=off,smbus=off,vmport=off",
        /* max: what TCG emulates, as x86-64-v2 distributions do not start on QEMU's default model,
         * but without what makes it slow: five levels of page tables, and the promise that `rep
         * movsb` is quick, on which kernels then copy byte by byte. Half of that promise (fsrm,
         * which QEMU emulates since 9, without erms) hangs Linux 6.1 in its memmove. */
        .tcg_cpu = "max,la57=off,erms=off,fsrm=off",
        .console = "ttyS0",
        .pc = true,
        .efi_package = "ovmf",
        .efi = g_efi_x86_64,
    },
    {
        .name = "aarch64",
        .binary = "qemu-system-aarch64",
        .packages = "qemu-system-arm",
        /* The newest interrupt controller that the accelerator has: the default one serves eight
         * processors at most. */
        .machine = "virt,gic-version=max",
        /* The one that starts quickest of those that kernels know how to protect: `max` signs
         * pointers, which takes TCG five times as long. */
        .tcg_cpu = "cortex-a72",
        .console = "ttyAMA0",
        /* A kernel that is loaded directly finds no ACPI here, so its slots are PCI Express. */
        .slots = 8,
        .efi_package = "qemu-efi-aarch64",
        .efi = g_efi_aarch64,
    },
};

const mvm__arch *mvm__arch_named(const char *name)
{
    size_t i = 0;

    while (strcmp(g_arches[i].name, name) != 0)
        i++; /* the schema and the host know no others */
    return &g_arches[i];
}

const mvm__arch *mvm__arch_of(mvm_vm *vm)
{
    const char *name = vm ? mvm_record_str(mvm_vm_config(vm), "arch") : NULL;

    return mvm__arch_named(name ? name : mvm_host_arch());
}

int mvm__arch_check(const mvm__arch *arch, mvm_err *err)
{
    char path[4096];

    if (mvm__proc_which(arch->binary, path, sizeof(path)))
        return 0;
    mvm_fail(err, MVM_EUNSUPPORTED, "QEMU for %s is not installed: no %s in PATH", arch->name,
             arch->binary);
    mvm_err_field(err, "arch");
    mvm_err_hint(err, "apt-get install %s", arch->packages);
    return MVM_EUNSUPPORTED;
}

/* ---- kernels ------------------------------------------------------------------------- */

#define ELF_MACHINE_X86_64  62
#define ELF_MACHINE_AARCH64 183

const mvm__arch *mvm__arch_of_kernel(const char *path)
{
    uint8_t head[0x206] = {0};
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(head, 1, sizeof(head), f) : 0;

    if (f)
        fclose(f);
    if (n < sizeof(head))
        return NULL;
    if (memcmp(head, "\177ELF", 4) == 0 && head[18] == ELF_MACHINE_X86_64 && head[19] == 0)
        return mvm__arch_named("x86_64");
    if (memcmp(head, "\177ELF", 4) == 0 && head[18] == ELF_MACHINE_AARCH64 && head[19] == 0)
        return mvm__arch_named("aarch64");
    if (memcmp(head + 0x202, "HdrS", 4) == 0) /* a bzImage */
        return mvm__arch_named("x86_64");
    return memcmp(head + 0x38, "ARM\x64", 4) == 0 ? mvm__arch_named("aarch64")
                                                  : NULL; /* an Image */
}
