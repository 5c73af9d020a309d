/* SPDX-License-Identifier: MIT */
/*
 * The builder of QEMU's command line. Pure; any thread. Every text that comes from a configuration
 * passes escape(), which doubles the commas that QEMU's option syntax gives a meaning to.
 */
#include "wire/qemu_argv.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/buf.h"

typedef struct words {
    char **items;
    size_t n, cap;
} words;

static void push(words *a, char *owned)
{
    if (a->n == a->cap) {
        a->cap = a->cap ? a->cap * 2 : 64;
        a->items = mvm__realloc(a->items, a->cap * sizeof(char *));
    }
    a->items[a->n++] = owned;
}

static void add(words *a, const char *word)
{
    push(a, mvm__strdup(word));
}

/* Option and value; the value is taken over. */
static void add_owned(words *a, const char *option, char *value)
{
    add(a, option);
    push(a, value);
}

static void add_pair(words *a, const char *option, const char *value)
{
    add_owned(a, option, mvm__strdup(value));
}

static char *escape(const char *text)
{
    char *out = mvm__alloc(2 * strlen(text) + 1);
    char *end = out;

    for (; *text; text++) {
        if (*text == ',')
            *end++ = ',';
        *end++ = *text;
    }
    return out;
}

/* ---- the parts ------------------------------------------------------------------- */

static void add_machine(words *a, const mvm_qemu_spec *spec)
{
    MVM_AUTO_FREE char *name = escape(spec->name);

    push(a, mvm__strdup(spec->binary));
    /* `process` is what ps and top show. */
    add_owned(a, "-name", mvm__asprintf("guest=%s,process=macvm-%s", name, name));
    add(a, "-nodefaults"); /* no device that was not asked for */
    add(a, "-no-user-config");
    /* The window can't be closed: a machine ends when its script says so. */
    add_pair(a, "-display", spec->window ? "gtk,window-close=off" : "none");
    if (spec->vnc)
        add_pair(a, "-vnc", "none"); /* is told over QMP where to listen */
    add(a, "-machine");
    push(a, mvm__asprintf("%s,memory-backend=ram%s", spec->machine,
                          spec->kernel ? "" : ",pflash0=efi,pflash1=variables"));
    add_pair(a, "-accel",
             strcmp(spec->accel, "tcg") == 0
                 ? "tcg,tb-size=256" /* else up to 1 GiB of translated code each */
                 : spec->accel);
    add_pair(a, "-cpu", spec->cpu);
    add_owned(a, "-smp", mvm__asprintf("%d", spec->cpus));
    /* Shared, so that a vhost-user device (virtiofsd, our vsock) can be there from the start or be
     * plugged in; measured: it costs nothing. */
    add_owned(
        a, "-object",
        mvm__asprintf("memory-backend-memfd,id=ram,share=on,size=%lldb", (long long)spec->memory));
    add_owned(a, "-m", mvm__asprintf("%lldb", (long long)spec->memory));
    add_pair(a, "-rtc", "base=utc");
    /* A guest that panics stays to be looked at; the event tells us. */
    add_pair(a, "-action", "panic=none");
    if (spec->sandbox)
        add_pair(a, "-sandbox",
                 "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

static void add_flash(words *a, const char *node, const char *path, bool readonly)
{
    MVM_AUTO_FREE char *escaped = escape(path);

    add_owned(a, "-blockdev",
              mvm__asprintf("driver=raw,node-name=%s,read-only=%s,file.driver=file,"
                            "file.locking=auto,file.filename=%s",
                            node, readonly ? "on" : "off", escaped));
}

static void add_boot(words *a, const mvm_qemu_spec *spec)
{
    if (!spec->kernel) {
        add_flash(a, "efi", spec->efi, true);
        add_flash(a, "variables", spec->variables, false);
        add_pair(a, "-boot", "menu=off,strict=on"); /* from no other device than that told to */
        return;
    }
    if (spec->rom)
        add_pair(a, "-bios", spec->rom);
    add_pair(a, "-kernel", spec->kernel);
    if (spec->initrd)
        add_pair(a, "-initrd", spec->initrd);
    add_pair(a, "-append", spec->cmdline ? spec->cmdline : "");
}

static void add_socket(words *a, const char *id, int fd)
{
    add_owned(a, "-chardev", mvm__asprintf("socket,id=%s,fd=%d", id, fd));
}

/* Where devices are plugged in while the machine runs. ACPI hot-plug has 31 slots for the price of
 * one bridge; the device behind it that is there from the start makes the kernel give the bridge a
 * window of memory, which the small firmware does not. The bridge's own way, SHPC, would only make
 * the kernel complain that the slots are taken. Without ACPI each slot is a PCI Express root
 * port. */
static void add_slots(words *a, unsigned slots)
{
    if (slots == 0) {
        add_pair(a, "-device", "pci-bridge,id=hot,chassis_nr=1,shpc=off");
        add_pair(a, "-device", "pvpanic-pci,bus=hot");
        return;
    }
    for (unsigned i = 0; i < slots; i++)
        add_owned(a, "-device", mvm__asprintf("pcie-root-port,id=hot%u,chassis=%u", i, i + 1));
    add_pair(a, "-device", "pvpanic-pci");
}

/* The control socket, the serial console and the agent's port. virtio devices speak virtio 1 only:
 * a guest probes the transitional ones twice. Eight ports instead of 31 save as many queues. */
static void add_channels(words *a, const mvm_qemu_spec *spec)
{
    add_socket(a, "qmp", spec->qmp_fd);
    add_pair(a, "-mon", "chardev=qmp,mode=control");
    add_socket(a, "console", spec->console_fd);
    add_pair(a, "-serial", "chardev:console");
    add_socket(a, "agent", spec->agent_fd);
    add_pair(a, "-device", "virtio-serial-pci,id=ports,max_ports=8,disable-legacy=on");
    add_pair(a, "-device",
             "virtserialport,id=agentport,bus=ports.0,nr=1,chardev=agent,name=org.macvm.agent.0");
    add_slots(a, spec->slots);
}

static void add_device(words *a, const mvm_qemu_parts *parts)
{
    char *value;

    for (size_t i = 0; i < parts->n; i++) {
        const char *option = mvm_qemu_part_option(&parts->items[i], &value);
        add_owned(a, option, value);
    }
}

char **mvm_qemu_argv(const mvm_qemu_spec *spec)
{
    words a = {0};

    add_machine(&a, spec);
    add_boot(&a, spec);
    add_channels(&a, spec);
    for (size_t i = 0; i < spec->ndevices; i++)
        add_device(&a, spec->devices[i]);
    push(&a, NULL);
    return a.items;
}

void mvm_qemu_argv_free(char **argv)
{
    for (char **item = argv; item && *item; item++)
        mvm__free(*item);
    mvm__free(argv);
}
