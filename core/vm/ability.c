/* SPDX-License-Identifier: MIT */
/*
 * The table of abilities, and the answers from it. What it says of a back end holds for every
 * machine of that; what depends on this host, the back end is asked for (`cannot`, `cure`). Loop
 * thread only.
 */
#include "mvm/ability.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "vm/vm_struct.h"

#define NO_SNAPSHOTS "this version of macvm has no snapshots"
#define NO_PLUG_VZ   "Virtualization.framework plugs in USB storage alone"
#define EVERY        "every machine has it"

static const mvm_ability g_abilities[] = {
    /* ---- devices */
    {"disk", "disks",
     .qemu =
         {.guest =
              "virtio-blk: Virtio 2, PCI 1af4:1042; `/dev/vda`, ..., with `id` as serial number"},
     .vz = {.guest = "virtio-blk: Virtio 2",
            {{"11", "VZVirtioBlockDeviceConfiguration, raw images"},
             {"12", "`cache` and `sync`"},
             {"12.3", "`id` as serial number"}},
            "Images are raw; a qcow2 image has to be converted."}},
    {"net", "network devices",
     .qemu = {.guest = "virtio-net: Virtio 1, PCI 1af4:1041; `eth0`, ..."},
     .vz = {.guest = "virtio-net: Virtio 1",
            {{"11", "VZVirtioNetworkDeviceConfiguration"},
             {"12", "the link of a running machine"},
             {"13", "larger frames on a socket (`maximumTransmissionUnit`)"},
             {"26", "networks of vmnet, without root"}},
            "NAT has no forwarded ports of its own."}},
    {"net.bridged", "networks of the host (`mode = \"bridged\"`)",
     .qemu = {.guest = "as any other network device",
              .needs = "/dev/net/tun and the right CAP_NET_ADMIN",
              .cure = "run macvm as root, or give it CAP_NET_ADMIN"},
     .vz = {.guest = "as any other network device",
            {{"11", "VZBridgedNetworkDeviceAttachment"}},
            "Needs the entitlement com.apple.vm.networking, which Apple grants."}},
    {"share", "directories of the host",
     .qemu = {.guest = "virtiofs: Virtio 26, PCI 1af4:105a; or 9p: Virtio 9, PCI 1af4:1049"},
     .vz = {.guest = "virtiofs: Virtio 26",
            {{"12", "VZVirtioFileSystemDeviceConfiguration"},
             {"13", "macOS guests mount it (`macOSGuestAutomountTag`)"}},
            "A tag has fewer than 36 bytes."}},
    {"share.virtiofs", "virtiofs for shares (else they are 9p)",
     .qemu = {.guest = "virtiofs: Virtio 26, PCI 1af4:105a",
              .needs = "virtiofsd",
              .cure = "apt-get install qemu-system-common, or virtiofsd where there is such a "
                      "package"},
     .vz = {.guest = "virtiofs: Virtio 26", {{"12", "VZVirtioFileSystemDeviceConfiguration"}}}},
    {"vsock", "virtio sockets",
     .qemu = {.guest = "virtio-vsock: Virtio 19, PCI 1af4:1053; the host is CID 2"},
     .vz = {.guest = "virtio-vsock: Virtio 19; the host is CID 2",
            {{"11", "VZVirtioSocketDeviceConfiguration"}},
            "At most one. Linux guests; macOS guests are said to from 13 on."}},
    {"vsock.kernel", "virtio sockets by the host's kernel (`kernel = true`)",
     .qemu = {.guest = "virtio-vsock: Virtio 19, PCI 1af4:1053",
              .needs = "/dev/vhost-vsock",
              .cure = "modprobe vhost_vsock, and the right to open /dev/vhost-vsock"},
     .vz = {.none = "Virtualization.framework has a device of its own"}},
    {"console", "consoles",
     .qemu =
         {.guest =
              "a serial port (`ttyS0`; on aarch64 a PL011, `ttyAMA0`); of `type = \"hvc\"`: a port "
              "of virtio-console: Virtio 3, PCI 1af4:1043",
          .fixed = "consoles are there from the start"},
     .vz = {.guest = "virtio-console: Virtio 3; `hvc0`",
            {{"11", "VZVirtioConsoleDeviceSerialPortConfiguration"},
             {"13", "several named ports (VZVirtioConsoleDeviceConfiguration)"}},
            "There is no serial port but the virtio one."}},
    {"entropy", "random numbers",
     .qemu = {.guest = "virtio-rng: Virtio 4, PCI 1af4:1044; `/dev/hwrng`"},
     .vz = {.guest = "virtio-rng: Virtio 4",
            {{"11", "VZVirtioEntropyDeviceConfiguration"}},
            "Has no `rate`. In the way of saving a machine's state."}},
    {"balloon", "the memory balloon", .qemu = {.guest = "virtio-balloon: Virtio 5, PCI 1af4:1045"},
     .vz = {.guest = "virtio-balloon: Virtio 5",
            {{"11", "VZVirtioTraditionalMemoryBalloonDeviceConfiguration"}},
            "At most one. A request without an answer: no events, no page reporting. That a macOS "
            "guest follows is not shown anywhere."}},
    {"sound", "sound",
     .qemu = {.guest =
                  "virtio-sound: Virtio 25, PCI 1af4:1059; needs SND_VIRTIO in the guest's kernel",
              "8.2",
              .cure = "QEMU 8.2 or later (Debian 12: from bookworm-backports)",
              .fixed = "QEMU adds no audio to a machine that runs"},
     .vz = {.guest = "virtio-sound: Virtio 25",
            {{"12", "VZVirtioSoundDeviceConfiguration"}},
            "Plays to the host's audio, not into a file. Recording needs the host's consent."}},
    {"display", "a display",
     .qemu = {.guest = "virtio-gpu: Virtio 16, PCI 1af4:1050; `/dev/dri/card0`, `/dev/fb0`",
              .fixed = "QEMU's graphics devices can't be plugged in"},
     .vz = {.guest = "virtio-gpu: Virtio 16; for macOS guests Apple's own, with Metal",
            {{"12", "VZMacGraphicsDeviceConfiguration, for macOS guests"},
             {"13", "VZVirtioGraphicsDeviceConfiguration, for Linux guests"},
             {"14", "another size while it runs"}},
            "Shown in a view alone: the framework takes no screenshots and serves no VNC."}},
    {"display.window", "the display in a window (`window = true`)",
     .qemu = {.guest = "as any other display",
              .needs = "a desktop, and QEMU's GTK module",
              .cure = "apt-get install qemu-system-gui, on a desktop"},
     .vz = {.guest = "as any other display", {{"12", "VZVirtualMachineView"}}}},
    {"keyboard", "a keyboard",
     .qemu = {.guest = "virtio-input: Virtio 18, PCI 1af4:1052; `/dev/input/event*`"},
     .vz = {.guest = "a USB keyboard; for macOS guests also Apple's own",
            {{"12", "VZUSBKeyboardConfiguration"},
             {"14", "VZMacKeyboardConfiguration (Apple silicon)"}},
            "Keys come from the view alone: the framework presses none for a script."}},
    {"pointer", "a pointer",
     .qemu = {.guest =
                  "virtio-input: Virtio 18, PCI 1af4:1052; a tablet with absolute coordinates"},
     .vz = {.guest = "a USB tablet with absolute coordinates; for macOS guests also a trackpad",
            {{"12", "VZUSBScreenCoordinatePointingDeviceConfiguration"},
             {"13", "VZMacTrackpadConfiguration (Apple silicon)"}},
            "Linux guests take one pointing device. It moves in the view alone."}},
    {"clipboard", "the clipboard",
     .qemu =
         {.guest =
              "a port of virtio-console named `com.redhat.spice.0`; the guest runs spice-vdagent",
          .fixed = "the port of the clipboard is there from the start"},
     .vz = {.guest =
                "a port of virtio-console named `com.redhat.spice.0`; the guest runs spice-vdagent",
            {{"13", "VZSpiceAgentPortAttachment, Linux guests"},
             {"15", "macOS guests, with an agent of others"}},
            "Shared with the Mac's clipboard, not with a script."}},
    {"rosetta", "Rosetta for Linux guests",
     .missing = "only Virtualization.framework on Apple silicon has Rosetta",
     .qemu = {.none = "only Virtualization.framework on Apple silicon has Rosetta"},
     .vz = {.guest = "virtiofs: Virtio 26",
            {{"13", "VZLinuxRosettaDirectoryShare (Apple silicon)"}, {"14", "its cache"}}}},

    /* ---- how a machine is made */
    {"x86_64", "machines with x86-64 processors",
     .qemu = {.guest = "a q35 machine",
              .needs = "qemu-system-x86_64",
              .cure = "apt-get install qemu-system-x86"},
     .vz = {.guest = "a generic platform, on Macs with Intel processors",
            {{"11", "Linux guests"}},
            "Machines have the Mac's own architecture."}},
    {"aarch64", "machines with 64-bit Arm processors",
     .qemu = {.guest = "a virt machine",
              .needs = "qemu-system-aarch64",
              .cure = "apt-get install qemu-system-arm"},
     .vz = {.guest = "a generic or a Mac platform, on Apple silicon",
            {{"11", "Linux guests"}, {"12", "macOS guests"}},
            "Machines have the Mac's own architecture."}},
    {"efi", "boot by EFI firmware (`guest = \"efi\"`)",
     .qemu = {.guest = "EFI (edk2) with variables of its own",
              .needs = "edk2's firmware",
              .cure = "apt-get install ovmf (x86_64), qemu-efi-aarch64 (aarch64)"},
     .vz = {.guest = "EFI with variables of its own",
            {{"13", "VZEFIBootLoader, VZEFIVariableStore"}}}},

    /* ---- what it does while it runs */
    {"agent", "macvm's agent in the guest", .qemu = {.guest = EVERY},
     .vz = {.guest = EVERY, {{"13", "VZVirtioConsoleDeviceConfiguration"}}}},
    {"exec", "commands in the guest, by the agent", .qemu = {.guest = EVERY},
     .vz = {.guest = EVERY, {{"13", "VZVirtioConsoleDeviceConfiguration"}}}},
    {"pause", "pause and resume", .qemu = {.guest = EVERY},
     .vz = {.guest = EVERY, {{"11", "`pauseWithCompletionHandler:`"}}}},
    {"reboot", "reboot", .qemu = {.guest = EVERY},
     .vz = {.guest = EVERY, {{"12", "by the agent, or stop and start"}}}},
    {"stats", "figures", .qemu = {.guest = EVERY},
     .vz = {.guest = EVERY, {{"11", "those of the agent"}}}},
    {"hotplug", "devices that come and go while it runs",
     .qemu = {.guest = "PCI hot-plug: ACPI with 31 slots; on aarch64 eight PCI Express root ports"},
     .vz = {.guest = "USB storage", {{"15", "VZUSBController"}}, .note = NO_PLUG_VZ "."}},
    {"save", "the state of a machine in a file", .missing = NO_SNAPSHOTS,
     .qemu = {.none = NO_SNAPSHOTS},
     .vz = {.guest = "nothing", {{"14", "`saveMachineStateToURL:` (Apple silicon)"}}}},
    {"snapshot", "snapshots", .missing = NO_SNAPSHOTS, .qemu = {.none = NO_SNAPSHOTS},
     .vz = {.guest = "nothing", {{"14", "by saving state and disks (Apple silicon)"}}}},
    {"fork", "running copies of a running machine", .missing = "this version of macvm has no forks",
     .qemu = {.none = "this version of macvm has no forks"},
     .vz = {.none = "a saved state belongs to one machine"}},
};

