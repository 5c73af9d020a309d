/* SPDX-License-Identifier: MIT */
/*
 * The network of our own guest: `lo`, and each ethernet interface as the kernel
 * command line says, macvm.ip=[MAC,]ADDRESS/PREFIX[,GATEWAY[,DNS]], several
 * times when there are several; a word without a MAC is for the first that no
 * other is for. What gets no word, or is plugged in, asks DHCP. One thread.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/agent.h"

#define CLASS          "/sys/class/net"
#define RESOLV         "/etc/resolv.conf"
#define INTERFACES_MAX 32

extern char **environ;

typedef struct interface {
    char name[IFNAMSIZ]; /* "": a free place */
    int word;            /* of the command line; -1: none */
    pid_t dhcp;          /* 0: none */
} interface;

static interface interfaces[INTERFACES_MAX];

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

/* Brings an address onto `name`: "ADDRESS/PREFIX[,GATEWAY[,DNS]]". 0, or -errno. */
static int set_static(int sock, const char *name, char *text)
{
    char resolv[64];
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
        mvm__write_small(RESOLV, resolv);
    }
    return configure(sock, name, addr, (unsigned)prefix, via ? &gateway : NULL);
}

/* ---- interfaces --------------------------------------------------------------------------- */

static interface *find(const char *name)
{
    for (size_t i = 0; i < INTERFACES_MAX; i++)
        if (strcmp(interfaces[i].name, name) == 0)
            return &interfaces[i];
    return NULL;
}

static bool word_is_taken(int word)
{
    for (size_t i = 0; i < INTERFACES_MAX; i++)
        if (interfaces[i].name[0] && interfaces[i].word == word)
            return true;
    return false;
}

/* The first word of the command line that is for this interface and that no other has. */
static bool find_word(interface *i, char text[128])
{
    char path[64], mac[24];

    snprintf(path, sizeof path, CLASS "/%s/address", i->name);
    mvm__read_small(path, mac, sizeof mac);
    for (int word = 0; mvm__cmdline("macvm.ip", (size_t)word, text, 128); word++) {
        size_t n = strcspn(text, ",");
        bool named = memchr(text, ':', n) != NULL;
        if (word_is_taken(word) || (named && (n != strlen(mac) || strncasecmp(text, mac, n) != 0)))
            continue;
        if (named)
            memmove(text, text + n + (text[n] == ','), strlen(text + n + (text[n] == ',')) + 1);
        i->word = word;
        return true;
    }
    return false;
}

static void start_dhcp(interface *i)
{
    char tool[] = "/bin/udhcpc", front[] = "-f", on[] = "-i", with[] = "-s";
    char script[] = "/usr/share/udhcpc/default.script";
    char *argv[] = {tool, front, on, i->name, with, script, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;

    mvm__spawn_attr(&attr);
    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd <= 2; fd++)
        posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    int rc = posix_spawn(&i->dhcp, tool, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (rc) {
        i->dhcp = 0;
        mvm__log(tool, strerror(rc));
    }
}

/* A device's, not one that somebody made in the guest (a bridge, a tunnel). */
static bool is_ethernet(const char *name)
{
    char path[320], text[32];

    snprintf(path, sizeof path, CLASS "/%s/type", name);
    if (strlen(name) >= IFNAMSIZ || mvm__read_small(path, text, sizeof text) <= 0 ||
        atoi(text) != ARPHRD_ETHER)
        return false;
    snprintf(path, sizeof path, CLASS "/%s/device", name);
    return access(path, F_OK) == 0;
}

/* What has come gets the address that the command line has for it; else it asks for one, which may
 * take long and is not waited for: `late`. */
static void bring(const char *name, bool late)
{
    char text[128];
    interface *i = find("");

    if (!i || find(name) || !is_ethernet(name))
        return;
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return;
    *i = (interface){.word = -1};
    strcpy(i->name, name);
    int rc = 0;
    if (find_word(i, text))
        rc = set_static(sock, name, text);
    else if (late && (rc = bring_up(sock, name)) == 0)
        start_dhcp(i);
    else
        i->name[0] = '\0';
    if (rc)
        mvm__log(name, strerror(-rc));
    close(sock);
}

/* In the order in which the kernel found them. */
static void bring_all(bool late)
{
    for (long last = 0;;) {
        char path[320], text[32], name[IFNAMSIZ] = "";
        long best = 0;
        DIR *dir = opendir(CLASS);
        for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
            snprintf(path, sizeof path, CLASS "/%s/ifindex", e->d_name);
            if (strlen(e->d_name) >= IFNAMSIZ || mvm__read_small(path, text, sizeof text) <= 0)
                continue;
            long index = atol(text);
            if (index > last && (best == 0 || index < best)) {
                best = index;
                strcpy(name, e->d_name);
            }
        }
        if (dir)
            closedir(dir);
        if (best == 0)
            return;
        last = best;
        bring(name, late);
    }
}

void mvm__net_setup(void)
{
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (sock < 0)
        return;
    bring_up(sock, "lo");
    close(sock);
    bring_all(false);
}

void mvm__net_late(void)
{
    bring_all(true);
}

void mvm__net_device(const char *name, bool removed)
{
    interface *i = name && removed ? find(name) : NULL;

    if (!name)
        bring_all(true);
    else if (!removed)
        bring(name, true);
    else if (i && *name) {
        if (i->dhcp > 0)
            kill(i->dhcp, SIGTERM);
        i->name[0] = '\0';
    }
}

void mvm__net_child(pid_t pid)
{
    for (size_t i = 0; i < INTERFACES_MAX; i++)
        if (interfaces[i].dhcp == pid)
            interfaces[i].dhcp = 0;
}
