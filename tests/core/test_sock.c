/* SPDX-License-Identifier: MIT */
/* Unix sockets: addresses of any length, what may be replaced, and connections as streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/sock.h"

#define MIB (1024u * 1024u)

typedef struct scene {
    mvm_loop *loop;
    char dir[512]; /* longer than a socket's address can be */
    char root[64];
    mvm_listener *listener;
    mvm_stream *accepted;
    int naccepted;
    bool close_listener;
} scene;

static char *path_of(const scene *s, const char *name)
{
    return mvm__asprintf("%s/%s", s->dir, name);
}

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));
    const char *tmp = getenv("TMPDIR");

    snprintf(s->root, sizeof(s->root), "%s/sock.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(s->root))
        return -1;
    snprintf(s->dir, sizeof(s->dir), "%s", s->root);
    for (int i = 0; i < 3; i++) {
        strcat(s->dir, "/a-directory-whose-name-is-longer-than-one-would-like");
        if (mkdir(s->dir, 0700) != 0)
            return -1;
    }
    s->loop = mvm_loop_new();
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *command = mvm__asprintf("rm -rf %s", s->root);

    mvm_listener_close(s->listener);
    mvm_stream_unref(s->accepted);
    assert_int_equal(0, mvm_loop_close(s->loop));
    assert_int_equal(0, system(command));
    mvm__free(s);
    return 0;
}

static void on_accepted(void *ud, mvm_stream *stream)
{
    scene *s = ud;

    s->naccepted++;
    mvm_stream_unref(s->accepted);
    s->accepted = stream;
    if (s->close_listener) {
        mvm_listener_close(s->listener);
        s->listener = NULL;
    }
}

static void serve(scene *s, int fd, const char *remove)
{
    assert_true(fd >= 0);
    mvm__listener_opts opts = {.remove = remove, .what = "the test's socket", .same_user = true};
    s->listener = mvm__listener_new(s->loop, fd, &opts, on_accepted, s);
}

/* A connection, both ends of it on the loop. */
static mvm_stream *connected(scene *s)
{
    MVM_AUTO_FREE char *path = path_of(s, "echo");
    mvm_err err;

    serve(s, mvm__sock_listen(s->dir, "echo", &err), NULL);
    mvm_stream *client = mvm_sock_connect(s->loop, path, &err);
    assert_non_null(client);
    while (!s->accepted)
        mvm_loop_step(s->loop, true);
    return client;
}

typedef struct outcome {
    int calls, code;
    char message[sizeof(((mvm_err *)0)->message)];
} outcome;

static void on_done(void *ud, const mvm_err *err)
{
    outcome *o = ud;

    o->calls++;
    o->code = err ? err->code : 0;
    snprintf(o->message, sizeof(o->message), "%s", err ? err->message : "");
}

/* Waits until the stream is readable and says how that ended. */
static int await_readable(scene *s, mvm_stream *stream, outcome *o)
{
    *o = (outcome){0};
    assert_non_null(mvm_stream_wait_readable(
        stream, &(mvm_waiter){.timeout = 5, .fn = on_done, .ud = o}, NULL));
    while (o->calls == 0)
        mvm_loop_step(s->loop, true);
    return o->code;
}

static void expect_bytes(scene *s, mvm_stream *stream, const char *text)
{
    outcome o;
    size_t len = 0;
    const char *data = "";

    while (len < strlen(text) && await_readable(s, stream, &o) == 0)
        data = mvm_stream_peek(stream, &len);
    assert_int_equal(strlen(text), len);
    assert_memory_equal(text, data, len);
    mvm_stream_consume(stream, len);
}

/* ---- addresses ------------------------------------------------------------------------ */

static void test_long_path(void **state)
{
    scene *s = *state;
    mvm_stream *client = connected(s);
    MVM_AUTO_FREE char *path = path_of(s, "echo");
    struct stat st;

    assert_true(strlen(path) > 120);
    assert_int_equal(0, lstat(path, &st));
    assert_int_equal(S_IFSOCK | 0600, st.st_mode);
    assert_int_equal(0, mvm_stream_write(client, "hello", 5, NULL));
    expect_bytes(s, s->accepted, "hello");
    assert_int_equal(0, mvm_stream_write(s->accepted, "and back", 8, NULL));
    expect_bytes(s, client, "and back");
    mvm_stream_unref(client);
}