const mvm_ability *mvm_ability_at(size_t i)
{
    return i < MVM_COUNT(g_abilities) ? &g_abilities[i] : NULL;
}

const mvm_ability *mvm_ability_find(const char *word)
{
    for (size_t i = 0; i < MVM_COUNT(g_abilities); i++)
        if (strcmp(g_abilities[i].word, word) == 0)
            return &g_abilities[i];
    return NULL;
}

const char *mvm_vm_ability(size_t i)
{
    return i < MVM_COUNT(g_abilities) ? g_abilities[i].word : NULL;
}

bool mvm_ability_is_device(const mvm_ability *ability)
{
    const mvm_schema *schema = mvm_schema_find(ability->word);

    return schema && schema->device;
}

/* ---- asking ------------------------------------------------------------------------- */

#define HOTPLUG "hotplug."

/* What the table says without a look at the host; NULL: nothing is in the way. `word` may be
 * "hotplug.KIND". */
static const char *table_cannot(const char *word, const char *backend)
{
    bool plug = strncmp(word, HOTPLUG, strlen(HOTPLUG)) == 0;
    const mvm_ability *a = mvm_ability_find(plug ? word + strlen(HOTPLUG) : word);

    if (!a || (plug && !mvm_ability_is_device(a)))
        return "macvm knows no such ability";
    if (a->missing)
        return a->missing;
    if (strcmp(backend, "qemu") == 0)
        return a->qemu.none ? a->qemu.none : plug ? a->qemu.fixed : NULL;
    if (strcmp(backend, "vz") == 0)
        return a->vz.none ? a->vz.none : plug ? NO_PLUG_VZ : NULL;
    return NULL;
}

