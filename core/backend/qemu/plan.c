/* SPDX-License-Identifier: MIT */
/* Reads the records of a machine and fills the plain structs that the argv builder takes. Loop
 * thread. */
#include "backend/qemu/plan.h"

#include <stdio.h>
#include <string.h>
#include "backend/qemu/accel.h"
#include "backend/qemu/cmdline.h"
#include "backend/qemu/dev.h"
#include "backend/qemu/firmware.h"
#include "base/base.h"
#include "mvm/host.h"

#define PATH_MAX_OWN 512

struct mvm__plan_memory {
    char kernel[PATH_MAX_OWN], initrd[PATH_MAX_OWN], rom[PATH_MAX_OWN];
    char *cmdline, *net;
    mvm__firmware firmware;
    const mvm_qemu_parts **devices;
};

static size_t count_kind(mvm_vm *vm, const char *kind)
{
    mvm_record *d;
    size_t n = 0;

    for (size_t i = 0; (d = mvm_record_item(mvm_vm_config(vm), "devices", i)) != NULL; i++)
        n += strcmp(mvm_record_schema(d)->kind, kind) == 0;
    return n;
}

static unsigned count_serials(mvm_vm *vm)
{
    mvm_record *d;
    unsigned n = 0;

    for (size_t i = 0; (d = mvm_record_item(mvm_vm_config(vm), "devices", i)) != NULL; i++)
        n += strcmp(mvm_record_schema(d)->kind, "console") == 0 &&
             strcmp(mvm_record_str(d, "type"), "serial") == 0;
    return n;
}

static const char *boot_field(mvm_vm *vm, const char *field)
{
    const mvm_record *boot = mvm_record_peek(mvm_vm_config(vm), "boot");

    return boot ? mvm_record_str(boot, field) : NULL;
}

static bool boots_firmware(mvm_vm *vm)
{
    return strcmp(mvm_record_str(mvm_vm_config(vm), "guest"), "efi") == 0;
}

/* With less, its kernel panics or hangs while it unpacks the initramfs. */
#define OWN_GUEST_MEMORY (INT64_C(112) << 20)

bool mvm__plan_own_guest(mvm_vm *vm)
{
    const char *kernel = boot_field(vm, "kernel");

    return !boots_firmware(vm) && (!kernel || mvm_guest_owns(kernel));
}

/* ---- check ------------------------------------------------------------------------- */

static int check_platform(mvm_vm *vm, mvm_err *err)
{
    const char *guest = mvm_record_str(mvm_vm_config(vm), "guest");

    if (strcmp(guest, "macos") == 0) {
        mvm_fail(err, MVM_EUNSUPPORTED, "QEMU does not run macOS guests");
        mvm_err_field(err, "guest");
        mvm_err_hint(err, "macOS guests need a Mac with Apple silicon");
        return MVM_EUNSUPPORTED;
    }
    return mvm__arch_check(mvm__arch_of(vm), err);
}

/* A kernel of the other architecture would start, and never say a word. */
static int check_kernel(mvm_vm *vm, mvm_err *err)
{
    const char *kernel = boot_field(vm, "kernel");
    const mvm__arch *arch = kernel ? mvm__arch_of_kernel(kernel) : NULL;

    if (!arch || arch == mvm__arch_of(vm))
        return 0;
    mvm_fail(err, MVM_ECONFIG, "%s is a kernel for %s, the machine is %s", kernel, arch->name,
             mvm__arch_of(vm)->name);
    mvm_err_field(err, "boot.kernel");
    mvm_err_hint(err, "arch = \"%s\", or another kernel", arch->name);
    return MVM_ECONFIG;
}

static int check_guest_image(mvm_vm *vm, mvm_err *err)
{
    char kernel[PATH_MAX_OWN], initrd[PATH_MAX_OWN];

    const mvm__arch *arch = mvm__arch_of(vm);
    bool foreign = arch != mvm__arch_of(NULL);

    if (!mvm__plan_own_guest(vm) || boot_field(vm, "kernel") ||
        mvm_guest_find(arch->name, NULL, kernel, initrd, sizeof(kernel)))
        return 0;
    mvm_fail(err, MVM_EUNSUPPORTED, "macvm's own guest is not built: no %s", kernel);
    mvm_err_hint(err, "run: macvm guest build%s%s", foreign ? " --arch " : "",
                 foreign ? arch->name : "");
    return MVM_EUNSUPPORTED;
}

static int check_firmware_boot(mvm_vm *vm, mvm_err *err)
{
    if (!boots_firmware(vm) && boot_field(vm, "variables")) {
        mvm_fail(err, MVM_ECONFIG, "a kernel that is loaded directly has no firmware's variables");
        mvm_err_field(err, "boot.variables");
        mvm_err_hint(err, "guest = \"efi\" boots by the firmware");
        return MVM_ECONFIG;
    }
    if (!boots_firmware(vm))
        return 0;
    if (boot_field(vm, "kernel")) {
        mvm_fail(err, MVM_ECONFIG, "a machine that boots by its firmware takes no kernel");
        mvm_err_field(err, "boot.kernel");
        mvm_err_hint(err, "guest = \"linux\" boots a kernel");
        return MVM_ECONFIG;
    }
    if (count_kind(vm, "disk") == 0) {
        mvm_fail(err, MVM_ECONFIG, "there is no disk to boot from");
        mvm_err_field(err, "devices");
        mvm_err_hint(err, "add a macvm.disk with a system on it");
        return MVM_ECONFIG;
    }
    return mvm__firmware_check(vm, err);
}

