/* SPDX-License-Identifier: MIT */
/* The socket device against an honest driver: connections both ways, credit, ends, restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "device/vsock_core.h"
#include "support/vsock_world.h"

static void start(world *w)
{
    world_open(w);
    vsd_setup(&w->d, 0);
}

/* What the driver sent before has been seen. */
static void settle(world *w)
{
    vsd_op(&w->d, MVM__VSOCK_RW, 4000, 4000);
    expect_packet(w, MVM__VSOCK_RST, 4000, 4000, NULL, NULL);
}

/* ---- connecting ------------------------------------------------------------------------- */

static void echo_both_ways(world *w, mvm_stream *s, uint32_t guest_port, uint32_t port)
{
    char data[VSD_BUFFER], got[16];
    mvm_err err;

    vsd_data(&w->d, guest_port, port, "ping", 4);
    read_bytes(w, s, got, 4);
    assert_memory_equal(got, "ping", 4);
    assert_int_equal(mvm_stream_write(s, "pong!", 5, &err), 0);
    mvm__vsock_header header;
    expect_packet(w, MVM__VSOCK_RW, guest_port, port, &header, data);
    assert_int_equal(header.len, 5);
    assert_memory_equal(data, "pong!", 5);
}

static void test_guest_connects(void **state)
{
    world w;
    outcome o;
    size_t len;
    uint64_t src, dst;
    uint32_t src_port, dst_port;

    (void)state;
    start(&w);
    assert_true(mvm__vsock_up(w.v));
    mvm_stream *s = guest_connects(&w, 5000, 80);
    assert_int_equal(w.asked_cid, 2);
    assert_int_equal(w.asked_port, 80);
    assert_int_equal(w.asked_from, 5000);
    assert_true(mvm__vsock_peer(s, &src, &src_port, &dst, &dst_port));
    assert_true(src == VSD_CID && src_port == 5000 && dst == 2 && dst_port == 80);
    echo_both_ways(&w, s, 5000, 80);

    /* The guest closes: what a reset answers, and a reader sees as the end. */
    mvm__vsock_header bye = {.src_cid = VSD_CID,
                             .dst_cid = 2,
                             .src_port = 5000,
                             .dst_port = 80,
                             .type = 1,
                             .op = MVM__VSOCK_SHUTDOWN,
                             .flags = MVM__VSOCK_NEITHER};
    vsd_send(&w.d, &bye, NULL);
    expect_packet(&w, MVM__VSOCK_RST, 5000, 80, NULL, NULL);
    read_wait(&w, s, &o);
    assert_int_equal(o.code, 0);
    mvm_stream_peek(s, &len);
    assert_int_equal(len, 0);
    assert_true(mvm_stream_eof(s));
    assert_int_equal(mvm_stream_write(s, "x", 1, &w.why), MVM_EIO);
    mvm_stream_unref(s);
    mvm__vsock_stats stats = mvm__vsock_get_stats(w.v);
    assert_int_equal(stats.opened, 1);
    assert_int_equal(stats.connections, 0);
    assert_int_equal(stats.from_guest, 4);
    assert_int_equal(stats.to_guest, 5);
    world_close(&w);
}

static void test_host_connects(void **state)
{
    world w;
    uint32_t port;

    (void)state;
    start(&w);
    mvm_stream *s = host_connects(&w, 22, &port);
    echo_both_ways(&w, s, 22, port);
    /* A close says goodbye, and is over with the guest's reset. */
    mvm_stream_unref(s);
    mvm__vsock_header header;
    expect_packet(&w, MVM__VSOCK_SHUTDOWN, 22, port, &header, NULL);
    assert_int_equal(header.flags, MVM__VSOCK_NEITHER);
    assert_int_equal(mvm__vsock_get_stats(w.v).connections, 1);
    vsd_op(&w.d, MVM__VSOCK_RST, 22, port);
    s = host_connects(&w, 22, &port); /* after which all that was before has been seen */
    assert_int_equal(mvm__vsock_get_stats(w.v).connections, 1);
    mvm_stream_unref(s);
    world_close(&w);
}

static mvm_wait *begin_connect(world *w, uint32_t port, double timeout, outcome *o, mvm_stream **s)
{
    mvm_err err;

    *o = (outcome){0};
    mvm_wait *wait =
        mvm__vsock_connect(w->v, port, 2, 0, &(mvm_waiter){timeout, outcome_fn, o}, s, &err);
    assert_non_null(wait);
    return wait;
}

