/* SPDX-License-Identifier: MIT */
/*
 * Ports of the host that lead into the guest: read from the configuration, tried before the start,
 * and, where QEMU picked them, read from its text. Loop thread only.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/qemu/net.h"
#include "base/base.h"

void mvm__net_forward_parse(const char *key, int guest_port, mvm__net_forward *out)
{
    *out = (mvm__net_forward){.udp = strncmp(key, "udp:", 4) == 0, .guest_port = guest_port};
    if (strncmp(key, "tcp:", 4) == 0 || out->udp)
        key += 4;
    const char *colon = strrchr(key, ':'); /* it has one: the record was checked */
    snprintf(out->host, sizeof(out->host), "%.*s", (int)(colon - key), key);
    out->port = atoi(colon + 1);
}

size_t mvm__net_forwards(const mvm_record *net, mvm__net_forward **out)
{
    const char *key;
    mvm_value port;
    size_t n = 0;

    *out = NULL;
    for (; mvm_record_entry(net, "forward", n, &key, &port); n++) {
        *out = mvm__realloc(*out, (n + 1) * sizeof(**out));
        mvm__net_forward_parse(key, (int)port.as.integer, &(*out)[n]);
    }
    return n;
}

/* ---- who has a port --------------------------------------------------------------------- */

/* Does a line of /proc/net/{tcp,udp}{,6} keep us from listening there? IPv6: "any" takes IPv4
 * too. */
static bool is_in_the_way(const char *line, const mvm__net_forward *f, unsigned long *inode)
{
    char address[40];
    unsigned port, state;
    struct in_addr want;

    if (sscanf(line, " %*u: %39[0-9A-F]:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu", address,
               &port, &state, inode) != 4 ||
        port != (unsigned)f->port || (!f->udp && state != 0x0a))
        return false;
    if (strspn(address, "0") == strlen(address) || inet_pton(AF_INET, f->host, &want) != 1 ||
        want.s_addr == 0)
        return true;
    return strlen(address) == 8 && strtoul(address, NULL, 16) == want.s_addr;
}

static unsigned long find_socket(const mvm__net_forward *f)
{
    static const char *const files[2][2] = {{"/proc/net/tcp", "/proc/net/tcp6"},
                                            {"/proc/net/udp", "/proc/net/udp6"}};
    unsigned long inode = 0;
    char line[512];

    for (int i = 0; i < 2 && inode == 0; i++) {
        FILE *file = fopen(files[f->udp][i], "re");
        while (file && inode == 0 && fgets(line, sizeof(line), file))
            if (!is_in_the_way(line, f, &inode))
                inode = 0;
        if (file)
            fclose(file);
    }
    return inode;
}

static bool holds(const char *pid, const char *socket)
{
    char path[300], target[64];
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && !found && (e = readdir(dir)) != NULL;) {
        snprintf(path, sizeof(path), "/proc/%s/fd/%.20s", pid, e->d_name);
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        found = strcmp(target, socket) == 0;
    }
    if (dir)
        closedir(dir);
    return found;
}

/* " by process 123 (nginx)", or "" where it can't be known: not ours to look into, or no /proc. */
static void find_owner(const mvm__net_forward *f, char *out, size_t cap)
{
    unsigned long inode = find_socket(f);
    char socket[48], path[300], name[32] = "";

    out[0] = '\0';
    snprintf(socket, sizeof(socket), "socket:[%lu]", inode);
    DIR *proc = inode ? opendir("/proc") : NULL;
    for (struct dirent *e; proc && (e = readdir(proc)) != NULL;) {
        if (!isdigit((unsigned char)e->d_name[0]) || !holds(e->d_name, socket))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
        FILE *file = fopen(path, "re");
        if (file && fgets(name, sizeof(name), file))
            name[strcspn(name, "\n")] = '\0';
        if (file)
            fclose(file);
        snprintf(out, cap, " by process %.20s (%s)", e->d_name, name);
        break;
    }
    if (proc)
        closedir(proc);
}

/* ---- check --------------------------------------------------------------------------------- */

/* Listens as QEMU will, for a moment. 0 or an errno. */
static int try_port(const mvm__net_forward *f)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port)};
    MVM_AUTO_FD int fd = socket(AF_INET, (f->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    const int on = 1;

    if (fd < 0 || inet_pton(AF_INET, f->host, &addr.sin_addr) != 1)
        return 0; /* what QEMU makes of it counts */
    if (!f->udp)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || (!f->udp && listen(fd, 1) != 0))
        return errno;
    return 0;
}

