/* SPDX-License-Identifier: MIT */
/*
 * The clipboard that a guest's Spice agent shares with us: text only, at most 1 MiB, on the virtio
 * port com.redhat.spice.0. What breaks the protocol loses the clipboard, nothing else. Loop thread
 * only.
 */
#ifndef MVM_VM_CLIPBOARD_H
#define MVM_VM_CLIPBOARD_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/status.h"

#define MVM__CLIPBOARD_PORT "com.redhat.spice.0"

typedef struct mvm__clipboard mvm__clipboard;

/* Called from inside the functions below; none may free the clipboard. */
typedef struct mvm__clipboard_ops {
    /* How many bytes were taken; fewer: mvm__clipboard_writable follows. */
    size_t (*write)(void *ud, const void *data, size_t len);
    void (*read)(void *ud, bool on); /* stop or go on delivering: the guest does not take answers */
    void (*changed)(void *ud, const char *text, size_t len); /* the guest has new text */
    void (*lost)(void *ud, const mvm_err *err);              /* the guest broke the protocol */
} mvm__clipboard_ops;

mvm__clipboard *mvm__clipboard_new(const mvm__clipboard_ops *ops, void *ud);
void mvm__clipboard_free(mvm__clipboard *c); /* NULL is fine */

/* The port: opened or closed by the guest, bytes from it, room for more. */
void mvm__clipboard_open(mvm__clipboard *c, bool open);
void mvm__clipboard_data(mvm__clipboard *c, const void *data, size_t len);
void mvm__clipboard_writable(mvm__clipboard *c);
/* The machine is down: what the guest had is gone, and what it broke is forgiven. What we offer is
 * offered to the next run too. */
void mvm__clipboard_down(mvm__clipboard *c);

/* Offers text to the guest, now and whenever its agent comes up, until it has something of its own.
 * MVM_ECONFIG: no UTF-8, too long. MVM_EGUEST: the clipboard is lost. */
int mvm__clipboard_set(mvm__clipboard *c, const char *text, size_t len, mvm_err *err);
/* What a paste in the guest would give, as far as it is known here: the guest's own text, or what
 * we offered. NULL: none, or no text. Valid until any other call. */
const char *mvm__clipboard_text(const mvm__clipboard *c, size_t *len);

#endif
