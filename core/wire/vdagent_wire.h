/* SPDX-License-Identifier: MIT */
/*
 * The Spice agent protocol, host side, as spice-vdagentd speaks it on the virtio port
 * com.redhat.spice.0: messages inside of chunks. Pure: bytes in, messages out. Only the clipboard's
 * messages are kept; all others are passed over without being stored.
 */
#ifndef MVM_WIRE_VDAGENT_WIRE_H
#define MVM_WIRE_VDAGENT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define MVM__VDAGENT_TEXT_MAX  (1u << 20) /* bytes of clipboard text; longer ones are not kept */
#define MVM__VDAGENT_SMALL_MAX 1024u      /* bytes of any other message that is looked at */

enum mvm__vdagent_type {
    MVM__VDAGENT_CLIPBOARD = 4,
    MVM__VDAGENT_ANNOUNCE = 6,
    MVM__VDAGENT_GRAB = 7,
    MVM__VDAGENT_REQUEST = 8,
    MVM__VDAGENT_RELEASE = 9,
};

enum { /* bits of the capabilities */
       MVM__VDAGENT_CAP_BY_DEMAND = 5,
       MVM__VDAGENT_CAP_SELECTION = 6,
       MVM__VDAGENT_CAP_CRLF = 9, /* the guest's lines end in CR LF */
};
enum { MVM__VDAGENT_NONE = 0, MVM__VDAGENT_UTF8 = 1 }; /* kinds of data */
enum { MVM__VDAGENT_SEL_CLIPBOARD = 0 };               /* selections; others are X11's */

typedef struct mvm__vdagent_reader {
    uint32_t port, chunk; /* of the chunk under way: who for, and what is left of it */
    uint32_t type, size;  /* of the message under way */
    size_t got;           /* of its header and data, what has come */
    bool in_message;      /* its header is whole */
    uint8_t head[8];      /* of the chunk, in the making */
    size_t head_len;      /* ... 8: inside a chunk */
    uint8_t message[20];  /* the message's header, in the making */
    mvm__buf data;        /* of the message, when it is one to be kept */
    const char *broken;   /* what was wrong, or NULL */
} mvm__vdagent_reader;

typedef struct mvm__vdagent_msg {
    uint32_t type;
    const uint8_t *data;
    size_t len;
    bool dropped; /* it was longer than is kept: no data */
} mvm__vdagent_msg;

/*
 * Takes bytes up to the end of one message; *used says how many. 1: *out holds it until the next
 * call. 0: they were taken, there is none yet. -1: this is not the protocol (reader->broken says
 * why), and nothing after it can be read.
 */
int mvm__vdagent_read(mvm__vdagent_reader *reader, const void *data, size_t len, size_t *used,
                      mvm__vdagent_msg *out);
void mvm__vdagent_free(mvm__vdagent_reader *reader); /* and makes it new */

/* What a message of the clipboard says. */
typedef struct mvm__vdagent_event {
    bool answer;       /* ANNOUNCE: the guest wants to know ours */
    uint32_t caps;     /* ANNOUNCE: the first 32 bits */
    uint8_t selection; /* of the others */
    bool has_text;     /* GRAB: text is among what is offered */
    uint32_t kind;     /* REQUEST, CLIPBOARD */
    const char *text;  /* CLIPBOARD: not terminated */
    size_t len;
} mvm__vdagent_event;

/* Reads a message of the five types. `selections`: both sides announced them. false: too short. */
bool mvm__vdagent_parse(const mvm__vdagent_msg *msg, bool selections, mvm__vdagent_event *out);

/* ---- to the guest: each appends a whole message, in chunks ---------------------------------- */

void mvm__vdagent_put_announce(mvm__buf *out, bool ask);
void mvm__vdagent_put_grab(mvm__buf *out, bool selections); /* of text */
void mvm__vdagent_put_release(mvm__buf *out, bool selections);
void mvm__vdagent_put_request(mvm__buf *out, bool selections); /* for text */
/* kind NONE: there is none, text is not looked at. */
void mvm__vdagent_put_data(mvm__buf *out, bool selections, uint8_t selection, uint32_t kind,
                           const char *text, size_t len);

#endif
