/* SPDX-License-Identifier: MIT */
/* The relay before virtiofsd: it is not noticed while that lives, and every request that was not
 * answered then, and no other, fails when it dies. The front end and the guest's driver are fake,
 * and so is virtiofsd: a thread that answers the front end, whose rings the test serves. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "device/fs_relay.h"
#include "device/vhost.h"
#include "device/vhost_inbox.h"
#include "support/vsock_driver.h"

#define REQUESTS 1u
#define SLOTS    (VSD_NUM / 2) /* a request and the room for its reply: two descriptors */
#define OPCODE   3u

typedef struct server {
    int sock;
    pthread_t thread;
    bool running;
    mvm__vhost vhost;
    mvm__vhost_inbox in;
    mvm__vring_chain chain;
} server;

typedef struct world {
    mvm_loop *loop;
    mvm__fs_relay *relay;
    vsd d;
    server s;
    bool lost;
    mvm_err why;
} world;

/* ---- virtiofsd ------------------------------------------------------------------------- */

static bool answer_one(server *s)
{
    mvm__vhu_header header;
    uint8_t reply[MVM__VHU_REPLY_MAX];
    size_t len;
    mvm_err err;
    struct pollfd pfd = {s->sock, POLLIN, 0};

    (void)!poll(&pfd, 1, -1);
    int rc = mvm__vhost_inbox_read(&s->in, s->sock, &err);
    if (rc <= 0)
        return rc == 0;
    if (mvm__vhu_parse_header(s->in.bytes, &header))
        return false;
    unsigned nfds = s->in.nfds;
    s->in.nfds = 0;
    rc = mvm__vhost_request(&s->vhost, &header, s->in.bytes + MVM__VHU_HEADER, s->in.fds, nfds,
                            reply, &len, &err);
    mvm__vhost_inbox_next(&s->in);
    return !rc && (len == 0 || send(s->sock, reply, len, MSG_NOSIGNAL) == (ssize_t)len);
}

static void *serve(void *ud)
{
    while (answer_one(ud))
        ;
    return NULL;
}

