/* SPDX-License-Identifier: MIT */
/*
 * The network of our own guest: `lo`, and the first ethernet interface as the
 * kernel command line says: macvm.ip=ADDRESS/PREFIX[,GATEWAY[,DNS]].
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/agent.h"

static void set_addr(struct sockaddr *out, struct in_addr addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = addr};

    memcpy(out, &in, sizeof in);
}

static int bring_up(int sock, const char *name)
{
    struct ifreq req = {0};

    snprintf(req.ifr_name, sizeof req.ifr_name, "%s", name);
    if (ioctl(sock, SIOCGIFFLAGS, &req))
        return -errno;
    req.ifr_flags |= IFF_UP;
    return ioctl(sock, SIOCSIFFLAGS, &req) ? -errno : 0;
}

/* The ethernet interface of the lowest index. */
static bool first_ethernet(char name[IFNAMSIZ])
{
    char path[320], text[32];
    long best = 0;
    DIR *dir = opendir("/sys/class/net");

    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        snprintf(path, sizeof path, "/sys/class/net/%s/type", e->d_name);
        if (e->d_name[0] == '.' || strlen(e->d_name) >= IFNAMSIZ ||
            mvm__read_small(path, text, sizeof text) <= 0 || atoi(text) != ARPHRD_ETHER)
            continue;
        snprintf(path, sizeof path, "/sys/class/net/%s/ifindex", e->d_name);
        mvm__read_small(path, text, sizeof text);
        long index = atol(text);
        if (index > 0 && (best == 0 || index < best)) {
            best = index;
            strcpy(name, e->d_name);
        }
    }
    if (dir)
        closedir(dir);
    return best > 0;
}

static int configure(int sock, const char *name, struct in_addr addr, unsigned prefix,
                     const struct in_addr *gateway)
{
    struct ifreq req = {0};
    struct in_addr mask = {.s_addr = htonl(prefix ? ~0u << (32 - prefix) : 0)};

    snprintf(req.ifr_name, sizeof req.ifr_name, "%s", name);
    set_addr(&req.ifr_addr, addr);
    if (ioctl(sock, SIOCSIFADDR, &req))
        return -errno;
    set_addr(&req.ifr_netmask, mask);
    if (ioctl(sock, SIOCSIFNETMASK, &req))
        return -errno;
    int rc = bring_up(sock, name);
    if (rc || !gateway)
        return rc;
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    set_addr(&route.rt_gateway, *gateway);
    set_addr(&route.rt_dst, (struct in_addr){0});
    set_addr(&route.rt_genmask, (struct in_addr){0});
    return ioctl(sock, SIOCADDRT, &route) ? -errno : 0;
}

static int setup_ethernet(int sock, char *text)
{
    char name[IFNAMSIZ], resolv[64];
    struct in_addr addr, gateway, dns;
    char *save = NULL;
    char *address = strtok_r(text, ",", &save);
    char *via = strtok_r(NULL, ",", &save);
    char *server = strtok_r(NULL, ",", &save);
    char *slash = address ? strchr(address, '/') : NULL;
    int prefix = slash ? atoi(slash + 1) : 24;

    if (slash)
        *slash = '\0';
    if (!address || inet_pton(AF_INET, address, &addr) != 1 || prefix < 0 || prefix > 32 ||
        (via && inet_pton(AF_INET, via, &gateway) != 1) ||
        (server && inet_pton(AF_INET, server, &dns) != 1))
        return -EINVAL;
    if (server) {
        snprintf(resolv, sizeof resolv, "nameserver %s\n", server);
        mvm__write_small("/etc/resolv.conf", resolv);
    }
    if (!first_ethernet(name))
        return -ENODEV;
    return configure(sock, name, addr, (unsigned)prefix, via ? &gateway : NULL);
}

void mvm__net_setup(void)
{
    char text[128];
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (sock < 0)
        return;
    bring_up(sock, "lo");
    if (mvm__cmdline("macvm.ip", text, sizeof text)) {
        int rc = setup_ethernet(sock, text);
        if (rc)
            mvm__log("macvm.ip", strerror(-rc));
    }
    close(sock);
}
