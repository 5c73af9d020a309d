/* SPDX-License-Identifier: MIT */
/*
 * Where the connections of a machine's vsock device lead: to listeners of the host, to other
 * machines of the lab by their CID, and to other programs over unix sockets. The device itself is
 * core/device/vsock.h. Loop thread only.
 */
#include "vm/vsock_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "io/splice.h"
#include "mvm/log.h"

#define ROUTE_SECONDS 10 /* for another machine to answer */
#define FACE_SECONDS  10 /* for a program to say where it wants to go */
#define FACE_LINE     32u

mvm__vm_vsock *mvm__vm_vsock_new(mvm_vm *vm)
{
    mvm__vm_vsock *vs = mvm__alloc(sizeof(*vs));

    vs->vm = vm;
    mvm__list_init(&vs->listeners);
    mvm__list_init(&vs->routes);
    mvm__list_init(&vs->splices);
    mvm__list_init(&vs->faces);
    return vs;
}

void mvm__vsock_emit(mvm__vm_vsock *vs, uint32_t port, const char *what)
{
    char name[32];
    mvm_event event = {.name = "channel", .nargs = 2};
    const char *texts[] = {name, what};

    snprintf(name, sizeof(name), "vsock:%" PRIu32, port);
    for (int i = 0; i < 2; i++) {
        event.args[i].type = MVM_T_STRING;
        event.args[i].as.string.ptr = texts[i];
        event.args[i].as.string.len = strlen(texts[i]);
    }
    mvm__vm_emit(vs->vm, &event);
}

/* ---- passing on ----------------------------------------------------------------------- */

/* A connection that waits for its other half: `near` is what came, `far` what is being reached. */
typedef struct route {
    mvm__link link;
    mvm__vm_vsock *vs;
    mvm_stream *near, *far;
    mvm_wait *wait;
    bool vsock_near; /* near is a guest's attempt, to be accepted */
    char answer[24]; /* said to `near` when the other half is there */
} route;

static void route_free(route *r)
{
    mvm__list_remove(&r->link);
    mvm_stream_unref(r->near);
    mvm_stream_unref(r->far);
    mvm__free(r);
}

static void route_join(route *r)
{
    if (r->vsock_near)
        mvm__vsock_accept(r->near);
    if (r->answer[0])
        (void)mvm_stream_write(r->near, r->answer, strlen(r->answer), NULL);
    mvm_stream *near = r->near, *far = r->far;
    r->near = r->far = NULL;
    mvm__splice(&r->vs->splices, near, far);
}

static void on_reached(void *ud, const mvm_err *err)
{
    route *r = ud;

    r->wait = NULL;
    if (!err && mvm__linked(&r->link))
        route_join(r);
    route_free(r); /* an attempt that is dropped unanswered is refused */
}

/* Connects `near` to a port of the guest of `to`, as (src_cid, src_port). */
static void route_to(mvm__vm_vsock *vs, mvm_stream *near, bool vsock_near, mvm__vm_vsock *to,
                     uint32_t port, uint64_t src_cid, uint32_t src_port, double seconds)
{
    route *r = mvm__alloc(sizeof(*r));
    const mvm_waiter waiter = {.timeout = seconds, .fn = on_reached, .ud = r};
    mvm_err err;

    r->vs = vs;
    r->near = near;
    r->vsock_near = vsock_near;
    mvm__list_append(&vs->routes, &r->link);
    r->wait = mvm__vsock_connect(to->dev, port, src_cid, src_port, &waiter, &r->far, &err);
    if (!r->wait) {
        mvm_log(MVM_LOG_INFO, "%s: vsock port %" PRIu32 ": %s", to->vm->name, port, err.message);
        route_free(r);
        return;
    }
    uint64_t cid, peer_cid;
    uint32_t own = 0, peer;
    if (!vsock_near && mvm__vsock_peer(r->far, &cid, &own, &peer_cid, &peer))
        snprintf(r->answer, sizeof(r->answer), "OK %" PRIu32 "\n", own);
}

/* ---- what the guest connects to --------------------------------------------------------- */

mvm_vsock_listener *mvm__vsock_listener_of(const mvm__vm_vsock *vs, uint32_t port)
{
    mvm__list_each (l, &vs->listeners) {
        mvm_vsock_listener *listener = mvm__container_of(l, mvm_vsock_listener, link);
        if (listener->port == port)
            return listener;
    }
    return NULL;
}

