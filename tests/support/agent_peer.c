/* SPDX-License-Identifier: MIT */
/* The agent's peer of tests: see agent_peer.h. */
#include "support/agent_peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEEP (1u << 20) /* of a stream's bytes, for tests to look at */

peer_stream peer_streams[PEER_STREAMS];
bool peer_ready;
uint64_t peer_nonce;
char peer_dir[64];

static int g_sock = -1;
static pid_t g_agent;
static uint8_t g_in[4 * MVM_AGENT_SYNC];
static size_t g_len;

/* ---- sending ----------------------------------------------------------------------- */

void peer_send_bytes(const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = send(g_sock, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail_msg("the agent takes nothing: %s", strerror(errno));
        at += n;
        len -= (size_t)n;
    }
}

void peer_send(uint8_t type, uint8_t channel, uint32_t id, const void *payload, size_t len)
{
    uint8_t head[MVM_AGENT_HEADER];

    mvm_agent_header(head, type, channel, id, (uint32_t)len);
    peer_send_bytes(head, sizeof(head));
    peer_send_bytes(payload, len);
}

void peer_send_u32(uint8_t type, uint8_t channel, uint32_t id, uint32_t value)
{
    uint8_t bytes[4];
    mvm_agent_writer w = {.data = bytes, .cap = sizeof(bytes)};

    mvm_agent_put_u32(&w, value);
    peer_send(type, channel, id, bytes, w.len);
}

static void put_text(mvm_agent_writer *w, const char *text)
{
    mvm_agent_put_str(w, text, strlen(text));
}

void peer_exec(uint32_t id, uint32_t flags, const char *cwd, const char *const *env,
               const char *const *argv)
{
    uint8_t bytes[8192];
    mvm_agent_writer w = {.data = bytes, .cap = sizeof(bytes)};
    uint16_t argc = 0, envc = 0;

    while (argv[argc])
        argc++;
    while (env && env[envc])
        envc++;
    mvm_agent_put_u32(&w, flags);
    mvm_agent_put_u16(&w, argc);
    mvm_agent_put_u16(&w, envc);
    put_text(&w, cwd);
    for (size_t i = 0; i < argc; i++)
        put_text(&w, argv[i]);
    for (size_t i = 0; i < envc; i++)
        put_text(&w, env[i]);
    assert_false(w.bad);
    peer_send(MVM_AGENT_EXEC, 0, id, bytes, w.len);
}

void peer_sh(uint32_t id, const char *script)
{
    peer_exec(id, 0, "", NULL, (const char *const[]){"/bin/sh", "-c", script, NULL});
}

void peer_open(uint32_t id, uint8_t mode, int perm, const char *path)
{
    uint8_t bytes[4200];
    mvm_agent_writer w = {.data = bytes, .cap = sizeof(bytes)};

    mvm_agent_put_u8(&w, mode);
    mvm_agent_put_u32(&w, (uint32_t)perm);
    put_text(&w, path);
    peer_send(MVM_AGENT_OPEN, 0, id, bytes, w.len);
}

void peer_data(uint32_t id, const char *text)
{
    peer_send(MVM_AGENT_DATA, 0, id, text, strlen(text));
}

void peer_eof(uint32_t id)
{
    peer_send(MVM_AGENT_EOF, 0, id, "", 0);
}

void peer_hello(uint64_t nonce)
{
    uint8_t bytes[20];
    mvm_agent_writer w = {.data = bytes, .cap = sizeof(bytes)};

    for (const char *c = MVM_AGENT_HELLO_MAGIC; *c; c++)
        mvm_agent_put_u8(&w, (uint8_t)*c);
    mvm_agent_put_u32(&w, MVM_AGENT_VERSION);
    mvm_agent_put_u64(&w, nonce);
    peer_send(MVM_AGENT_HELLO, 0, 0, bytes, w.len);
}

/* ---- receiving ----------------------------------------------------------------------- */

static void on_data(peer_stream *s, const mvm_agent_frame *f)
{
    size_t keep = MVM_MIN((size_t)f->len, KEEP - s->len[f->channel]);

    assert_false(s->eof[f->channel] || s->failed);
    assert_false(s->exited && s->pid == 0); /* EXIT is the last of a file */
    assert_true(f->channel > 0 && f->len <= MVM_AGENT_DATA_MAX);
    if (!s->bytes[f->channel])
        s->bytes[f->channel] = calloc(1, KEEP + 1);
    memcpy(s->bytes[f->channel] + s->len[f->channel], f->payload, keep);
    s->len[f->channel] += keep;
    if (!s->hold)
        peer_send_u32(MVM_AGENT_CREDIT, f->channel, f->stream, f->len);
}

static void on_end(peer_stream *s, const mvm_agent_frame *f, mvm_agent_reader *r)
{
    size_t len;

    assert_false(s->failed || (s->exited && f->type == MVM_AGENT_EXIT));
    if (f->type == MVM_AGENT_EXIT) {
        s->exited = true;
        s->whole = s->eof[1] && s->eof[2];
        s->status = (int)mvm_agent_get_u32(r);
        s->signal = (int)mvm_agent_get_u32(r);
    } else {
        s->failed = true;
        s->errnum = (int)mvm_agent_get_u32(r);
        const char *text = mvm_agent_get_str(r, &len);
        snprintf(s->text, sizeof(s->text), "%.*s", (int)len, text);
        assert_true(len > 0);
    }
    assert_false(r->bad);
}

