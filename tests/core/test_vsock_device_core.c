/* SPDX-License-Identifier: MIT */
/* The socket device's state machine by itself, with a clock of the test's: bounds, time, counters
 * that wrap. No guest: what it sends is handed over as packets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "device/vsock_core.h"

#define CID 7u

static void guest_sends(mvm__vsc *core, uint16_t op, uint32_t guest_port, uint32_t port)
{
    mvm__vsock_header h = {.src_cid = CID,
                           .dst_cid = 2,
                           .src_port = guest_port,
                           .dst_port = port,
                           .type = MVM__VSOCK_STREAM,
                           .op = op,
                           .buf_alloc = 1000};

    mvm__vsc_packet(core, &h, NULL, 0);
}

static mvm__vsc_conn *heard(mvm__vsc *core, unsigned *news)
{
    mvm__link *link = mvm__list_shift(&core->todo);

    if (!link)
        return NULL;
    mvm__vsc_conn *conn = mvm__container_of(link, mvm__vsc_conn, todo);
    *news = conn->news;
    conn->news = 0;
    return conn;
}

static void send_next(mvm__vsc_conn *conn, size_t room, mvm__vsock_header *header)
{
    assert_true(mvm__vsc_has_packet(conn));
    mvm__vsc_next_packet(conn, room, header);
    mvm__vsc_packet_sent(conn, header);
}

static void test_bound_on_connections(void **state)
{
    mvm__vsc *core = mvm__vsc_new(CID);
    static mvm__vsc_conn *conns[MVM__VSC_CONNS];
    unsigned news;
    mvm_err err;

    (void)state;
    for (uint32_t i = 0; i < MVM__VSC_CONNS; i++) {
        guest_sends(core, MVM__VSOCK_REQUEST, i, 80);
        conns[i] = heard(core, &news);
        assert_int_equal(news, MVM__VSC_NEWS_ASKED);
        /* The first have a large window, the many share what memory there is. */
        assert_int_equal(conns[i]->window,
                         i < MVM__VSC_FEW ? MVM__VSC_WINDOW : MVM__VSC_WINDOW_MANY);
    }
    guest_sends(core, MVM__VSOCK_REQUEST, 9999999, 80);
    assert_null(heard(core, &news));
    assert_int_equal(core->refused, 1);
    assert_int_equal(core->nresets, 1);
    assert_null(mvm__vsc_connect(core, 2, 0, 5, &err));
    assert_int_equal(err.code, MVM_ESTATE);
    for (uint32_t i = 0; i < MVM__VSC_CONNS; i++)
        assert_ptr_equal(mvm__vsc_find(core, 2, 80, i), conns[i]);
    for (uint32_t i = 0; i < MVM__VSC_CONNS; i++)
        mvm__vsc_release(conns[i]);
    mvm__vsc_free(core);
}

static void test_ports_are_unique(void **state)
{
    mvm__vsc *core = mvm__vsc_new(CID);
    mvm_err err;

    (void)state;
    core->next_port = UINT32_MAX - 2; /* wraps to where they begin */
    uint32_t before = 0;
    for (int i = 0; i < 10; i++) {
        mvm__vsc_conn *conn = mvm__vsc_connect(core, 2, 0, 22, &err);
        assert_non_null(conn);
        assert_true(conn->port >= 49152 && conn->port < UINT32_MAX && conn->port != before);
        before = conn->port;
        conn->user = NULL;
        if (i % 2)
            mvm__vsc_release(conn); /* never sent: gone at once */
    }
    assert_int_equal(core->conns, 5);
    core->next_port = 0;
    mvm__vsc_conn *taken = mvm__vsc_connect(core, 2, 49200, 22, &err);
    assert_null(mvm__vsc_connect(core, 2, 49200, 22, &err));
    assert_string_equal(err.message, "port 49200 is connected to port 22 already");
    mvm__vsc_release(taken);
    mvm__list_each (link, &core->all)
        mvm__vsc_release(mvm__container_of(link, mvm__vsc_conn, link));
    mvm__vsc_free(core);
}