static mvm__vm_vsock *find_cid(const mvm_lab *lab, uint64_t cid)
{
    mvm__list_each (l, &lab->vms) {
        mvm_vm *vm = mvm__container_of(l, mvm_vm, link);
        if (vm->vsock->dev && vm->vsock->cid == cid)
            return vm->vsock;
    }
    return NULL;
}

/* The program that listens at PATH_port gets the connection. */
static bool to_program(mvm__vm_vsock *vs, mvm_stream *stream, uint32_t port)
{
    const char *base = mvm_record_str(vs->record, "unix");
    MVM_AUTO_FREE char *path = base ? mvm__asprintf("%s_%" PRIu32, base, port) : NULL;
    mvm_stream *program = path ? mvm_sock_connect(vs->vm->lab->loop, path, NULL) : NULL;

    if (!program)
        return false;
    mvm__vsock_accept(stream);
    mvm__splice(&vs->splices, stream, program);
    return true;
}

static void on_incoming(void *ud, mvm_stream *stream, uint32_t src_port, uint64_t dst_cid,
                        uint32_t port)
{
    mvm__vm_vsock *vs = ud;

    if (dst_cid != MVM__VSOCK_HOST_CID) {
        mvm__vm_vsock *to = find_cid(vs->vm->lab, dst_cid);
        if (to && to != vs)
            route_to(vs, stream, true, to, port, vs->cid, src_port, ROUTE_SECONDS);
        else
            mvm_stream_unref(stream);
        return;
    }
    mvm_vsock_listener *listener = mvm__vsock_listener_of(vs, port);
    if (listener) {
        mvm__vsock_accept(stream);
        mvm__vsock_emit(vs, port, "open");
        listener->fn(listener->ud, stream, src_port);
    } else if (to_program(vs, stream, port)) {
        mvm__vsock_emit(vs, port, "open");
    } else {
        mvm__vsock_emit(vs, port, "refused");
        mvm_stream_unref(stream);
    }
}

/* ---- programs of the host: `CONNECT port\n` ------------------------------------------------ */

typedef struct face {
    mvm__link link;
    mvm__vm_vsock *vs;
    mvm_stream *stream;
    mvm_wait *wait;
    double deadline;
    char line[FACE_LINE + 1];
    size_t len;
} face;

static void face_free(face *f)
{
    mvm__list_remove(&f->link);
    mvm_stream_unref(f->stream);
    mvm__free(f);
}

/* The port in "CONNECT 1234\n"; -1: it is something else. */
static int64_t face_port(const char *line)
{
    bool connect = strncmp(line, "CONNECT ", 8) == 0;
    size_t digits = connect ? strspn(line + 8, "0123456789") : 0;

    if (digits == 0 || digits > 10 || strcmp(line + 8 + digits, "\n") != 0)
        return -1;
    int64_t port = strtoll(line + 8, NULL, 10);
    return port < UINT32_MAX ? port : -1;
}

/* Takes the first line and nothing of what follows it. true: it is whole. */
static bool face_line(face *f)
{
    size_t len = 0;
    const char *text = mvm_stream_peek(f->stream, &len);

    len = MVM_MIN(len, FACE_LINE - f->len);
    const char *end = len ? memchr(text, '\n', len) : NULL;
    if (end)
        len = (size_t)(end - text) + 1;
    if (len > 0)
        memcpy(f->line + f->len, text, len);
    f->len += len;
    mvm_stream_consume(f->stream, len);
    return end != NULL;
}

static void on_face(void *ud, const mvm_err *err);

static void face_go(face *f)
{
    double left = MVM_MAX(f->deadline - mvm_loop_now(f->vs->vm->lab->loop), 0);
    const mvm_waiter waiter = {.timeout = left, .fn = on_face, .ud = f};
    mvm__vm_vsock *vs = f->vs;

    if (face_line(f)) {
        int64_t port = face_port(f->line);
        if (port >= 0 && vs->dev)
            route_to(vs, mvm_stream_ref(f->stream), false, vs, (uint32_t)port, MVM__VSOCK_HOST_CID,
                     0, ROUTE_SECONDS);
        face_free(f);
        return;
    }
    bool more = f->len < FACE_LINE && !mvm_stream_eof(f->stream);
    f->wait = more ? mvm_stream_wait_readable(f->stream, &waiter, NULL) : NULL;
    if (!f->wait)
        face_free(f);
}

