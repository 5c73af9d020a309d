/* SPDX-License-Identifier: MIT */
/*
 * A hostile driver before the socket device: the input is a sequence of what it does to its rings,
 * packets and memory, of requests by its front end, and of what the host does with connections,
 * all in one thread. The guest's memory is on the heap, so that one byte beyond it is noticed.
 * Whatever comes, the device is given up or goes on, memory stays bounded and nothing is left.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "device/vsock_core.h"

#define CID     7u
#define MEMORY  16384u
#define GUEST   0x1000u
#define USER    0x100000u
#define NUM     8u
#define RX_DESC 0u
#define TX_DESC 1024u
#define BUFFERS 4096u
#define BUFFER  512u
#define SLOTS   16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

typedef struct world {
    mvm__vsc *core;
    uint8_t *memory; /* the guest's: g_map once it was handed over as a file */
    mvm__vsc_conn *conn[SLOTS];
    uint16_t idx[2];
    bool dead;
} world;

static int g_memfd = -1, g_bell = -1;
static uint8_t *g_map;

static void require(bool holds)
{
    if (!holds)
        abort();
}

static uint64_t take(input *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && in->left > 0; i++, in->at++, in->left--)
        value |= (uint64_t)*in->at << 8 * i;
    return value;
}

/* ---- the front end ------------------------------------------------------------------------ */

static void request(world *w, uint32_t number, bool ack, const void *payload, uint32_t len,
                    int *fds, unsigned nfds)
{
    mvm__vhu_header header = {number, len, ack};
    uint8_t reply[MVM__VHU_REPLY_MAX];
    size_t reply_len;
    mvm_err err;
    uint8_t *exact = malloc(len);

    if (len > 0)
        memcpy(exact, payload, len);
    if (mvm__vhost_request(&w->core->vhost, &header, exact, fds, nfds, reply, &reply_len, &err)) {
        require(err.code == MVM_EBACKEND || err.code == MVM_EGUEST);
        w->dead = true;
    }
    require(reply_len <= sizeof(reply));
    free(exact);
    if (!w->dead)
        mvm__vsc_settle(w->core);
}

static void request_u64(world *w, uint32_t number, uint64_t value)
{
    request(w, number, false, &value, sizeof(value), NULL, 0);
}

static void request_state(world *w, uint32_t number, uint32_t index, uint32_t num)
{
    uint32_t state[2] = {index, num};

    request(w, number, false, state, sizeof(state), NULL, 0);
}

static void set_addr(world *w, uint32_t index)
{
    uint64_t base = USER + (index ? TX_DESC : RX_DESC);
    struct {
        uint32_t index, flags;
        uint64_t desc, used, avail, log;
    } addr = {index, 0, base, base + 256, base + 512, 0};

    request(w, MVM__VHU_SET_VRING_ADDR, false, &addr, sizeof(addr), NULL, 0);
}

static void set_bell(world *w, uint32_t number, uint32_t index)
{
    uint64_t value = index;
    int fd = fcntl(g_bell, F_DUPFD_CLOEXEC, 0);

    request(w, number, false, &value, sizeof(value), &fd, 1);
}

/* Memory on the heap, as no request can hand it over. */
static void place_memory(world *w, uint8_t *at)
{
    mvm__vhost_memory *m = &w->core->vhost.memory;

    mvm__vhost_unmap(m);
    m->n = 1;
    m->region[0] = (mvm__vhost_region){GUEST, USER, MEMORY, (char *)at, NULL, 0};
}

static void start_rings(world *w)
{
    for (uint32_t i = 0; i < 2 && !w->dead; i++) {
        request_state(w, MVM__VHU_GET_VRING_BASE, i, 0);
        request_state(w, MVM__VHU_SET_VRING_NUM, i, NUM);
        request_state(w, MVM__VHU_SET_VRING_BASE, i, w->idx[i]);
        set_addr(w, i);
        set_bell(w, MVM__VHU_SET_VRING_KICK, i);
        if (!w->dead)
            set_bell(w, MVM__VHU_SET_VRING_CALL, i);
        if (!w->dead)
            request_state(w, MVM__VHU_SET_VRING_ENABLE, i, 1);
    }
}

