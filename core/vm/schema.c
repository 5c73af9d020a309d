/* SPDX-License-Identifier: MIT */
/*
 * The schemas: every field of every kind of record, with its limits, default
 * and documentation. The only place that knows them; all else is derived.
 */
#include "mvm/record.h"

#include <string.h>

#include "base/base.h"

#define MiB (INT64_C(1) << 20)
#define TiB (INT64_C(1) << 40)

static const mvm_field vm_fields[] = {
    {"name", MVM_T_NAME,
     .doc = "Name of the machine, unique in its lab; left out: `vm1`, `vm2`, ..."},
    {"guest", MVM_T_CHOICE, .choices = "linux macos efi", .fallback = "linux",
     .doc = "What runs in it: a Linux kernel, macOS, or, with `efi`, whatever its firmware finds "
            "on its "
            "first disk (on qemu: the BIOS)."},
    {"arch", MVM_T_CHOICE, .choices = "x86_64 aarch64",
     .doc = "Processor architecture; left out: the host's."},
    {"cpus", MVM_T_INT, 1, 512, .fallback = "1", .doc = "Virtual processors; at most the host's."},
    {"memory", MVM_T_SIZE, 32 * MiB, 16 * TiB, .fallback = "256M", .doc = "Size of its RAM."},
    {"boot", MVM_T_RECORD, .choices = "boot",
     .doc = "What it boots; left out: macvm's own small Linux guest, or its first disk with "
            "`guest = \"efi\"`."},
    {"devices", MVM_T_LIST, .doc = "Its devices, in the order in which the guest sees them."},
    {"backend", MVM_T_CHOICE, .choices = "qemu vz sim",
     .doc = "The hypervisor; left out: the host's own. `sim` is never chosen by itself."},
    {"sim", MVM_T_RECORD, .choices = "sim", .doc = "How a simulated machine behaves (`sim` only)."},
    {0},
};

static const mvm_field boot_fields[] = {
    {"kernel", MVM_T_PATH,
     .doc = "Linux kernel: a bzImage, or an uncompressed vmlinux, which starts quicker."},
    {"initrd", MVM_T_PATH, .doc = "Initial RAM disk."},
    {"cmdline", MVM_T_STRING,
     .doc =
         "Kernel command line. macvm's own guest: added to macvm's words. Your own kernel: used as "
         "it is, plus `console=ttyS0` unless it names a console, and words for macvm's agent."},
    {0},
};

static const mvm_field sim_fields[] = {
    {"seed", MVM_T_INT, 0, INT64_MAX, .fallback = "1", .doc = "Seed of everything that varies."},
    {"boot", MVM_T_NUMBER, 0, 86400, .fallback = "0.01",
     .doc = "Seconds from start until the agent is ready."},
    {"agent", MVM_T_BOOL, .fallback = "true", .doc = "Whether an agent runs in it."},
    {"latency", MVM_T_NUMBER, 0, 3600, .fallback = "0", .doc = "Seconds that every command takes."},
    {"shutdown", MVM_T_CHOICE, .choices = "ok ignore", .fallback = "ok",
     .doc = "Whether it follows a request to power off."},
    {0},
};

static const mvm_field disk_fields[] = {
    {"path", MVM_T_PATH, .doc = "The image on the host. Required."},
    {"size", MVM_T_SIZE, 512, 64 * TiB, .doc = "Size of the disk when it is created."},
    {"format", MVM_T_CHOICE, .choices = "raw qcow2", .fallback = "raw",
     .doc = "Format of the image; never guessed from its content, which the guest can write."},
    {"readonly", MVM_T_BOOL, .fallback = "false", .doc = "The guest can't write to it."},
    {"id", MVM_T_NAME,
     .doc = "Serial number that the guest sees, at most 20 bytes; left out: `disk1`, `disk2`, ..."},
    {"create", MVM_T_BOOL, .fallback = "false",
     .doc = "Create the image, of `size`, at start when it does not exist."},
    {0},
};

static const mvm_field net_fields[] = {
    {"mode", MVM_T_CHOICE, .choices = "nat", .fallback = "nat",
     .doc = "`nat`: a private network whose gateway reaches what the host reaches."},
    {"mac", MVM_T_MAC, .doc = "Ethernet address; left out: one made from the machine's name."},
    {"forward", MVM_T_FORWARD,
     .doc = "Host addresses that lead into the guest: `[\"127.0.0.1:8080\"] = 80`, "
            "`[\"udp:127.0.0.1:5353\"] = 53`."},
    {0},
};

static const mvm_field console_fields[] = {
    {"log", MVM_T_PATH, .doc = "File that everything printed on the console is appended to."},
    {0},
};

static const mvm_field entropy_fields[] = {
    {0},
};

static const mvm_schema g_schemas[] = {
    {"vm", false, "A machine.", vm_fields},
    {"boot", false, "What a machine boots.", boot_fields},
    {"disk", true, "A virtio block device.", disk_fields},
    {"net", true, "A virtio network device.", net_fields},
    {"console", true, "The serial console (every machine has it; this configures it).",
     console_fields},
    {"entropy", true, "A virtio random number device, fed by the host's.", entropy_fields},
    {"sim", false, "Behaviour of a simulated machine.", sim_fields},
};

const mvm_schema *mvm_schema_at(size_t i)
{
    return i < MVM_COUNT(g_schemas) ? &g_schemas[i] : NULL;
}

const mvm_schema *mvm_schema_find(const char *kind)
{
    for (size_t i = 0; i < MVM_COUNT(g_schemas); i++)
        if (strcmp(g_schemas[i].kind, kind) == 0)
            return &g_schemas[i];
    return NULL;
}