static void on_face(void *ud, const mvm_err *err)
{
    face *f = ud;

    f->wait = NULL;
    if (err || !mvm__linked(&f->link))
        face_free(f);
    else
        face_go(f);
}

static void on_program(void *ud, mvm_stream *stream)
{
    mvm__vm_vsock *vs = ud;
    face *f = mvm__alloc(sizeof(*f));

    *f = (face){.vs = vs, .stream = stream};
    f->deadline = mvm_loop_now(vs->vm->lab->loop) + FACE_SECONDS;
    mvm__list_append(&vs->faces, &f->link);
    face_go(f);
}

/* ---- the device comes and goes ----------------------------------------------------------- */

/* What is under way ends by itself once it is cancelled. */
static void drop_all(mvm__vm_vsock *vs)
{
    mvm__list_each (l, &vs->routes) {
        route *r = mvm__container_of(l, route, link);
        mvm__list_remove(l);
        mvm_wait_cancel(r->wait);
    }
    mvm__list_each (l, &vs->faces) {
        face *f = mvm__container_of(l, face, link);
        mvm__list_remove(l);
        mvm_wait_cancel(f->wait);
    }
    mvm__splices_close(&vs->splices);
}

static void device_lost(mvm__vm_vsock *vs)
{
    mvm__vsock *dev = vs->dev;

    drop_all(vs);
    vs->dev = NULL;
    mvm__vsock_free(dev);
}

static void on_dead(void *ud, const mvm_err *err)
{
    mvm__vm_vsock *vs = ud;

    mvm__vm_on_device_lost(vs->vm, vs->record, err);
    device_lost(vs);
}

static const mvm__vsock_ops g_ops = {.incoming = on_incoming, .dead = on_dead};

/* One that no machine of the lab has or wants; those of other labs don't matter, as each device of
 * ours is a network of its own. */
static uint32_t choose_cid(const mvm_lab *lab)
{
    for (uint32_t cid = MVM__VSOCK_GUEST_CID;; cid++) {
        bool taken = false;
        mvm__list_each (l, &lab->vms) {
            mvm_vm *vm = mvm__container_of(l, mvm_vm, link);
            mvm_record *d;
            taken = taken || (vm->vsock->record && vm->vsock->cid == cid);
            for (size_t i = 0; (d = mvm_record_item(vm->config, "devices", i)) != NULL; i++)
                taken = taken || (strcmp(mvm_record_schema(d)->kind, "vsock") == 0 &&
                                  mvm_record_int(d, "cid") == cid);
        }
        if (!taken)
            return cid;
    }
}

int mvm__vm_vsock_open(mvm_vm *vm, mvm_record *device, int listen_fd, mvm_err *err)
{
    mvm__vm_vsock *vs = vm->vsock;
    const char *path = mvm_record_str(device, "unix");

    vs->cid = (uint32_t)mvm_record_int(device, "cid");
    if (vs->cid == 0)
        vs->cid = choose_cid(vm->lab);
    vs->dev = mvm__vsock_new(vm->lab->loop, listen_fd, vs->cid, vm->name, &g_ops, vs, err);
    if (!vs->dev)
        return err ? err->code : MVM_EIO;
    vs->record = mvm_record_ref(device);
    if (path) {
        vs->unix_face = mvm_sock_listen(vm->lab->loop, path, on_program, vs, err);
        if (!vs->unix_face) {
            mvm__vm_vsock_close(vm, device);
            return err ? err->code : MVM_EIO;
        }
    }
    return 0;
}

void mvm__vm_vsock_close(mvm_vm *vm, mvm_record *device)
{
    mvm__vm_vsock *vs = vm->vsock;

    if (vs->record != device)
        return;
    mvm_listener_close(vs->unix_face);
    vs->unix_face = NULL;
    device_lost(vs);
    mvm__vsock_kernel_close(vs);
    mvm_record_unref(vs->record);
    vs->record = NULL;
    vs->cid = 0;
}

