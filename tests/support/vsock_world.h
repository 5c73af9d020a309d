/* SPDX-License-Identifier: MIT */
/* A loop, a socket device on it and a fake driver connected to it: the beginning of a test. */
#ifndef MVM_TEST_VSOCK_WORLD_H
#define MVM_TEST_VSOCK_WORLD_H

#include <stdio.h>
#include <string.h>

#include "device/vsock.h"
#include "mvm/stream.h"
#include "support/vsock_driver.h"

typedef struct world {
    mvm_loop *loop;
    mvm__vsock *v;
    vsd d;
    bool dead;
    int deaths;
    mvm_err why;
    mvm_stream *asked; /* the last that the guest asked for */
    bool was_asked, accept;
    uint32_t asked_from, asked_port;
    uint64_t asked_cid;
} world;

/* The end of one wait. */
typedef struct outcome {
    bool done;
    int code;
    char message[1024];
} outcome;

static inline void outcome_fn(void *ud, const mvm_err *err)
{
    outcome *o = ud;

    o->done = true;
    o->code = err ? err->code : 0;
    snprintf(o->message, sizeof(o->message), "%s", err ? err->message : "");
}

static inline void world_incoming(void *ud, mvm_stream *stream, uint32_t src_port, uint64_t dst_cid,
                                  uint32_t port)
{
    world *w = ud;

    w->asked = stream;
    w->was_asked = true;
    w->asked_from = src_port;
    w->asked_cid = dst_cid;
    w->asked_port = port;
    if (w->accept)
        mvm__vsock_accept(stream);
}

static inline void world_dead(void *ud, const mvm_err *err)
{
    world *w = ud;

    w->dead = true;
    w->deaths++;
    w->why = *err;
}

/* The device and its front end; the guest's driver is not up yet. */
static inline void world_open_with(world *w, const mvm__vsock_ops *ops)
{
    mvm_err err;
    int listener = vsd_listener();

    memset(w, 0, sizeof(*w));
    w->accept = true;
    w->loop = mvm_loop_new();
    vsd_connect(&w->d, w->loop, listener);
    w->v = mvm__vsock_new(w->loop, listener, VSD_CID, "web", ops, w, &err);
    assert_non_null(w->v);
}

static inline void world_open(world *w)
{
    static const mvm__vsock_ops ops = {world_incoming, world_dead};

    world_open_with(w, &ops);
}

static inline void world_close(world *w)
{
    mvm__vsock_free(w->v);
    vsd_free(&w->d);
    assert_int_equal(mvm_loop_close(w->loop), 0);
}

static inline void expect_packet(world *w, uint16_t op, uint32_t guest_port, uint32_t port,
                                 mvm__vsock_header *out, void *data)
{
    mvm__vsock_header header;

    assert_true(vsd_recv(&w->d, &header, data));
    assert_int_equal(header.op, op);
    assert_int_equal(header.type, MVM__VSOCK_STREAM);
    assert_int_equal(header.dst_port, guest_port);
    assert_int_equal(header.src_port, port);
    if (out)
        *out = header;
}

static inline void read_wait(world *w, mvm_stream *s, outcome *o)
{
    mvm_err err;

    *o = (outcome){0};
    assert_non_null(mvm_stream_wait_readable(s, &(mvm_waiter){10, outcome_fn, o}, &err));
    assert_true(vsd_until(w->loop, &o->done));
}

/* Reads exactly `len` bytes. */
static inline void read_bytes(world *w, mvm_stream *s, void *data, size_t len)
{
    char *to = data;

    while (len > 0) {
        outcome o;
        size_t here;
        read_wait(w, s, &o);
        assert_int_equal(o.code, 0);
        const char *at = mvm_stream_peek(s, &here);
        assert_true(here > 0);
        here = here < len ? here : len;
        memcpy(to, at, here);
        mvm_stream_consume(s, here);
        to += here;
        len -= here;
    }
}

/* The guest connects from guest_port to the host's `port`, which takes it. */
static inline mvm_stream *guest_connects(world *w, uint32_t guest_port, uint32_t port)
{
    w->was_asked = false;
    vsd_op(&w->d, MVM__VSOCK_REQUEST, guest_port, port);
    expect_packet(w, MVM__VSOCK_RESPONSE, guest_port, port, NULL, NULL);
    assert_true(w->was_asked);
    return w->asked;
}

/* The host connects to the guest's `port`, which takes it; *host_port is where from. */
static inline mvm_stream *host_connects(world *w, uint32_t port, uint32_t *host_port)
{
    mvm__vsock_header header;
    outcome o = {0};
    mvm_stream *s;
    mvm_err err;

    assert_non_null(
        mvm__vsock_connect(w->v, port, 2, 0, &(mvm_waiter){10, outcome_fn, &o}, &s, &err));
    assert_true(vsd_recv(&w->d, &header, NULL));
    assert_int_equal(header.op, MVM__VSOCK_REQUEST);
    assert_int_equal(header.dst_port, port);
    *host_port = header.src_port;
    assert_false(o.done);
    vsd_op(&w->d, MVM__VSOCK_RESPONSE, port, *host_port);
    assert_true(vsd_until(w->loop, &o.done));
    assert_int_equal(o.code, 0);
    return s;
}

#endif
