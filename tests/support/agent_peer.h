/* SPDX-License-Identifier: MIT */
/*
 * The host's side for tests of the real agent: runs the program that MACVM_AGENT names on this
 * host, over a socket pair, and speaks frames with it. Every wait has a deadline and ends by the
 * frame that it is for; a wait that fails fails the test.
 */
#ifndef SUPPORT_AGENT_PEER_H
#define SUPPORT_AGENT_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "wire/agent_wire.h"

#define PEER_STREAMS     128
#define PEER_DEADLINE_MS 20000

typedef struct peer_stream {
    char *bytes[3]; /* by channel; terminated */
    size_t len[3];
    bool eof[3], started, exited, failed;
    bool whole; /* both outputs had ended when EXIT came */
    bool hold;  /* grant no credit */
    int pid, perm, status, signal, errnum;
    uint64_t granted; /* to us, for stdin */
    char text[512];   /* of an ERROR */
} peer_stream;

extern peer_stream peer_streams[PEER_STREAMS]; /* by id */
extern bool peer_ready;                        /* READY has come, with this nonce */
extern uint64_t peer_nonce;
extern char peer_dir[64]; /* a directory of the test's own */

int peer_setup(void **state);
int peer_teardown(void **state);
void peer_hang_up(void);

void peer_send_bytes(const void *data, size_t len);
void peer_send(uint8_t type, uint8_t channel, uint32_t id, const void *payload, size_t len);
void peer_send_u32(uint8_t type, uint8_t channel, uint32_t id, uint32_t value);
void peer_exec(uint32_t id, uint32_t flags, const char *cwd, const char *const *env,
               const char *const *argv);
void peer_sh(uint32_t id, const char *script);
void peer_open(uint32_t id, uint8_t mode, int perm, const char *path);
void peer_data(uint32_t id, const char *text);
void peer_eof(uint32_t id);
void peer_hello(uint64_t nonce);

/* Takes what comes, until the time; false: the agent is gone. */
bool peer_receive(const char *what, long until);
long peer_now_ms(void);
#define peer_wait(condition)                                                                       \
    do {                                                                                           \
        long until_ = peer_now_ms() + PEER_DEADLINE_MS;                                            \
        while (!(condition))                                                                       \
            if (!peer_receive(#condition, until_))                                                 \
                fail_msg("the agent is gone, waiting for: %s", #condition);                        \
    } while (0)

peer_stream *peer_ended(uint32_t id); /* EXIT or ERROR has come */
/* All of it, once EXIT and its end have come in either order; the stream must not fail. */
const char *peer_output(uint32_t id, int channel);
void peer_forget(uint32_t id);           /* so that a test can use the number again */
const char *peer_path(const char *name); /* in the test's directory */
size_t peer_entries(void);               /* of that directory */
bool peer_lives(int pid);                /* is there, and no zombie */

#endif