static int check_memory(mvm_vm *vm, mvm_err *err)
{
    int64_t memory = mvm_record_int(mvm_vm_config(vm), "memory");
    bool enough = memory >= OWN_GUEST_MEMORY || !mvm__plan_own_guest(vm);
    char shown[24];

    if (memory % (1 << 20) == 0 && enough)
        return 0;
    if (enough) {
        mvm_fail(err, MVM_ECONFIG, "memory has to be whole MiB");
    } else {
        mvm_fail(err, MVM_ECONFIG, "%s is too small for macvm's own guest",
                 mvm_format_size(memory, shown, sizeof(shown)));
        mvm_err_hint(err, "%s or more", mvm_format_size(OWN_GUEST_MEMORY, shown, sizeof(shown)));
    }
    mvm_err_field(err, "memory");
    return MVM_ECONFIG;
}

int mvm__plan_check(mvm_vm *vm, mvm_err *err)
{
    int (*const checks[])(mvm_vm *, mvm_err *) = {check_platform, check_memory, check_firmware_boot,
                                                  check_kernel, check_guest_image};

    for (size_t i = 0; i < MVM_COUNT(checks); i++) {
        int rc = checks[i](vm, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static bool is_elf(const char *path)
{
    char magic[4] = "";
    FILE *f = fopen(path, "re");
    bool elf = f && fread(magic, 1, 4, f) == 4 && memcmp(magic, "\177ELF", 4) == 0;

    if (f)
        fclose(f);
    return elf;
}

static void plan_firmware(mvm__run *run, mvm__plan *plan)
{
    if (mvm__firmware_find(mvm__arch_of(run->vm), &plan->memory->firmware, NULL) == 0)
        plan->spec.efi = plan->memory->firmware.code;
    plan->spec.variables = run->variables;
}

static void plan_kernel(mvm_vm *vm, mvm__plan *plan)
{
    struct mvm__plan_memory *m = plan->memory;
    const mvm__arch *arch = mvm__arch_of(vm);
    const char *kernel = boot_field(vm, "kernel");
    bool own = mvm__plan_own_guest(vm), kvm = mvm__accel_of(arch)->kvm;

    if (!kernel)
        mvm_guest_find(arch->name, NULL, m->kernel, m->initrd, sizeof(m->kernel));
    m->cmdline = mvm__cmdline_build(&(mvm__cmdline){
        .own = own,
        .kvm = kvm,
        .pc = arch->pc,
        .console = arch->console,
        .serials = count_serials(vm),
        .net = m->net,
        .tsc_khz = own && !kvm && arch->pc ? mvm__tsc_khz() : 0,
        .name = mvm_vm_name(vm),
        .user = boot_field(vm, "cmdline"),
    });
    plan->spec.kernel = kernel ? kernel : m->kernel;
    plan->spec.initrd = kernel ? boot_field(vm, "initrd") : m->initrd;
    plan->spec.cmdline = m->cmdline;
    /* With a GTK window that firmware (of QEMU 7.2) never gets to the kernel; SeaBIOS does. */
    if (arch->pc && !plan->spec.window && is_elf(plan->spec.kernel) &&
        mvm__firmware_qboot(m->rom, sizeof(m->rom)))
        plan->spec.rom = m->rom;
}

static void plan_devices(mvm__run *run, mvm__plan *plan)
{
    size_t n = 0;

    mvm__list_each (l, &run->devs)
        n++;
    plan->memory->devices = mvm__alloc((n + 1) * sizeof(*plan->memory->devices));
    plan->spec.devices = plan->memory->devices;
    mvm__list_each (l, &run->devs)
        plan->memory->devices[plan->spec.ndevices++] = &mvm__container_of(l, mvm__dev, link)->parts;
}

bool mvm__plan_boots_disk(mvm_vm *vm)
{
    return boots_firmware(vm);
}

void mvm__plan_make(mvm__run *run, const char *binary, mvm__plan *plan)
{
    const mvm_record *config = mvm_vm_config(run->vm);
    const mvm__arch *arch = mvm__arch_of(run->vm);
    const mvm__accel *accel = mvm__accel_of(arch);

    *plan = (mvm__plan){.memory = mvm__alloc(sizeof(*plan->memory))};
    plan->spec.binary = binary;
    plan->spec.name = mvm_vm_name(run->vm);
    plan->spec.accel = accel->name;
    plan->spec.machine = arch->machine;
    plan->spec.cpu = accel->kvm ? "host" : arch->tcg_cpu;
    plan->spec.slots = arch->slots;
    plan->spec.cpus = (int)mvm_record_int(config, "cpus");
    plan->spec.memory = mvm_record_int(config, "memory");
    plan->spec.window = mvm__display_window(run);
    plan->spec.vnc = mvm__display_vnc(run);
#ifdef __linux__
    plan->spec.sandbox = true;
#endif
    plan->memory->net = mvm__net_words(run);
    if (boots_firmware(run->vm))
        plan_firmware(run, plan);
    else
        plan_kernel(run->vm, plan);
    plan_devices(run, plan);
}

void mvm__plan_free(mvm__plan *plan)
{
    mvm__free(plan->memory->devices);
    mvm__free(plan->memory->cmdline);
    mvm__free(plan->memory->net);
    mvm__free(plan->memory);
    *plan = (mvm__plan){0};
}