static void test_nobody_listens(void **state)
{
    world w;
    outcome o;
    mvm_stream *s;
    mvm__vsock_header header;

    (void)state;
    start(&w);
    begin_connect(&w, 9999, 10, &o, &s);
    assert_true(vsd_recv(&w.d, &header, NULL));
    vsd_op(&w.d, MVM__VSOCK_RST, 9999, header.src_port);
    assert_true(vsd_until(w.loop, &o.done));
    assert_int_equal(o.code, MVM_EGUEST);
    assert_string_equal(o.message, "nobody listens on the guest's vsock port 9999");
    mvm_stream_unref(s);
    world_close(&w);
}

static void test_connect_has_a_deadline(void **state)
{
    world w;
    outcome o;
    mvm_stream *s;
    mvm__vsock_header header;

    (void)state;
    start(&w);
    begin_connect(&w, 5, 0.01, &o, &s);
    assert_true(vsd_recv(&w.d, &header, NULL));
    assert_true(vsd_until(w.loop, &o.done));
    assert_int_equal(o.code, MVM_ETIMEOUT);
    expect_packet(&w, MVM__VSOCK_RST, 5, header.src_port, NULL, NULL);
    vsd_op(&w.d, MVM__VSOCK_RESPONSE, 5, header.src_port); /* too late */
    expect_packet(&w, MVM__VSOCK_RST, 5, header.src_port, NULL, NULL);
    mvm_stream_unref(s);

    /* A cancel is the same; so is dropping the stream. */
    mvm_wait_cancel(begin_connect(&w, 6, -1, &o, &s));
    assert_true(vsd_until(w.loop, &o.done));
    assert_int_equal(o.code, MVM_ECANCELLED);
    mvm_stream_unref(s);
    begin_connect(&w, 7, -1, &o, &s);
    mvm_stream_unref(s);
    assert_true(vsd_until(w.loop, &o.done));
    assert_int_equal(o.code, MVM_EIO);
    world_close(&w);
}

static void test_connect_waits_for_the_driver(void **state)
{
    world w;
    outcome o, late;
    mvm_stream *s, *given_up;
    mvm__vsock_header header;

    (void)state;
    world_open(&w);
    assert_false(mvm__vsock_up(w.v));
    begin_connect(&w, 4, 0.01, &late, &given_up);
    assert_true(vsd_until(w.loop, &late.done));
    assert_int_equal(late.code, MVM_ETIMEOUT);
    mvm_stream_unref(given_up);
    begin_connect(&w, 5, 10, &o, &s);
    assert_false(o.done);
    vsd_setup(&w.d, 0);
    assert_true(vsd_recv(&w.d, &header, NULL));
    assert_int_equal(header.dst_port, 5); /* the other was never heard of */
    vsd_op(&w.d, MVM__VSOCK_RESPONSE, 5, header.src_port);
    assert_true(vsd_until(w.loop, &o.done));
    assert_int_equal(o.code, 0);
    mvm_stream_unref(s);
    world_close(&w);
}

static void test_host_refuses(void **state)
{
    world w;

    (void)state;
    start(&w);
    w.accept = false;
    vsd_op(&w.d, MVM__VSOCK_REQUEST, 5000, 81);
    assert_true(vsd_until(w.loop, &w.was_asked));
    mvm_stream_unref(w.asked);
    expect_packet(&w, MVM__VSOCK_RST, 5000, 81, NULL, NULL);
    assert_int_equal(mvm__vsock_get_stats(w.v).refused, 1);

    /* The guest gives up before it has an answer: the stream fails, accepting it is nothing. */
    outcome o;
    w.was_asked = false;
    vsd_op(&w.d, MVM__VSOCK_REQUEST, 5001, 81);
    assert_true(vsd_until(w.loop, &w.was_asked));
    vsd_op(&w.d, MVM__VSOCK_RST, 5001, 81);
    read_wait(&w, w.asked, &o);
    assert_int_equal(o.code, MVM_EIO);
    mvm__vsock_accept(w.asked);
    mvm_stream_unref(w.asked);
    world_close(&w);
}

