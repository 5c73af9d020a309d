/* SPDX-License-Identifier: MIT */
/*
 * The sockets of a kernel as core/io/vsock_sock.h has them, inside a guest, where a real kernel has
 * a loop-back of them (CID 1): prints "ok NAME" for each check, and "all well" when nothing of them
 * is left.
 *
 *   vsock_kernel            the checks
 *   vsock_kernel dial CID PORT SECONDS   connects, says "hello", prints the answer or the error
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "io/sock.h"
#include "io/vsock_sock.h"

#define LOCAL    1u /* the CID of the loop-back */
#define PORT     50123u
#define MUCH     (8u << 20)
#define PATIENCE 10

static mvm_loop *g_loop;

static _Noreturn void bad(const char *what, const char *why)
{
    printf("not ok %s: %s\n", what, why);
    exit(1);
}

/* ---- waiting ------------------------------------------------------------------------ */

typedef struct ending {
    bool done;
    mvm_err err;
} ending;

static void on_end(void *ud, const mvm_err *err)
{
    ending *e = ud;

    e->done = true;
    e->err = err ? *err : (mvm_err){0};
}

static int await(ending *e)
{
    while (!e->done)
        mvm_loop_step(g_loop, true);
    return e->err.code;
}

static int dial(uint32_t cid, uint32_t port, double seconds, bool cancel, mvm_stream **s,
                mvm_err *err)
{
    ending e = {0};
    mvm_wait *wait = mvm__vsock_sock_connect(g_loop, cid, port, "it",
                                             &(mvm_waiter){seconds, on_end, &e}, s, err);

    if (!wait)
        return err->code;
    if (cancel)
        mvm_wait_cancel(wait);
    int rc = await(&e);
    *err = e.err;
    if (rc != 0) {
        mvm_stream_unref(*s);
        *s = NULL;
    }
    return rc;
}

/* Reads up to `len` bytes, or to the end or an error; how many. */
static size_t read_all(mvm_stream *s, char *out, size_t len)
{
    size_t got = 0;

    while (got < len) {
        ending e = {0};
        size_t here;
        mvm_err err;
        if (!mvm_stream_wait_readable(s, &(mvm_waiter){PATIENCE, on_end, &e}, &err) || await(&e))
            break;
        const char *at = mvm_stream_peek(s, &here);
        if (here == 0)
            break;
        here = here < len - got ? here : len - got;
        memcpy(out + got, at, here);
        mvm_stream_consume(s, here);
        got += here;
    }
    return got;
}

/* ---- the other end --------------------------------------------------------------------- */

typedef struct world {
    mvm__vsock_door *door;
    mvm_stream *near, *far; /* who dialled, who was dialled */
    uint32_t cid;
} world;

static void on_knock(void *ud, int fd, uint32_t cid, uint32_t port)
{
    world *w = ud;

    (void)port;
    w->cid = cid;
    w->far = mvm__sock_stream(g_loop, fd, "far");
}

static void meet(world *w, const char *what)
{
    mvm_err err;

    w->far = NULL;
    if (dial(LOCAL, PORT, PATIENCE, false, &w->near, &err) != 0)
        bad(what, err.message);
    while (!w->far)
        mvm_loop_step(g_loop, true);
}

static void part(world *w)
{
    mvm_stream_unref(w->near);
    mvm_stream_unref(w->far);
}

/* ---- the checks --------------------------------------------------------------------------- */

static void check_refused(world *w)
{
    mvm_stream *s;
    mvm_err err;

    (void)w;
    if (dial(LOCAL, PORT, PATIENCE, false, &s, &err) != MVM_EGUEST ||
        !strstr(err.message, "nobody listens on the guest's vsock port 50123"))
        bad("refused", err.message);
    if (dial(LOCAL, PORT, PATIENCE, true, &s, &err) != MVM_ECANCELLED)
        bad("cancelled", err.message);
}

static void check_listen(world *w)
{
    mvm_err err = {0};

    w->door = mvm__vsock_door_open(g_loop, PORT, on_knock, w, &err);
    if (!w->door)
        bad("listen", err.message);
    if (mvm__vsock_door_open(g_loop, PORT, on_knock, w, &err) || err.code != MVM_ECONFIG ||
        !strstr(err.message, "in use by another process"))
        bad("listen twice", err.message);
}

static void check_half_close(world *w)
{
    char got[16] = "";
    mvm_err err;

    meet(w, "half-close");
    if (w->cid != LOCAL)
        bad("half-close", "the peer's CID");
    if (mvm_stream_write(w->near, "ping", 4, &err) != 0)
        bad("half-close", err.message);
    mvm_stream_shutdown(w->near);
    if (read_all(w->far, got, sizeof(got)) != 4 || memcmp(got, "ping", 4) != 0 ||
        !mvm_stream_eof(w->far))
        bad("half-close", "what came, and its end");
    if (mvm_stream_write(w->far, "pong!", 5, &err) != 0)
        bad("half-close", err.message);
    mvm_stream_shutdown(w->far);
    if (read_all(w->near, got, sizeof(got)) != 5 || memcmp(got, "pong!", 5) != 0 ||
        !mvm_stream_eof(w->near))
        bad("half-close", "the answer");
    part(w);
}

