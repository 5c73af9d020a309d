/* SPDX-License-Identifier: MIT */
/*
 * The guest's end of vsock tests and benchmarks, one static program:
 *
 *   vsock_peer echo PORT          echoes every connection until its end
 *   vsock_peer sink PORT          reads each to its end, then says how many bytes came
 *   vsock_peer source PORT BYTES  sends so many bytes to each, then shuts down
 *   vsock_peer connect CID PORT   standard input to the connection, the connection to standard
 * output vsock_peer reset CID PORT     connects, sends a byte and resets vsock_peer cid prints the
 * guest's CID
 *
 * With TCP=1 in the environment ports are those of TCP on all addresses, and CID is an IPv4
 * address: the same program measures the other way. Servers print "listening" when they do.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

static char block[4 * CHUNK];

typedef struct conn {
    int fd;
    size_t off, len;
    bool ended; /* the peer has */
    uint64_t count, left;
    char data[16384];
} conn;

static int die(const char *what)
{
    fprintf(stderr, "vsock_peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static bool tcp(void)
{
    return getenv("TCP") != NULL;
}

static int address(const char *host, const char *port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (tcp()) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)strtoul(port, NULL, 10));
        if (host)
            inet_pton(AF_INET, host, &in->sin_addr);
        return sizeof(*in);
    }
    struct sockaddr_vm *vm = (struct sockaddr_vm *)out;
    vm->svm_family = AF_VSOCK;
    vm->svm_port = (unsigned)strtoul(port, NULL, 10);
    vm->svm_cid = host ? (unsigned)strtoul(host, NULL, 10) : VMADDR_CID_ANY;
    return sizeof(*vm);
}

static int new_socket(void)
{
    int one = 1;
    int fd = socket(tcp() ? AF_INET : AF_VSOCK, SOCK_STREAM, 0);

    if (fd < 0)
        die("socket");
    if (tcp()) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    return fd;
}

static int dial(const char *host, const char *port)
{
    struct sockaddr_storage to;
    int len = address(host, port, &to);
    int fd = new_socket();

    if (connect(fd, (struct sockaddr *)&to, (socklen_t)len))
        die("connect");
    return fd;
}

/* ---- servers ---------------------------------------------------------------------- */

enum mode { ECHO, SINK, SOURCE };

static void watch(int ep, int op, conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};

    if (epoll_ctl(ep, op, c->fd, &e))
        die("epoll_ctl");
}

static void finish(conn *c)
{
    close(c->fd);
    free(c);
}

/* Writes what is held; true: all. */
static bool flush(int ep, conn *c)
{
    while (c->len > 0) {
        ssize_t n = write(c->fd, c->data + c->off, c->len);
        if (n <= 0)
            break;
        c->off += (size_t)n;
        c->len -= (size_t)n;
    }
    watch(ep, EPOLL_CTL_MOD, c, c->len ? EPOLLOUT : c->ended ? 0 : EPOLLIN);
    return c->len == 0;
}

static void echo(int ep, conn *c)
{
    if (!flush(ep, c))
        return;
    ssize_t n = read(c->fd, c->data, sizeof(c->data));
    if (n > 0) {
        c->off = 0;
        c->len = (size_t)n;
        flush(ep, c);
    } else if (n == 0 || errno != EAGAIN) {
        finish(c);
    }
}

static void sink(conn *c)
{
    ssize_t n;

    while ((n = read(c->fd, block, sizeof(block))) > 0)
        c->count += (uint64_t)n;
    if (n < 0 && errno == EAGAIN)
        return;
    dprintf(c->fd, "%llu\n", (unsigned long long)c->count);
    finish(c);
}

static void source(conn *c)
{
    while (c->left > 0) {
        size_t want = c->left < sizeof(block) ? (size_t)c->left : sizeof(block);
        ssize_t n = write(c->fd, block, want);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            break;
        c->left -= (uint64_t)n;
    }
    finish(c);
}

static _Noreturn void serve(const char *port, enum mode mode, uint64_t bytes)
{
    struct sockaddr_storage at;
    int len = address(NULL, port, &at);
    int ls = new_socket(), ep = epoll_create1(0);
    struct rlimit many = {8192, 8192};
    conn door = {.fd = ls};

    setrlimit(RLIMIT_NOFILE, &many);
    if (bind(ls, (struct sockaddr *)&at, (socklen_t)len) || listen(ls, 1024))
        die("listen");
    fcntl(ls, F_SETFL, O_NONBLOCK);
    watch(ep, EPOLL_CTL_ADD, &door, EPOLLIN);
    puts("listening");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(ep, events, 64, -1);
        for (int i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;
            int fd;
            if (c != &door) {
                if (mode == ECHO)
                    echo(ep, c);
                else if (mode == SINK)
                    sink(c);
                else
                    source(c);
                continue;
            }
            while ((fd = accept(ls, NULL, NULL)) >= 0) {
                c = calloc(1, sizeof(*c));
                c->fd = fd;
                c->left = bytes;
                fcntl(fd, F_SETFL, O_NONBLOCK);
                watch(ep, EPOLL_CTL_ADD, c, mode == SOURCE ? EPOLLOUT : EPOLLIN);
            }
        }
    }
}

/* ---- clients ------------------------------------------------------------------------ */

static void copy(int from, int to, bool *open)
{
    ssize_t n = read(from, block, CHUNK);

    *open = n > 0;
    for (ssize_t at = 0, put; at < n; at += put)
        if ((put = write(to, block + at, (size_t)(n - at))) <= 0)
            die("write");
    if (n < 0)
        die("read");
}

static int join(int fd)
{
    bool in = true, out = true;

    while (out) {
        struct pollfd p[2] = {{.fd = in ? 0 : -1, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
        if (poll(p, 2, -1) < 0)
            die("poll");
        if (p[0].revents) {
            copy(0, fd, &in);
            if (!in)
                shutdown(fd, SHUT_WR);
        }
        if (p[1].revents)
            copy(fd, 1, &out);
    }
    return 0;
}

static int reset(int fd)
{
    struct linger now = {1, 0};

    if (write(fd, "x", 1) != 1)
        die("write");
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    return close(fd);
}

static int print_cid(void)
{
    unsigned cid = 0;
    int fd = open("/dev/vsock", O_RDONLY);

    if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid))
        die("/dev/vsock");
    return printf("%u\n", cid) < 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    if (strcmp(verb, "cid") == 0)
        return print_cid();
    if (strcmp(verb, "echo") == 0 && argc == 3)
        serve(argv[2], ECHO, 0);
    if (strcmp(verb, "sink") == 0 && argc == 3)
        serve(argv[2], SINK, 0);
    if (strcmp(verb, "source") == 0 && argc == 4)
        serve(argv[2], SOURCE, strtoull(argv[3], NULL, 10));
    if (strcmp(verb, "connect") == 0 && argc == 4)
        return join(dial(argv[2], argv[3]));
    if (strcmp(verb, "reset") == 0 && argc == 4)
        return reset(dial(argv[2], argv[3]));
    fprintf(stderr, "usage: vsock_peer echo|sink|source|connect|reset|cid ...\n");
    return 2;
}