static void test_credit_wraps(void **state)
{
    mvm__vsc *core = mvm__vsc_new(CID);
    mvm__vsock_header h;
    mvm__buf buf = {0};
    unsigned news;

    (void)state;
    guest_sends(core, MVM__VSOCK_REQUEST, 1, 80);
    mvm__vsc_conn *conn = heard(core, &news);
    mvm__vsc_accept(conn);
    send_next(conn, 4096, &h);
    assert_int_equal(h.op, MVM__VSOCK_RESPONSE);
    conn->sent = conn->guest_consumed = UINT32_MAX - 100;
    mvm__buf_printf(&buf, "%02000d", 0);
    assert_int_equal(mvm__vsc_send(conn, &buf, false), 2000);
    send_next(conn, 4096, &h);
    assert_int_equal(h.len, 1000); /* its window, across the end of the counter */
    assert_false(mvm__vsc_has_packet(conn));
    conn->guest_consumed += 600;
    send_next(conn, 512, &h);
    assert_int_equal(h.len, 512);
    send_next(conn, 512, &h);
    assert_int_equal(h.len, 88);
    assert_false(mvm__vsc_has_packet(conn));
    /* The other way, too. */
    conn->received = conn->consumed = conn->told = UINT32_MAX - 10;
    conn->received += MVM__VSC_WINDOW;
    mvm__vsc_consumed(conn, MVM__VSC_WINDOW);
    send_next(conn, 512, &h);
    assert_int_equal(h.op, MVM__VSOCK_CREDIT_UPDATE);
    assert_int_equal(h.fwd_cnt, MVM__VSC_WINDOW - 11);
    /* Half of the smaller of both windows is worth an update: its own is 1000. */
    conn->received += 500;
    mvm__vsc_consumed(conn, 499);
    assert_false(mvm__vsc_has_packet(conn));
    mvm__vsc_consumed(conn, 1);
    send_next(conn, 512, &h);
    assert_int_equal(h.op, MVM__VSOCK_CREDIT_UPDATE);
    mvm__buf_free(&buf);
    mvm__vsc_release(conn);
    mvm__vsc_free(core);
}

/* Rings that run, with nothing in them. */
static void empty_rings(mvm__vsc *core)
{
    static uint64_t memory[2][3][64] __attribute__((aligned(16)));

    for (int i = 0; i < 2; i++) {
        mvm__vring *ring = &core->vhost.ring[i].v;
        *ring = (mvm__vring){.num = 8,
                             .event_idx = true,
                             .desc = memory[i][0],
                             .avail = memory[i][1],
                             .used = memory[i][2]};
        assert_null(mvm__vring_begin(ring, 0));
        core->vhost.ring[i].running = true;
    }
}

/* A guest that does not answer a close is reset; while it takes what is queued it has time. */
static void test_lingering(void **state)
{
    mvm__vsc *core = mvm__vsc_new(CID);
    mvm__vsock_header h;
    mvm__buf buf = {0};
    unsigned news;

    (void)state;
    empty_rings(core);
    guest_sends(core, MVM__VSOCK_REQUEST, 1, 80);
    mvm__vsc_conn *conn = heard(core, &news);
    mvm__vsc_accept(conn);
    send_next(conn, 4096, &h);
    mvm__buf_printf(&buf, "0123456789");
    mvm__vsc_send(conn, &buf, true);
    core->now = 100;
    assert_true(mvm__vsc_deadline(core) < 0);
    mvm__vsc_release(conn);
    assert_true(mvm__vsc_deadline(core) == 100 + MVM__VSC_LINGER);
    core->now = 105;
    send_next(conn, 4, &h);
    assert_true(mvm__vsc_deadline(core) == 105 + MVM__VSC_LINGER);
    send_next(conn, 100, &h);
    assert_int_equal(h.len, 6);
    send_next(conn, 100, &h);
    assert_int_equal(h.op, MVM__VSOCK_SHUTDOWN);
    assert_false(mvm__vsc_has_packet(conn));
    /* What it still sends is dropped, and given credit for. */
    guest_sends(core, MVM__VSOCK_CREDIT_REQUEST, 1, 80);
    assert_null(heard(core, &news));

    /* A pause stops the clock of a close, as the guest can't answer. */
    core->vhost.ring[0].running = false;
    mvm__vsc_settle(core);
    core->now = 200;
    core->vhost.ring[0].running = true;
    mvm__vsc_settle(core);
    assert_true(mvm__vsc_deadline(core) == 200 + MVM__VSC_LINGER);

    /* When it is over the guest gets a reset, as soon as it has room for one. */
    bool more;
    mvm_err err;
    core->now = 200 + MVM__VSC_LINGER - 1;
    assert_int_equal(mvm__vsc_serve(core, &more, &err), 0);
    assert_int_equal(conn->state, MVM__VSC_OPEN);
    core->now += 1;
    assert_int_equal(mvm__vsc_serve(core, &more, &err), 0);
    assert_int_equal(conn->state, MVM__VSC_RESETTING);
    assert_true(mvm__vsc_deadline(core) < 0);
    send_next(conn, 100, &h);
    assert_int_equal(h.op, MVM__VSOCK_RST);
    assert_int_equal(core->conns, 0);
    core->vhost.ring[0].running = core->vhost.ring[1].running = false;
    mvm__buf_free(&buf);
    mvm__vsc_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound_on_connections),
        cmocka_unit_test(test_ports_are_unique),
        cmocka_unit_test(test_credit_wraps),
        cmocka_unit_test(test_lingering),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
