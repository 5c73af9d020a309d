/* SPDX-License-Identifier: MIT */
/* The fake driver of a socket device. The test's thread; the device has its own. */
#include "support/vsock_driver.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/base.h"

#define PATIENCE 10.0

static void require(bool holds, const char *what)
{
    if (!holds)
        mvm__die("fake driver: %s: %m", what);
}

/* ---- the front end ------------------------------------------------------------------------ */

int vsd_listener(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* An address of the family alone: the kernel finds a free abstract name. */
    require(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)) == 0, "bind");
    require(listen(fd, 1) == 0, "listen");
    return fd;
}

static void on_bell(void *ud)
{
    uint64_t count;

    (void)!read(*(int *)ud, &count, sizeof(count));
}

void vsd_connect(vsd *d, mvm_loop *loop, int listener)
{
    struct sockaddr_un addr;
    socklen_t len = sizeof(addr);

    *d = (vsd){.loop = loop, .cid = VSD_CID};
    d->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(getsockname(listener, (struct sockaddr *)&addr, &len) == 0, "getsockname");
    require(connect(d->sock, (struct sockaddr *)&addr, len) == 0, "connect");
    d->memfd = memfd_create("guest", MFD_CLOEXEC);
    require(ftruncate(d->memfd, VSD_MEMORY) == 0, "memory");
    d->memory = mmap(NULL, VSD_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, d->memfd, 0);
    require(d->memory != MAP_FAILED, "mmap");
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *page = d->memory + (size_t)i * 65536;
        vsd_ring *r = &d->ring[i];
        r->desc = (vsd_desc *)(void *)page;
        r->avail = (uint16_t *)(void *)(page + 16384);
        r->used = (uint16_t *)(void *)(page + 20480);
        r->buffers = (1u << 20) + (uint64_t)i * VSD_NUM * VSD_BUFFER;
        r->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (loop)
            d->watch[i] = mvm_watch_fd(loop, r->call, on_bell, &r->call);
    }
}

void vsd_free(vsd *d)
{
    for (unsigned i = 0; i < 2; i++) {
        mvm_watch_close(d->watch[i]);
        close(d->ring[i].kick);
        close(d->ring[i].call);
    }
    munmap(d->memory, VSD_MEMORY);
    close(d->memfd);
    if (d->sock >= 0)
        close(d->sock);
}

void vsd_request(vsd *d, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
                 const int *fds, unsigned nfds)
{
    uint32_t header[3] = {request, flags | 1, len};
    struct iovec piece[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)payload, len}};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(32 * sizeof(int))];
    } control = {0};
    struct msghdr msg = {.msg_iov = piece, .msg_iovlen = 2};

    if (nfds > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    (void)!sendmsg(d->sock, &msg, MSG_NOSIGNAL); /* a device that gave up hears nothing */
}

void vsd_answer(vsd *d, uint32_t request, void *payload, uint32_t len)
{
    uint32_t header[3];

    require(recv(d->sock, header, sizeof(header), MSG_WAITALL) == sizeof(header), "reply");
    require(header[0] == request && header[1] == 5 && header[2] == len, "reply's header");
    require(recv(d->sock, payload, len, MSG_WAITALL) == (ssize_t)len, "reply's payload");
}

uint64_t vsd_ask_u64(vsd *d, uint32_t request)
{
    uint64_t value;

    vsd_request(d, request, 0, NULL, 0, NULL, 0);
    vsd_answer(d, request, &value, sizeof(value));
    return value;
}

static void tell_u64(vsd *d, uint32_t request, uint64_t value)
{
    vsd_request(d, request, 0, &value, sizeof(value), NULL, 0);
}

static void tell_state(vsd *d, uint32_t request, uint32_t index, uint32_t num)
{
    uint32_t state[2] = {index, num};

    vsd_request(d, request, 0, state, sizeof(state), NULL, 0);
}

static void tell_fd(vsd *d, uint32_t request, uint32_t index, int fd)
{
    uint64_t value = index;

    vsd_request(d, request, 0, &value, sizeof(value), &fd, 1);
}

void vsd_set_memory(vsd *d)
{
    struct {
        uint32_t n, padding;
        uint64_t region[2][4];
    } table = {2, 0, {{VSD_GUEST, VSD_MEMORY / 2, VSD_USER, 0}}};
    int fds[2] = {d->memfd, d->memfd};
    uint64_t ack = 1;

    /* In two parts that meet, as memory beside holes comes. */
    table.region[1][0] = VSD_GUEST + VSD_MEMORY / 2;
    table.region[1][1] = VSD_MEMORY / 2;
    table.region[1][2] = VSD_USER + VSD_MEMORY / 2;
    table.region[1][3] = VSD_MEMORY / 2;
    vsd_request(d, MVM__VHU_SET_MEM_TABLE, 8, &table, sizeof(table), fds, 2);
    vsd_answer(d, MVM__VHU_SET_MEM_TABLE, &ack, sizeof(ack));
    require(ack == 0, "memory refused");
}