/* What an honest one has of each. */
static uint32_t usual_len(uint32_t number, unsigned nfds)
{
    switch (number) {
    case MVM__VHU_GET_FEATURES:
    case MVM__VHU_SET_OWNER:
    case MVM__VHU_RESET_OWNER:
    case MVM__VHU_GET_PROTOCOL_FEATURES:
    case MVM__VHU_GET_QUEUE_NUM:
        return 0;
    case MVM__VHU_SET_MEM_TABLE:
        return 8 + 32 * nfds;
    case MVM__VHU_SET_VRING_ADDR:
        return 40;
    case MVM__VHU_GET_CONFIG:
    case MVM__VHU_SET_CONFIG:
        return 12 + 8;
    default:
        return 8;
    }
}

/* Any request, with files if it likes. */
static void raw_request(world *w, input *in)
{
    uint32_t number = (uint32_t)take(in, 1) % 27;
    uint8_t flags = (uint8_t)take(in, 1);
    uint8_t payload[MVM__VHU_PAYLOAD_MAX] = {0};
    bool bell = number >= MVM__VHU_SET_VRING_KICK && number <= MVM__VHU_SET_VRING_ERR;
    unsigned nfds = flags & 0x10 || number == MVM__VHU_SET_MEM_TABLE ? flags & 7 : bell;
    uint32_t len = flags & 0x20 ? (uint32_t)take(in, 1) * 2 : usual_len(number, nfds);
    int fds[MVM__VHU_REGIONS];

    for (uint32_t i = 0; i < len && in->left > 0; i++)
        payload[i] = (uint8_t)take(in, 1);
    for (unsigned i = 0; i < nfds; i++)
        fds[i] = fcntl(flags & 0x40 ? g_memfd : g_bell, F_DUPFD_CLOEXEC, 0);
    request(w, number, flags & 0x80, payload, len, fds, nfds);
}

/* The same memory as a file: mapped in earnest, in two parts if it likes. */
static void map_memory(world *w, input *in)
{
    uint64_t cut = 1 + take(in, 2) % (MEMORY - 1);
    struct {
        uint32_t n, padding;
        uint64_t region[2][4];
    } table = {2, 0, {{GUEST, cut, USER, 0}, {GUEST + cut, MEMORY - cut, USER + cut, cut}}};
    int fds[2] = {fcntl(g_memfd, F_DUPFD_CLOEXEC, 0), fcntl(g_memfd, F_DUPFD_CLOEXEC, 0)};

    if (w->memory != g_map) {
        memcpy(g_map, w->memory, MEMORY);
        place_memory(w, g_map);
        free(w->memory);
        w->memory = g_map;
    }
    request(w, MVM__VHU_SET_MEM_TABLE, true, &table, sizeof(table), fds, 2);
}

/* ---- the driver ------------------------------------------------------------------------------ */

static void put(world *w, size_t offset, const void *data, size_t len)
{
    if (offset < MEMORY)
        memcpy(w->memory + offset, data, MVM_MIN(len, MEMORY - offset));
}

static void put_desc(world *w, unsigned ring, unsigned index, uint64_t addr, uint32_t len,
                     uint16_t flags, uint16_t next)
{
    struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
    } desc = {addr, len, flags, next};

    put(w, (ring ? TX_DESC : RX_DESC) + (size_t)(index % NUM) * 16, &desc, sizeof(desc));
}

static void offer(world *w, unsigned ring, uint16_t head)
{
    size_t avail = (ring ? TX_DESC : RX_DESC) + 512;

    put(w, avail + 4 + 2 * (size_t)(w->idx[ring] % NUM), &head, sizeof(head));
    w->idx[ring]++;
    put(w, avail + 2, &w->idx[ring], sizeof(w->idx[ring]));
}

/* Whether an honest driver may offer more. */
static bool has_room(const world *w, unsigned ring)
{
    uint16_t used;

    memcpy(&used, w->memory + (ring ? TX_DESC : RX_DESC) + 256 + 2, sizeof(used));
    return (uint16_t)(w->idx[ring] - used) < NUM;
}

static size_t buffer_of(unsigned ring, unsigned index)
{
    return BUFFERS + (ring * NUM + index % NUM) * (size_t)BUFFER;
}

static void offer_rx(world *w, input *in)
{
    unsigned how = (unsigned)take(in, 1), n = 1 + how % NUM;

    for (unsigned i = 0; i < n && has_room(w, 0); i++) {
        unsigned index = w->idx[0] % NUM;
        size_t at = buffer_of(0, index), len = how & 0x80 ? MEMORY - at : BUFFER; /* overlapping */
        put_desc(w, 0, index, GUEST + at, (uint32_t)len, 2, 0);
        offer(w, 0, (uint16_t)index);
    }
}