static const char *backend_cannot(const mvm_backend_ops *ops, mvm_vm *vm, const char *word,
                                  const char **cure)
{
    bool plug = strncmp(word, HOTPLUG, strlen(HOTPLUG)) == 0;
    const char *why = table_cannot(word, ops->name);
    const char *asked[] = {plug ? word + strlen(HOTPLUG) : word, plug ? "hotplug" : NULL};

    *cure = NULL;
    for (size_t i = 0; !why && i < MVM_COUNT(asked) && asked[i]; i++) {
        why = ops->cannot(vm, asked[i]);
        if (why && ops->cure)
            *cure = ops->cure(vm, asked[i]);
    }
    return why;
}

bool mvm_vm_can(mvm_vm *vm, const char *what, const char **reason)
{
    const char *why = table_cannot(what, ""), *cure = NULL;
    mvm_err err;

    if (!why && !vm->ops && mvm__vm_pick_backend(vm, &err) != 0) {
        snprintf(vm->reason, sizeof(vm->reason), "%.250s", err.message);
        why = vm->reason;
    }
    if (!why)
        why = backend_cannot(vm->ops, vm, what, &cure);
    if (why && cure) {
        snprintf(vm->reason, sizeof(vm->reason), "%.150s; %.100s", why, cure);
        why = vm->reason;
    }
    if (reason)
        *reason = why;
    return why == NULL;
}

bool mvm_host_can(const mvm_ability *ability, const char **reason, const char **cure)
{
    static char text[sizeof(((mvm_err *)0)->message)], hint[sizeof(((mvm_err *)0)->hint)];
    const mvm_backend_ops *ops, *best = NULL;
    const char *why = NULL, *what = NULL;
    mvm_err err;

    for (size_t i = 0; !best && (ops = mvm__backend_at(i)) != NULL; i++) {
        if (!ops->real)
            continue;
        if (ops->probe(&err) == 0)
            best = ops;
    }
    if (best) {
        why = backend_cannot(best, NULL, ability->word, &what);
    } else {
        why = strcpy(text, err.message);
        what = strcpy(hint, err.hint);
    }
    if (reason)
        *reason = why;
    if (cure)
        *cure = what ? what : "";
    return why == NULL;
}