static void server_die(server *s)
{
    if (!s->running)
        return;
    shutdown(s->sock, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    mvm__vhost_free(&s->vhost);
    close(s->sock);
    s->running = false;
}

/* Takes the next request, and returns its head. */
static uint16_t server_take(world *w)
{
    const char *fault = NULL;

    assert_int_equal(1, mvm__vring_next(&w->s.vhost.ring[REQUESTS].v, &w->s.chain, &fault));
    return w->s.chain.head;
}

static void server_give(world *w, uint16_t head)
{
    mvm__vring_give(&w->s.vhost.ring[REQUESTS].v, head, 16);
    mvm__vhost_flush(&w->s.vhost.ring[REQUESTS]);
}

/* ---- the guest ---------------------------------------------------------------------------- */

static uint8_t *buffer(world *w, uint16_t head)
{
    return w->d.memory + (1u << 20) + head * 512u;
}

static uint64_t address(uint16_t head)
{
    return VSD_GUEST + (1u << 20) + head * 512u;
}

/* FUSE's header, and the room for a reply after it unless that is 0 bytes. */
static void ask(world *w, unsigned slot, uint64_t unique, uint32_t room)
{
    uint16_t head = (uint16_t)(2 * slot);
    uint32_t words[2] = {40, OPCODE};
    vsd_desc *desc = &w->d.ring[REQUESTS].desc[head];

    memset(buffer(w, head), 0xee, 512);
    memcpy(buffer(w, head), words, sizeof(words));
    memcpy(buffer(w, head) + 8, &unique, sizeof(unique));
    desc[0] = (vsd_desc){address(head), 40, room ? 1 : 0, (uint16_t)(head + 1)};
    desc[1] = (vsd_desc){address(head) + 64, room, 2, 0};
    vsd_offer(&w->d, REQUESTS, head);
}

/* Waits for the next one to come back. */
static uint16_t back(world *w, uint32_t *len)
{
    vsd_ring *r = &w->d.ring[REQUESTS];
    struct pollfd pfd = {r->call, POLLIN, 0};
    uint64_t count;

    while (__atomic_load_n(&r->used[1], __ATOMIC_SEQ_CST) == r->seen) {
        assert_int_equal(1, poll(&pfd, 1, 10000));
        (void)!read(r->call, &count, sizeof(count));
    }
    uint32_t element[2];
    memcpy(element, &r->used[2 + 4 * (r->seen++ % VSD_NUM)], sizeof(element));
    __atomic_store_n(&r->avail[2 + VSD_NUM], r->seen, __ATOMIC_SEQ_CST); /* hear of the next */
    *len = element[1];
    return (uint16_t)element[0];
}

/* It is one that failed. */
static unsigned failed(world *w, uint64_t unique)
{
    uint32_t len;
    uint16_t head = back(w, &len);
    struct {
        uint32_t len;
        int32_t error;
        uint64_t unique;
    } reply;

    memcpy(&reply, buffer(w, head) + 64, sizeof(reply));
    assert_int_equal(16, len);
    assert_int_equal(16, reply.len);
    assert_int_equal(-EIO, reply.error);
    assert_int_equal(unique, reply.unique);
    return head / 2u;
}

static void nothing_else(world *w)
{
    vsd_ask_u64(&w->d, MVM__VHU_GET_FEATURES); /* all that was to be done has been */
    assert_int_equal(w->d.ring[REQUESTS].used[1], w->d.ring[REQUESTS].seen);
}

/* ---- a world --------------------------------------------------------------------------------- */

static void on_lost(void *ud, const mvm_err *err)
{
    world *w = ud;

    assert_false(w->lost);
    w->lost = true;
    w->why = *err;
}

static int setup_apart(void **state)
{
    world *w = mvm__alloc(sizeof(*w));
    int pair[2], listener = vsd_listener();
    mvm_err err;

    w->loop = mvm_loop_new();
    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    vsd_connect(&w->d, NULL, listener);
    w->s.sock = pair[0];
    w->s.in.who = "the relay";
    w->s.running = true;
    mvm__vhost_init(&w->s.vhost, 1ull << 26, NULL, 0); /* and one that the relay doesn't know */
    assert_int_equal(0, pthread_create(&w->s.thread, NULL, serve, &w->s));
    w->relay = mvm__fs_relay_new(w->loop, listener, pair[1], on_lost, w, &err);
    assert_non_null(w->relay);
    *state = w;
    return 0;
}

static int setup(void **state)
{
    setup_apart(state);
    world *w = *state;
    uint64_t known = MVM__VIRTIO_VERSION_1 | MVM__VIRTIO_RING_EVENT_IDX |
                     MVM__VIRTIO_RING_INDIRECT | MVM__VHU_F_PROTOCOL;
    w->d.features = vsd_ask_u64(&w->d, MVM__VHU_GET_FEATURES);
    assert_int_equal(known, w->d.features);
    uint64_t protocol = vsd_ask_u64(&w->d, MVM__VHU_GET_PROTOCOL_FEATURES);
    assert_int_equal(MVM__VHU_P_MQ | MVM__VHU_P_REPLY_ACK, protocol);
    vsd_request(&w->d, MVM__VHU_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), NULL, 0);
    assert_int_equal(2, vsd_ask_u64(&w->d, MVM__VHU_GET_QUEUE_NUM));
    vsd_start(&w->d, 0, 0);
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;

    mvm__fs_relay_free(w->relay);
    server_die(&w->s);
    for (int i = 0; i < 3; i++)
        mvm_loop_step(w->loop, false);
    vsd_free(&w->d);
    assert_int_equal(0, mvm_loop_close(w->loop));
    mvm__free(w);
    return 0;
}

static void expect_lost(world *w, int code, const char *why)
{
    assert_true(vsd_until(w->loop, &w->lost));
    assert_string_equal(why, w->why.message);
    assert_int_equal(code, w->why.code);
    assert_false(mvm__fs_relay_fails(w->relay));
}

/* ---- tests --------------------------------------------------------------------------------------
 */

static void test_while_it_lives(void **state)
{
    world *w = *state;
    uint32_t len;

    ask(w, 3, 100, 64);
    ask(w, 4, 102, 64);
    assert_int_equal(6, server_take(w));
    assert_int_equal(8, server_take(w));
    server_give(w, 8);
    assert_int_equal(8, back(w, &len));
    server_give(w, 6);
    assert_int_equal(6, back(w, &len));
    assert_false(mvm__fs_relay_fails(w->relay));
}

