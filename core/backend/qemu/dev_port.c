/* SPDX-License-Identifier: MIT */
/*
 * Devices that are a stream of bytes: further consoles, and the clipboard's port. QEMU connects to
 * a socket of ours, and what comes through it belongs to core/vm/port.c. Loop thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/qemu/arch.h"
#include "backend/qemu/dev.h"
#include "base/base.h"
#include "vm/clipboard.h"

#define DRAIN_MAX  (16u << 20)
#define HVC_MAX    6u /* what the bus holds beside the agent's port and the clipboard */
#define SERIAL_MAX 4u /* that a PC has */

typedef struct port {
    mvm__dev *dev;
    int listener; /* -1: QEMU has connected */
    char socket[32];
    mvm__pipe *pipe;
} port;

static bool is_type(const mvm_record *record, const char *type)
{
    return strcmp(mvm_record_schema(record)->kind, "console") == 0 &&
           strcmp(mvm_record_str(record, "type"), type) == 0;
}

/* How many consoles of this type stand before it. */
static size_t number_of(mvm_vm *vm, const mvm_record *record, const char *type)
{
    mvm_record *d;
    size_t n = 0;

    for (size_t i = 0; (d = mvm_record_item(mvm_vm_config(vm), "devices", i)) != NULL; i++) {
        if (d == record)
            break;
        n += is_type(d, type);
    }
    return n;
}

/* The serial console that every machine has: run.c has made it. */
static bool is_there_anyway(const mvm__dev *dev)
{
    return is_type(dev->record, "serial") && number_of(dev->run->vm, dev->record, "serial") == 0;
}

/* ---- its bytes ---------------------------------------------------------------------------- */

static void on_data(void *ud, const void *data, size_t len)
{
    const port *p = ud;

    mvm__vm_on_port_data(p->dev->run->vm, p->dev->record, data, len);
}

static void on_writable(void *ud)
{
    const port *p = ud;

    mvm__vm_on_port_writable(p->dev->run->vm, p->dev->record);
}

static void on_ended(void *ud, int error)
{
    (void)ud; /* QEMU ends, or has let go of the device: both are told elsewhere */
    (void)error;
}

static const mvm__pipe_ops g_ops = {on_data, on_writable, on_ended};

static mvm__pipe *pipe_of(mvm_vm *vm, const mvm_record *device)
{
    const mvm__run *run = mvm__run_of(vm);
    const mvm__dev *dev = run ? mvm__dev_of(run, device) : NULL;
    const port *p = dev ? dev->data : NULL;

    return p ? p->pipe : NULL;
}

size_t mvm__port_write(mvm_vm *vm, mvm_record *device, const void *data, size_t len)
{
    mvm__pipe *pipe = pipe_of(vm, device);

    return pipe ? mvm__pipe_write(pipe, data, len) : 0;
}

void mvm__port_read(mvm_vm *vm, mvm_record *device, bool on)
{
    mvm__pipe *pipe = pipe_of(vm, device);

    if (pipe)
        mvm__pipe_read(pipe, on);
}

static bool is_port(const mvm__dev *dev)
{
    return dev->ops == &mvm__dev_console || dev->ops == &mvm__dev_clipboard;
}

void mvm__ports_drain(mvm__run *run)
{
    mvm__list_each (l, &run->devs) {
        const mvm__dev *dev = mvm__container_of(l, mvm__dev, link);
        const port *p = is_port(dev) ? dev->data : NULL;
        if (p && p->pipe)
            mvm__pipe_drain(p->pipe, DRAIN_MAX);
    }
}

/* ---- its life ----------------------------------------------------------------------------- */

static int prepare(mvm__dev *dev, mvm_err *err)
{
    if (is_there_anyway(dev))
        return 0;
    port *p = mvm__alloc(sizeof(*p));
    dev->data = p;
    p->dev = dev;
    p->listener = mvm__dev_listen(dev, p->socket, err);
    return p->listener >= 0 ? 0 : err ? err->code : MVM_EIO;
}