static bool overlap(const char *a, const char *b)
{
    return strcmp(a, b) == 0 || strcmp(a, "0.0.0.0") == 0 || strcmp(b, "0.0.0.0") == 0;
}

/* The machine of this lab that has it. */
static const char *find_machine(const mvm_vm *vm, const mvm__net_forward *f)
{
    mvm_forward other;
    mvm_vm *m;

    for (size_t i = 0; (m = mvm_lab_vm(mvm_vm_lab(vm), i)) != NULL; i++)
        for (size_t k = 0; mvm_vm_forward(m, k, &other); k++)
            if (other.port == f->port && (strcmp(other.protocol, "udp") == 0) == f->udp &&
                overlap(other.host, f->host))
                return mvm_vm_name(m);
    return NULL;
}

static int refuse(const mvm_vm *vm, const mvm__net_forward *f, int error, const char *at,
                  mvm_err *err)
{
    const char *machine = error == EADDRINUSE ? find_machine(vm, f) : NULL;
    char owner[80] = "";

    if (machine)
        snprintf(owner, sizeof(owner), " by the machine \"%.40s\"", machine);
    else if (error == EADDRINUSE)
        find_owner(f, owner, sizeof(owner));
    if (error == EADDRINUSE)
        mvm_fail(err, MVM_ECONFIG, "%s port %d of %s is in use%s", f->udp ? "UDP" : "TCP", f->port,
                 f->host, owner);
    else
        mvm_fail(err, MVM_ECONFIG, "can't listen on %s port %d of %s: %s", f->udp ? "UDP" : "TCP",
                 f->port, f->host, strerror(error));
    mvm_err_field(err, "%s.forward[\"%s%s:%d\"]", at, f->udp ? "udp:" : "", f->host, f->port);
    if (error == EADDRNOTAVAIL)
        mvm_err_hint(err, "an address of this host, such as 127.0.0.1, or 0.0.0.0 for all");
    else
        mvm_err_hint(err, "port 0 takes one that is free; vm:forwards() tells which");
    return MVM_ECONFIG;
}

int mvm__net_forward_check(const mvm_vm *vm, const mvm_record *net, const char *at, mvm_err *err)
{
    MVM_AUTO_FREE mvm__net_forward *list = NULL;
    size_t n = mvm__net_forwards(net, &list);

    for (size_t i = 0; i < n; i++) {
        int error = list[i].port > 0 ? try_port(&list[i]) : 0;
        if (error)
            return refuse(vm, &list[i], error, at, err);
    }
    return 0;
}

/* ---- what QEMU picked ----------------------------------------------------------------- */

/* "  TCP[HOST_FORWARD]   8       127.0.0.1 45159       10.0.2.15    80     0     0" */
static void read_line(const char *line, mvm__net_forward *forwards, size_t n)
{
    char protocol[4], state[24], host[16];
    int port, guest_port;

    if (sscanf(line, " %3[A-Z][%23[A-Z_]] %*d %15s %d %*15s %d", protocol, state, host, &port,
               &guest_port) != 5 ||
        strcmp(state, "HOST_FORWARD") != 0 || port < 1 || port > 65535)
        return;
    for (size_t i = 0; i < n; i++) {
        mvm__net_forward *f = &forwards[i];
        bool any = strcmp(host, "*") == 0 && strcmp(f->host, "0.0.0.0") == 0;
        if (f->port == 0 && f->guest_port == guest_port && (any || strcmp(f->host, host) == 0) &&
            f->udp == (strcmp(protocol, "UDP") == 0)) {
            f->port = port;
            return;
        }
    }
}

bool mvm__net_forward_picked(const char *text, const char *netdev, mvm__net_forward *forwards,
                             size_t n)
{
    char header[40], line[160];
    bool ours = false, all = true;

    snprintf(header, sizeof(header), "(%s):", netdev);
    while (*text) {
        size_t len = strcspn(text, "\r\n");
        snprintf(line, sizeof(line), "%.*s", (int)MVM_MIN(len, sizeof(line) - 1), text);
        if (line[0] != ' ' && line[0] != '\0')
            ours = strstr(line, header) != NULL;
        else if (ours)
            read_line(line, forwards, n);
        text += len;
        text += strspn(text, "\r\n");
    }
    for (size_t i = 0; i < n; i++)
        all = all && forwards[i].port > 0;
    return all;
}
