/* SPDX-License-Identifier: MIT */
/*
 * What the files of the socket device share: the device, its lock, its streams. `core` and what is
 * marked so is used under the lock, by both threads; `streams`, `freed` and `told` only by the
 * loop's; `inbox` and the sockets only by the device's.
 */
#ifndef MVM_DEVICE_VSOCK_INTERNAL_H
#define MVM_DEVICE_VSOCK_INTERNAL_H

#include <pthread.h>

#include "device/vhost_inbox.h"
#include "device/vsock.h"
#include "device/vsock_core.h"
#include "io/stream.h"

struct mvm__vsock {
    mvm_loop *loop;
    const mvm__vsock_ops *ops;
    void *ud;
    char name[72];
    uint64_t guest_cid;
    int refs; /* locked: the owner's, and one of a posted call */
    bool freed, told;
    mvm__list streams;

    pthread_t thread;
    int listener, sock, wake;
    mvm__vhost_inbox inbox;

    pthread_mutex_t lock;
    /* all below: locked */
    mvm__vsc *core;
    mvm__list handling; /* connections whose news are being told */
    bool posted, stop, dead;
    double wake_at; /* until when the thread sleeps; negative: until something happens */
    mvm_err err;    /* why it is dead */
};

typedef struct mvm__vsock_stream {
    mvm_stream s;
    mvm__link link; /* in v->streams while conn is there */
    mvm__vsock *v;  /* NULL, as conn, when the connection is over */
    mvm__vsc_conn *conn;
    bool open, incoming;
    uint64_t cid, guest_cid;
    uint32_t port, guest_port;
    mvm__list connecting; /* the wait of mvm__vsock_connect */
} mvm__vsock_stream;

/* ---- the lock -------------------------------------------------------------------------- */

void mvm__vsock_enter(mvm__vsock *v);
/* The loop's side leaves: what came of it is sent, and the thread woken if it has to look. */
void mvm__vsock_leave(mvm__vsock *v);
/* Under the lock: gives the device up; the loop hears of it. */
void mvm__vsock_lost(mvm__vsock *v, const mvm_err *err);
void mvm__vsock_post(mvm__vsock *v); /* under the lock: there is something to tell the loop */

/* ---- the thread ------------------------------------------------------------------------- */

void *mvm__vsock_thread(void *ud);
void mvm__vsock_wake(const mvm__vsock *v);

/* ---- streams ------------------------------------------------------------------------------ */

/* One reference for the caller; linked to the connection. */
mvm__vsock_stream *mvm__vsock_stream_new(mvm__vsock *v, mvm__vsc_conn *conn, bool incoming);
/* News of its connection; the stream may be gone after it. `data`: what it was sent if that did not
 * go into s.in already; taken. */
void mvm__vsock_stream_news(mvm__vsock_stream *st, unsigned news, mvm__buf *data,
                            enum mvm__vsc_end end);
/* Lets its connection go and fails. */
void mvm__vsock_stream_end(mvm__vsock_stream *st, const mvm_err *err);

#endif
