/* SPDX-License-Identifier: MIT */
/*
 * What the files of the agent's host side share: the session (agent.c), its outgoing queue
 * (agent_out.c), and calls (agent_call.c), which are what EXEC, OPEN and MOUNT begin. process.c,
 * file.c, transfer.c and mount.c stand on calls. Loop thread only.
 */
#ifndef MVM_VM_AGENT_INTERNAL_H
#define MVM_VM_AGENT_INTERNAL_H

#include "base/buf.h"
#include "base/list.h"
#include "io/stream.h"
#include "mvm/file.h"
#include "vm/agent.h"
#include "vm/vm_internal.h"
#include "wire/agent_wire.h"

#define MVM__AGENT_BULK    (128u * 1024u) /* DATA is made only while less than this waits */
#define MVM__AGENT_OUT_MAX (8u << 20)     /* all that may wait for a guest that reads nothing */
#define MVM__AGENT_GRANT   (64u * 1024u)  /* credit is given back in steps of at least this */
#define MVM__AGENT_BUCKETS 256u

enum mvm__agent_state {
    MVM__AGENT_SCAN,  /* no session: everything but a HELLO is dropped */
    MVM__AGENT_JOIN,  /* our own HELLO is under way; everything but its answer is dropped */
    MVM__AGENT_GREET, /* HELLO has come, READY is due */
    MVM__AGENT_READY,
};

struct mvm__agent {
    mvm_vm *vm;
    enum mvm__agent_state state;
    uint64_t nonce;   /* that HELLO and READY must carry */
    uint32_t next_id; /* of the next call; ids below it were used in this session */
    uint32_t run;     /* counts mvm__agent_reset: bytes of an earlier run are not looked at */
    bool replaced;    /* a HELLO came before the report that its predecessor closed the port */
    bool wrote;       /* bytes of an earlier session may still be on their way to the guest */
    bool busy;        /* frames are being taken in: sending waits until they are done */
    bool blocked;     /* the back end is full; mvm__agent_writable follows */
    uint32_t asked;   /* POWER frames of this session that the guest has not refused */
    mvm__buf in, out;
    mvm__list turns; /* channels with something to send, round robin */
    mvm__list calls[MVM__AGENT_BUCKETS];
    mvm__agent_info info;
};

/* ---- agent_out.c ---------------------------------------------------------------- */

/* Queues one control frame. MVM_EAGENT when far too much waits already. */
int mvm__agent_put(mvm__agent *agent, uint8_t type, uint8_t channel, uint32_t stream,
                   const void *payload, size_t len, mvm_err *err);
void mvm__agent_pump(mvm__agent *agent); /* sends what can be sent now */

/* ---- agent_call.c ----------------------------------------------------------------- */

enum mvm__call_kind { MVM__CALL_EXEC, MVM__CALL_READ, MVM__CALL_WRITE, MVM__CALL_MOUNT };

typedef struct mvm__call mvm__call;

typedef struct mvm__chan {
    mvm_stream s;
    mvm__call *call;
    mvm__link turn;
    uint32_t credit; /* what this channel's sender (us on 0, the guest on 1 and 2) may still send */
    uint32_t owed;   /* 1, 2: consumed here, not yet granted */
    uint8_t number;
    bool used;     /* the call has this channel */
    bool eof_sent; /* 0 only */
} mvm__chan;

struct mvm__call {
    mvm__agent *agent; /* NULL once it has ended */
    mvm_loop *loop;
    mvm__link link;
    enum mvm__call_kind kind;
    uint32_t id;
    int refs; /* the owner, the session, and each channel whose stream is held */
    bool started;
    bool exited; /* EXIT has come: the waits are over, the outputs may not be */
    bool ended;  /* nothing more will come */
    int pid, perm, status, signal;
    int guest_errno; /* of an ERROR frame */
    mvm_err *failed; /* why it ended, when not all has come */
    mvm__list waits;
    mvm__chan chan[3];
    char what[72]; /* "`ls -l`", "/etc/hosts" */
    char vm[72];
};

/* A call that has not been sent; the caller owns one reference on it and on its streams. */
mvm__call *mvm__call_new(mvm_vm *vm, enum mvm__call_kind kind, const char *what);
/* Sends its first frame (EXEC, OPEN, MOUNT). After an error release it. */
int mvm__call_begin(mvm__call *call, uint8_t type, const void *payload, size_t len, mvm_err *err);
/* No more interest: CLOSE when it runs, its waits and streams end with MVM_ECANCELLED. */
void mvm__call_drop(mvm__call *call);
/* Gives the owner's references back. */
void mvm__call_release(mvm__call *call);
/* Ends it: err NULL means that all has come, EXIT and the end of every output. */
void mvm__call_end(mvm__call *call, const mvm_err *err);
/* Until EXIT. */
mvm_wait *mvm__call_wait(mvm__call *call, const mvm_waiter *waiter);

mvm__call *mvm__call_find(mvm__agent *agent, uint32_t id);
/* One frame of the guest for this call. NULL, or what is wrong with it. */
const char *mvm__call_frame(mvm__call *call, const mvm_agent_frame *frame);
/* Puts the channel in line when it has something to send. */
void mvm__chan_turn(mvm__chan *chan);
bool mvm__chan_ready(const mvm__chan *chan);

/* Copies guest text for messages: cut to cap - 1 bytes, control characters become '?'. */
void mvm__guest_text(char *out, size_t cap, const char *text, size_t len);
/* An ERROR frame as an error of the host about `what`; the guest's errno, or -1: malformed. */
int mvm__guest_error(const mvm_agent_frame *frame, const char *what, mvm_err *err);

/* ---- file.c, for transfer.c --------------------------------------------------------- */

void mvm__file_abort(mvm_file *file); /* drops the call: nothing of the file remains */
int mvm__file_errno(const mvm_file *file);

/* ---- agent.c ------------------------------------------------------------------------ */

/* Begins a session with an agent that runs already: drops all streams, says HELLO with a nonce. */
void mvm__agent_join(mvm__agent *agent);
/* The guest broke the protocol: the session is over. */
void mvm__agent_breach(mvm__agent *agent, const char *why);

#endif