static void test_machines_connect(void **state)
{
    world w;
    outcome o = {0}, second = {0};
    mvm_stream *s, *none;
    mvm_err err;
    mvm__vsock_header header;
    mvm_waiter waiter = {10, outcome_fn, &o}, other = {10, outcome_fn, &second};

    (void)state;
    start(&w);
    /* As another machine, from a port of its own. */
    assert_non_null(mvm__vsock_connect(w.v, 5, 9, 1234, &waiter, &s, &err));
    assert_true(vsd_recv(&w.d, &header, NULL));
    assert_true(header.src_cid == 9 && header.src_port == 1234);
    assert_null(mvm__vsock_connect(w.v, 5, 9, 1234, &other, &none, &err));
    assert_int_equal(err.code, MVM_ESTATE);
    assert_null(none);
    header.dst_cid = 9;
    header.src_cid = VSD_CID;
    header.op = MVM__VSOCK_RESPONSE;
    header.src_port = 5;
    header.dst_port = 1234;
    vsd_send(&w.d, &header, NULL);
    assert_true(vsd_until(w.loop, &o.done));
    assert_int_equal(o.code, 0);
    mvm_stream_unref(s);
    /* To another machine. */
    header.op = MVM__VSOCK_REQUEST;
    header.dst_port = 77;
    vsd_send(&w.d, &header, NULL);
    assert_true(vsd_until(w.loop, &w.was_asked));
    assert_int_equal(w.asked_cid, 9);
    mvm_stream_unref(w.asked);
    world_close(&w);
}

/* ---- half-close ------------------------------------------------------------------------- */

static void send_shutdown(world *w, uint32_t guest_port, uint32_t port, uint32_t flags)
{
    mvm__vsock_header header = {.src_cid = VSD_CID,
                                .dst_cid = 2,
                                .src_port = guest_port,
                                .dst_port = port,
                                .type = 1,
                                .op = MVM__VSOCK_SHUTDOWN,
                                .flags = flags,
                                .buf_alloc = 1u << 20};

    vsd_send(&w->d, &header, NULL);
}

static void test_half_close(void **state)
{
    world w;
    outcome o;
    char data[VSD_BUFFER];
    mvm_err err;
    mvm__vsock_header header;

    (void)state;
    start(&w);
    mvm_stream *s = guest_connects(&w, 5000, 80);
    /* The guest has said all; it can still be answered. */
    vsd_data(&w.d, 5000, 80, "question", 8);
    send_shutdown(&w, 5000, 80, MVM__VSOCK_NO_SEND);
    read_bytes(&w, s, data, 8);
    read_wait(&w, s, &o);
    assert_true(mvm_stream_eof(s));
    assert_int_equal(mvm_stream_write(s, "answer", 6, &err), 0);
    mvm_stream_shutdown(s);
    expect_packet(&w, MVM__VSOCK_RW, 5000, 80, NULL, data);
    assert_memory_equal(data, "answer", 6);
    expect_packet(&w, MVM__VSOCK_SHUTDOWN, 5000, 80, &header, NULL);
    assert_int_equal(header.flags, MVM__VSOCK_NO_SEND);
    vsd_op(&w.d, MVM__VSOCK_RST, 5000, 80); /* both have said all: nothing more comes of it */
    settle(&w);
    mvm_stream_unref(s);

    /* The guest does not read any more, and still sends. */
    s = guest_connects(&w, 5001, 80);
    send_shutdown(&w, 5001, 80, MVM__VSOCK_NO_RECV);
    vsd_data(&w.d, 5001, 80, "more", 4);
    read_bytes(&w, s, data, 4);
    assert_int_equal(mvm_stream_write(s, "x", 1, &err), MVM_EIO);
    /* Reset in the middle: an error for who reads. */
    vsd_op(&w.d, MVM__VSOCK_RST, 5001, 80);
    read_wait(&w, s, &o);
    assert_int_equal(o.code, MVM_EIO);
    assert_string_equal(o.message, "the connection to port 80 was reset by the guest");
    mvm_stream_unref(s);
    world_close(&w);
}

/* ---- credit -------------------------------------------------------------------------------- */

