/* SPDX-License-Identifier: MIT */
/*
 * A hostile driver before the relay of a share: the input is a sequence of what it does to its
 * rings and memory, of requests by its front end, of replies by virtiofsd, and of virtiofsd's life
 * and death, all in one thread. The guest's memory is on the heap, so that one byte beyond it is
 * noticed. While virtiofsd lives the rings are not written to; after a lie nothing is served.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "device/fs_relay_core.h"

#define MEMORY  16384u
#define GUEST   0x1000u
#define USER    0x100000u
#define NUM     8u
#define RING    1024u /* bytes between the two rings */
#define BUFFERS 4096u
#define BUFFER  256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

typedef struct world {
    mvm__fsr *core;
    uint8_t *memory; /* the guest's: g_map once it was handed over as a file */
    uint16_t idx[2], used[2];
    bool lost;
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
    mvm_err err;
    uint8_t *exact = malloc(len), *before = malloc(MEMORY);
    bool alive = !w->core->dead;

    if (len > 0)
        memcpy(exact, payload, len);
    memcpy(before, w->memory, MEMORY);
    if (mvm__fsr_request(w->core, &header, exact, fds, nfds, &err)) {
        require(err.code == MVM_EBACKEND || err.code == MVM_EGUEST);
        w->lost = true;
    }
    require(w->core->reply_len <= sizeof(w->core->reply));
    require(!alive || memcmp(before, w->memory, MEMORY) == 0);
    free(before);
    free(exact);
}

static void request_state(world *w, uint32_t number, uint32_t index, uint32_t num)
{
    uint32_t state[2] = {index, num};

    if (!w->lost)
        request(w, number, false, state, sizeof(state), NULL, 0);
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

static void start_ring(world *w, uint32_t i, uint16_t base)
{
    uint64_t at = USER + i * RING;
    struct {
        uint32_t index, flags;
        uint64_t desc, used, avail, log;
    } addr = {i, 0, at, at + 256, at + 512, 0};

    request_state(w, MVM__VHU_GET_VRING_BASE, i, 0);
    request_state(w, MVM__VHU_SET_VRING_NUM, i, NUM);
    request_state(w, MVM__VHU_SET_VRING_BASE, i, base);
    if (!w->lost)
        request(w, MVM__VHU_SET_VRING_ADDR, false, &addr, sizeof(addr), NULL, 0);
    if (!w->lost)
        set_bell(w, MVM__VHU_SET_VRING_KICK, i);
    if (!w->lost)
        set_bell(w, MVM__VHU_SET_VRING_CALL, i);
    request_state(w, MVM__VHU_SET_VRING_ENABLE, i, 1);
}

static void any_request(world *w, input *in)
{
    static const uint32_t bells = 1u << MVM__VHU_SET_VRING_KICK | 1u << MVM__VHU_SET_VRING_CALL;
    uint32_t number = (uint32_t)take(in, 1) % 27, flags = (uint32_t)take(in, 1);
    uint8_t payload[128] = {0};
    unsigned nfds = flags & 1 || bells >> number & 1;
    uint32_t len = flags & 2 ? (uint32_t)take(in, 1) % sizeof(payload) : 8;
    int fd = nfds ? fcntl(flags & 4 ? g_memfd : g_bell, F_DUPFD_CLOEXEC, 0) : -1;

    if (number == MVM__VHU_SET_MEM_TABLE)
        len = 40;
    for (uint32_t i = 0; i < len && in->left > 0; i++)
        payload[i] = (uint8_t)take(in, 1);
    request(w, number, flags & 8, payload, len, &fd, nfds);
}

/* The same memory as a file: mapped in earnest, in two parts. */
static void map_memory(world *w, input *in)
{
    uint64_t cut = 1 + take(in, 2) % (MEMORY - 1);
    uint8_t *old = NULL;
    struct {
        uint32_t n, padding;
        uint64_t region[2][4];
    } table = {2, 0, {{GUEST, cut, USER, 0}, {GUEST + cut, MEMORY - cut, USER + cut, cut}}};
    int fds[2] = {fcntl(g_memfd, F_DUPFD_CLOEXEC, 0), fcntl(g_memfd, F_DUPFD_CLOEXEC, 0)};

    if (w->memory != g_map) {
        memcpy(g_map, w->memory, MEMORY);
        place_memory(w, g_map);
        old = w->memory;
        w->memory = g_map;
    }
    request(w, MVM__VHU_SET_MEM_TABLE, true, &table, sizeof(table), fds, 2);
    free(old); /* the rings were found there until now */
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

    put(w, ring * RING + (size_t)(index % NUM) * 16, &desc, sizeof(desc));
}

static void offer(world *w, unsigned ring, uint16_t head)
{
    put(w, ring * RING + 512 + 4 + 2 * (size_t)(w->idx[ring] % NUM), &head, sizeof(head));
    w->idx[ring]++;
    put(w, ring * RING + 512 + 2, &w->idx[ring], sizeof(w->idx[ring]));
}

/* A request as FUSE makes it, in descriptors `2k` and the next. */
static void ask(world *w, input *in)
{
    uint8_t what = (uint8_t)take(in, 1);
    unsigned ring = what & 1, head = what >> 1 & 6;
    uint32_t room = what & 0x10 ? (uint32_t)take(in, 1) : 16;
    size_t at = BUFFERS + (ring * NUM + head) * (size_t)BUFFER;

    put_desc(w, ring, head, GUEST + at, 40, room ? 1 : 0, (uint16_t)(head + 1));
    put_desc(w, ring, head + 1, GUEST + at + 64, room, 2, 0);
    offer(w, ring, (uint16_t)head);
}

static void any_desc(world *w, input *in)
{
    uint8_t which = (uint8_t)take(in, 1), how = (uint8_t)take(in, 1);
    uint64_t addr = how & 1 ? take(in, 8) : GUEST + take(in, 2);
    uint32_t len = (uint32_t)take(in, how & 2 ? 4 : 1);
    uint16_t next = (uint16_t)take(in, how & 4 ? 2 : 1);

    put_desc(w, which & 1, which >> 1, addr, len, how >> 3 & 7, next);
}

static void scribble(world *w, input *in)
{
    size_t offset = take(in, 2), len = take(in, 1) % 64;

    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)take(in, 1);
        put(w, (offset + i) % MEMORY, &byte, 1);
    }
}

