/* SPDX-License-Identifier: MIT */
/*
 * Onto an interface of the host that is no bridge: a macvtap, which shares the interface with the
 * host. Such an interface stays when its descriptors are closed, so it is made in a network
 * namespace of its own, which the descriptor alone holds: whatever ends QEMU takes it away. The
 * namespaces are entered by a thread that exists for that; the loop's waits for it, some
 * milliseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backend/qemu/net.h"
#include "base/base.h"

#define NAME "guest"

typedef struct request {
    struct nlmsghdr head;
    struct ifinfomsg info;
    char attributes[256];
} request;

typedef struct work {
    unsigned lower; /* the host's interface */
    const char *mac;
    int fd;           /* the outcome; -1 */
    int error;        /* why not */
    const char *step; /* what failed */
} work;

/* ---- netlink ----------------------------------------------------------------------------- */

static struct rtattr *put(request *r, unsigned short type, const void *data, size_t len)
{
    struct rtattr *at = (struct rtattr *)(void *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));

    at->rta_type = type;
    at->rta_len = (unsigned short)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(at), data, len);
    r->head.nlmsg_len = NLMSG_ALIGN(r->head.nlmsg_len) + (unsigned)RTA_ALIGN(at->rta_len);
    return at;
}

static void close_nest(const request *r, struct rtattr *nest)
{
    nest->rta_len = (unsigned short)((const char *)r + r->head.nlmsg_len - (const char *)nest);
}

/* Over a socket of the host's namespace: the new interface's is that of `netns`. -errno. */
static int make_link(int sock, const work *w, int netns)
{
    const unsigned mode = MACVLAN_MODE_BRIDGE;
    unsigned char mac[6];
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[512];
    } answer;
    request r = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                          .nlmsg_type = RTM_NEWLINK,
                          .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK}};

    if (sscanf(w->mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
               &mac[5]) != 6)
        return -EINVAL;
    put(&r, IFLA_IFNAME, NAME, sizeof(NAME));
    put(&r, IFLA_LINK, &w->lower, sizeof(w->lower));
    put(&r, IFLA_ADDRESS, mac, sizeof(mac));
    put(&r, IFLA_NET_NS_FD, &netns, sizeof(netns));
    struct rtattr *info = put(&r, IFLA_LINKINFO, NULL, 0);
    put(&r, IFLA_INFO_KIND, "macvtap", sizeof("macvtap"));
    struct rtattr *data = put(&r, IFLA_INFO_DATA, NULL, 0);
    put(&r, IFLA_MACVLAN_MODE, &mode, sizeof(mode));
    close_nest(&r, data);
    close_nest(&r, info);
    if (send(sock, &r, r.head.nlmsg_len, 0) < 0)
        return -errno;
    ssize_t n = recv(sock, &answer, sizeof(answer), 0);
    if (n < (ssize_t)(sizeof(answer.head) + sizeof(answer.error)) ||
        answer.head.nlmsg_type != NLMSG_ERROR)
        return n < 0 ? -errno : -EPROTO;
    return answer.error.error;
}

/* ---- in the namespace ------------------------------------------------------------------------ */

static int bring_up(void)
{
    struct ifreq req = {0};
    MVM_AUTO_FD int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(req.ifr_name, sizeof(req.ifr_name), NAME);
    if (sock < 0 || ioctl(sock, SIOCGIFFLAGS, &req) != 0)
        return -errno;
    req.ifr_flags |= IFF_UP;
    return ioctl(sock, SIOCSIFFLAGS, &req) == 0 ? 0 : -errno;
}

/* The character device of the interface, whose number only the namespace's own /sys tells. */
static int open_device(void)
{
    char path[64], text[32] = "";
    unsigned major, minor;
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("sysfs", "/sys", "sysfs", 0, NULL) != 0 ||
        mount("tmpfs", "/tmp", "tmpfs", 0, "size=64k") != 0)
        return -errno;
    snprintf(path, sizeof(path), "/sys/class/macvtap/tap%u/dev", if_nametoindex(NAME));
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    bool read = fgets(text, sizeof(text), f) != NULL;
    fclose(f);
    if (!read || sscanf(text, "%u:%u", &major, &minor) != 2)
        return -EPROTO;
    if (mknod("/tmp/tap", S_IFCHR | 0600, makedev(major, minor)) != 0)
        return -errno;
    MVM_AUTO_FD int fd = open("/tmp/tap", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &req) != 0)
        return -errno;
    return mvm__steal_fd(fd);
}

static int fail_step(work *w, const char *step, int error)
{
    w->step = step;
    w->error = error;
    return -1;
}

static int make(work *w)
{
    MVM_AUTO_FD int link = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (link < 0)
        return fail_step(w, "can't ask the kernel", errno);
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_FS) != 0)
        return fail_step(w, "can't make a network namespace", errno);
    MVM_AUTO_FD int netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (netns < 0)
        return fail_step(w, "can't find the network namespace", errno);
    int rc = make_link(link, w, netns);
    if (rc == 0)
        rc = bring_up();
    if (rc != 0)
        return fail_step(w, "can't make a macvtap on it", -rc);
    w->fd = open_device();
    return w->fd >= 0 ? 0 : fail_step(w, "can't open its macvtap", -w->fd);
}

static void *run(void *ud)
{
    (void)make(ud);
    return NULL;
}

int mvm__net_macvtap_open(const char *interface, const char *mac, mvm_err *err)
{
    work w = {.lower = if_nametoindex(interface), .mac = mac, .fd = -1};
    sigset_t all, old;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&thread, NULL, run, &w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return mvm_fail(err, MVM_EIO, "can't start a thread: %s", strerror(rc));
    pthread_join(thread, NULL);
    if (w.fd >= 0)
        return w.fd;
    mvm_fail(err, MVM_EUNSUPPORTED, "the interface %s: %s: %s", interface, w.step,
             strerror(w.error));
    if (w.error == EOPNOTSUPP)
        mvm_err_hint(err, "the host's kernel has no macvtap: make a bridge instead");
    else if (w.error == EPERM)
        mvm_err_hint(err, "run macvm as root, or make a bridge that the interface is part of");
    else
        mvm_err_hint(err, "a bridge that the interface is part of works too");
    return MVM_EUNSUPPORTED;
}
