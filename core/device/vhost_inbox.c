/* SPDX-License-Identifier: MIT */
/* Reading vhost-user messages: the header, then as much as it says; files come with either. */
#include "device/vhost_inbox.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"

static int keep_fds(mvm__vhost_inbox *in, struct msghdr *msg, mvm_err *err)
{
    bool many = msg->msg_flags & MSG_CTRUNC;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, (char *)c + at, sizeof(fd));
            if (in->nfds < MVM_COUNT(in->fds)) {
                in->fds[in->nfds++] = fd;
            } else {
                close(fd);
                many = true;
            }
        }
    }
    return many ? mvm_fail(err, MVM_EBACKEND, "%s sent too many file descriptors", in->who) : 0;
}

/* 1: `want` bytes are there. 0: not yet. */
static int fill(mvm__vhost_inbox *in, int sock, size_t want, mvm_err *err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MVM__VHU_REGIONS * sizeof(int))];
    } control;
    struct iovec piece = {in->bytes + in->have, want - in->have};
    struct msghdr msg = {.msg_iov = &piece,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};

    if (in->have >= want)
        return 1;
    ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        in->gone = true;
        return mvm_fail(err, MVM_EBACKEND, "%s has closed the connection", in->who);
    }
    in->have += (size_t)n;
    int rc = keep_fds(in, &msg, err);
    return rc ? rc : in->have == want;
}

int mvm__vhost_inbox_read(mvm__vhost_inbox *in, int sock, mvm_err *err)
{
    uint32_t len;
    int rc = fill(in, sock, MVM__VHU_HEADER, err);

    if (rc <= 0)
        return rc;
    memcpy(&len, in->bytes + 8, sizeof(len));
    if (len > MVM__VHU_PAYLOAD_MAX)
        return mvm_fail(err, MVM_EBACKEND, "%s sent a message that is too long", in->who);
    return fill(in, sock, MVM__VHU_HEADER + len, err);
}

void mvm__vhost_inbox_next(mvm__vhost_inbox *in)
{
    while (in->nfds > 0)
        close(in->fds[--in->nfds]);
    in->have = 0;
}
