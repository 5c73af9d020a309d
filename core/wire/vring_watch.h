/* SPDX-License-Identifier: MIT */
/*
 * What a driver has posted in a ring that another serves and has not got back, so that somebody
 * else can go on when the server dies. The rings alone do not tell: a place in them is written
 * again after as many buffers as the ring has, while a slow one is still out. So they have to be
 * looked at before that, at each bell of the server, say. Pure; what stands in the rings may be
 * lies, which only make the watch unsure.
 */
#ifndef MVM_WIRE_VRING_WATCH_H
#define MVM_WIRE_VRING_WATCH_H

#include "wire/vring.h"

typedef struct mvm__vring_watch {
    bool missed;                       /* something, since nothing was out */
    uint16_t posted, used;             /* up to where both rings were read */
    uint16_t out[MVM__VRING_SIZE_MAX]; /* by head: how often it was posted and not given back */
} mvm__vring_watch;

/* The server takes the ring up at `base`. What was out when it stopped before is out still, if it
 * did not get all back. */
void mvm__vring_watch_begin(mvm__vring_watch *watch, const mvm__vring *ring, uint16_t base);
/* Takes in what is new. When nothing is out, what was missed before does not matter any more. */
void mvm__vring_watch_look(mvm__vring_watch *watch, const mvm__vring *ring);
/* `out` is exact, each 0 or 1: nothing was missed, and the driver did not lie. */
bool mvm__vring_watch_sure(const mvm__vring_watch *watch, const mvm__vring *ring);

#endif