/* ---- virtiofsd ------------------------------------------------------------------------------- */

/* It gives a head back, perhaps one that it never got, and may forget to ring. */
static void give_back(world *w, input *in)
{
    uint8_t what = (uint8_t)take(in, 1);
    unsigned ring = what & 1;
    uint32_t element[2] = {what >> 1 & 15, 16};

    if (w->core->dead)
        return;
    put(w, ring * RING + 256 + 4 + 8 * (size_t)(w->used[ring] % NUM), element, sizeof(element));
    w->used[ring]++;
    put(w, ring * RING + 256 + 2, &w->used[ring], sizeof(w->used[ring]));
    if (what & 0x80)
        mvm__fsr_bell(w->core, ring);
}

static void reply(world *w, input *in)
{
    uint32_t words[4] = {(uint32_t)take(in, 1), 5, (uint32_t)take(in, 1), (uint32_t)take(in, 4)};
    uint8_t message[MVM__VHU_HEADER + MVM__VHU_PAYLOAD_MAX] = {0};
    mvm_err err;

    if (w->core->dead)
        return;
    if (w->core->owed && words[0] < 0x80) {
        words[0] = w->core->owed;
        words[2] = (uint32_t)w->core->reply_len - MVM__VHU_HEADER;
    }
    memcpy(message, words, sizeof(words));
    if (mvm__fsr_reply(w->core, message, &err))
        w->lost = true;
    else
        require(!w->core->owed);
}

static void serve(world *w)
{
    bool more = true;
    mvm_err err;

    for (unsigned i = 0; i < 4 && more && !w->lost; i++) {
        int rc = mvm__fsr_serve(w->core, &more, &err);
        require(!rc || ((rc == MVM_EGUEST || rc == MVM_EBACKEND) && err.message[0]));
        require(w->core->dead || (!rc && !more));
        w->lost = rc != 0;
    }
}

/* ---- one run -----------------------------------------------------------------------------------
 */

static void step(world *w, input *in)
{
    switch (take(in, 1) % 16) {
    case 0:
        scribble(w, in);
        break;
    case 1:
        any_desc(w, in);
        break;
    case 2:
        offer(w, take(in, 1) & 1, (uint16_t)take(in, 2));
        break;
    case 3:
    case 4:
    case 5:
        ask(w, in);
        break;
    case 6:
    case 7:
        give_back(w, in);
        break;
    case 8:
        mvm__fsr_bell(w->core, take(in, 1) & 1);
        break;
    case 9:
        any_request(w, in);
        break;
    case 10:
        map_memory(w, in);
        break;
    case 11:
        reply(w, in);
        break;
    case 12:
        start_ring(w, take(in, 1) & 1, (uint16_t)take(in, 2));
        break;
    case 13:
        request_state(w, MVM__VHU_GET_VRING_BASE, take(in, 1) & 1, 0);
        break;
    case 14:
        mvm__fsr_dead(w->core);
        break;
    default:
        serve(w);
        break;
    }
}

static void open_once(void)
{
    if (g_memfd >= 0)
        return;
    g_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_memfd = memfd_create("guest", MFD_CLOEXEC);
    require(g_bell >= 0 && ftruncate(g_memfd, MEMORY) == 0);
    g_map = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, g_memfd, 0);
    require(g_map != MAP_FAILED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, size};
    world w = {.core = mvm__fsr_new(), .memory = calloc(1, MEMORY)};
    uint8_t features = (uint8_t)take(&in, 1);
    uint64_t value = MVM__VIRTIO_VERSION_1 | (features & 1 ? MVM__VIRTIO_RING_EVENT_IDX : 0) |
                     (features & 2 ? MVM__VIRTIO_RING_INDIRECT : 0);

    open_once();
    request(&w, MVM__VHU_SET_FEATURES, false, &value, sizeof(value), NULL, 0);
    place_memory(&w, w.memory);
    for (uint32_t i = 0; i < 2; i++)
        start_ring(&w, i, 0);
    while (in.left > 0 && !w.lost)
        step(&w, &in);
    if (!w.lost) {
        mvm__fsr_dead(w.core);
        serve(&w);
    }
    mvm__fsr_free(w.core);
    if (w.memory != g_map)
        free(w.memory);
    return 0;
}