static void test_death(void **state)
{
    world *w = *state;
    uint32_t len;

    ask(w, 0, 10, 64);
    ask(w, 1, 12, 16);
    ask(w, 2, 14, 64);
    assert_int_equal(0, server_take(w));
    assert_int_equal(2, server_take(w));
    server_give(w, 2);
    assert_int_equal(2, back(w, &len));
    server_die(&w->s);
    assert_int_equal(0, failed(w, 10)); /* taken */
    assert_int_equal(2, failed(w, 14)); /* not even that */
    assert_int_equal(0xee, buffer(w, 0)[64 + 16]);
    ask(w, 1, 16, 16);
    assert_int_equal(1, failed(w, 16));
    ask(w, 5, 18, 0); /* wants no reply */
    assert_int_equal(10, back(w, &len));
    assert_int_equal(0, len);
    nothing_else(w);
    assert_true(mvm__fs_relay_fails(w->relay));
    assert_false(w->lost);
}

/* The rings have been written over many times while one was out. */
static void test_slow_one(void **state)
{
    world *w = *state;
    uint32_t len;

    ask(w, 7, 1000, 64);
    assert_int_equal(14, server_take(w));
    for (unsigned i = 0; i < 70000; i += 3) {
        unsigned slot = 8 + i % 40;
        for (unsigned j = 0; j < 3; j++)
            ask(w, slot + j, i, 64);
        for (unsigned j = 0; j < 3; j++)
            assert_int_equal(2 * (slot + j), server_take(w));
        for (unsigned j = 3; j-- > 0;)
            server_give(w, (uint16_t)(2 * (slot + j)));
        for (unsigned j = 3; j-- > 0;)
            assert_int_equal(2 * (slot + j), back(w, &len));
        if (i % 60 == 0) /* the relay is seldom more than a ring behind, and never here */
            vsd_ask_u64(&w->d, MVM__VHU_GET_FEATURES);
    }
    server_die(&w->s);
    assert_int_equal(7, failed(w, 1000));
    nothing_else(w);
}

/* It gave all back and died before it could ring. */
static void test_bell_not_rung(void **state)
{
    world *w = *state;
    uint32_t len;

    ask(w, 0, 2, 64);
    assert_int_equal(0, server_take(w));
    mvm__vring_give(&w->s.vhost.ring[REQUESTS].v, 0, 16);
    (void)mvm__vring_publish(&w->s.vhost.ring[REQUESTS].v);
    server_die(&w->s);
    struct pollfd pfd = {w->d.ring[REQUESTS].call, POLLIN, 0};
    assert_int_equal(1, poll(&pfd, 1, 10000));
    assert_int_equal(0, back(w, &len));
    nothing_else(w);
}

static void test_pause_and_reboot_after_death(void **state)
{
    world *w = *state;
    vsd_ring *r = &w->d.ring[REQUESTS];

    ask(w, 0, 2, 64);
    assert_int_equal(0, server_take(w));
    server_die(&w->s);
    assert_int_equal(0, failed(w, 2));
    assert_int_equal(0, vsd_stop(&w->d, 0));
    assert_int_equal(1, vsd_stop(&w->d, REQUESTS));
    ask(w, 1, 4, 64);
    vsd_start(&w->d, 0, 1);
    assert_int_equal(1, failed(w, 4));
    vsd_stop(&w->d, 0);
    vsd_stop(&w->d, REQUESTS);
    memset(r->avail, 0, 6 + 2 * VSD_NUM);
    memset(r->used, 0, 6 + 8 * VSD_NUM);
    r->seen = r->next_idx = 0;
    vsd_start(&w->d, 0, 0);
    ask(w, 9, 6, 64);
    assert_int_equal(9, failed(w, 6));
    nothing_else(w);
}

/* Stopped while one is out, dead before the ring goes on. */
static void test_death_in_a_pause(void **state)
{
    world *w = *state;

    ask(w, 0, 2, 64);
    ask(w, 1, 4, 64);
    assert_int_equal(0, server_take(w));
    vsd_stop(&w->d, 0);
    assert_int_equal(1, vsd_stop(&w->d, REQUESTS)); /* as virtiofsd counts */
    server_die(&w->s);
    vsd_start(&w->d, 0, 1);
    assert_int_equal(0, failed(w, 2));
    assert_int_equal(1, failed(w, 4));
    nothing_else(w);
}