static void on_frame(const mvm_agent_frame *f)
{
    mvm_agent_reader r = {.data = f->payload, .len = f->len};
    peer_stream *s = &peer_streams[f->stream % PEER_STREAMS];

    assert_true(f->stream < PEER_STREAMS);
    switch (f->type) {
    case MVM_AGENT_HELLO:
        assert_int_equal(f->len, 20);
        break;
    case MVM_AGENT_READY:
        peer_ready = true;
        peer_nonce = mvm_agent_get_u64(&r);
        break;
    case MVM_AGENT_STARTED:
        assert_false(s->started);
        s->started = true;
        s->pid = (int)mvm_agent_get_u32(&r);
        s->perm = (int)mvm_agent_get_u32(&r);
        break;
    case MVM_AGENT_DATA:
        on_data(s, f);
        break;
    case MVM_AGENT_EOF:
        assert_false(s->eof[f->channel] || (s->exited && s->pid == 0));
        s->eof[f->channel] = true;
        break;
    case MVM_AGENT_CREDIT:
        s->granted += mvm_agent_get_u32(&r);
        break;
    case MVM_AGENT_EXIT:
    case MVM_AGENT_ERROR:
        on_end(s, f, &r);
        break;
    default:
        fail_msg("a frame of type %d from the agent", f->type);
    }
}

long peer_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One read's worth of frames; false: the agent is gone. */
bool peer_receive(const char *what, long until)
{
    struct pollfd p = {.fd = g_sock, .events = POLLIN};
    long left = until - peer_now_ms();

    if (left <= 0 || poll(&p, 1, (int)left) == 0)
        fail_msg("waited too long for: %s", what);
    ssize_t n = recv(g_sock, g_in + g_len, sizeof(g_in) - g_len, 0);
    if (n <= 0)
        return false;
    g_len += (size_t)n;
    size_t at = 0;
    mvm_agent_frame f;
    for (long took; (took = mvm_agent_decode(g_in + at, g_len - at, &f)) != 0; at += (size_t)took) {
        assert_true(took > 0);
        on_frame(&f);
    }
    memmove(g_in, g_in + at, g_len - at);
    g_len -= at;
    return true;
}

peer_stream *peer_ended(uint32_t id)
{
    peer_stream *s = &peer_streams[id];

    peer_wait(s->exited || s->failed);
    return s;
}

const char *peer_output(uint32_t id, int channel)
{
    peer_stream *s = peer_ended(id);

    peer_wait(s->failed || s->eof[channel]);
    if (s->failed)
        fail_msg("stream %u failed: %s", id, s->text);
    return s->bytes[channel] ? s->bytes[channel] : "";
}

/* ---- set-up ---------------------------------------------------------------------------- */

void peer_forget(uint32_t id)
{
    for (int c = 0; c < 3; c++)
        free(peer_streams[id].bytes[c]);
    memset(&peer_streams[id], 0, sizeof(peer_streams[id]));
}

int peer_setup(void **state)
{
    const char *program = getenv("MACVM_AGENT");
    int pair[2];

    (void)state;
    if (!program || access(program, X_OK)) {
        fprintf(stderr, "MACVM_AGENT must name the agent's program (it is %s)\n",
                program ? program : "not set");
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return -1;
    memset(peer_streams, 0, sizeof(peer_streams));
    g_len = 0;
    peer_ready = false;
    strcpy(peer_dir, "/tmp/macvm-test-XXXXXX");
    if (!mkdtemp(peer_dir))
        return -1;
    g_agent = fork();
    if (g_agent == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (dup2(pair[1], 100) != 100) /* the copy is not closed by exec */
            _exit(126);
        setenv("MACVM_TEST_INHERITED", "yes", 1);
        execl(program, program, "--fd", "100", (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    g_sock = pair[0];
    peer_wait(peer_ready);
    assert_int_equal(peer_nonce, 0);
    return 0;
}

void peer_hang_up(void)
{
    if (g_sock >= 0)
        close(g_sock);
    g_sock = -1;
}

/* The host lets go of the port: the agent has to end what runs, and itself. */
int peer_teardown(void **state)
{
    char command[256];
    int status;

    (void)state;
    peer_hang_up();
    if (waitpid(g_agent, &status, 0) != g_agent || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return -1;
    for (uint32_t i = 0; i < PEER_STREAMS; i++)
        peer_forget(i);
    snprintf(command, sizeof(command), "chmod -R u+w %s && rm -rf %s", peer_dir, peer_dir);
    return system(command);
}

const char *peer_path(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *out = path[turn++ % 4];

    snprintf(out, sizeof(path[0]), "%s/%s", peer_dir, name);
    return out;
}

/* Whether a process of this number is there and no zombie. */
bool peer_lives(int pid)
{
    char path[64], stat[256] = "";

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    char *got = fgets(stat, sizeof(stat), f);
    fclose(f);
    const char *paren = strrchr(stat, ')');
    return got && paren && paren[2] != 'Z';
}

size_t peer_entries(void)
{
    char command[128], count[16] = "";

    snprintf(command, sizeof(command), "ls -A %s | wc -l", peer_dir);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    char *got = fgets(count, sizeof(count), p);
    pclose(p);
    return got ? (size_t)atoi(count) : 0;
}
