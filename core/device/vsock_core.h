/* SPDX-License-Identifier: MIT */
/*
 * The socket device as a state machine: packets of the guest in, packets for it out, connections
 * between. No thread, lock, socket or clock of its own: core/device/vsock.c calls it under its
 * lock, from the loop's thread and from the device's; the fuzzer calls it directly.
 *
 * Who enters it sets `now` (monotonic seconds) first.
 *
 * A connection has two users: the protocol, until it is over, and the owner, until it lets go
 * (mvm__vsc_release). It is freed when both are done.
 */
#ifndef MVM_DEVICE_VSOCK_CORE_H
#define MVM_DEVICE_VSOCK_CORE_H

#include "base/buf.h"
#include "base/list.h"
#include "device/vhost.h"
#include "wire/vsock_wire.h"

#define MVM__VSC_BUCKETS     2048u
#define MVM__VSC_CONNS       4096u /* at once; more are refused */
#define MVM__VSC_WINDOW      (256u * 1024u)
#define MVM__VSC_WINDOW_MANY (64u * 1024u) /* for those beyond MVM__VSC_FEW: bounds the memory */
#define MVM__VSC_FEW         256u
#define MVM__VSC_OUT         (256u * 1024u) /* queued for the guest by send() */
#define MVM__VSC_RESETS      1024u          /* waiting answers to packets of no connection */
#define MVM__VSC_LINGER      8.0            /* seconds without progress after a close */

/* What has happened to a connection, for its owner. */
#define MVM__VSC_NEWS_ASKED 1u  /* the guest connects: accept or release */
#define MVM__VSC_NEWS_OPEN  2u  /* it took our connect */
#define MVM__VSC_NEWS_DATA  4u  /* conn->in has bytes */
#define MVM__VSC_NEWS_ROOM  8u  /* send() took less than all, there is room now */
#define MVM__VSC_NEWS_EOF   16u /* the guest sends no more */
#define MVM__VSC_NEWS_DEAF  32u /* the guest receives no more */
#define MVM__VSC_NEWS_GONE  64u /* it is over, see conn->end */

enum mvm__vsc_state {
    MVM__VSC_CONNECTING, /* we asked, or will when the guest's driver is up */
    MVM__VSC_ASKED,      /* the guest asked */
    MVM__VSC_OPEN,
    MVM__VSC_RESETTING, /* a RST is to be sent; all that comes is too late */
    MVM__VSC_GONE,      /* the protocol is done with it */
};

enum mvm__vsc_end {
    MVM__VSC_END_CLOSED,  /* in good order, or by the owner */
    MVM__VSC_END_REFUSED, /* nobody listens there */
    MVM__VSC_END_RESET,   /* by the guest's program */
    MVM__VSC_END_REBOOT,  /* the guest's driver started anew */
    MVM__VSC_END_BREACH,  /* the guest broke the protocol of this connection */
};

typedef struct mvm__vsc mvm__vsc;

typedef struct mvm__vsc_conn {
    mvm__vsc *core;
    mvm__link link, bucket, turn, todo, aging; /* link: until the protocol is done */
    uint64_t cid;                              /* of the peer on this side: 2, or another machine */
    uint32_t port, guest_port;                 /* its port, and the guest's */
    enum mvm__vsc_state state;
    enum mvm__vsc_end end;
    bool released, asked;                 /* asked: our REQUEST was sent */
    bool hungry;                          /* send() took less than all */
    unsigned due;                         /* packets to be sent, as bits 1 << op */
    unsigned shut, shut_sent, guest_shut; /* MVM__VSOCK_NO_* of ours, wanted and sent; its */
    unsigned news;
    uint32_t window, received, consumed, told; /* told: what the guest knows of `consumed` */
    uint32_t guest_window, guest_consumed, sent;
    double deadline;
    mvm__buf in, out;
    void *user;
} mvm__vsc_conn;

typedef struct mvm__vsc_address {
    uint64_t cid;
    uint32_t port, guest_port;
} mvm__vsc_address;

