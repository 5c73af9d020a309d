/* SPDX-License-Identifier: MIT */
/* Asking a program for one descriptor, which it sends over the socket that it has at 3. Waits for
 * the program without the loop. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "io/proc_child.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Any other child that ends meanwhile sends a signal, which must not cut it short. */
static bool wait_for(int sock, double seconds)
{
    struct pollfd pfd = {.fd = sock, .events = POLLIN};
    double end = now() + seconds;
    int rc;

    do {
        double left = MVM_MAX(end - now(), 0);
        rc = poll(&pfd, 1, (int)(left * 1000));
    } while (rc < 0 && errno == EINTR);
    return rc > 0;
}

/* -1: it closed the socket, or the time is over. */
static int receive(int sock, double seconds)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    int fd = -1;

    if (!wait_for(sock, seconds) || recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) <= 0)
        return -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(head), sizeof(int));
    return fd;
}

/* What it wrote before it ended, as one line. */
static void read_words(int fd, char *out, size_t cap)
{
    size_t len = 0;
    ssize_t n;

    while (len < cap - 1 && (n = read(fd, out + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    while (len > 0 && (out[len - 1] == '\n' || out[len - 1] == ' '))
        len--;
    out[len] = '\0';
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
}

int mvm__proc_ask_fd(const char *const *argv, double seconds, char *words, size_t cap, mvm_err *err)
{
    int pair[2], text[2];
    MVM_AUTO_FD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    words[0] = '\0';
    if (null_fd < 0 || mvm__cloexec_pipe(text) != 0)
        return mvm_fail(err, MVM_EIO, "can't prepare %s: %s", argv[0], strerror(errno));
    MVM_AUTO_FD int words_fd = text[0];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        close(text[1]);
        return mvm_fail(err, MVM_EIO, "can't prepare %s: %s", argv[0], strerror(errno));
    }
    MVM_AUTO_FD int sock = pair[0];
    mvm__proc_spec spec = {.argv = argv, .fds = &pair[1], .nfds = 1};
    int pid = mvm__proc_launch(&spec, (int[3]){null_fd, null_fd, text[1]}, err);
    close(pair[1]);
    close(text[1]);
    if (pid < 0)
        return pid;
    int fd = receive(sock, seconds);
    kill(pid, SIGKILL); /* it has done what it is for, or never will */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    fcntl(words_fd, F_SETFL, O_NONBLOCK);
    if (fd < 0)
        read_words(words_fd, words, cap);
    return fd >= 0 ? fd : mvm_fail(err, MVM_EIO, "%s gave no descriptor", argv[0]);
}
