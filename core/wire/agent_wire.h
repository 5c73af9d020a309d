/* SPDX-License-Identifier: MIT */
/*
 * The agent protocol's frames, shared by the host (core/vm/agent.c) and the
 * guest's agent (core/guest). Pure: bytes in, structs out. Described for other
 * implementers in docs/agent-protocol.md; tests/core/agent_vectors.txt holds
 * the test vectors.
 *
 * A frame is a 12-byte header and a payload, little-endian:
 *
 *   0  2  magic 'M' 'V'
 *   2  1  type
 *   3  1  channel: 0 stdin / to the guest, 1 stdout / from the guest, 2 stderr; else 0
 *   4  4  stream: 0 for the session, else chosen by the host, never used twice in a session
 *   8  4  length of the payload, at most MVM_AGENT_PAYLOAD_MAX
 *
 * Strings are a u16 length and that many bytes, no terminator.
 *
 * A session begins with HELLO. The guest's agent says HELLO with nonce 0, then READY, when it
 * starts. A host that joins a running agent (after a restore) says HELLO with a nonce of its own,
 * preceded by MVM_AGENT_SYNC zero bytes; the agent drops every stream and answers HELLO and READY
 * with that nonce. A side that meets a malformed header reads on, byte by byte, until the next
 * HELLO.
 *
 * Flow control: every channel of a stream starts with MVM_AGENT_WINDOW bytes of credit for its
 * sender; the receiver grants more with CREDIT as it consumes. DATA beyond the credit is a breach.
 */
#ifndef MVM_AGENT_WIRE_H
#define MVM_AGENT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MVM_AGENT_PORT        "org.macvm.agent.0"
#define MVM_AGENT_VERSION     1
#define MVM_AGENT_HEADER      12u
#define MVM_AGENT_PAYLOAD_MAX 65536u
#define MVM_AGENT_DATA_MAX    32768u /* of one DATA frame, so that streams interleave */
#define MVM_AGENT_WINDOW      262144u
#define MVM_AGENT_SYNC        (MVM_AGENT_HEADER + MVM_AGENT_PAYLOAD_MAX)
#define MVM_AGENT_STREAMS_MAX 1024u /* open at once; EXEC, OPEN or MOUNT beyond: ERROR EAGAIN */
#define MVM_AGENT_HELLO_MAGIC "macvmagt"

enum mvm_agent_type {
    MVM_AGENT_HELLO = 1, /* both: 8 bytes HELLO_MAGIC, u32 version, u64 nonce */
    MVM_AGENT_READY = 2, /* guest: u64 nonce, u64 init_ns, u64 now_ns (both CLOCK_BOOTTIME: when the
                            agent began, and when this frame was made), string agent version, string
                            kernel release, string host name */
    MVM_AGENT_EXEC =
        3, /* host: u32 flags, u16 argc, u16 envc, string cwd, argc strings, envc strings */
    MVM_AGENT_OPEN =
        4,                 /* host: u8 mode (0 read, 1 write), i32 perm (-1: keep), string path.
                              write: the agent fills "PATH.macvm-XXXXXX" and renames it after EOF on channel 0 */
    MVM_AGENT_STARTED = 5, /* guest: i32 pid (0 for OPEN), i32 perm (-1 for EXEC) */
    MVM_AGENT_DATA = 6,    /* both: bytes of the channel */
    MVM_AGENT_EOF = 7,     /* both: the channel has ended */
    MVM_AGENT_CREDIT = 8,  /* both: u32 bytes that the channel's sender may send more */
    MVM_AGENT_SIGNAL = 9,  /* host: i32 signal to the command's process group */
    MVM_AGENT_EXIT = 10,  /* guest: i32 status, i32 signal (0: none): the command has ended. Before,
                             between or after DATA and EOF of channels 1 and 2; EXIT and both EOFs
                             end the stream. For OPEN: status 0, and it comes last */
    MVM_AGENT_ERROR = 11, /* guest: i32 errno, string text. Ends the stream. On stream 0 it refuses
                             POWER */
    MVM_AGENT_CLOSE =
        12, /* host: no more interest: kill the command's group, drop the temporary file.
               The agent answers nothing; the stream's frames in flight are ignored */
    MVM_AGENT_POWER = 13, /* host: u8 0 power off, 1 reboot. Stream 0. Sync, then do it */
    MVM_AGENT_MOUNT = 14, /* host: u8 what (0 mount, 1 unmount), u8 flags, string type ("virtiofs" |
                             "9p"), string tag, string path. A stream of its own, answered by EXIT
                             or ERROR alone */
    MVM_AGENT_TYPE_MAX = MVM_AGENT_MOUNT
};

#define MVM_AGENT_EXEC_STDIN_NULL 1u /* flags of EXEC: channel 0 is closed from the start */
#define MVM_AGENT_MOUNT_READONLY  1u /* flags of MOUNT */

typedef struct mvm_agent_frame {
    uint8_t type, channel;
    uint32_t stream;
    const uint8_t *payload; /* inside the caller's bytes */
    uint32_t len;
} mvm_agent_frame;

/*
 * Takes the first frame of data[0..len). Returns the bytes that it takes up (> 0), 0 when more
 * bytes are needed, or -1 when the bytes are no frame (wrong magic, unknown type, length or channel
 * beyond the limit).
 */
long mvm_agent_decode(const uint8_t *data, size_t len, mvm_agent_frame *frame);

/* How many bytes to skip to the next possible HELLO in data[0..len): its offset, or as many as
 * can't be the beginning of one. */
size_t mvm_agent_resync(const uint8_t *data, size_t len);

/* Writes a header into out[12]. */
void mvm_agent_header(uint8_t out[MVM_AGENT_HEADER], uint8_t type, uint8_t channel, uint32_t stream,
                      uint32_t len);

/* A payload being read or written; `bad` sticks once a bound was passed, values are then 0 / "". */
typedef struct mvm_agent_reader {
    const uint8_t *data;
    size_t len, pos;
    bool bad;
} mvm_agent_reader;

uint8_t mvm_agent_get_u8(mvm_agent_reader *r);
uint16_t mvm_agent_get_u16(mvm_agent_reader *r);
uint32_t mvm_agent_get_u32(mvm_agent_reader *r);
uint64_t mvm_agent_get_u64(mvm_agent_reader *r);
/* Points into the payload, not terminated. A string with a NUL inside is bad. */
const char *mvm_agent_get_str(mvm_agent_reader *r, size_t *len);

typedef struct mvm_agent_writer {
    uint8_t *data;
    size_t cap, len;
    bool bad; /* did not fit */
} mvm_agent_writer;

void mvm_agent_put_u8(mvm_agent_writer *w, uint8_t v);
void mvm_agent_put_u16(mvm_agent_writer *w, uint16_t v);
void mvm_agent_put_u32(mvm_agent_writer *w, uint32_t v);
void mvm_agent_put_u64(mvm_agent_writer *w, uint64_t v);
void mvm_agent_put_str(mvm_agent_writer *w, const char *s, size_t len); /* len > 65535 is bad */

#endif