static void test_credit_of_the_host(void **state)
{
    world w;
    outcome o;
    static char block[8000];
    uint32_t sent = 0;
    size_t len;

    (void)state;
    start(&w);
    mvm_stream *s = guest_connects(&w, 5000, 80);
    while (sent + sizeof(block) <= MVM__VSC_WINDOW) {
        vsd_data(&w.d, 5000, 80, block, sizeof(block));
        sent += sizeof(block);
    }
    vsd_data(&w.d, 5000, 80, block, MVM__VSC_WINDOW - sent);
    /* Asked for, the host tells what it has read: nothing. */
    mvm__vsock_header header;
    vsd_op(&w.d, MVM__VSOCK_CREDIT_REQUEST, 5000, 80);
    expect_packet(&w, MVM__VSOCK_CREDIT_UPDATE, 5000, 80, &header, NULL);
    assert_int_equal(header.buf_alloc, MVM__VSC_WINDOW);
    assert_int_equal(header.fwd_cnt, 0);
    /* As it reads, it says so by itself, and not for every byte. */
    uint32_t read = 0, updates = 0;
    while (read < MVM__VSC_WINDOW) {
        read_wait(&w, s, &o);
        mvm_stream_peek(s, &len);
        assert_true(len > 0);
        read += (uint32_t)len;
        mvm_stream_consume(s, len);
    }
    do {
        expect_packet(&w, MVM__VSOCK_CREDIT_UPDATE, 5000, 80, &header, NULL);
        updates++;
    } while (header.fwd_cnt < MVM__VSC_WINDOW / 2);
    assert_true(updates <= 2);
    /* One byte beyond it all is a breach, of this connection only. */
    for (sent = 0; sent + sizeof(block) <= MVM__VSC_WINDOW; sent += sizeof(block))
        vsd_data(&w.d, 5000, 80, block, sizeof(block));
    vsd_data(&w.d, 5000, 80, block, sizeof(block));
    do
        assert_true(vsd_recv(&w.d, &header, NULL));
    while (header.op == MVM__VSOCK_CREDIT_UPDATE);
    assert_int_equal(header.op, MVM__VSOCK_RST);
    mvm_stream_peek(s, &len);
    do {
        mvm_stream_consume(s, len);
        read_wait(&w, s, &o);
        mvm_stream_peek(s, &len);
    } while (o.code == 0 && len > 0);
    assert_int_equal(o.code, MVM_EIO);
    assert_string_equal(o.message,
                        "the connection to port 80 was reset: the guest broke the protocol");
    mvm_stream_unref(s);
    mvm_stream_unref(guest_connects(&w, 5001, 80));
    world_close(&w);
}

static void test_credit_of_the_guest(void **state)
{
    world w;
    char data[VSD_BUFFER];
    static char block[3000];
    mvm_err err;
    mvm__vsock_header header, update;
    outcome room;

    (void)state;
    start(&w);
    mvm__vsock_header request = {.src_cid = VSD_CID,
                                 .dst_cid = 2,
                                 .src_port = 1,
                                 .dst_port = 2,
                                 .type = 1,
                                 .op = MVM__VSOCK_REQUEST,
                                 .buf_alloc = 1000};
    vsd_send(&w.d, &request, NULL);
    expect_packet(&w, MVM__VSOCK_RESPONSE, 1, 2, NULL, NULL);
    mvm_stream *s = w.asked;
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)(i * 7);
    assert_int_equal(mvm_stream_write(s, block, sizeof(block), &err), 0);
    mvm_stream_shutdown(s);
    expect_packet(&w, MVM__VSOCK_RW, 1, 2, &header, data);
    assert_int_equal(header.len, 1000);
    assert_memory_equal(data, block, 1000);
    /* A window that grows, and bytes that were read; the counters wrap like any others. */
    update = request;
    update.op = MVM__VSOCK_CREDIT_UPDATE;
    update.buf_alloc = 1500;
    vsd_send(&w.d, &update, NULL);
    expect_packet(&w, MVM__VSOCK_RW, 1, 2, &header, data);
    assert_int_equal(header.len, 500);
    update.fwd_cnt = 1500;
    vsd_send(&w.d, &update, NULL);
    expect_packet(&w, MVM__VSOCK_RW, 1, 2, &header, data);
    assert_int_equal(header.len, 1500);
    assert_memory_equal(data, block + 1500, 1500);
    expect_packet(&w, MVM__VSOCK_SHUTDOWN, 1, 2, NULL, NULL); /* after all bytes */
    /* It claims to have read what was never sent: no credit comes of that. */
    update.fwd_cnt = 1u << 31;
    vsd_send(&w.d, &update, NULL);
    mvm_stream_unref(s);
    expect_packet(&w, MVM__VSOCK_SHUTDOWN, 1, 2, NULL, NULL);

    /* Who writes without the guest reading is stopped. */
    s = guest_connects(&w, 3, 2);
    size_t queued = 0;
    room = (outcome){.done = true};
    for (; room.done && queued < (64u << 20); queued += sizeof(block)) {
        room = (outcome){0};
        assert_int_equal(mvm_stream_write(s, block, sizeof(block), &err), 0);
        mvm_wait *wait = mvm_stream_wait_writable(s, &(mvm_waiter){-1, outcome_fn, &room}, &err);
        for (int i = 0; i < 3 && !room.done; i++)
            mvm_loop_step(w.loop, false);
        if (!room.done)
            mvm_wait_cancel(wait);
    }
    assert_true(queued < (4u << 20));
    mvm_stream_unref(s);
    world_close(&w);
}

