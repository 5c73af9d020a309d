/* SPDX-License-Identifier: MIT */
/* The virtio sockets of the host's kernel. CIDs are global on a host, so one is claimed here, where
 * the kernel decides, and QEMU gets what holds it: nothing can take it in between. Any thread. */
#include "backend/qemu/vhost_vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vhost.h>

#include "base/base.h"

int mvm__vhost_vsock_claim(uint32_t cid)
{
    uint64_t wanted = cid;
    MVM_AUTO_FD int fd = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &wanted) != 0)
        return -errno;
    return mvm__steal_fd(fd);
}
