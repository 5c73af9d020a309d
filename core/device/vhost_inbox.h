/* SPDX-License-Identifier: MIT */
/* The messages of a vhost-user socket as they come in, each with its files. Runs where its user
 * runs. */
#ifndef MVM_DEVICE_VHOST_INBOX_H
#define MVM_DEVICE_VHOST_INBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/status.h"
#include "wire/vhost_user.h"

typedef struct mvm__vhost_inbox {
    const char *who; /* the peer, for messages: "QEMU" */
    uint8_t bytes[MVM__VHU_HEADER + MVM__VHU_PAYLOAD_MAX];
    size_t have;
    int fds[MVM__VHU_REGIONS];
    unsigned nfds;
    bool gone; /* the peer has closed the connection */
} mvm__vhost_inbox;

/*
 * 1: a whole message is in `bytes`, as long as its header says, and its files in `fds`: it is to be
 * taken by mvm__vhost_inbox_next before the next read. 0: not yet. Else it is gone, or sent what
 * can't be a message. Never waits.
 */
int mvm__vhost_inbox_read(mvm__vhost_inbox *in, int sock, mvm_err *err);
/* Forgets the message; who took its files has set nfds to 0, others are closed. */
void mvm__vhost_inbox_next(mvm__vhost_inbox *in);

#endif
