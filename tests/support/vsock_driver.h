/* SPDX-License-Identifier: MIT */
/*
 * A guest's socket driver and the front end beside it, for tests of the socket device: memory in a
 * memfd, two split rings in it, and a vhost-user master on a unix socket. Honest unless a test
 * writes into the rings itself.
 */
#ifndef MVM_TEST_VSOCK_DRIVER_H
#define MVM_TEST_VSOCK_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "mvm/loop.h"
#include "wire/vhost_user.h"
#include "wire/vsock_wire.h"

#define VSD_CID    7u /* of the first machine */
#define VSD_MEMORY (8u << 20)
#define VSD_GUEST  0x40000000ull     /* where the guest sees it */
#define VSD_USER   0x7f0000000000ull /* where the front end does */
#define VSD_NUM    128u              /* entries of a ring */
#define VSD_BUFFER 8192u             /* one per entry of each ring */
#define VSD_RX     0u
#define VSD_TX     1u

typedef struct vsd_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} vsd_desc;

typedef struct vsd_ring {
    vsd_desc *desc;
    uint16_t *avail; /* flags, idx, ring[num], used_event */
    uint16_t *used;  /* flags, idx, then elements */
    int kick, call;
    uint16_t seen;     /* of used */
    uint16_t next_idx; /* of avail */
    uint64_t buffers;  /* offset of the first */
} vsd_ring;

typedef struct vsd {
    int sock, memfd;
    uint64_t cid; /* VSD_CID; others: to be set before vsd_setup */
    uint8_t *memory;
    uint64_t features; /* what is negotiated: all that is offered, less what the test took away */
    vsd_ring ring[2];
    mvm_loop *loop;
    mvm_watch *watch[2];
    uint64_t kicks;
    bool event_idx;
    bool doomed; /* the test expects the device to be lost: no answer is waited for */
} vsd;

/* A listening socket of a unique abstract name, for mvm__vsock_new. */
int vsd_listener(void);
/* Connects to it (before it is given away) as front end. */
void vsd_connect(vsd *d, mvm_loop *loop, int listener);
void vsd_free(vsd *d);

/* One request, with `nfds` files; vsd_answer reads a reply's payload of `len` bytes. */
void vsd_request(vsd *d, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
                 const int *fds, unsigned nfds);
void vsd_answer(vsd *d, uint32_t request, void *payload, uint32_t len);
uint64_t vsd_ask_u64(vsd *d, uint32_t request);

/* All that QEMU does until the guest's driver is up; `without`: features that it does not take. */
void vsd_setup(vsd *d, uint64_t without);
void vsd_set_memory(vsd *d);
/* The rings as they are, going on at `base`: as after a pause, or (vsd_fresh before) a reboot. */
void vsd_start(vsd *d, uint16_t rx_base, uint16_t tx_base);
void vsd_fresh(vsd *d);
uint16_t vsd_stop(vsd *d, uint32_t ring); /* GET_VRING_BASE */
void vsd_enable(vsd *d, bool on);

/* ---- the driver ------------------------------------------------------------------------ */

void vsd_offer(vsd *d, unsigned ring, uint16_t head); /* makes it available and kicks */
void vsd_kick(vsd *d, unsigned ring);
/* A packet from the guest, as one descriptor; waits (turning the loop) for room. */
void vsd_send(vsd *d, const mvm__vsock_header *header, const void *payload);
/* The same with what is common filled in. */
void vsd_op(vsd *d, uint16_t op, uint32_t guest_port, uint32_t port);
void vsd_data(vsd *d, uint32_t guest_port, uint32_t port, const void *data, uint32_t len);
/* The next packet for the guest, its payload in `data` (VSD_BUFFER bytes); turns the loop until it
 * is there. false: not within a few seconds. The buffer is offered again. */
bool vsd_recv(vsd *d, mvm__vsock_header *header, void *data);
/* The same, if there is one now. */
bool vsd_poll(vsd *d, mvm__vsock_header *header, void *data);
/* Turns the loop until *flag or a few seconds have passed; what *flag is. */
bool vsd_until(mvm_loop *loop, const bool *flag);

#endif
