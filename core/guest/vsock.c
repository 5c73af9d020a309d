/* SPDX-License-Identifier: MIT */
/*
 * `vsock`, a command of macvm's own guest (a link to the agent): virtio sockets for shell scripts.
 * A process of its own, not part of the agent that runs.
 *
 * vsock connect CID PORT: standard input and output become the connection; CID 2 is the host.
 *
 * vsock listen PORT COMMAND...: runs the command for each connection, which is its standard input
 * and output.
 *
 * vsock cid: prints this machine's CID.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h> /* what the next one needs, and older headers don't include */
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "guest/agent.h"

static int fail(const char *what)
{
    fprintf(stderr, "vsock: %s: %s\n", what, strerror(errno));
    return 1;
}

static bool number(const char *text, unsigned *out)
{
    char *end;

    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    *out = (unsigned)n;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && n <= UINT32_MAX;
}

/* Copies what there is now; false: the end, or an error. */
static bool copy(int from, int to)
{
    char block[65536];
    ssize_t n = read(from, block, sizeof(block));

    for (ssize_t at = 0, put; at < n; at += put)
        if ((put = write(to, block + at, (size_t)(n - at))) <= 0)
            return false;
    return n > 0;
}

static int join(int fd)
{
    struct pollfd p[2] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

    while (p[1].fd >= 0) {
        if (poll(p, 2, -1) < 0)
            return fail("poll");
        if (p[0].revents && !copy(0, fd)) {
            shutdown(fd, SHUT_WR);
            p[0].fd = -1;
        }
        if (p[1].revents && !copy(fd, 1))
            p[1].fd = -1;
    }
    return 0;
}

static int dial(unsigned cid, unsigned port)
{
    struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        return fail("connect");
    return join(fd);
}

static int serve(unsigned port, char **command)
{
    struct sockaddr_vm at = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    int door = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (door < 0 || bind(door, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(door, 1024) != 0)
        return fail("listen");
    signal(SIGCHLD, SIG_IGN); /* the kernel reaps them */
    for (;;) {
        int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
            return fail("accept");
        if (fd < 0)
            continue;
        if (fork() == 0) {
            signal(SIGCHLD, SIG_DFL);
            dup2(fd, 0);
            dup2(fd, 1);
            execvp(command[0], command);
            _exit(fail(command[0]));
        }
        close(fd);
    }
}

static int print_cid(void)
{
    unsigned cid = 0;
    int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) != 0)
        return fail("/dev/vsock");
    return printf("%u\n", cid) < 0;
}

int mvm__vsock_command(int argc, char **argv)
{
    unsigned cid, port;

    if (argc == 2 && strcmp(argv[1], "cid") == 0)
        return print_cid();
    if (argc == 4 && strcmp(argv[1], "connect") == 0 && number(argv[2], &cid) &&
        number(argv[3], &port))
        return dial(cid, port);
    if (argc >= 4 && strcmp(argv[1], "listen") == 0 && number(argv[2], &port))
        return serve(port, argv + 3);
    fputs("usage: vsock connect CID PORT | vsock listen PORT COMMAND... | vsock cid\n", stderr);
    return 2;
}