static uint64_t user_addr(const vsd *d, const void *p)
{
    return VSD_USER + (uint64_t)((const uint8_t *)p - d->memory);
}

void vsd_enable(vsd *d, bool on)
{
    for (uint32_t i = 0; i < 2; i++)
        tell_state(d, MVM__VHU_SET_VRING_ENABLE, i, on);
    if (!d->doomed)
        vsd_ask_u64(d, MVM__VHU_GET_FEATURES); /* all before it has been done */
}

void vsd_start(vsd *d, uint16_t rx_base, uint16_t tx_base)
{
    struct {
        uint32_t index, flags;
        uint64_t desc, used, avail, log;
    } addr;

    tell_u64(d, MVM__VHU_SET_FEATURES, d->features);
    d->event_idx = d->features & MVM__VIRTIO_RING_EVENT_IDX;
    vsd_set_memory(d);
    for (uint32_t i = 0; i < 2; i++) {
        vsd_ring *r = &d->ring[i];
        tell_state(d, MVM__VHU_SET_VRING_NUM, i, VSD_NUM);
        tell_state(d, MVM__VHU_SET_VRING_BASE, i, i ? tx_base : rx_base);
        memset(&addr, 0, sizeof(addr));
        addr.index = i;
        addr.desc = user_addr(d, r->desc);
        addr.used = user_addr(d, r->used);
        addr.avail = user_addr(d, r->avail);
        vsd_request(d, MVM__VHU_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
        tell_fd(d, MVM__VHU_SET_VRING_KICK, i, r->kick);
        tell_fd(d, MVM__VHU_SET_VRING_CALL, i, r->call);
    }
    if (d->features & MVM__VHU_F_PROTOCOL)
        vsd_enable(d, true);
    else if (!d->doomed)
        vsd_ask_u64(d, MVM__VHU_GET_FEATURES);
}

static void set_buffer(vsd *d, unsigned ring, uint16_t head, uint16_t flags, uint32_t len)
{
    vsd_ring *r = &d->ring[ring];

    r->desc[head] = (vsd_desc){VSD_GUEST + r->buffers + (uint64_t)head * VSD_BUFFER, len, flags, 0};
}

void vsd_fresh(vsd *d)
{
    for (unsigned i = 0; i < 2; i++) {
        vsd_ring *r = &d->ring[i];
        memset(r->desc, 0, VSD_NUM * sizeof(*r->desc));
        memset(r->avail, 0, 6 + 2 * VSD_NUM);
        memset(r->used, 0, 6 + 8 * VSD_NUM);
        r->seen = r->next_idx = 0;
    }
    for (uint16_t head = 0; head < VSD_NUM; head++) {
        set_buffer(d, VSD_RX, head, 2, VSD_BUFFER);
        d->ring[VSD_RX].avail[2 + head] = head;
    }
    d->ring[VSD_RX].avail[1] = d->ring[VSD_RX].next_idx = VSD_NUM;
}

void vsd_setup(vsd *d, uint64_t without)
{
    uint64_t features = vsd_ask_u64(d, MVM__VHU_GET_FEATURES);
    uint64_t protocol = vsd_ask_u64(d, MVM__VHU_GET_PROTOCOL_FEATURES);
    struct {
        uint32_t offset, size, flags;
        uint64_t cid;
    } __attribute__((packed)) config = {0, 8, 0, 0};

    d->features = features & ~without;
    tell_u64(d, MVM__VHU_SET_PROTOCOL_FEATURES, protocol);
    require(vsd_ask_u64(d, MVM__VHU_GET_QUEUE_NUM) >= 2, "queues");
    vsd_request(d, MVM__VHU_SET_OWNER, 0, NULL, 0, NULL, 0);
    vsd_request(d, MVM__VHU_GET_CONFIG, 0, &config, sizeof(config), NULL, 0);
    vsd_answer(d, MVM__VHU_GET_CONFIG, &config, sizeof(config));
    require(config.cid == d->cid, "the CID");
    vsd_fresh(d);
    vsd_start(d, 0, 0);
}

uint16_t vsd_stop(vsd *d, uint32_t ring)
{
    uint32_t state[2] = {ring, 0};

    vsd_request(d, MVM__VHU_GET_VRING_BASE, 0, state, sizeof(state), NULL, 0);
    vsd_answer(d, MVM__VHU_GET_VRING_BASE, state, sizeof(state));
    require(state[0] == ring && state[1] <= UINT16_MAX, "base");
    return (uint16_t)state[1];
}

/* ---- the driver ---------------------------------------------------------------------------- */

static uint16_t load(const uint16_t *at)
{
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);
}

void vsd_kick(vsd *d, unsigned ring)
{
    uint64_t one = 1;

    d->kicks++;
    (void)!write(d->ring[ring].kick, &one, sizeof(one));
}

