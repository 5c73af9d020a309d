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
     .doc = "What runs in it: a Linux kernel, macOS, or, with `efi`, what EFI firmware finds on "
            "its first "
            "disk."},
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
         "it is, plus a console unless it names one, and words for macvm's agent."},
    {"variables", MVM_T_PATH,
     .doc = "With `guest = \"efi\"`: the file that keeps the firmware's variables, made when it is "
            "not there; left out: they are forgotten when the machine stops."},
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
    {"size", MVM_T_SIZE, 512, 64 * TiB,
     .doc = "Size of the disk when it is created; an image that is smaller is grown to it."},
    {"format", MVM_T_CHOICE, .choices = "raw qcow2", .fallback = "raw",
     .doc = "Format of the image; never guessed from its content, which the guest can write."},
    {"readonly", MVM_T_BOOL, .fallback = "false", .doc = "The guest can't write to it."},
    {"id", MVM_T_NAME,
     .doc = "Serial number that the guest sees, at most 20 bytes; left out: `disk1`, `disk2`, ..."},
    {"create", MVM_T_BOOL, .fallback = "false",
     .doc = "Create the image, of `size`, at start when it does not exist."},
    {"ephemeral", MVM_T_BOOL, .fallback = "false",
     .doc = "Writes go to an overlay that is thrown away when the machine stops; the image is only "
            "read."},
    {"cache", MVM_T_CHOICE, .choices = "automatic cached uncached", .fallback = "automatic",
     .doc = "Whether the host's page cache is between the guest and the image."},
    {"sync", MVM_T_CHOICE, .choices = "full fsync none", .fallback = "full",
     .doc = "What a flush of the guest does: `full` and `fsync` reach the storage, `none` is not "
            "waited for: quick, for data that may be lost."},
    {0},
};

static const mvm_field net_fields[] = {
    {"mode", MVM_T_CHOICE, .choices = "nat bridged", .fallback = "nat",
     .doc = "`nat`: a private network whose gateway reaches what the host reaches. `bridged`: on a "
            "network of the host."},
    {"id", MVM_T_NAME, .doc = "Its name in events and figures; left out: `net1`, `net2`, ..."},
    {"mac", MVM_T_MAC, .doc = "Ethernet address; left out: one made from the machine's name."},
    {"forward", MVM_T_FORWARD,
     .doc =
         "Host addresses that lead into the guest: `[\"127.0.0.1:8080\"] = 80`, "
         "`[\"udp:127.0.0.1:5353\"] = 53`. Port 0: one that is free, told by `vm:forwards()`; then "
         "several guest ports are a list: `[\"127.0.0.1:0\"] = { 80, 443 }`."},
    {"interface", MVM_T_NAME,
     .doc = "With `bridged`: the host's bridge or network interface. Required there."},
    {0},
};

static const mvm_field share_fields[] = {
    {"tag", MVM_T_STRING, .doc = "Its name in the guest, at most 36 bytes. Required."},
    {"path", MVM_T_PATH, .doc = "The directory on the host. Required."},
    {"readonly", MVM_T_BOOL, .fallback = "false",
     .doc = "The guest can't change it, whatever it does; enforced on the host."},
    {"mount", MVM_T_STRING,
     .doc = "Where the guest's agent mounts it before the machine is ready; left out: nowhere."},
    {"driver", MVM_T_CHOICE, .choices = "auto virtiofs 9p", .fallback = "auto",
     .doc = "How it reaches the guest; `auto`: virtiofs, or 9p where virtiofsd is missing."},
    {0},
};

static const mvm_field vsock_fields[] = {
    {"cid", MVM_T_INT, 3, 0xfffffffe,
     .doc = "Context identifier of the guest; left out: one that no other machine of the lab has."},
    {"unix", MVM_T_PATH,
     .doc =
         "Unix socket for other programs: `CONNECT port` and a newline lead to the guest's port; "
         "what the guest connects to arrives at `PATH_port`."},
    {"kernel", MVM_T_BOOL, .fallback = "false",
     .doc = "Use the host kernel's vhost-vsock instead of macvm's own device: its CIDs and ports "
            "are the whole host's, and there is no `unix`."},
    {0},
};

static const mvm_field console_fields[] = {
    {"type", MVM_T_CHOICE, .choices = "serial hvc", .fallback = "serial",
     .doc = "`serial`: a serial port. `hvc`: a virtio console, quick, but QEMU drops what it is "
            "told faster than macvm takes it."},
    {"id", MVM_T_NAME,
     .doc = "Its name in `vm.consoles`; left out: `serial`, `serial1`, or `hvc0`, `hvc1`, ..."},
    {"log", MVM_T_PATH, .doc = "File that everything printed on the console is appended to."},
    {0},
};

static const mvm_field entropy_fields[] = {
    {"rate", MVM_T_SIZE, 1, MiB * 1024,
     .doc = "At most so many bytes a second; left out: no limit."},
    {0},
};

static const mvm_field balloon_fields[] = {
    {"reporting", MVM_T_BOOL, .fallback = "true",
     .doc = "The guest tells which of its pages are free, and the host takes them back."},
    {0},
};

static const mvm_field sound_fields[] = {
    {"output", MVM_T_BOOL, .fallback = "true", .doc = "The guest can play."},
    {"input", MVM_T_BOOL, .fallback = "false", .doc = "The guest can record."},
    {"file", MVM_T_PATH,
     .doc = "WAV file that what the guest plays is written to, whole when the machine has stopped; "
            "left "
            "out: the host's audio."},
    {0},
};

static const mvm_field display_fields[] = {
    {"width", MVM_T_INT, 64, 16384, .fallback = "1280", .doc = "Pixels."},
    {"height", MVM_T_INT, 64, 16384, .fallback = "800", .doc = "Pixels."},
    {"vnc", MVM_T_PATH, .doc = "Private unix socket on which the display is served by VNC."},
    {"window", MVM_T_BOOL, .fallback = "false",
     .doc = "Show it in a window of the desktop, whose size the guest follows then."},
    {0},
};

static const mvm_field no_fields[] = {
    {0},
};

static const mvm_schema g_schemas[] = {
    {"vm", false, "A machine.", vm_fields},
    {"boot", false, "What a machine boots.", boot_fields},
    {"disk", true, "A virtio block device.", disk_fields},
    {"net", true, "A virtio network device.", net_fields},
    {"share", true, "A directory of the host, shared by virtiofs or 9p.", share_fields},
    {"vsock", true, "A virtio socket device.", vsock_fields},
    {"console", true,
     "A console. Every machine has a serial one; the first of type `serial` "
     "configures it.",
     console_fields},
    {"entropy", true, "A virtio random number device, fed by the host's.", entropy_fields},
    {"balloon", true, "A virtio memory balloon.", balloon_fields},
    {"sound", true, "A virtio sound device.", sound_fields},
    {"display", true, "A virtio graphics device with one display.", display_fields},
    {"keyboard", true, "A virtio keyboard.", no_fields},
    {"pointer", true, "A virtio pointing device with absolute coordinates.", no_fields},
    {"clipboard", true, "Text clipboard, shared with a guest that runs the Spice agent.",
     no_fields},
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
