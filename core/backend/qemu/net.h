/* SPDX-License-Identifier: MIT */
/* What the files of network devices share: dev_net.c, net_forward.c, net_tap.c, net_macvtap.c. */
#ifndef MVM_QEMU_NET_H
#define MVM_QEMU_NET_H

#include <net/if.h>

#include "backend/qemu/dev.h"

typedef struct mvm__net_forward {
    bool udp;
    char host[16]; /* IPv4 address */
    int port;      /* of the host; 0: QEMU picks one, and has not told which */
    int guest_port;
} mvm__net_forward;

/* dev->data of a network device. */
typedef struct mvm__net {
    char mac[18];
    unsigned subnet;    /* NAT: 10.0.SUBNET.0/24; 0: bridged */
    char tap[IFNAMSIZ]; /* the host's interface, "" where it has none of ours */
    char fd_name[24];   /* bridged: what QEMU calls the descriptor */
    bool down;          /* the link */
    mvm__net_forward *forwards;
    size_t nforwards;
} mvm__net;

/* ---- net_forward.c ------------------------------------------------------------------ */

/* "tcp:127.0.0.1:8080", as it stands in a record, and the port that it leads to. */
void mvm__net_forward_parse(const char *key, int guest_port, mvm__net_forward *out);
/* All of a record; the array is to be freed. */
size_t mvm__net_forwards(const mvm_record *net, mvm__net_forward **out);
/* MVM_ECONFIG when an address of the host is taken, with the process that has it where that can be
 * known. Listens for a moment. */
int mvm__net_forward_check(const mvm_vm *vm, const mvm_record *net, const char *at, mvm_err *err);
/* Fills the ports that QEMU picked from the text of `info usernet`, of which only the lines of the
 * back end `netdev` are read. false: one is missing. Pure. */
bool mvm__net_forward_picked(const char *text, const char *netdev, mvm__net_forward *forwards,
                             size_t n);

/* ---- net_tap.c, net_macvtap.c ------------------------------------------------------------ */

/* Whether this process may bridge onto `interface`; MVM_EUNSUPPORTED with what is missing. */
int mvm__net_bridge_check(const char *interface, mvm_err *err);
/* A connection of ours to the host's bridge or interface, which vanishes when nobody holds the
 * descriptor any more; -1 with *err. `tap`: its interface, "" when it can't be known. */
int mvm__net_bridge_open(const char *interface, const char *mac, char tap[IFNAMSIZ], mvm_err *err);
int mvm__net_macvtap_open(const char *interface, const char *mac, mvm_err *err);
bool mvm__net_is_bridge(const char *interface);
/* Has another connection to a bridge of this host that address for its guest? */
bool mvm__net_mac_taken(const char *mac);

#endif
