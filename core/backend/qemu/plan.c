/* SPDX-License-Identifier: MIT */
/* Reads the records of a machine and fills the plain structs that the argv builder takes. Loop
 * thread. */
#include "backend/qemu/plan.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/qemu/accel.h"
#include "backend/qemu/cmdline.h"
#include "backend/qemu/disk.h"
#include "base/base.h"
#include "mvm/host.h"

#define PATH_MAX_OWN 512

struct mvm__plan_memory {
    char kernel[PATH_MAX_OWN], initrd[PATH_MAX_OWN], firmware[PATH_MAX_OWN];
    char *cmdline;
    mvm_qemu_disk *disks;
    char (*serials)[24];
    mvm_qemu_net *nets;
    char (*macs)[18];
    mvm_qemu_forward **forwards; /* one list a net */
    size_t nnets;
};

static size_t count_kind(mvm_vm *vm, const char *kind)
{
    mvm_record *d;
    size_t n = 0;

    for (size_t i = 0; (d = mvm_record_item(mvm_vm_config(vm), "devices", i)) != NULL; i++)
        n += strcmp(mvm_record_schema(d)->kind, kind) == 0;
    return n;
}

static const mvm_record *nth_of_kind(mvm_vm *vm, const char *kind, size_t n)
{
    mvm_record *d;

    for (size_t i = 0; (d = mvm_record_item(mvm_vm_config(vm), "devices", i)) != NULL; i++)
        if (strcmp(mvm_record_schema(d)->kind, kind) == 0 && n-- == 0)
            return d;
    return NULL;
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

static bool boots_own_guest(mvm_vm *vm)
{
    return !boots_firmware(vm) && !boot_field(vm, "kernel");
}

/* ---- check ------------------------------------------------------------------------- */

static int check_platform(mvm_vm *vm, mvm_err *err)
{
    const char *guest = mvm_record_str(mvm_vm_config(vm), "guest");
    const char *arch = mvm_record_str(mvm_vm_config(vm), "arch");

    if (strcmp(guest, "macos") == 0) {
        mvm_fail(err, MVM_EUNSUPPORTED, "QEMU does not run macOS guests");
        mvm_err_field(err, "guest");
        mvm_err_hint(err, "macOS guests need a Mac with Apple silicon");
        return MVM_EUNSUPPORTED;
    }
    if (!arch)
        arch = mvm_host_arch();
    if (strcmp(arch, "x86_64") != 0) {
        mvm_fail(err, MVM_EUNSUPPORTED, "QEMU machines of macvm are x86_64, not %s", arch);
        mvm_err_field(err, "arch");
        return MVM_EUNSUPPORTED;
    }
    return 0;
}

static int check_guest_image(mvm_vm *vm, mvm_err *err)
{
    char kernel[PATH_MAX_OWN], initrd[PATH_MAX_OWN];

    if (!boots_own_guest(vm) || mvm_guest_find("x86_64", kernel, initrd, sizeof(kernel)))
        return 0;
    mvm_fail(err, MVM_EUNSUPPORTED, "macvm's own guest is not built: no %s", kernel);
    mvm_err_hint(err, "run: macvm guest build");
    return MVM_EUNSUPPORTED;
}

static int check_firmware_boot(mvm_vm *vm, mvm_err *err)
{
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
    return 0;
}

static int check_memory(mvm_vm *vm, mvm_err *err)
{
    int64_t memory = mvm_record_int(mvm_vm_config(vm), "memory");
    bool enough = memory >= OWN_GUEST_MEMORY || !boots_own_guest(vm);
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

static int check_serials(mvm_vm *vm, mvm_err *err)
{
    char a[24], b[24];

    for (size_t i = 0; mvm__plan_disk_id(vm, i, a); i++)
        for (size_t k = 0; k < i; k++)
            if (mvm__plan_disk_id(vm, k, b) && strcmp(a, b) == 0) {
                mvm_fail(err, MVM_ECONFIG, "two disks have the id \"%s\"", a);
                mvm_err_field(err, "devices");
                return MVM_ECONFIG;
            }
    return 0;
}

int mvm__plan_check(mvm_vm *vm, mvm_err *err)
{
    int (*const checks[])(mvm_vm *, mvm_err *) = {check_platform, check_memory, check_firmware_boot,
                                                  check_guest_image, check_serials};

    for (size_t i = 0; i < MVM_COUNT(checks); i++) {
        int rc = checks[i](vm, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- disks --------------------------------------------------------------------------- */

const char *mvm__plan_disk_id(mvm_vm *vm, size_t index, char *buf)
{
    const mvm_record *disk = nth_of_kind(vm, "disk", index);

    if (!disk)
        return NULL;
    const char *id = mvm_record_str(disk, "id");
    if (id)
        snprintf(buf, 24, "%.20s", id);
    else
        snprintf(buf, 24, "disk%zu", index + 1);
    return buf;
}

int mvm__plan_disks(mvm_vm *vm, mvm_err *err)
{
    const mvm_record *disk;

    for (size_t i = 0; (disk = nth_of_kind(vm, "disk", i)) != NULL; i++)
        if (mvm_record_bool(disk, "create") &&
            mvm__disk_create(mvm_record_str(disk, "path"), mvm_record_str(disk, "format"),
                             mvm_record_int(disk, "size"), err) != 0)
            return MVM_EIO;
    return 0;
}

static void plan_disks(mvm_vm *vm, mvm__plan *plan)
{
    struct mvm__plan_memory *m = plan->memory;
    size_t n = count_kind(vm, "disk");

    m->disks = mvm__alloc(n * sizeof(*m->disks));
    m->serials = mvm__alloc(n * sizeof(*m->serials));
    for (size_t i = 0; i < n; i++) {
        const mvm_record *disk = nth_of_kind(vm, "disk", i);
        m->disks[i].path = mvm_record_str(disk, "path");
        m->disks[i].format = mvm_record_str(disk, "format");
        m->disks[i].readonly = mvm_record_bool(disk, "readonly");
        m->disks[i].serial = mvm__plan_disk_id(vm, i, m->serials[i]);
    }
    plan->spec.disks = m->disks;
    plan->spec.ndisks = n;
}

/* ---- network -------------------------------------------------------------------------- */

static void plan_forwards(const mvm_record *record, mvm_qemu_net *net, mvm_qemu_forward **list)
{
    const char *key;
    mvm_value value;
    size_t n = 0;

    while (mvm_record_entry(record, "forward", n, &key, &value))
        n++;
    *list = mvm__alloc(n * sizeof(**list));
    for (size_t i = 0; i < n; i++) {
        mvm_record_entry(record, "forward", i, &key, &value);
        (*list)[i] = (mvm_qemu_forward){key, (int)value.as.integer};
    }
    net->forwards = *list;
    net->nforwards = n;
}

static void plan_nets(mvm_vm *vm, mvm__plan *plan)
{
    struct mvm__plan_memory *m = plan->memory;

    m->nnets = count_kind(vm, "net");
    m->nets = mvm__alloc(m->nnets * sizeof(*m->nets));
    m->macs = mvm__alloc(m->nnets * sizeof(*m->macs));
    m->forwards = mvm__alloc(m->nnets * sizeof(*m->forwards));
    for (size_t i = 0; i < m->nnets; i++) {
        const mvm_record *net = nth_of_kind(vm, "net", i);
        const char *mac = mvm_record_str(net, "mac");
        if (!mac)
            mvm_qemu_mac(mvm_vm_name(vm), i, m->macs[i]);
        m->nets[i].mac = mac ? mac : m->macs[i];
        plan_forwards(net, &m->nets[i], &m->forwards[i]);
    }
    plan->spec.nets = m->nets;
    plan->spec.nnets = m->nnets;
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

/*
 * qboot, the small firmware that comes with QEMU, for an uncompressed kernel: it gets there a
 * little sooner than SeaBIOS, and it survives a reset: with SeaBIOS 1.16 one reboot of such a
 * machine was followed by 20 to 90 further resets before the kernel ran again. false: not
 * installed.
 */
static bool find_qboot(const char *binary, char *path, size_t cap)
{
    const char *slash = strrchr(binary, '/');

    snprintf(path, cap, "%.*s/../share/qemu/qboot.rom", slash ? (int)(slash - binary) : 1,
             slash ? binary : ".");
    if (access(path, R_OK) == 0)
        return true;
    snprintf(path, cap, "/usr/share/qboot/qboot.rom");
    return access(path, R_OK) == 0;
}

static void plan_boot(mvm_vm *vm, mvm__plan *plan)
{
    struct mvm__plan_memory *m = plan->memory;
    bool own = boots_own_guest(vm);

    if (boots_firmware(vm))
        return;
    if (own)
        mvm_guest_find("x86_64", m->kernel, m->initrd, sizeof(m->kernel));
    m->cmdline = mvm__cmdline_build(&(mvm__cmdline){
        .own = own,
        .kvm = mvm__accel_get()->kvm,
        .nat = count_kind(vm, "net") > 0,
        .tsc_khz = own && !mvm__accel_get()->kvm ? mvm__tsc_khz() : 0,
        .name = mvm_vm_name(vm),
        .user = boot_field(vm, "cmdline"),
    });
    plan->spec.kernel = own ? m->kernel : boot_field(vm, "kernel");
    plan->spec.initrd = own ? m->initrd : boot_field(vm, "initrd");
    plan->spec.cmdline = m->cmdline;
    if (is_elf(plan->spec.kernel) &&
        find_qboot(plan->spec.binary, m->firmware, sizeof(m->firmware)))
        plan->spec.firmware = m->firmware;
}

void mvm__plan_make(mvm_vm *vm, const char *binary, mvm__plan *plan)
{
    const mvm_record *config = mvm_vm_config(vm);

    *plan = (mvm__plan){.memory = mvm__alloc(sizeof(*plan->memory))};
    plan->spec.binary = binary;
    plan->spec.name = mvm_vm_name(vm);
    plan->spec.accel = mvm__accel_get()->name;
    plan->spec.cpus = (int)mvm_record_int(config, "cpus");
    plan->spec.memory = mvm_record_int(config, "memory");
    plan->spec.entropy = count_kind(vm, "entropy") > 0;
#ifdef __linux__
    plan->spec.sandbox = true;
#endif
    plan_boot(vm, plan);
    plan_disks(vm, plan);
    plan_nets(vm, plan);
}

void mvm__plan_free(mvm__plan *plan)
{
    struct mvm__plan_memory *m = plan->memory;

    for (size_t i = 0; i < m->nnets; i++)
        mvm__free(m->forwards[i]);
    mvm__free(m->forwards);
    mvm__free(m->nets);
    mvm__free(m->macs);
    mvm__free(m->disks);
    mvm__free(m->serials);
    mvm__free(m->cmdline);
    mvm__free(m);
    *plan = (mvm__plan){0};
}