static void packet(world *w, input *in)
{
    unsigned index = w->idx[1] % NUM;
    uint8_t what = (uint8_t)take(in, 1), ports = (uint8_t)take(in, 1);
    mvm__vsock_header h = {.src_cid = CID, .dst_cid = 2, .type = 1, .buf_alloc = 65536};
    uint8_t bytes[MVM__VSOCK_HEADER];
    uint32_t room = MEMORY - (uint32_t)buffer_of(1, index) - MVM__VSOCK_HEADER;

    h.op = what & 15;
    h.src_port = ports & 15;
    h.dst_port = ports & 0x80 ? 49152u + (ports >> 4 & 7) : ports >> 4;
    if (h.op == MVM__VSOCK_RW)
        h.len = (uint32_t)take(in, 2) % (room + 1);
    if (h.op == MVM__VSOCK_SHUTDOWN)
        h.flags = what >> 4;
    if (ports == 0x77)
        h.type = 2;
    if (what & 0x40) {
        h.buf_alloc = (uint32_t)take(in, 4);
        h.fwd_cnt = (uint32_t)take(in, 4);
    }
    if (what & 0x80)
        h.len = (uint32_t)take(in, 4);
    if (!has_room(w, 1))
        return;
    mvm__vsock_encode(&h, bytes);
    put(w, buffer_of(1, index), bytes, sizeof(bytes));
    put_desc(w, 1, index, GUEST + buffer_of(1, index), MVM_MIN(h.len, room) + MVM__VSOCK_HEADER, 0,
             0);
    offer(w, 1, (uint16_t)index);
}

static void scribble(world *w, input *in)
{
    size_t offset = take(in, 2), len = take(in, 1) % 64;

    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)take(in, 1);
        put(w, (offset + i) % MEMORY, &byte, 1);
    }
}

static void any_desc(world *w, input *in)
{
    uint8_t which = (uint8_t)take(in, 1), how = (uint8_t)take(in, 1);
    uint64_t addr = how & 1 ? take(in, 8) : GUEST + take(in, 2);
    uint32_t len = (uint32_t)take(in, how & 2 ? 4 : 1);
    uint16_t next = (uint16_t)take(in, how & 4 ? 2 : 1);

    put_desc(w, which & 1, which >> 1, addr, len, how >> 3 & 7, next);
}

/* ---- the host -----------------------------------------------------------------------------------
 */

static void keep(world *w, mvm__vsc_conn *conn)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (!w->conn[i]) {
            w->conn[i] = conn;
            conn->user = &w->conn[i];
            return;
        }
    }
    mvm__vsc_release(conn);
}

static void release(mvm__vsc_conn *conn)
{
    *(mvm__vsc_conn **)conn->user = NULL;
    mvm__vsc_release(conn);
}

/* As the loop does it: each connection's news, once. */
static void hear(world *w)
{
    for (mvm__link *link; (link = mvm__list_shift(&w->core->todo)) != NULL;) {
        mvm__vsc_conn *conn = mvm__container_of(link, mvm__vsc_conn, todo);
        unsigned news = conn->news;
        conn->news = 0;
        require(news != 0);
        require(mvm__buf_len(&conn->in) <= conn->window);
        require(mvm__buf_len(&conn->out) <= 2 * MVM__VSC_OUT);
        require(!(news & MVM__VSC_NEWS_ASKED) == !!conn->user);
        if (!conn->user)
            keep(w, conn);
        else if (news & MVM__VSC_NEWS_GONE)
            release(conn);
    }
    require(w->core->conns <= MVM__VSC_CONNS);
}

static void serve(world *w, bool all)
{
    mvm_err err;
    bool more = false;
    int rc = 0;

    for (unsigned i = 0; i < 8 && !rc; i++) {
        rc = all ? mvm__vsc_serve(w->core, &more, &err) : mvm__vsc_serve_out(w->core, &err);
        hear(w);
        if (!more)
            break;
    }
    if (rc) {
        require(rc == MVM_EGUEST && err.message[0]);
        w->dead = true;
    }
}

