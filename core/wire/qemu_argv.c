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
    add_pair(a, "-display", "none");
    /* Less to emulate and to probe: no USB, SATA or SMBus controller and no VMware port; what macvm
     * offers is on virtio. q35 and not microvm, because devices can be plugged into its PCI Express
     * and distributions boot on it. graphics=off lets a firmware talk on the serial console; a
     * kernel that is loaded directly would only wait for it. */
    add_owned(a, "-machine",
              mvm__asprintf("q35,usb=off,sata=off,smbus=off,vmport=off%s",
                            spec->kernel ? "" : ",graphics=off"));
    add_pair(a, "-accel",
             strcmp(spec->accel, "tcg") == 0
                 ? "tcg,tb-size=256" /* else up to 1 GiB of translated code each */
                 : spec->accel);
    /* host: what the processor has. max: what TCG emulates, as x86-64-v2 distributions do not start
     * on QEMU's default model, but without what makes it slow: five levels of page tables, and the
     * promise that `rep movsb` is quick, on which kernels then copy byte by byte. */
    add_pair(a, "-cpu", strcmp(spec->accel, "tcg") == 0 ? "max,la57=off,erms=off" : "host");
    add_owned(a, "-smp", mvm__asprintf("%d", spec->cpus));
    add_owned(a, "-m", mvm__asprintf("%lldb", (long long)spec->memory));
    add_pair(a, "-rtc", "base=utc");
    /* A guest that panics stays to be looked at; the event tells us. */
    add_pair(a, "-action", "panic=none");
    if (spec->sandbox)
        add_pair(a, "-sandbox",
                 "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

static void add_boot(words *a, const mvm_qemu_spec *spec)
{
    if (!spec->kernel) {
        add_pair(a, "-boot", "menu=off,strict=on");
        return;
    }
    if (spec->firmware)
        add_pair(a, "-bios", spec->firmware);
    add_pair(a, "-kernel", spec->kernel);
    if (spec->initrd)
        add_pair(a, "-initrd", spec->initrd);
    add_pair(a, "-append", spec->cmdline ? spec->cmdline : "");
}

static void add_socket(words *a, const char *id, int fd)
{
    add_owned(a, "-chardev", mvm__asprintf("socket,id=%s,fd=%d", id, fd));
}

/* The control socket, the serial console and the agent's port. virtio devices speak virtio 1 only:
 * a guest probes the transitional ones twice. Four ports instead of 31 save as many queues. */
static void add_channels(words *a, const mvm_qemu_spec *spec)
{
    add_socket(a, "qmp", spec->qmp_fd);
    add_pair(a, "-mon", "chardev=qmp,mode=control");
    add_socket(a, "console", spec->console_fd);
    add_pair(a, "-serial", "chardev:console");
    add_socket(a, "agent", spec->agent_fd);
    add_pair(a, "-device", "virtio-serial-pci,id=ports,max_ports=4,disable-legacy=on");
    add_pair(a, "-device", "virtserialport,bus=ports.0,nr=1,chardev=agent,name=org.macvm.agent.0");
    add_pair(a, "-device", "pvpanic-pci");
}

/* The format is always given: a guest that writes a qcow2 header into its raw disk must not make
 * QEMU open the host file that the header names. Errors go to the guest, which is what a disk does;
 * QEMU's default would freeze it. Images are locked by QEMU against a second writer. */
static void add_disk(words *a, const mvm_qemu_disk *disk, size_t i, bool first_boots)
{
    MVM_AUTO_FREE char *path = escape(disk->path), *serial = escape(disk->serial);

    add_owned(a, "-blockdev",
              mvm__asprintf("driver=%s,node-name=disk%zu,read-only=%s,discard=unmap,"
                            "file.driver=file,file.locking=auto,file.filename=%s",
                            disk->format, i, disk->readonly ? "on" : "off", path));
    add_owned(a, "-device",
              mvm__asprintf("virtio-blk-pci,id=blk%zu,drive=disk%zu,serial=%s,disable-legacy=on,"
                            "werror=report,rerror=report%s",
                            i, i, serial, first_boots && i == 0 ? ",bootindex=1" : ""));
}

static void add_net(words *a, const mvm_qemu_spec *spec, size_t i)
{
    const mvm_qemu_net *net = &spec->nets[i];
    MVM_AUTO_FREE char *name = escape(spec->name);
    mvm__buf value = {0};

    mvm__buf_printf(&value, "user,id=net%zu,hostname=%s", i, name);
    for (size_t k = 0; k < net->nforwards; k++) {
        MVM_AUTO_FREE char *host = escape(net->forwards[k].host);
        bool named = strncmp(host, "tcp:", 4) == 0 || strncmp(host, "udp:", 4) == 0;
        mvm__buf_printf(&value, ",hostfwd=%s%s-:%d", named ? "" : "tcp:", host,
                        net->forwards[k].port);
    }
    add_pair(a, "-netdev", mvm__buf_str(&value));
    mvm__buf_free(&value);
    /* romfile: nothing here boots from the network, and the option ROM costs time. */
    add_owned(a, "-device",
              mvm__asprintf("virtio-net-pci,id=nic%zu,netdev=net%zu,mac=%s,disable-legacy=on,"
                            "romfile=",
                            i, i, net->mac));
}

char **mvm_qemu_argv(const mvm_qemu_spec *spec)
{
    words a = {0};

    add_machine(&a, spec);
    add_boot(&a, spec);
    add_channels(&a, spec);
    for (size_t i = 0; i < spec->ndisks; i++)
        add_disk(&a, &spec->disks[i], i, !spec->kernel);
    for (size_t i = 0; i < spec->nnets; i++)
        add_net(&a, spec, i);
    if (spec->entropy) {
        add_pair(&a, "-object", "rng-builtin,id=entropy");
        add_pair(&a, "-device", "virtio-rng-pci,id=rng,rng=entropy,disable-legacy=on");
    }
    push(&a, NULL);
    return a.items;
}

void mvm_qemu_argv_free(char **argv)
{
    for (char **item = argv; item && *item; item++)
        mvm__free(*item);
    mvm__free(argv);
}

void mvm_qemu_mac(const char *name, size_t index, char out[18])
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    hash = (hash ^ (uint32_t)index) * 16777619u;
    snprintf(out, 18, "52:54:00:%02x:%02x:%02x", (hash >> 16) & 0xff, (hash >> 8) & 0xff,
             hash & 0xff);
}