static void test_too_far_behind(void **state)
{
    world *w = *state;
    vsd_ring *r = &w->d.ring[REQUESTS];

    /* The driver claims to have posted and got back more than it can have. */
    r->avail[1] = (uint16_t)(r->avail[1] + 300);
    r->used[1] = (uint16_t)(r->used[1] + 299);
    server_die(&w->s);
    expect_lost(w, MVM_EBACKEND, "what virtiofsd had begun in ring 1 is not known");
}

static void lie_short(world *w)
{
    w->d.ring[REQUESTS].desc[0] = (vsd_desc){address(0), 39, 0, 0};
    vsd_offer(&w->d, REQUESTS, 0);
}

static void lie_room(world *w)
{
    ask(w, 0, 2, 15);
}

static void lie_head(world *w)
{
    vsd_offer(&w->d, REQUESTS, VSD_NUM);
}

static void lie_address(world *w)
{
    w->d.ring[REQUESTS].desc[0] = (vsd_desc){VSD_GUEST + VSD_MEMORY, 40, 0, 0};
    vsd_offer(&w->d, REQUESTS, 0);
}

static void test_lies_after_death(void **state)
{
    static const struct {
        void (*lie)(world *w);
        const char *why;
    } lies[] = {
        {lie_short, "the guest lost its share: it sent a request that is shorter than its header"},
        {lie_room,
         "the guest lost its share: it sent a request with too little room for the reply"},
        {lie_head,
         "the guest lost its share: it sent a chain that begins beyond the end of the ring"},
        {lie_address, "the guest lost its share: it sent a buffer outside of its memory"},
    };

    for (size_t i = 0; i < MVM_COUNT(lies); i++) {
        void *other;
        setup(&other);
        world *w = other;
        ask(w, 9, 2, 64);
        server_die(&w->s);
        failed(w, 2);
        lies[i].lie(w);
        expect_lost(w, MVM_EGUEST, lies[i].why);
        teardown(&other);
    }
    (void)state;
}

/* Lies while virtiofsd lives are its own to find; none of the relay's memory is touched. */
static void test_lies_before_death(void **state)
{
    world *w = *state;

    vsd_offer(&w->d, REQUESTS, 0xffff);
    vsd_offer(&w->d, REQUESTS, VSD_NUM);
    nothing_else(w);
    assert_false(w->lost);
    server_die(&w->s);
    expect_lost(w, MVM_EBACKEND, "what virtiofsd had begun in ring 1 is not known");
}

static void test_breach_by_the_server(void **state)
{
    world *w = *state;
    uint64_t message[3] = {1 | 5ull << 32, 8, 0};

    assert_int_equal(20, send(w->s.sock, message, 20, MSG_NOSIGNAL));
    expect_lost(w, MVM_EBACKEND, "virtiofsd sent what is no reply to anything");
}

static void test_breach_by_the_front_end(void **state)
{
    world *w = *state;

    vsd_request(&w->d, 77, 0, NULL, 0, NULL, 0);
    expect_lost(w, MVM_EBACKEND,
                "QEMU sent a request that this device does not know (request, number 77)");
}

static void test_death_before_the_begin(void **state)
{
    world *w = *state;
    char byte;

    server_die(&w->s);
    vsd_request(&w->d, MVM__VHU_GET_FEATURES, 0, NULL, 0, NULL, 0);
    assert_true(recv(w->d.sock, &byte, 1, 0) <= 0);
    mvm_loop_step(w->loop, false);
    assert_false(w->lost);
}

static void test_the_front_end_goes(void **state)
{
    world *w = *state;

    close(w->d.sock);
    w->d.sock = -1;
    pthread_join(w->s.thread, NULL); /* virtiofsd sees it too */
    assert_int_equal(0, pthread_create(&w->s.thread, NULL, serve, &w->s));
    mvm_loop_step(w->loop, false);
    assert_false(w->lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_while_it_lives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_death, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bell_not_rung, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pause_and_reboot_after_death, setup, teardown),
        cmocka_unit_test_setup_teardown(test_death_in_a_pause, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_far_behind, setup, teardown),
        cmocka_unit_test(test_lies_after_death),
        cmocka_unit_test_setup_teardown(test_lies_before_death, setup, teardown),
        cmocka_unit_test_setup_teardown(test_breach_by_the_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_breach_by_the_front_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_death_before_the_begin, setup_apart, teardown),
        cmocka_unit_test_setup_teardown(test_the_front_end_goes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