static void test_bulk(void **state)
{
    world w;
    uint32_t port;
    static char block[1 << 20], got[1 << 20];
    char data[VSD_BUFFER];
    mvm_err err;
    mvm__vsock_header header;

    (void)state;
    start(&w);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)((i * 2654435761u) >> 24);
    mvm_stream *s = host_connects(&w, 22, &port);
    assert_int_equal(mvm_stream_write(s, block, sizeof(block), &err), 0);
    size_t at = 0;
    while (at < sizeof(block)) {
        assert_true(vsd_recv(&w.d, &header, data));
        assert_int_equal(header.op, MVM__VSOCK_RW);
        assert_memory_equal(data, block + at, header.len);
        at += header.len;
        if (header.len > 0 && at % (128 * 1024) < header.len) {
            mvm__vsock_header update = {.src_cid = VSD_CID,
                                        .dst_cid = 2,
                                        .src_port = 22,
                                        .dst_port = port,
                                        .type = 1,
                                        .op = MVM__VSOCK_CREDIT_UPDATE,
                                        .buf_alloc = 256 * 1024,
                                        .fwd_cnt = (uint32_t)at};
            vsd_send(&w.d, &update, NULL);
        }
    }
    for (size_t sent = 0; sent < sizeof(block); sent += 4096) {
        vsd_data(&w.d, 22, port, block + sent, 4096);
        read_bytes(&w, s, got + sent, 4096);
    }
    assert_memory_equal(got, block, sizeof(block));
    mvm_stream_unref(s);
    world_close(&w);
}

#define MANY 1000

static void test_a_thousand_connections(void **state)
{
    world w;
    static mvm_stream *streams[MANY];
    char data[VSD_BUFFER];
    mvm_err err;

    (void)state;
    start(&w);
    for (uint32_t i = 0; i < MANY; i++)
        streams[i] = guest_connects(&w, 10000 + i, 80);
    assert_int_equal(mvm__vsock_get_stats(w.v).connections, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        vsd_data(&w.d, 10000 + i, 80, &i, sizeof(i));
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t got;
        read_bytes(&w, streams[i], &got, sizeof(got));
        assert_int_equal(got, i);
        assert_int_equal(mvm_stream_write(streams[i], &i, sizeof(i), &err), 0);
    }
    static bool seen[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        mvm__vsock_header header;
        uint32_t got;
        assert_true(vsd_recv(&w.d, &header, data));
        assert_int_equal(header.op, MVM__VSOCK_RW);
        memcpy(&got, data, sizeof(got));
        assert_true(got < MANY && header.dst_port == 10000 + got && !seen[got]);
        seen[got] = true;
    }
    for (uint32_t i = 0; i < MANY; i++)
        mvm_stream_unref(streams[i]);
    world_close(&w);
}

/* ---- packets of no connection -------------------------------------------------------------------
 */

