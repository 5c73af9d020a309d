/* SPDX-License-Identifier: MIT */
/*
 * What stands behind the ports of a machine's devices: its further consoles and its clipboard. The
 * first serial console is there without a device; the first console device of that type configures
 * it. What a device has is made when it is first asked for and lives as long as the machine, so
 * that what was printed outlives a run. Loop thread only.
 */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "mvm/console.h"
#include "vm/clipboard.h"
#include "vm/vm_struct.h"

struct mvm__port {
    mvm__link link; /* in vm->ports */
    mvm_vm *vm;
    mvm_record *record; /* a reference */
    struct mvm_console *console;
    mvm__clipboard *clipboard;
};

static bool is_kind(const mvm_record *record, const char *kind)
{
    return strcmp(mvm_record_schema(record)->kind, kind) == 0;
}

static bool is_serial(const mvm_record *record)
{
    return is_kind(record, "console") && strcmp(mvm_record_str(record, "type"), "serial") == 0;
}

/* The device that configures the console that is there anyway, or NULL. */
static mvm_record *first_serial(const mvm_vm *vm)
{
    mvm_record *d;

    for (size_t i = 0; (d = mvm_record_item(vm->config, "devices", i)) != NULL; i++)
        if (is_serial(d))
            return d;
    return NULL;
}

/* ---- the clipboard's side of its port ------------------------------------------------------- */

static size_t clipboard_write(void *ud, const void *data, size_t len)
{
    const struct mvm__port *p = ud;

    return p->vm->ops->port_write ? p->vm->ops->port_write(p->vm, p->record, data, len) : 0;
}

static void clipboard_read(void *ud, bool on)
{
    const struct mvm__port *p = ud;

    if (p->vm->ops->port_read)
        p->vm->ops->port_read(p->vm, p->record, on);
}

static void clipboard_changed(void *ud, const char *text, size_t len)
{
    const struct mvm__port *p = ud;
    mvm_event event = {.name = "clipboard", .at = mvm_loop_now(mvm__vm_loop(p->vm)), .nargs = 1};

    event.args[0].type = MVM_T_STRING;
    event.args[0].as.string.ptr = text;
    event.args[0].as.string.len = len;
    mvm__vm_emit(p->vm, &event);
}

static void clipboard_lost(void *ud, const mvm_err *err)
{
    const struct mvm__port *p = ud;

    mvm__vm_on_device_lost(p->vm, p->record, err);
}

static const mvm__clipboard_ops g_clipboard_ops = {clipboard_write, clipboard_read,
                                                   clipboard_changed, clipboard_lost};

/* ---- ports ---------------------------------------------------------------------------- */

static struct mvm__port *port_of(mvm_vm *vm, mvm_record *record)
{
    mvm__list_each (l, &vm->ports) {
        struct mvm__port *p = mvm__container_of(l, struct mvm__port, link);
        if (p->record == record)
            return p;
    }
    struct mvm__port *p = mvm__alloc(sizeof(*p));
    p->vm = vm;
    p->record = mvm_record_ref(record);
    if (is_kind(record, "console"))
        p->console = mvm__console_new(vm, record);
    else if (is_kind(record, "clipboard"))
        p->clipboard = mvm__clipboard_new(&g_clipboard_ops, p);
    mvm__list_append(&vm->ports, &p->link);
    return p;
}

void mvm__vm_on_port(mvm_vm *vm, mvm_record *device, bool open)
{
    const struct mvm__port *p = port_of(vm, device);

    if (p->clipboard)
        mvm__clipboard_open(p->clipboard, open);
}

void mvm__vm_on_port_data(mvm_vm *vm, mvm_record *device, const void *data, size_t len)
{
    const struct mvm__port *p = port_of(vm, device);

    if (p->clipboard) {
        mvm__clipboard_open(p->clipboard,
                            true); /* the news of it comes by another way, maybe later */
        mvm__clipboard_data(p->clipboard, data, len);
    } else if (p->console) {
        mvm__console_data(p->console, data, len);
    }
}

void mvm__vm_on_port_writable(mvm_vm *vm, mvm_record *device)
{
    const struct mvm__port *p = port_of(vm, device);

    if (p->clipboard)
        mvm__clipboard_writable(p->clipboard);
    else if (p->console)
        mvm__console_writable(p->console);
}

static void close_logs(mvm_vm *vm)
{
    mvm__console_log(vm->console, NULL, NULL);
    mvm__list_each (l, &vm->ports) {
        struct mvm__port *p = mvm__container_of(l, struct mvm__port, link);
        if (p->console)
            mvm__console_log(p->console, NULL, NULL);
    }
}

