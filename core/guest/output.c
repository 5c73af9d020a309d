/* SPDX-License-Identifier: MIT */
/*
 * The agent's output queue: whole frames, one fixed buffer. DATA and EOF are
 * added only while little is queued, so that answers never wait behind much of
 * it, and no input is taken above HIGH. What commands and files may still say
 * then is bounded by the streams that are open, and has a place reserved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest/agent.h"

#define LOW  (64u * 1024)  /* above: no more DATA */
#define HIGH (256u * 1024) /* above: no more input */

#define ERROR_WHAT 1024u /* of the words that an ERROR says what it is about with */
#define ERROR_TEXT (ERROR_WHAT + 256u)
#define ERROR_SIZE (MVM_AGENT_HEADER + 4 + 2 + ERROR_TEXT)
/* The frame that was taken just below HIGH is answered: an ERROR and CREDITs, or HELLO and READY.
 */
#define ANSWER (2 * ERROR_SIZE)
/* A stream without new input: CREDIT for the window that it holds and for what it owes, EXIT, and
 * at most one ERROR. EOF comes with DATA, below LOW. */
#define CREDITS    ((MVM_AGENT_WINDOW + MVM__GRANT - 1) / MVM__GRANT)
#define PER_STREAM (CREDITS * (MVM_AGENT_HEADER + 4) + MVM_AGENT_HEADER + 8 + ERROR_SIZE)
#define CAP        (HIGH + ANSWER + MVM_AGENT_STREAMS_MAX * PER_STREAM)

_Static_assert(LOW + 2 * (MVM_AGENT_HEADER + MVM_AGENT_DATA_MAX) < HIGH, "DATA stays below HIGH");

static uint8_t queue[CAP]; /* its pages come into being as they are used */
static size_t begin, end;
static size_t front_left; /* of the frame in the midst of which the port stands; 0: between two */

uint8_t *mvm__out_frame(size_t len)
{
    if (CAP - end < MVM_AGENT_HEADER + len) {
        memmove(queue, queue + begin, end - begin);
        end -= begin;
        begin = 0;
    }
    if (CAP - end < MVM_AGENT_HEADER + len) {
        /* CAP was miscounted. A host that loses the agent knows it; one that loses a frame waits
         * for it for ever. */
        mvm__log("the output queue is full", NULL);
        abort();
    }
    return queue + end + MVM_AGENT_HEADER;
}

void mvm__out_commit(uint8_t type, uint8_t channel, uint32_t stream, size_t len)
{
    mvm_agent_header(queue + end, type, channel, stream, (uint32_t)len);
    end += MVM_AGENT_HEADER + len;
}

void mvm__out_refuse(uint32_t stream, int errnum, const char *text)
{
    size_t len = MVM_MIN(strlen(text), (size_t)ERROR_TEXT);
    mvm_agent_writer w = {.data = mvm__out_frame(4 + 2 + len), .cap = 4 + 2 + len};

    mvm_agent_put_u32(&w, (uint32_t)errnum);
    mvm_agent_put_str(&w, text, len);
    mvm__out_commit(MVM_AGENT_ERROR, 0, stream, w.len);
}

void mvm__out_error(uint32_t stream, int errnum, const char *what)
{
    const char *why = strerror(errnum);
    size_t what_len = what ? MVM_MIN(strlen(what), (size_t)ERROR_WHAT) : 0;
    char text[ERROR_TEXT + 1];
    size_t len = 0;

    if (what_len) {
        memcpy(text, what, what_len);
        memcpy(text + what_len, ": ", 2);
        len = what_len + 2;
    }
    size_t why_len = MVM_MIN(strlen(why), (size_t)ERROR_TEXT - len);
    memcpy(text + len, why, why_len);
    text[len + why_len] = '\0';
    mvm__out_refuse(stream, errnum, text);
}

bool mvm__out_has_room(void)
{
    return end - begin < LOW;
}

bool mvm__out_is_choked(void)
{
    return end - begin >= HIGH;
}

/* The front of the queue has gone out: where does the port stand in the frames? */
static void advance(size_t n)
{
    while (n > 0) {
        if (front_left == 0) {
            const uint8_t *h = queue + begin;
            front_left =
                MVM_AGENT_HEADER + ((size_t)h[8] | (size_t)h[9] << 8 | (size_t)h[10] << 16);
        }
        size_t step = MVM_MIN(n, front_left);
        begin += step;
        front_left -= step;
        n -= step;
    }
    if (begin == end)
        begin = end = 0;
}

int mvm__out_flush(int fd)
{
    while (begin < end) {
        ssize_t n = write(fd, queue + begin, end - begin);
        if (n > 0)
            advance((size_t)n);
        else if (n < 0 && errno == EINTR)
            continue;
        else
            return n == 0 || errno == EAGAIN ? 1 : -errno;
    }
    return 0;
}

void mvm__out_reset(bool whole)
{
    if (whole)
        front_left = 0;
    if (front_left == 0)
        begin = end = 0;
    else
        end = begin + front_left;
}