static void test_strays(void **state)
{
    world w;
    mvm__vsock_header stray = {
        .src_cid = VSD_CID, .dst_cid = 2, .src_port = 1, .dst_port = 2, .type = 1, .op = 5};

    (void)state;
    start(&w);
    vsd_send(&w.d, &stray, NULL);
    expect_packet(&w, MVM__VSOCK_RST, 1, 2, NULL, NULL);
    stray.op = MVM__VSOCK_RST; /* not answered, as two would go on for ever */
    vsd_send(&w.d, &stray, NULL);
    stray.op = MVM__VSOCK_REQUEST;
    stray.type = 2; /* a socket of another type */
    stray.src_port = 3;
    vsd_send(&w.d, &stray, NULL);
    expect_packet(&w, MVM__VSOCK_RST, 3, 2, NULL, NULL);
    stray.type = 1;
    stray.src_cid = VSD_CID + 1; /* another's address */
    vsd_send(&w.d, &stray, NULL);
    stray.src_cid = VSD_CID;
    stray.op = 99;
    stray.src_port = 4;
    vsd_send(&w.d, &stray, NULL);
    expect_packet(&w, MVM__VSOCK_RST, 4, 2, NULL, NULL);
    assert_false(w.was_asked);

    /* An operation that there is not resets its connection. */
    outcome o;
    mvm_stream *s = guest_connects(&w, 5, 80);
    vsd_op(&w.d, 99, 5, 80);
    expect_packet(&w, MVM__VSOCK_RST, 5, 80, NULL, NULL);
    read_wait(&w, s, &o);
    assert_int_equal(o.code, MVM_EIO);
    mvm_stream_unref(s);

    /* A flood of them, unanswered for a while, is bounded and does no harm. */
    for (uint32_t i = 0; i < 3 * MVM__VSC_RESETS; i++)
        vsd_op(&w.d, MVM__VSOCK_RW, 20000 + i, 2);
    mvm__vsock_header header;
    uint32_t answers = 0;
    vsd_op(&w.d, MVM__VSOCK_REQUEST, 6, 80);
    do {
        assert_true(vsd_recv(&w.d, &header, NULL));
        answers++;
    } while (header.op != MVM__VSOCK_RESPONSE);
    assert_true(answers > 100 && answers <= 1 + 3 * MVM__VSC_RESETS);
    mvm_stream_unref(w.asked);
    world_close(&w);
}

/* ---- restarts
 * -------------------------------------------------------------------------------------- */

static void test_pause_and_reboot(void **state)
{
    world w;
    outcome o, waiting;
    mvm_stream *pending;
    char got[8];
    mvm__vsock_header header;

    (void)state;
    start(&w);
    mvm_stream *s = guest_connects(&w, 5000, 80);

    /* A pause: the rings stop, and go on where they were. */
    uint16_t rx = vsd_stop(&w.d, VSD_RX), tx = vsd_stop(&w.d, VSD_TX);
    assert_false(mvm__vsock_up(w.v));
    vsd_data(&w.d, 5000, 80, "kept", 4); /* on its way already */
    vsd_start(&w.d, rx, tx);
    read_bytes(&w, s, got, 4);
    assert_memory_equal(got, "kept", 4);

    /* Memory may move while they run. */
    vsd_set_memory(&w.d);
    echo_both_ways(&w, s, 5000, 80);

    /* A reboot: they begin anew, and no connection outlives that; who waits for one goes on. */
    vsd_stop(&w.d, VSD_RX);
    vsd_stop(&w.d, VSD_TX);
    begin_connect(&w, 5, 10, &waiting, &pending);
    vsd_fresh(&w.d);
    vsd_start(&w.d, 0, 0);
    read_wait(&w, s, &o);
    assert_int_equal(o.code, MVM_EIO);
    assert_string_equal(
        o.message, "the connection to port 80 was lost: the guest's vsock driver started anew");
    mvm_stream_unref(s);
    assert_true(vsd_recv(&w.d, &header, NULL));
    assert_int_equal(header.op, MVM__VSOCK_REQUEST);
    vsd_op(&w.d, MVM__VSOCK_RESPONSE, 5, header.src_port);
    assert_true(vsd_until(w.loop, &waiting.done));
    assert_int_equal(waiting.code, 0);

    /* Told of a reset of the machine, it does not wait for the driver. */
    mvm__vsock_reset(w.v);
    read_wait(&w, pending, &o);
    assert_int_equal(o.code, MVM_EIO);
    mvm_stream_unref(pending);
    world_close(&w);
}

static void test_disabled_rings_rest(void **state)
{
    world w;

    (void)state;
    start(&w);
    vsd_enable(&w.d, false);
    vsd_op(&w.d, MVM__VSOCK_REQUEST, 1, 2);
    vsd_ask_u64(&w.d, MVM__VHU_GET_FEATURES); /* the bell has been heard by now */
    assert_false(mvm__vsock_up(w.v));
    mvm_loop_step(w.loop, false);
    assert_false(w.was_asked);
    vsd_enable(&w.d, true);
    expect_packet(&w, MVM__VSOCK_RESPONSE, 1, 2, NULL, NULL);
    mvm_stream_unref(w.asked);
    world_close(&w);
}

