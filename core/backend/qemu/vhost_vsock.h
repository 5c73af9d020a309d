/* SPDX-License-Identifier: MIT */
/* The virtio sockets of the host's kernel: claiming a CID there. Any thread. */
#ifndef MVM_QEMU_VHOST_VSOCK_H
#define MVM_QEMU_VHOST_VSOCK_H

#include <stdint.h>

/* A descriptor of /dev/vhost-vsock that holds the CID until it (and every copy) is closed, for
 * QEMU's `vhostfd`. Else -errno: -EADDRINUSE when the CID is taken, by whomever on this host. */
int mvm__vhost_vsock_claim(uint32_t cid);

#endif