static void check_much(world *w)
{
    char *data = malloc(MUCH), *got = malloc(MUCH);
    mvm_err err;

    for (size_t i = 0; i < MUCH; i++)
        data[i] = (char)(i * 7 + (i >> 11));
    meet(w, "much");
    if (mvm_stream_write(w->near, data, MUCH, &err) != 0)
        bad("much", err.message);
    if (read_all(w->far, got, MUCH) != MUCH || memcmp(data, got, MUCH) != 0)
        bad("much", "what came differs");
    part(w);
    free(data);
    free(got);
}

/* One goes with bytes unread: the other hears of the end, and can't write for long. */
static void check_reset(world *w)
{
    char got[4];
    mvm_err err;
    ending e = {0};

    meet(w, "reset");
    if (mvm_stream_write(w->near, "unread", 6, &err) != 0)
        bad("reset", err.message);
    mvm_stream_unref(w->far);
    w->far = NULL;
    if (read_all(w->near, got, sizeof(got)) != 0)
        bad("reset", "bytes from nowhere");
    for (int i = 0; i < 1000 && mvm_stream_write(w->near, "x", 1, &err) == 0; i++)
        mvm_loop_step(g_loop, false);
    if (!mvm_stream_wait_readable(w->near, &(mvm_waiter){PATIENCE, on_end, &e}, &err))
        e.done = true;
    await(&e);
    if (mvm_stream_write(w->near, "x", 1, &err) != MVM_EIO)
        bad("reset", "writing goes on");
    part(w);
}

/* Out of descriptors: who knocks is turned away, and the door works again afterwards. */
static void check_descriptors(world *w)
{
    struct rlimit old, few;
    mvm_stream *s;
    mvm_err err;

    getrlimit(RLIMIT_NOFILE, &old);
    few = (struct rlimit){(rlim_t)dup(0), old.rlim_max}; /* the least free is the first too many */
    close((int)few.rlim_cur);
    few.rlim_cur += 2; /* the attempt's own two */
    setrlimit(RLIMIT_NOFILE, &few);
    w->far = NULL;
    if (dial(LOCAL, PORT, PATIENCE, false, &s, &err) == 0) {
        char got;
        if (read_all(s, &got, 1) != 0)
            bad("descriptors", "a byte from nowhere");
        mvm_stream_unref(s);
    }
    if (w->far)
        bad("descriptors", "a connection without a descriptor");
    setrlimit(RLIMIT_NOFILE, &old);
    meet(w, "descriptors");
    part(w);
}

static void check_close(world *w)
{
    mvm_stream *s;
    mvm_err err;

    mvm__vsock_door_close(w->door);
    if (dial(LOCAL, PORT, PATIENCE, false, &s, &err) != MVM_EGUEST)
        bad("close", err.message);
}

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int check_all(void)
{
    static const struct {
        const char *name;
        void (*run)(world *w);
    } checks[] = {
        {"refused", check_refused}, {"listen", check_listen}, {"half-close", check_half_close},
        {"much", check_much},       {"reset", check_reset},   {"descriptors", check_descriptors},
        {"close", check_close},
    };
    world w = {0};

    mvm_loop_close(mvm_loop_new()); /* libuv opens what it keeps for ever */
    int before = descriptors();
    g_loop = mvm_loop_new();
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        checks[i].run(&w);
        printf("ok %s\n", checks[i].name);
    }
    if (mvm_loop_close(g_loop) != 0 || descriptors() != before)
        bad("end", "something is left open");
    puts("all well");
    return 0;
}

static int dial_once(char **argv)
{
    uint32_t cid = (uint32_t)strtoul(argv[0], NULL, 10);
    uint32_t port = (uint32_t)strtoul(argv[1], NULL, 10);
    char answer[64] = "";
    mvm_stream *s = NULL;
    mvm_err err;

    g_loop = mvm_loop_new();
    if (dial(cid, port, strtod(argv[2], NULL), false, &s, &err) != 0) {
        printf("%d %s\n", err.code, err.message);
    } else {
        (void)mvm_stream_write(s, "hello\n", 6, &err);
        mvm_stream_shutdown(s);
        (void)read_all(s, answer, sizeof(answer) - 1);
        printf("%s", answer);
        mvm_stream_unref(s);
    }
    return mvm_loop_close(g_loop);
}

int main(int argc, char **argv)
{
    alarm(60);
    return argc == 5 ? dial_once(argv + 2) : check_all();
}