static void test_fewer_features(void **state)
{
    static const uint64_t without[] = {MVM__VIRTIO_RING_EVENT_IDX, MVM__VIRTIO_RING_INDIRECT,
                                       MVM__VHU_F_PROTOCOL,
                                       MVM__VIRTIO_RING_EVENT_IDX | MVM__VHU_F_PROTOCOL};

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(without); i++) {
        world w;
        uint32_t port;
        world_open(&w);
        vsd_setup(&w.d, without[i]);
        mvm_stream *s = host_connects(&w, 22, &port);
        for (int round = 0; round < 300; round++) /* more than the ring is long */
            echo_both_ways(&w, s, 22, port);
        mvm_stream_unref(s);
        world_close(&w);
    }
}

/* A packet in pieces: header and payload cut anywhere, through an indirect table too. */
static void test_packets_in_pieces(void **state)
{
    world w;
    char got[10];

    (void)state;
    start(&w);
    mvm_stream *s = guest_connects(&w, 1, 80);
    vsd_ring *r = &w.d.ring[VSD_TX];
    for (int indirect = 0; indirect < 2; indirect++) {
        uint64_t place = r->buffers + 100u * VSD_BUFFER;
        uint8_t *at = w.d.memory + place;
        mvm__vsock_header header = {.src_cid = VSD_CID,
                                    .dst_cid = 2,
                                    .src_port = 1,
                                    .dst_port = 80,
                                    .len = 10,
                                    .type = 1,
                                    .op = MVM__VSOCK_RW,
                                    .buf_alloc = 4096};
        mvm__vsock_encode(&header, at);
        memcpy(at + MVM__VSOCK_HEADER, "0123456789", 10);
        uint16_t first = indirect ? 0 : 20;
        vsd_desc *table = indirect ? (vsd_desc *)(void *)(at + 4096) : r->desc;
        static const uint32_t cut[] = {20, 0, 30, 4};
        for (uint16_t i = 0; i < 4; i++) {
            table[first + i] = (vsd_desc){VSD_GUEST + place, cut[i], i < 3, first + i + 1};
            place += cut[i];
        }
        r->desc[40] = (vsd_desc){VSD_GUEST + (uint64_t)((uint8_t *)table - w.d.memory), 64, 4, 0};
        vsd_offer(&w.d, VSD_TX, indirect ? 40 : 20);
        read_bytes(&w, s, got, 10);
        assert_memory_equal(got, "0123456789", 10);
    }
    /* Memory in two parts: a buffer across their seam is one buffer. */
    uint64_t seam = VSD_MEMORY / 2 - 22;
    mvm__vsock_header header = {.src_cid = VSD_CID,
                                .dst_cid = 2,
                                .src_port = 1,
                                .dst_port = 80,
                                .len = 4,
                                .type = 1,
                                .op = MVM__VSOCK_RW,
                                .buf_alloc = 4096};
    mvm__vsock_encode(&header, w.d.memory + seam);
    memcpy(w.d.memory + seam + MVM__VSOCK_HEADER, "seam", 4);
    r->desc[50] = (vsd_desc){VSD_GUEST + seam, MVM__VSOCK_HEADER + 4, 0, 0};
    vsd_offer(&w.d, VSD_TX, 50);
    read_bytes(&w, s, got, 4);
    assert_memory_equal(got, "seam", 4);
    mvm_stream_unref(s);
    world_close(&w);
}

/* ---- ends
 * ---------------------------------------------------------------------------------------------- */

static void test_bad_cids(void **state)
{
    static const uint64_t bad[] = {0, 1, 2, UINT32_MAX, 1ull << 32};
    static const mvm__vsock_ops ops = {world_incoming, world_dead};
    mvm_err err;

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(bad); i++) {
        assert_null(mvm__vsock_new(NULL, vsd_listener(), bad[i], "web", &ops, NULL, &err));
        assert_int_equal(err.code, MVM_ECONFIG);
    }
}

