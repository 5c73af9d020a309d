/* SPDX-License-Identifier: MIT */
/*
 * The relay of a share as a state machine: it follows what QEMU tells virtiofsd and what goes
 * through the rings, and serves the rings when virtiofsd is gone: every request fails. No thread
 * and no socket of its own: core/device/fs_relay_thread.c calls it, or a fuzzer.
 */
#ifndef MVM_DEVICE_FS_RELAY_CORE_H
#define MVM_DEVICE_FS_RELAY_CORE_H

#include "device/vhost.h"
#include "wire/vring_watch.h"

typedef struct mvm__fsr {
    mvm__vhost vhost; /* as virtiofsd's, from the same requests; passive until that is dead */
    struct {
        mvm__vring_watch watch;
        bool running; /* as the ring's, when it was last seen */
        bool ours;    /* served from here */
    } ring[MVM__VHOST_RINGS];
    bool dead;  /* virtiofsd is */
    bool known; /* its features are: without them nobody can answer for it */
    /* What it owes QEMU, 0: nothing; and what is answered in its place. */
    uint32_t owed;
    uint8_t reply[MVM__VHU_REPLY_MAX];
    size_t reply_len;
    uint64_t failed; /* requests of the guest */
    mvm__vring_chain chain;
} mvm__fsr;

mvm__fsr *mvm__fsr_new(void);
void mvm__fsr_free(mvm__fsr *core);

/* A request of QEMU, which virtiofsd has got too, if it lives; takes the files. `reply` holds what
 * is due, at once or, while `owed` is set, should virtiofsd die. MVM_EBACKEND. */
int mvm__fsr_request(mvm__fsr *core, const mvm__vhu_header *header, const uint8_t *payload,
                     int *fds, unsigned nfds, mvm_err *err);
/* virtiofsd's reply, a whole message: it goes to QEMU as it is afterwards. MVM_EBACKEND. */
int mvm__fsr_reply(mvm__fsr *core, uint8_t *message, mvm_err *err);
/* virtiofsd has given something back in this ring: QEMU is told, and it is noted. */
void mvm__fsr_bell(mvm__fsr *core, unsigned i);
/* virtiofsd has ended. From now on there is something to be served. */
void mvm__fsr_dead(mvm__fsr *core);
/* Fails what the guest asks for, at most some of it: with *more there are others. MVM_EGUEST: the
 * guest lies; MVM_EBACKEND: what virtiofsd had begun is not known. Nothing is served after that. */
int mvm__fsr_serve(mvm__fsr *core, bool *more, mvm_err *err);

#endif