/* QEMU has connected before it answers, so nothing is waited for here. */
static void live(mvm__dev *dev)
{
    port *p = dev->data;
    mvm_err err;

    if (!p)
        return;
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    int error = errno;
    close(p->listener);
    p->listener = -1;
    mvm__dev_unlink(dev, p->socket);
    p->socket[0] = '\0';
    if (fd < 0) {
        mvm_fail(&err, MVM_EBACKEND, "QEMU has not connected to its socket: %s", strerror(error));
        mvm__vm_on_device_lost(dev->run->vm, dev->record, &err);
        return;
    }
    p->pipe = mvm__pipe_open(mvm_lab_loop(mvm_vm_lab(dev->run->vm)), fd, &g_ops, p);
    mvm__vm_on_port_writable(dev->run->vm, dev->record); /* for what was sent too early */
}

static bool event(mvm__dev *dev, const char *name, const mvm_qmp_value *data)
{
    if (strcmp(name, "VSERPORT_CHANGE") != 0 || strcmp(mvm_qmp_str(data, "id"), dev->id) != 0)
        return false;
    bool open = mvm_qmp_bool(data, "open");
    const port *p = dev->data;
    /* The event overtakes the bytes that were written before it. */
    if (!open && p->pipe)
        mvm__pipe_drain(p->pipe, DRAIN_MAX);
    mvm__vm_on_port(dev->run->vm, dev->record, open);
    return true;
}

static void release(mvm__dev *dev)
{
    port *p = dev->data;

    if (!p)
        return;
    mvm__pipe_close(p->pipe);
    if (p->listener >= 0)
        close(p->listener);
    mvm__dev_unlink(dev, p->socket);
    mvm__free(p);
}

static void add_socket(const mvm__dev *dev, mvm_qemu_parts *parts, char id[32])
{
    snprintf(id, 32, "%s-socket", dev->id);
    mvm_qemu_part_add(parts, MVM_QEMU_CHARDEV, "socket", id);
    mvm_qemu_key_text(parts, "path", ((const port *)dev->data)->socket);
}

/* ---- consoles ----------------------------------------------------------------------------- */

static int check_console(mvm_vm *vm, const mvm_record *device, const char *at, mvm_err *err)
{
    bool serial = is_type(device, "serial");
    size_t before = number_of(vm, device, serial ? "serial" : "hvc");

    if (before >= (serial ? SERIAL_MAX : HVC_MAX)) {
        mvm_fail(err, MVM_ECONFIG, "a machine has at most %u consoles of type `%s`",
                 serial ? SERIAL_MAX : HVC_MAX, serial ? "serial" : "hvc");
    } else if (serial && before > 0 && !mvm__arch_of(vm)->pc) {
        mvm_fail(err, MVM_EUNSUPPORTED, "this architecture has one serial port");
    } else {
        return 0;
    }
    mvm_err_field(err, "%s.type", at);
    if (serial)
        mvm_err_hint(err, "type = \"hvc\" is a virtio console");
    return err ? err->code : MVM_ECONFIG;
}

static void console_parts(mvm__dev *dev, mvm_qemu_parts *parts)
{
    bool serial = is_type(dev->record, "serial");
    char socket[32];

    if (!dev->data)
        return;
    add_socket(dev, parts, socket);
    mvm_qemu_part_add(parts, MVM_QEMU_DEVICE, serial ? "isa-serial" : "virtconsole", dev->id);
    mvm_qemu_key_text(parts, "chardev", socket);
    if (serial)
        mvm_qemu_key_int(parts, "index", (int64_t)number_of(dev->run->vm, dev->record, "serial"));
    else
        mvm_qemu_key_text(parts, "bus", "ports.0");
}

const mvm__dev_ops mvm__dev_console = {
    .kind = "console",
    .check = check_console,
    .prepare = prepare,
    .parts = console_parts,
    .live = live,
    .release = release,
};

/* ---- the clipboard ------------------------------------------------------------------------ */

static void clipboard_parts(mvm__dev *dev, mvm_qemu_parts *parts)
{
    char socket[32];

    add_socket(dev, parts, socket);
    mvm_qemu_part_add(parts, MVM_QEMU_DEVICE, "virtserialport", dev->id);
    mvm_qemu_key_text(parts, "chardev", socket);
    mvm_qemu_key_text(parts, "bus", "ports.0");
    mvm_qemu_key_text(parts, "name", MVM__CLIPBOARD_PORT);
}

const mvm__dev_ops mvm__dev_clipboard = {
    .kind = "clipboard",
    .prepare = prepare,
    .parts = clipboard_parts,
    .live = live,
    .event = event,
    .release = release,
};