static int begin(mvm_vm *vm, mvm_record *device, mvm_err *err)
{
    if (!is_kind(device, "console"))
        return 0;
    bool first = device == first_serial(vm);
    struct mvm_console *console = first ? vm->console : port_of(vm, device)->console;
    return mvm__console_log(console, mvm_record_str(device, "log"), err);
}

int mvm__vm_ports_begin(mvm_vm *vm, mvm_err *err)
{
    mvm_record *d;
    int rc = 0;

    for (size_t i = 0; rc == 0 && (d = mvm_record_item(vm->config, "devices", i)) != NULL; i++)
        rc = begin(vm, d, err);
    if (rc != 0)
        close_logs(vm);
    return rc;
}

void mvm__vm_ports_abandon(mvm_vm *vm)
{
    close_logs(vm);
}

void mvm__vm_ports_down(mvm_vm *vm, const mvm_err *err)
{
    mvm__console_down(vm->console, err);
    mvm__list_each (l, &vm->ports) {
        struct mvm__port *p = mvm__container_of(l, struct mvm__port, link);
        if (p->console)
            mvm__console_down(p->console, err);
        if (p->clipboard)
            mvm__clipboard_down(p->clipboard);
    }
}

void mvm__vm_ports_free(mvm_vm *vm)
{
    mvm__console_free(vm->console);
    for (mvm__link *l; (l = mvm__list_shift(&vm->ports)) != NULL;) {
        struct mvm__port *p = mvm__container_of(l, struct mvm__port, link);
        mvm__console_free(p->console);
        mvm__clipboard_free(p->clipboard);
        mvm_record_unref(p->record);
        mvm__free(p);
    }
}

/* ---- consoles ------------------------------------------------------------------------- */

mvm_console *mvm_vm_console(mvm_vm *vm)
{
    return vm->console;
}

/* What a console device is called: its id, or its type with its number among those of its type, as
 * the guest counts them. */
static void console_id(const mvm_vm *vm, const mvm_record *device, char out[48])
{
    const char *type = mvm_record_str(device, "type");
    mvm_record *d;
    size_t n = 0;

    if (mvm_record_has(device, "id")) {
        snprintf(out, 48, "%.47s", mvm_record_str(device, "id"));
        return;
    }
    for (size_t i = 0; (d = mvm_record_item(vm->config, "devices", i)) != NULL && d != device; i++)
        n += is_kind(d, "console") && strcmp(mvm_record_str(d, "type"), type) == 0;
    if (n == 0 && is_serial(device))
        snprintf(out, 48, "serial");
    else
        snprintf(out, 48, "%s%zu", type, n);
}

mvm_console *mvm_vm_console_at(mvm_vm *vm, size_t i, char id[48])
{
    const mvm_record *first = first_serial(vm);
    mvm_record *d;

    if (i == 0) {
        snprintf(id, 48, "serial");
        if (first)
            console_id(vm, first, id);
        return vm->console;
    }
    for (size_t k = 0; (d = mvm_record_item(vm->config, "devices", k)) != NULL; k++) {
        if (!is_kind(d, "console") || d == first || --i > 0)
            continue;
        console_id(vm, d, id);
        return port_of(vm, d)->console;
    }
    return NULL;
}

/* ---- the clipboard -------------------------------------------------------------------- */

static mvm__clipboard *clipboard_of(mvm_vm *vm, mvm_err *err)
{
    mvm_record *d;

    for (size_t i = 0; (d = mvm_record_item(vm->config, "devices", i)) != NULL; i++)
        if (is_kind(d, "clipboard"))
            return port_of(vm, d)->clipboard;
    mvm__vm_fail(vm, err, MVM_ECONFIG, "it has no clipboard");
    mvm_err_hint(err, "add macvm.clipboard {} to its devices");
    return NULL;
}

const char *mvm_vm_clipboard(mvm_vm *vm, size_t *len, mvm_err *err)
{
    const mvm__clipboard *c = clipboard_of(vm, err);

    *len = 0;
    if (!c)
        return NULL;
    const char *text = mvm__clipboard_text(c, len);
    if (!text && err)
        *err = (mvm_err){0};
    return text;
}

int mvm_vm_set_clipboard(mvm_vm *vm, const char *text, size_t len, mvm_err *err)
{
    mvm__clipboard *c = clipboard_of(vm, err);
    int rc = c ? mvm__clipboard_set(c, text, len, err) : MVM_ECONFIG;

    if (rc != 0)
        mvm_err_vm(err, vm->name);
    return rc;
}