struct mvm__vsc {
    mvm__vhost vhost; /* ring 0: to the guest; ring 1: from it */
    uint8_t config[8];
    uint64_t guest_cid, seed;
    unsigned conns;
    uint32_t next_port;
    mvm__list all, buckets[MVM__VSC_BUCKETS];
    mvm__list turns; /* those with something for the guest, served in rounds */
    mvm__list todo;  /* those with news */
    mvm__list aging; /* closed ones, by deadline */
    mvm__vsc_address resets[MVM__VSC_RESETS]; /* a queue */
    unsigned first_reset, nresets;
    double now;
    double bell_at; /* when the guest is to hear of what was taken; negative: nothing was */
    bool was_up;
    uint64_t opened, refused, to_guest, from_guest;
    mvm__vring_chain chain;
};

mvm__vsc *mvm__vsc_new(uint64_t guest_cid);
/* Every connection is GONE and its owner must have released it. */
void mvm__vsc_free(mvm__vsc *core);

/* After requests of the front end: connections of a driver that has gone end here. */
void mvm__vsc_settle(mvm__vsc *core);
/*
 * Serves the rings. At most some packets from the guest are taken: *more says
 * that there are others, and it is to be called again. Else the driver was asked to tell of new
 * buffers. -1: the guest lies, the device is to be given up.
 */
int mvm__vsc_serve(mvm__vsc *core, bool *more, mvm_err *err);
/* Only what is for the guest. */
int mvm__vsc_serve_out(mvm__vsc *core, mvm_err *err);
/* When serve is to be called though nothing happens; negative: never. */
double mvm__vsc_deadline(const mvm__vsc *core);
/* Ends all connections, or all that the guest knows of. */
void mvm__vsc_end_all(mvm__vsc *core, enum mvm__vsc_end end, bool known_only);

/* ---- for the owners of connections; serve_out sends what comes of these ---------------- */

/* port 0: a free one. NULL with *err: the pair is in use, too many connections. */
mvm__vsc_conn *mvm__vsc_connect(mvm__vsc *core, uint64_t cid, uint32_t port, uint32_t guest_port,
                                mvm_err *err);
void mvm__vsc_accept(mvm__vsc_conn *conn);
/* Moves from the buffer what there is room for; with `all`, everything. */
size_t mvm__vsc_send(mvm__vsc_conn *conn, mvm__buf *from, bool all);
void mvm__vsc_consumed(mvm__vsc_conn *conn, size_t len); /* of what was taken out of conn->in */
void mvm__vsc_shutdown(mvm__vsc_conn *conn);             /* nothing more is sent, after `out` */
/* The owner lets go: an open connection is closed after `out` was sent, others are reset. The
 * connection may be gone when this returns. */
void mvm__vsc_release(mvm__vsc_conn *conn);

/* ---- between the files of the core -------------------------------------------------------- */

mvm__vsc_conn *mvm__vsc_find(mvm__vsc *core, uint64_t cid, uint32_t port, uint32_t guest_port);
mvm__vsc_conn *mvm__vsc_add(mvm__vsc *core, uint64_t cid, uint32_t port, uint32_t guest_port,
                            enum mvm__vsc_state state);
void mvm__vsc_tell(mvm__vsc_conn *conn, unsigned news);
void mvm__vsc_turn(mvm__vsc_conn *conn);             /* it may have something to send now */
void mvm__vsc_due(mvm__vsc_conn *conn, unsigned op); /* it has */
/* The protocol is done with it, with `reset` after a RST. It may be freed. */
void mvm__vsc_over(mvm__vsc_conn *conn, enum mvm__vsc_end end, bool reset);
/* A packet of the guest; its payload begins `skip` bytes into the pieces and is all there. */
void mvm__vsc_packet(mvm__vsc *core, const mvm__vsock_header *header, const struct iovec *piece,
                     size_t skip);
bool mvm__vsc_has_packet(const mvm__vsc_conn *conn);
/* Only when it has one: the next packet's header, its payload (at most `room` bytes) is the begin
 * of conn->out. After `sent` the connection may be freed. */
void mvm__vsc_next_packet(mvm__vsc_conn *conn, size_t room, mvm__vsock_header *header);
void mvm__vsc_packet_sent(mvm__vsc_conn *conn, const mvm__vsock_header *header);

#endif