static void test_free_at_any_time(void **state)
{
    world w;
    outcome o, pending;
    mvm_stream *waiting;
    mvm_err err;

    (void)state;
    mvm__vsock_free(NULL);
    world_open(&w);
    begin_connect(&w, 5, -1, &pending, &waiting);
    vsd_setup(&w.d, 0);
    expect_packet(&w, MVM__VSOCK_REQUEST, 5, 49152, NULL, NULL); /* stays without an answer */
    mvm_stream *s = guest_connects(&w, 1, 80);
    mvm_stream_write(s, "x", 1, &err);
    vsd_op(&w.d, MVM__VSOCK_REQUEST, 2, 80); /* nobody has heard of it */
    vsd_ask_u64(&w.d, MVM__VHU_GET_FEATURES);
    mvm__vsock_free(w.v);
    w.v = NULL;
    read_wait(&w, s, &o);
    assert_int_equal(o.code, MVM_EIO);
    assert_string_equal(o.message, "the machine's vsock device is gone");
    assert_true(vsd_until(w.loop, &pending.done));
    assert_int_equal(pending.code, MVM_EIO);
    assert_int_equal(w.deaths, 0);
    mvm_stream_unref(s);
    mvm_stream_unref(waiting);
    world_close(&w);

    world_open(&w); /* before anything has happened */
    world_close(&w);
}

static void test_front_end_leaves(void **state)
{
    world w;
    outcome o;
    mvm_stream *none;
    mvm_err err;

    (void)state;
    start(&w);
    mvm_stream *s = guest_connects(&w, 1, 80);
    close(w.d.sock);
    w.d.sock = -1;
    assert_true(vsd_until(w.loop, &w.dead));
    assert_int_equal(w.why.code, MVM_EBACKEND);
    assert_string_equal(w.why.message, "QEMU has closed the connection of its vsock device");
    assert_string_equal(w.why.vm, "web");
    read_wait(&w, s, &o);
    assert_int_equal(o.code, MVM_EBACKEND);
    mvm_stream_unref(s);
    assert_null(mvm__vsock_connect(w.v, 1, 2, 0, &(mvm_waiter){-1, outcome_fn, &o}, &none, &err));
    assert_int_equal(err.code, MVM_EBACKEND);
    assert_false(mvm__vsock_up(w.v));
    assert_int_equal(w.deaths, 1);
    world_close(&w);
}

static void free_in_incoming(void *ud, mvm_stream *stream, uint32_t src_port, uint64_t dst_cid,
                             uint32_t port)
{
    world *w = ud;

    world_incoming(ud, stream, src_port, dst_cid, port);
    mvm__vsock_free(w->v);
    w->v = NULL;
    mvm_stream_unref(stream);
}

static void free_in_dead(void *ud, const mvm_err *err)
{
    world *w = ud;

    world_dead(ud, err);
    mvm__vsock_free(w->v);
    w->v = NULL;
}

static void test_free_in_callbacks(void **state)
{
    static const mvm__vsock_ops ops = {free_in_incoming, free_in_dead};
    world w;

    (void)state;
    for (int i = 0; i < 2; i++) {
        world_open_with(&w, &ops);
        vsd_setup(&w.d, 0);
        if (i == 0) {
            vsd_op(&w.d, MVM__VSOCK_REQUEST, 1, 80);
            vsd_op(&w.d, MVM__VSOCK_REQUEST, 2, 80);
        } else {
            shutdown(w.d.sock, SHUT_RDWR);
        }
        assert_true(vsd_until(w.loop, i == 0 ? &w.was_asked : &w.dead));
        assert_null(w.v);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guest_connects),
        cmocka_unit_test(test_host_connects),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_connect_has_a_deadline),
        cmocka_unit_test(test_connect_waits_for_the_driver),
        cmocka_unit_test(test_host_refuses),
        cmocka_unit_test(test_machines_connect),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_credit_of_the_host),
        cmocka_unit_test(test_credit_of_the_guest),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_a_thousand_connections),
        cmocka_unit_test(test_strays),
        cmocka_unit_test(test_pause_and_reboot),
        cmocka_unit_test(test_disabled_rings_rest),
        cmocka_unit_test(test_fewer_features),
        cmocka_unit_test(test_packets_in_pieces),
        cmocka_unit_test(test_bad_cids),
        cmocka_unit_test(test_free_at_any_time),
        cmocka_unit_test(test_front_end_leaves),
        cmocka_unit_test(test_free_in_callbacks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