void mvm__vm_vsock_free(mvm__vm_vsock *vs)
{
    if (vs->record)
        mvm__vm_vsock_close(vs->vm, vs->record);
    mvm__list_each (l, &vs->listeners)
        mvm__list_remove(l);
    mvm__free(vs);
}

void mvm__vm_vsock_reset(mvm__vm_vsock *vs)
{
    if (vs->dev)
        mvm__vsock_reset(vs->dev);
}

/* ---- the host's side ------------------------------------------------------------------------ */

mvm_wait *mvm_vsock_connect(mvm_vm *vm, uint32_t port, const mvm_waiter *waiter,
                            mvm_stream **stream, mvm_err *err)
{
    const char *reason = NULL;
    mvm__vm_vsock *vs = vm->vsock;

    if (!mvm_vm_up(vm)) {
        mvm__vm_fail(vm, err, MVM_ESTATE, "can't connect: the machine is %s",
                     mvm_state_word(vm->state));
        mvm_err_hint(err, "start it first");
        return NULL;
    }
    if (!mvm_vm_can(vm, "vsock", &reason)) {
        mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "can't connect: %s", reason);
        return NULL;
    }
    if (!vs->record) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "can't connect: it has no vsock device");
        mvm_err_hint(err, "devices = { macvm.vsock {} }");
        return NULL;
    }
    if (!vs->dev && !vs->kernel) {
        mvm__vm_fail(vm, err, MVM_EBACKEND, "can't connect: its vsock device was lost");
        return NULL;
    }
    mvm_wait *wait =
        vs->kernel ? mvm__vsock_kernel_connect(vs, port, waiter, stream, err)
                   : mvm__vsock_connect(vs->dev, port, MVM__VSOCK_HOST_CID, 0, waiter, stream, err);
    if (!wait)
        mvm_err_vm(err, vm->name);
    return wait;
}

mvm_vsock_listener *mvm_vsock_listen(mvm_vm *vm, uint32_t port, mvm_vsock_accept_fn fn, void *ud,
                                     mvm_err *err)
{
    const char *reason = NULL;

    if (!mvm_vm_can(vm, "vsock", &reason)) {
        mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "can't listen: %s", reason);
        return NULL;
    }
    if (mvm__vsock_listener_of(vm->vsock, port)) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "its port %" PRIu32 " is listened to already", port);
        return NULL;
    }
    mvm_vsock_listener *listener = mvm__alloc(sizeof(*listener));
    *listener = (mvm_vsock_listener){.vs = vm->vsock, .port = port, .fn = fn, .ud = ud};
    if (vm->vsock->kernel && mvm__vsock_kernel_listen(listener, err) != 0) {
        mvm_err_vm(err, vm->name);
        mvm__free(listener);
        return NULL;
    }
    mvm__list_append(&vm->vsock->listeners, &listener->link);
    return listener;
}

void mvm_vsock_listener_close(mvm_vsock_listener *listener)
{
    if (!listener)
        return;
    mvm__vsock_kernel_unlisten(listener);
    mvm__list_remove(&listener->link);
    mvm__free(listener);
}

uint32_t mvm_vsock_cid(const mvm_vm *vm)
{
    return vm->vsock->cid;
}

void mvm__vm_vsock_stats(mvm_vm *vm)
{
    if (vm->vsock->kernel) /* the kernel counts nothing */
        mvm__vm_stat_add(vm, &(mvm_value){.type = MVM_T_INT, .as.integer = vm->vsock->cid},
                         "vsock.cid");
    if (!vm->vsock->dev)
        return;
    mvm__vsock_stats s = mvm__vsock_get_stats(vm->vsock->dev);
    const struct {
        const char *name;
        uint64_t n;
    } figures[] = {
        {"cid", vm->vsock->cid}, {"connections", s.connections}, {"opened", s.opened},
        {"refused", s.refused},  {"to_guest_bytes", s.to_guest}, {"from_guest_bytes", s.from_guest},
    };
    for (size_t i = 0; i < MVM_COUNT(figures); i++)
        mvm__vm_stat_add(vm, &(mvm_value){.type = MVM_T_INT, .as.integer = (int64_t)figures[i].n},
                         "vsock.%s", figures[i].name);
}
