/* SPDX-License-Identifier: MIT */
/*
 * Onto a bridge of the host: a tap interface that lives as long as its descriptor, made by
 * ourselves where we may, else by QEMU's set-uid helper. The tap's address is the guest's with a
 * first byte of fe, so that a bridge never takes it for its own, and so that two guests with the
 * same address are noticed, also of two macvm. Loop thread only.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/qemu/net.h"
#include "base/base.h"

#define TUN            "/dev/net/tun"
#define CAP_NET_ADMIN  12
#define CAP_SYS_ADMIN  21
#define HELPER         "/usr/lib/qemu/qemu-bridge-helper"
#define HELPER_SECONDS 10

bool mvm__net_is_bridge(const char *interface)
{
    char path[96];

    snprintf(path, sizeof(path), "/sys/class/net/%.32s/bridge", interface);
    return access(path, F_OK) == 0;
}

/* ---- rights -------------------------------------------------------------------------- */

static bool has_capability(int number)
{
    char line[128];
    uint64_t mask = 0;
    FILE *f = fopen("/proc/self/status", "re");

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "CapEff: %" SCNx64, &mask) == 1)
            break;
    if (f)
        fclose(f);
    return mask >> number & 1;
}

static bool has_helper(void)
{
    struct stat st;

    return stat(HELPER, &st) == 0 && st.st_uid == 0 &&
           (st.st_mode & (S_ISUID | S_IXOTH)) == (S_ISUID | S_IXOTH);
}

int mvm__net_bridge_check(const char *interface, mvm_err *err)
{
    bool bridge = mvm__net_is_bridge(interface);

    if (bridge && has_capability(CAP_NET_ADMIN)) {
        if (access(TUN, R_OK | W_OK) == 0)
            return 0;
        mvm_fail(err, MVM_EUNSUPPORTED, "can't use %s: %s", TUN, strerror(errno));
        mvm_err_hint(err, "load the kernel module tun, or ask for access to %s", TUN);
    } else if (bridge && !has_helper()) {
        mvm_fail(err, MVM_EUNSUPPORTED, "no right to connect to the bridge %.32s", interface);
        mvm_err_hint(err,
                     "run macvm as root or with CAP_NET_ADMIN, or make %s set-uid and allow the "
                     "bridge in /etc/qemu/bridge.conf",
                     HELPER);
    } else if (!bridge && !(has_capability(CAP_NET_ADMIN) && has_capability(CAP_SYS_ADMIN))) {
        mvm_fail(err, MVM_EUNSUPPORTED, "no right to connect to the interface %.32s", interface);
        mvm_err_hint(err, "run macvm as root, or make a bridge that the interface is part of");
    } else {
        return 0;
    }
    return MVM_EUNSUPPORTED;
}

/* ---- addresses -------------------------------------------------------------------------- */

static void tap_address(const char *mac, char out[18])
{
    snprintf(out, 18, "fe%s", mac + 2);
}

bool mvm__net_mac_taken(const char *mac)
{
    char path[300], text[32], want[18];
    bool taken = false;
    DIR *dir = opendir("/sys/class/net");

    tap_address(mac, want);
    for (struct dirent *e; dir && !taken && (e = readdir(dir)) != NULL;) {
        snprintf(path, sizeof(path), "/sys/class/net/%s/address", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(text, sizeof(text), f))
            taken = strncmp(text, want, 17) == 0;
        if (f)
            fclose(f);
    }
    if (dir)
        closedir(dir);
    return taken;
}

/* ---- by ourselves ------------------------------------------------------------------------- */

static int set_address(int sock, struct ifreq *req, const char *mac)
{
    char text[18];
    unsigned b[6];

    tap_address(mac, text);
    if (sscanf(text, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
        return -1;
    req->ifr_hwaddr.sa_family = ARPHRD_ETHER;
    for (int i = 0; i < 6; i++)
        req->ifr_hwaddr.sa_data[i] = (char)b[i];
    return ioctl(sock, SIOCSIFHWADDR, req);
}

/* A bridge takes the least MTU of its ports: ours must not lower it. */
static int copy_mtu(int sock, struct ifreq *tap, const char *bridge)
{
    struct ifreq req = {0};

    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", bridge);
    if (ioctl(sock, SIOCGIFMTU, &req) != 0)
        return -1;
    tap->ifr_mtu = req.ifr_mtu;
    return ioctl(sock, SIOCSIFMTU, tap);
}

static int join_bridge(int sock, const char *bridge, const char *tap)
{
    struct ifreq req = {0};

    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", bridge);
    req.ifr_ifindex = (int)if_nametoindex(tap);
    return ioctl(sock, SIOCBRADDIF, &req);
}

static int bring_up(int sock, struct ifreq *req)
{
    if (ioctl(sock, SIOCGIFFLAGS, req) != 0)
        return -1;
    req->ifr_flags |= IFF_UP;
    return ioctl(sock, SIOCSIFFLAGS, req);
}

static int open_tap(const char *bridge, const char *mac, char name[IFNAMSIZ], mvm_err *err)
{
    struct ifreq req = {0};
    MVM_AUTO_FD int fd = open(TUN, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    MVM_AUTO_FD int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || sock < 0)
        return mvm_fail(err, MVM_EUNSUPPORTED, "can't open %s: %s", TUN, strerror(errno));
    req.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    snprintf(req.ifr_name, sizeof(req.ifr_name), "mvm%%d"); /* the kernel counts */
    if (ioctl(fd, TUNSETIFF, &req) != 0)
        return mvm_fail(err, MVM_EUNSUPPORTED, "can't make a tap interface: %s", strerror(errno));
    memcpy(name, req.ifr_name, IFNAMSIZ);
    if (set_address(sock, &req, mac) != 0 || copy_mtu(sock, &req, bridge) != 0 ||
        join_bridge(sock, bridge, name) != 0 || bring_up(sock, &req) != 0)
        return mvm_fail(err, MVM_EIO, "can't connect to the bridge %s: %s", bridge,
                        strerror(errno));
    return mvm__steal_fd(fd);
}

/* ---- by the helper -------------------------------------------------------------------------- */

static int ask_helper(const char *bridge, mvm_err *err)
{
    MVM_AUTO_FREE char *option = mvm__asprintf("--br=%s", bridge);
    const char *const argv[] = {HELPER, "--use-vnet", option, "--fd=3", NULL};
    char words[512];
    int fd = mvm__proc_ask_fd(argv, HELPER_SECONDS, words, sizeof(words), err);

    if (fd >= 0)
        return fd;
    mvm_fail(err, MVM_EUNSUPPORTED, "%s did not connect to the bridge %s%s%s", HELPER, bridge,
             words[0] ? ": " : "", words);
    mvm_err_hint(err, "/etc/qemu/bridge.conf has to say: allow %s", bridge);
    return err->code;
}

int mvm__net_bridge_open(const char *interface, const char *mac, char tap[IFNAMSIZ], mvm_err *err)
{
    tap[0] = '\0';
    return has_capability(CAP_NET_ADMIN) ? open_tap(interface, mac, tap, err)
                                         : ask_helper(interface, err);
}
