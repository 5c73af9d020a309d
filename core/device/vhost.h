/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user back end with two rings: the guest's memory, what was negotiated, and the rings'
 * state as the front end's requests change it. A plain state machine without a thread or socket of
 * its own: requests go in with their file descriptors, replies come out.
 */
#ifndef MVM_DEVICE_VHOST_H
#define MVM_DEVICE_VHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mvm/status.h"
#include "wire/vhost_user.h"
#include "wire/vring.h"

#define MVM__VHOST_RINGS 2u

/* ---- memory ------------------------------------------------------------------------- */

typedef struct mvm__vhost_region {
    uint64_t guest_addr, user_addr, size;
    char *at;
    void *map; /* what was mapped: the file from its begin */
    size_t map_len;
} mvm__vhost_region;

typedef struct mvm__vhost_memory {
    unsigned n;
    mvm__vhost_region region[MVM__VHU_REGIONS];
} mvm__vhost_memory;

/*
 * Maps the regions of a request in place of those that are there. The files (left open) must be as
 * long as the regions say: a page that is not there would be a SIGBUS. They belong to the front
 * end, which we started; a guest has no way to shorten them.
 */
int mvm__vhost_map(mvm__vhost_memory *m, const mvm__vhu_msg *table, const int *fds, mvm_err *err);
void mvm__vhost_unmap(mvm__vhost_memory *m);
/* Both as mvm__vring_at, `ud` is the memory: by the guest's address, by the front end's. */
void *mvm__vhost_guest_at(void *ud, uint64_t addr, uint64_t *len);
void *mvm__vhost_user_at(void *ud, uint64_t addr, uint64_t *len);

/* ---- the back end --------------------------------------------------------------------- */

typedef struct mvm__vhost_ring {
    mvm__vring v;
    uint32_t num;
    uint64_t desc, avail, used; /* the front end's addresses, all 0 until known */
    uint16_t base;
    bool enabled, running; /* running: v is valid and to be served */
    int kick, call;
    /* How it was when it stopped: one that begins otherwise is a driver's that started anew. */
    bool stopped_once;
    uint16_t old_avail, old_used;
    uint64_t old_desc;
} mvm__vhost_ring;

typedef struct mvm__vhost {
    uint64_t offered, features; /* by us; by both */
    bool ack_protocol;
    bool passive; /* another serves the rings: they are followed, and nothing is written to them */
    const uint8_t *config;
    uint32_t config_len;
    mvm__vhost_memory memory;
    mvm__vhost_ring ring[MVM__VHOST_RINGS];
    bool
        anew; /* a ring began as no pause and resume of the old ones explains; the user clears it */
} mvm__vhost;

/* `features` of the device beside those of the rings. config: config_len bytes that stay. */
void mvm__vhost_init(mvm__vhost *h, uint64_t features, const void *config, uint32_t config_len);
void mvm__vhost_free(mvm__vhost *h);
/*
 * One request. Takes the file descriptors, in every case. reply (MVM__VHU_REPLY_MAX bytes) is
 * filled with *reply_len bytes, 0 if none is due. MVM_EBACKEND: the front end broke the protocol or
 * its guest's rings are impossible; nothing is served after that.
 */
int mvm__vhost_request(mvm__vhost *h, const mvm__vhu_header *header, const uint8_t *payload,
                       int *fds, unsigned nfds, uint8_t *reply, size_t *reply_len, mvm_err *err);
/* Shows the driver what was given back, and rings its bell if it wants that. */
void mvm__vhost_flush(mvm__vhost_ring *ring);
bool mvm__vhost_up(const mvm__vhost *h); /* every ring is running */

#endif