void vsd_offer(vsd *d, unsigned ring, uint16_t head)
{
    vsd_ring *r = &d->ring[ring];
    uint16_t old = r->next_idx;

    r->avail[2 + old % VSD_NUM] = head;
    __atomic_store_n(&r->avail[1], ++r->next_idx, __ATOMIC_SEQ_CST);
    if (d->event_idx) {
        uint16_t event = load(&r->used[2 + 4 * VSD_NUM]);
        if ((uint16_t)(r->next_idx - event - 1) < (uint16_t)(r->next_idx - old))
            vsd_kick(d, ring);
    } else if (!(load(&r->used[0]) & 1)) {
        vsd_kick(d, ring);
    }
}

/* The next buffer that came back, and asks to hear of the one after it. */
static bool take_used(vsd *d, unsigned ring, uint32_t *head, uint32_t *len)
{
    vsd_ring *r = &d->ring[ring];

    if (load(&r->used[1]) == r->seen) {
        __atomic_store_n(&r->avail[2 + VSD_NUM], r->seen, __ATOMIC_SEQ_CST);
        if (load(&r->used[1]) == r->seen)
            return false;
    }
    const uint16_t *element = &r->used[2 + 4 * (r->seen % VSD_NUM)];
    memcpy(head, element, 4);
    memcpy(len, element + 2, 4);
    require(*head < VSD_NUM, "a used head");
    r->seen++;
    return true;
}

bool vsd_poll(vsd *d, mvm__vsock_header *header, void *data)
{
    uint32_t head, len;

    if (!take_used(d, VSD_RX, &head, &len))
        return false;
    const uint8_t *at = d->memory + d->ring[VSD_RX].buffers + (size_t)head * VSD_BUFFER;
    require(len >= MVM__VSOCK_HEADER && len <= VSD_BUFFER, "a packet's length");
    mvm__vsock_decode(at, header);
    require(header->len == len - MVM__VSOCK_HEADER, "a packet's payload");
    require(header->dst_cid == d->cid, "a packet's address");
    if (data)
        memcpy(data, at + MVM__VSOCK_HEADER, header->len);
    vsd_offer(d, VSD_RX, (uint16_t)head);
    return true;
}

static void on_timeout(void *ud)
{
    *(bool *)ud = true;
}

bool vsd_recv(vsd *d, mvm__vsock_header *header, void *data)
{
    bool late = false, got;
    mvm_timer *timer = mvm_timer_start(d->loop, PATIENCE, on_timeout, &late);

    while (!(got = vsd_poll(d, header, data)) && !late)
        mvm_loop_step(d->loop, true);
    if (!late)
        mvm_timer_cancel(timer);
    return got;
}

bool vsd_until(mvm_loop *loop, const bool *flag)
{
    bool late = false;
    mvm_timer *timer = mvm_timer_start(loop, PATIENCE, on_timeout, &late);

    while (!*flag && !late)
        mvm_loop_step(loop, true);
    if (!late)
        mvm_timer_cancel(timer);
    return *flag;
}

void vsd_send(vsd *d, const mvm__vsock_header *header, const void *payload)
{
    vsd_ring *r = &d->ring[VSD_TX];
    uint16_t head = (uint16_t)(r->next_idx % VSD_NUM);
    uint8_t *at = d->memory + r->buffers + (size_t)head * VSD_BUFFER;
    uint32_t ignored, len = header->len;

    require(len <= VSD_BUFFER - MVM__VSOCK_HEADER, "a payload's length");
    while ((uint16_t)(r->next_idx - r->seen) >= VSD_NUM)
        if (!take_used(d, VSD_TX, &ignored, &ignored))
            mvm_loop_step(d->loop, true);
    mvm__vsock_encode(header, at);
    if (len > 0)
        memcpy(at + MVM__VSOCK_HEADER, payload, len);
    set_buffer(d, VSD_TX, head, 0, MVM__VSOCK_HEADER + len);
    vsd_offer(d, VSD_TX, head);
}

static mvm__vsock_header header_of(const vsd *d, uint16_t op, uint32_t guest_port, uint32_t port)
{
    return (mvm__vsock_header){.src_cid = d->cid,
                               .dst_cid = 2,
                               .src_port = guest_port,
                               .dst_port = port,
                               .type = MVM__VSOCK_STREAM,
                               .op = op,
                               .buf_alloc = 1u << 20};
}

void vsd_op(vsd *d, uint16_t op, uint32_t guest_port, uint32_t port)
{
    mvm__vsock_header header = header_of(d, op, guest_port, port);

    vsd_send(d, &header, NULL);
}

void vsd_data(vsd *d, uint32_t guest_port, uint32_t port, const void *data, uint32_t len)
{
    mvm__vsock_header header = header_of(d, MVM__VSOCK_RW, guest_port, port);

    header.len = len;
    vsd_send(d, &header, data);
}