static void host(world *w, uint8_t op, input *in)
{
    uint8_t byte = (uint8_t)take(in, 1);
    mvm__vsc_conn *conn = w->conn[byte % SLOTS];
    mvm__buf buf = {0};
    mvm_err err;

    if (op == 0) {
        conn = mvm__vsc_connect(w->core, byte & 0x80 ? 9 : 2, byte >> 4 & 7, byte & 15, &err);
        if (conn)
            keep(w, conn);
        return;
    }
    if (!conn)
        return;
    if (op == 1) {
        mvm__vsc_accept(conn);
    } else if (op == 2) {
        size_t len = take(in, 2) * (byte & 0x80 ? 5 : 1);
        if (len == 0)
            return;
        memset(mvm__buf_reserve(&buf, len), 'x', len);
        mvm__buf_commit(&buf, len);
        mvm__vsc_send(conn, &buf, byte & 0x40 && mvm__buf_len(&conn->out) < MVM__VSC_OUT / 2);
        mvm__buf_free(&buf);
    } else if (op == 3) {
        size_t len = mvm__buf_len(&conn->in);
        len = byte & 0x80 ? len / 2 : len;
        mvm__buf_consume(&conn->in, len);
        mvm__vsc_consumed(conn, len);
    } else if (op == 4) {
        mvm__vsc_shutdown(conn);
    } else {
        release(conn);
    }
}

/* ---- one run
 * -------------------------------------------------------------------------------------- */

static void step(world *w, input *in)
{
    uint8_t op = (uint8_t)take(in, 1);

    switch (op % 20) {
    case 0:
        scribble(w, in);
        break;
    case 1:
    case 2:
    case 3:
        packet(w, in);
        break;
    case 4:
        offer_rx(w, in);
        break;
    case 5:
        any_desc(w, in);
        break;
    case 6:
        offer(w, op >> 7, (uint16_t)take(in, op & 0x40 ? 2 : 1));
        break;
    case 7:
        w->idx[op >> 7] += (uint16_t)take(in, 2);
        break;
    case 8:
    case 9:
    case 10:
        serve(w, true);
        break;
    case 11:
        serve(w, false);
        break;
    case 12:
        w->core->now += (double)take(in, 1) / 16;
        break;
    case 13:
        raw_request(w, in);
        break;
    case 14:
        if (op & 0x80)
            map_memory(w, in);
        else
            start_rings(w); /* from where they are: a resume, or none of that */
        break;
    case 15:
        mvm__vsc_end_all(w->core, MVM__VSC_END_REBOOT, op & 0x80);
        hear(w);
        break;
    default:
        host(w, (uint8_t)((op % 20 - 16) * 2 + (op >> 7)), in);
        break;
    }
}

static void begin(world *w, uint8_t features)
{
    uint64_t f = MVM__VIRTIO_VERSION_1 | MVM__VHU_F_PROTOCOL;

    if (g_memfd < 0) {
        g_memfd = memfd_create("guest", MFD_CLOEXEC);
        g_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        require(g_bell >= 0 && ftruncate(g_memfd, MEMORY) == 0);
        g_map = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, g_memfd, 0);
        require(g_map != MAP_FAILED);
    }
    w->core = mvm__vsc_new(CID);
    w->core->seed = 1; /* the same input has to do the same */
    w->memory = aligned_alloc(16, MEMORY);
    memset(w->memory, 0, MEMORY);
    place_memory(w, w->memory);
    f |= features & 1 ? MVM__VIRTIO_RING_EVENT_IDX : 0;
    f |= features & 2 ? MVM__VIRTIO_RING_INDIRECT : 0;
    request_u64(w, MVM__VHU_SET_PROTOCOL_FEATURES, MVM__VHU_P_REPLY_ACK);
    request_u64(w, MVM__VHU_SET_FEATURES, f);
    if (!(features & 4))
        start_rings(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    world w = {0};
    input in = {data, size};

    begin(&w, (uint8_t)take(&in, 1));
    while (in.left > 0 && !w.dead)
        step(&w, &in);
    if (w.dead) /* as core/device/vsock.c gives it up */
        mvm__vhost_free(&w.core->vhost);
    hear(&w);
    mvm__vsc_end_all(w.core, MVM__VSC_END_CLOSED, false);
    hear(&w);
    for (unsigned i = 0; i < SLOTS; i++)
        if (w.conn[i])
            release(w.conn[i]);
    require(w.core->conns == 0);
    mvm__vsc_free(w.core);
    if (w.memory != g_map)
        free(w.memory);
    return 0;
}