static void test_short_path(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *path = mvm__asprintf("%s/short", s->root);
    mvm_err err;

    serve(s, mvm__sock_listen_path(path, &err), path);
    mvm_stream *client = mvm_sock_connect(s->loop, path, &err);
    assert_non_null(client);
    mvm_stream_unref(client);
    mvm_listener_close(s->listener);
    s->listener = NULL;
    assert_int_equal(-1, access(path, F_OK)); /* removed with its listener */
}

static void test_bad_paths(void **state)
{
    scene *s = *state;
    char name[128];
    mvm_err err;

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    MVM_AUTO_FREE char *long_name = path_of(s, name);
    assert_int_equal(-1, mvm__sock_listen_path(long_name, &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    assert_non_null(strstr(err.message, "too long"));
    MVM_AUTO_FREE char *directory = path_of(s, "");
    assert_int_equal(-1, mvm__sock_listen_path(directory, &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    MVM_AUTO_FREE char *nowhere = path_of(s, "missing/socket");
    assert_int_equal(-1, mvm__sock_listen_path(nowhere, &err));
    assert_int_equal(MVM_EIO, err.code);
    assert_int_equal(-1, mvm__sock_dial(nowhere, &err));
    assert_int_equal(MVM_EIO, err.code);
    MVM_AUTO_FREE char *nobody = path_of(s, "nobody");
    assert_null(mvm_sock_connect(s->loop, nobody, &err));
    assert_int_equal(MVM_EIO, err.code);
}

static void test_close_on_exec(void **state)
{
    scene *s = *state;
    mvm_err err;
    MVM_AUTO_FD int fd = mvm__sock_listen(s->dir, "name", &err);
    MVM_AUTO_FREE char *path = path_of(s, "name");
    MVM_AUTO_FD int peer = mvm__sock_dial(path, &err);

    assert_int_equal(FD_CLOEXEC, fcntl(fd, F_GETFD));
    assert_int_equal(FD_CLOEXEC, fcntl(peer, F_GETFD));
    assert_int_equal(-1, mvm__sock_listen(s->dir, "name", &err)); /* a private name is free */
    assert_int_equal(MVM_EIO, err.code);
}

static void test_stale_is_replaced(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *path = path_of(s, "user");
    mvm_err err;

    close(mvm__sock_listen_path(path, &err)); /* as a process that was killed leaves it */
    assert_int_equal(0, access(path, F_OK));
    serve(s, mvm__sock_listen_path(path, &err), path);
    MVM_AUTO_FD int peer = mvm__sock_dial(path, &err);
    assert_true(peer >= 0);
}

static void test_live_is_refused(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *path = path_of(s, "user");
    mvm_err err;
    MVM_AUTO_FD int first = mvm__sock_listen_path(path, &err);

    assert_true(first >= 0);
    assert_int_equal(-1, mvm__sock_listen_path(path, &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    assert_non_null(strstr(err.message, "in use"));
    MVM_AUTO_FD int peer = mvm__sock_dial(path, &err); /* it is unharmed */
    assert_true(peer >= 0);
}

static void test_files_are_left_alone(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *file = path_of(s, "file");
    MVM_AUTO_FREE char *link = path_of(s, "link");
    struct stat st;
    mvm_err err;

    MVM_AUTO_FD int fd = open(file, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(3, write(fd, "abc", 3));
    assert_int_equal(0, symlink(file, link));
    const char *paths[] = {file, link};
    for (size_t i = 0; i < MVM_COUNT(paths); i++) {
        assert_int_equal(-1, mvm__sock_listen_path(paths[i], &err));
        assert_int_equal(MVM_ECONFIG, err.code);
        assert_non_null(strstr(err.message, "no socket"));
    }
    assert_int_equal(0, lstat(link, &st));
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(0, stat(file, &st));
    assert_int_equal(3, st.st_size);
}

static void test_locked_directory(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *path = path_of(s, "user");
    mvm_err err;
    MVM_AUTO_FD int dir = open(s->dir, O_RDONLY | O_DIRECTORY);

    assert_int_equal(0, flock(dir, LOCK_EX));
    assert_int_equal(-1, mvm__sock_listen_path(path, &err)); /* says so instead of waiting */
    assert_int_equal(MVM_ECONFIG, err.code);
    assert_int_equal(-1, access(path, F_OK));
}

/* Another socket at the same path is somebody else's. */
static void test_close_leaves_a_stranger(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *path = path_of(s, "user");
    mvm_err err;

    serve(s, mvm__sock_listen_path(path, &err), path);
    assert_int_equal(0, unlink(path));
    MVM_AUTO_FD int other = mvm__sock_listen_path(path, &err);
    assert_true(other >= 0);
    mvm_listener_close(s->listener);
    s->listener = NULL;
    assert_int_equal(0, access(path, F_OK));
}

/* ---- connections ------------------------------------------------------------------------ */

static void test_half_close(void **state)
{
    scene *s = *state;
    mvm_stream *client = connected(s);
    outcome o;

    assert_int_equal(0, mvm_stream_write(client, "request", 7, NULL));
    mvm_stream_shutdown(client);
    expect_bytes(s, s->accepted, "request");
    assert_int_equal(0, await_readable(s, s->accepted, &o));
    assert_true(mvm_stream_eof(s->accepted));
    assert_int_equal(0, mvm_stream_write(s->accepted, "answer", 6, NULL));
    expect_bytes(s, client, "answer");
    assert_int_equal(MVM_EIO, mvm_stream_write(client, "more", 4, NULL));
    mvm_stream_unref(client);
}

static void *send_for_ever(void *ud)
{
    static const char block[65536];

    while (send(*(int *)ud, block, sizeof(block), MSG_NOSIGNAL) > 0)
        continue;
    return NULL;
}

/* What is held of it is bounded, and so is the time that the loop gives it. */
static void test_peer_that_only_talks(void **state)
{
    enum { SENDERS = 6 }; /* together quicker than one who reads */
    scene *s = *state;
    pthread_t threads[SENDERS];
    size_t len;
    int pair[2];

    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    mvm_stream *stream = mvm__sock_stream(s->loop, pair[0], "the peer");
    assert_int_equal(0, shutdown(pair[1], SHUT_RD));
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, send_for_ever, &pair[1]));
    while (mvm_stream_write(stream, "x", 1, NULL) == 0)
        mvm_loop_step(s->loop, false);
    mvm_stream_peek(stream, &len);
    assert_in_range(len, 0, 2 * MIB);
    mvm_stream_unref(stream);
    mvm_loop_step(s->loop, false);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(0, pthread_join(threads[i], NULL));
    close(pair[1]);
}

/* A reader that does not read stops the writer; no byte is lost when it goes on. */
static void test_flow_control(void **state)
{
    scene *s = *state;
    mvm_stream *client = connected(s);
    size_t total = 4 * MIB, seen = 0, len;
    char *block = mvm__alloc(total);
    outcome o;

    for (size_t i = 0; i < total; i++)
        block[i] = (char)(i % 251);
    assert_int_equal(0, mvm_stream_write(client, block, total, NULL));
    mvm_stream_shutdown(client);
    for (int i = 0; i < 100; i++)
        mvm_loop_step(s->loop, false);
    mvm_stream_peek(s->accepted, &len);
    assert_in_range(len, 1, 300 * 1024); /* held here; the rest waits at the writer */
    assert_in_range(mvm_stream_queued(client), 2 * MIB, total);
    while (await_readable(s, s->accepted, &o) == 0) {
        const char *data = mvm_stream_peek(s->accepted, &len);
        if (len == 0)
            break;
        len = MVM_MIN(len, 10007);
        assert_memory_equal(block + seen, data, len);
        seen += len;
        mvm_stream_consume(s->accepted, len);
    }
    assert_int_equal(total, seen);
    assert_true(mvm_stream_eof(s->accepted));
    assert_int_equal(0, mvm_stream_queued(client));
    mvm__free(block);
    mvm_stream_unref(client);
}

/* What the other end sent before it went is read first, then its end is told. */
static void test_peer_closes(void **state)
{
    scene *s = *state;
    mvm_stream *client = connected(s);
    outcome o;

    assert_int_equal(0, mvm_stream_write(client, "last words", 10, NULL));
    mvm_stream_unref(client);
    expect_bytes(s, s->accepted, "last words");
    assert_int_equal(0, await_readable(s, s->accepted, &o));
    assert_true(mvm_stream_eof(s->accepted));
    assert_int_equal(0, mvm_stream_write(s->accepted, "to nobody", 9, NULL));
    assert_int_equal(MVM_EIO, mvm_stream_write(s->accepted, "more", 4, NULL));
}

static void test_peer_closes_while_written(void **state)
{
    scene *s = *state;
    mvm_stream *client = connected(s);
    char *block = mvm__alloc(MIB);
    outcome o = {0};

    assert_int_equal(0, mvm_stream_write(client, "last words", 10, NULL));
    assert_int_equal(0, mvm_stream_write(s->accepted, block, MIB, NULL));
    assert_non_null(mvm_stream_wait_writable(
        s->accepted, &(mvm_waiter){.timeout = 5, .fn = on_done, .ud = &o}, NULL));
    mvm_stream_close(client);
    while (o.calls == 0)
        mvm_loop_step(s->loop, true);
    assert_int_equal(MVM_EIO, o.code);
    assert_non_null(strstr(o.message, "the test's socket"));
    expect_bytes(s, s->accepted, "last words");
    assert_int_equal(MVM_EIO, await_readable(s, s->accepted, &o));
    mvm__free(block);
    mvm_stream_unref(client);
}

static void test_close_ends_waits(void **state)
{
    scene *s = *state;
    mvm_stream *client = connected(s);
    outcome o = {0};

    assert_non_null(mvm_stream_wait_readable(
        client, &(mvm_waiter){.timeout = 5, .fn = on_done, .ud = &o}, NULL));
    mvm_stream_close(client);
    mvm_stream_close(client);
    while (o.calls == 0)
        mvm_loop_step(s->loop, true);
    assert_int_equal(MVM_EIO, o.code);
    mvm_stream_unref(client);
}

/* ---- listeners -------------------------------------------------------------------------- */

static void test_close_inside_accept(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *path = path_of(s, "one");
    mvm_err err;

    s->close_listener = true;
    serve(s, mvm__sock_listen(s->dir, "one", &err), NULL);
    mvm_stream *first = mvm_sock_connect(s->loop, path, &err);
    mvm_stream *second = mvm_sock_connect(s->loop, path, &err);
    assert_non_null(first);
    assert_non_null(second);
    while (s->naccepted == 0)
        mvm_loop_step(s->loop, true);
    for (int i = 0; i < 5; i++)
        mvm_loop_step(s->loop, false);
    assert_int_equal(1, s->naccepted);
    mvm_stream_unref(first);
    mvm_stream_unref(second);
}

static void test_many(void **state)
{
    scene *s = *state;
    mvm_stream *clients[60];
    MVM_AUTO_FREE char *path = path_of(s, "many");
    mvm_err err;

    serve(s, mvm__sock_listen(s->dir, "many", &err), NULL);
    for (size_t i = 0; i < MVM_COUNT(clients); i++)
        assert_non_null(clients[i] = mvm_sock_connect(s->loop, path, &err));
    while (s->naccepted < (int)MVM_COUNT(clients))
        mvm_loop_step(s->loop, true);
    for (size_t i = 0; i < MVM_COUNT(clients); i++)
        mvm_stream_unref(clients[i]);
}

/* Without a descriptor to be had a connection is turned away, at once, and the next one is served.
 */
static void test_out_of_descriptors(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *path = path_of(s, "full");
    struct rlimit old, tight;
    outcome o;
    mvm_err err;

    serve(s, mvm__sock_listen(s->dir, "full", &err), NULL);
    mvm_stream *turned_away = mvm_sock_connect(s->loop, path, &err);
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &old));
    int next = open("/dev/null", O_RDONLY);
    close(next);
    tight = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = old.rlim_max};
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &tight));
    await_readable(s, turned_away, &o);
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &old));
    assert_int_equal(0, o.code);
    assert_true(mvm_stream_eof(turned_away));
    assert_int_equal(0, s->naccepted);
    mvm_stream *served = mvm_sock_connect(s->loop, path, &err);
    while (s->naccepted == 0)
        mvm_loop_step(s->loop, true);
    mvm_stream_unref(turned_away);
    mvm_stream_unref(served);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_long_path),
        T(test_short_path),
        T(test_bad_paths),
        T(test_close_on_exec),
        T(test_stale_is_replaced),
        T(test_live_is_refused),
        T(test_files_are_left_alone),
        T(test_locked_directory),
        T(test_close_leaves_a_stranger),
        T(test_half_close),
        T(test_peer_that_only_talks),
        T(test_flow_control),
        T(test_peer_closes),
        T(test_peer_closes_while_written),
        T(test_close_ends_waits),
        T(test_close_inside_accept),
        T(test_many),
        T(test_out_of_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
