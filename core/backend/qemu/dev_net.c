/* SPDX-License-Identifier: MIT */
/*
 * Network devices: virtio-net on QEMU's user network, each on a subnet of its own, or on a bridge
 * or an interface of the host. Loop thread only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qemu/net.h"
#include "base/base.h"
#include "base/buf.h"
#include "mvm/log.h"

#define QUERY_SECONDS 30
#define SUBNET_FIRST  2 /* 10.0.2.0/24, QEMU's own choice */
#define MACS_MAX      4096

void mvm__net_mac(const char *name, size_t index, char out[18])
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    hash = (hash ^ (uint32_t)index) * 16777619u;
    snprintf(out, 18, "52:54:00:%02x:%02x:%02x", (hash >> 16) & 0xff, (hash >> 8) & 0xff,
             hash & 0xff);
}

static bool is_bridged(const mvm_record *net)
{
    return strcmp(mvm_record_str(net, "mode"), "bridged") == 0;
}

static const mvm__net *nth_net(const mvm__run *run, size_t n)
{
    mvm__dev *dev = mvm__dev_nth(run, "net", n);

    return dev ? dev->data : NULL;
}

/* ---- addresses ----------------------------------------------------------------------- */

static bool mac_in_run(const mvm__run *run, const char *mac)
{
    mvm__dev *dev;

    for (size_t i = 0; (dev = mvm__dev_nth(run, "net", i)) != NULL; i++) {
        const mvm__net *net = dev->data;
        const char *own = mvm_record_str(dev->record, "mac");
        if ((net && strcmp(net->mac, mac) == 0) || (own && strcmp(own, mac) == 0))
            return true;
    }
    return false;
}

/* The first that nobody has: the same at every start of the same configuration, also of one on a
 * bridge, unless a machine of the same name is there already. */
static int choose_mac(const mvm__dev *dev, char out[18], mvm_err *err)
{
    const char *own = mvm_record_str(dev->record, "mac");
    bool bridged = is_bridged(dev->record);

    if (own && bridged && mvm__net_mac_taken(own)) {
        mvm_fail(err, MVM_ECONFIG, "another machine on this host has the address %s", own);
        mvm_err_field(err, "mac");
        mvm_err_hint(err, "leave it out, and one that is free is made");
        return MVM_ECONFIG;
    }
    if (own) {
        snprintf(out, 18, "%s", own);
        return 0;
    }
    for (size_t i = 0; i < MACS_MAX; i++) {
        mvm__net_mac(mvm_vm_name(dev->run->vm), i, out);
        if (!mac_in_run(dev->run, out) && !(bridged && mvm__net_mac_taken(out)))
            return 0;
    }
    return mvm_fail(err, MVM_EIO, "there is no Ethernet address left for %s", dev->name);
}

static unsigned choose_subnet(const mvm__run *run)
{
    const mvm__net *net;
    unsigned subnet = SUBNET_FIRST;

    for (size_t i = 0; (net = nth_net(run, i)) != NULL; i++) {
        if (net->subnet != subnet)
            continue;
        subnet++; /* and from the first again: they need not be in order */
        i = (size_t)-1;
    }
    return subnet;
}

/* The words of the kernel's command line from which our agent configures the guest; of several the
 * first has the way out. What is bridged asks the network. */
char *mvm__net_words(const mvm__run *run)
{
    const mvm__net *net;
    mvm__buf out = {0};
    bool first = true;

    for (size_t i = 0; (net = nth_net(run, i)) != NULL; i++) {
        if (net->subnet == 0)
            continue;
        mvm__buf_printf(&out, "%smacvm.ip=%s,10.0.%u.15/24", first ? "" : " ", net->mac,
                        net->subnet);
        if (first)
            mvm__buf_printf(&out, ",10.0.%u.2,10.0.%u.3", net->subnet, net->subnet);
        first = false;
    }
    char *words = mvm__strdup(mvm__buf_str(&out));
    mvm__buf_free(&out);
    return words;
}

/* ---- the device ------------------------------------------------------------------------ */

static int check(mvm_vm *vm, const mvm_record *net, const char *at, mvm_err *err)
{
    if (!is_bridged(net))
        return mvm__net_forward_check(vm, net, at, err);
    int rc = mvm__net_bridge_check(mvm_record_str(net, "interface"), err);
    if (rc != 0)
        mvm_err_field(err, "%s.interface", at);
    return rc;
}

static int connect_bridge(mvm__dev *dev, mvm__net *net, mvm_err *err)
{
    const char *interface = mvm_record_str(dev->record, "interface");
    int fd = mvm__net_is_bridge(interface)
                 ? mvm__net_bridge_open(interface, net->mac, net->tap, err)
                 : mvm__net_macvtap_open(interface, net->mac, err);

    if (fd < 0)
        return err->code;
    mvm__dev_give_fd(dev, fd, net->fd_name);
    return 0;
}

static int prepare(mvm__dev *dev, mvm_err *err)
{
    mvm__net *net = mvm__alloc(sizeof(*net));
    mvm_err why;
    int rc = choose_mac(dev, net->mac, &why);

    if (!is_bridged(dev->record))
        net->subnet = choose_subnet(dev->run);
    dev->data = net;
    if (rc == 0 && is_bridged(dev->record))
        rc = connect_bridge(dev, net, &why);
    else
        net->nforwards = mvm__net_forwards(dev->record, &net->forwards);
    if (rc != 0 && err)
        *err = why;
    return rc;
}

static void add_user(mvm__dev *dev, const mvm__net *net, mvm_qemu_parts *p, const char *netdev)
{
    mvm_qemu_part_add(p, MVM_QEMU_NETDEV, "user", netdev);
    mvm_qemu_key_text(p, "hostname", mvm_vm_name(dev->run->vm));
    if (net->subnet != SUBNET_FIRST)
        mvm_qemu_key_fmt(p, "net", "10.0.%u.0/24", net->subnet);
    for (size_t i = 0; i < net->nforwards; i++) {
        const mvm__net_forward *f = &net->forwards[i];
        mvm_qemu_key_fmt(p, "hostfwd", "%s:%s:%d-:%d", f->udp ? "udp" : "tcp", f->host, f->port,
                         f->guest_port);
    }
}

static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    const mvm__net *net = dev->data;
    char netdev[32];

    snprintf(netdev, sizeof(netdev), "%s-link", dev->id);
    if (net->subnet > 0) {
        add_user(dev, net, p, netdev);
    } else {
        mvm_qemu_part_add(p, MVM_QEMU_NETDEV, "tap", netdev);
        mvm_qemu_key_text(p, "fd", net->fd_name);
    }
    mvm__dev_removable(dev);
    mvm__dev_pci(dev, p, "virtio-net-pci");
    mvm_qemu_key_text(p, "netdev", netdev);
    mvm_qemu_key_text(p, "mac", net->mac);
    /* Nothing here boots from the network, and the option ROM costs time. */
    mvm_qemu_key_text(p, "romfile", "");
}

static void release(mvm__dev *dev)
{
    mvm__net *net = dev->data;

    if (net)
        mvm__free(net->forwards);
    mvm__free(net);
    dev->data = NULL;
}

/* ---- ports that QEMU picked -------------------------------------------------------------- */

/* A forward whose port is not known is not shown: mvm__net_forward has 0 there. */
static void on_usernet(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__dev *dev = ud;
    mvm__net *net = dev->data;
    const char *text = mvm_qmp_text(value);
    char netdev[32];

    if (err && err->code == MVM_ECANCELLED)
        return; /* the run is over, or ends now */
    snprintf(netdev, sizeof(netdev), "%s-link", dev->id);
    if (!text || !mvm__net_forward_picked(text, netdev, net->forwards, net->nforwards))
        mvm_log(MVM_LOG_WARN, "%s: %s: QEMU does not tell which port it picked%s%s",
                mvm_vm_name(dev->run->vm), dev->name, err ? ": " : "", err ? err->message : "");
    mvm__dev_settled(dev);
}

static void live(mvm__dev *dev)
{
    const mvm__net *net = dev->data;
    bool ask = false;
    mvm_err err;

    for (size_t i = 0; i < net->nforwards; i++)
        ask = ask || net->forwards[i].port == 0;
    if (!ask)
        return;
    if (mvm__qmp_call(dev->run->qmp, QUERY_SECONDS, on_usernet, dev, &err, "human-monitor-command",
                      "{s:s}", "command-line", "info usernet") == 0)
        dev->settling = true;
    else
        mvm_log(MVM_LOG_WARN, "%s: %s: %s", mvm_vm_name(dev->run->vm), dev->name, err.message);
}

bool mvm__net_forward_at(mvm_vm *vm, size_t i, mvm_forward *out)
{
    mvm__run *run = mvm__run_of(vm);
    mvm__dev *dev;

    for (size_t n = 0; run && (dev = mvm__dev_nth(run, "net", n)) != NULL; n++) {
        const mvm__net *net = dev->data;
        for (size_t k = 0; k < net->nforwards; k++) {
            const mvm__net_forward *f = &net->forwards[k];
            if (f->port == 0 || i-- > 0)
                continue;
            *out =
                (mvm_forward){f->udp ? "udp" : "tcp", f->host, f->port, f->guest_port, dev->record};
            return true;
        }
    }
    return false;
}

/* ---- the link ------------------------------------------------------------------------------ */

typedef struct link_change {
    mvm__run *run;
    mvm__job *job;
    char id[24];
    bool up;
} link_change;

static void on_link_set(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    link_change *change = ud;
    mvm__dev *dev = mvm__dev_by_id(change->run, change->id); /* it may have been unplugged */
    mvm__net *net = dev ? dev->data : NULL;
    const char *what = change->up ? "up" : "down";

    (void)value;
    if (!err && net && net->down == change->up) {
        mvm_event event = {.name = "network", .nargs = 2};
        net->down = !change->up;
        event.args[0].type = event.args[1].type = MVM_T_STRING;
        event.args[0].as.string.ptr = dev->name;
        event.args[0].as.string.len = strlen(dev->name);
        event.args[1].as.string.ptr = what;
        event.args[1].as.string.len = strlen(what);
        mvm__vm_emit(change->run->vm, &event);
    }
    mvm__job *job = change->job;
    mvm__free(change);
    mvm__job_done(job, err);
}

int mvm__net_set_link(mvm_vm *vm, mvm_record *record, bool up, mvm__job *job, mvm_err *err)
{
    mvm__run *run = mvm__run_of(vm);
    mvm__dev *dev = mvm__dev_of(run, record);

    if (!dev || dev->job)
        return mvm_fail(err, MVM_ESTATE, "it is being attached or detached");
    link_change *change = mvm__alloc(sizeof(*change));
    *change = (link_change){.run = run, .job = job, .up = up};
    memcpy(change->id, dev->id, sizeof(change->id));
    int rc = mvm__qmp_call(run->qmp, QUERY_SECONDS, on_link_set, change, err, "set_link",
                           "{s:s, s:b}", "name", dev->id, "up", up);
    if (rc != 0)
        mvm__free(change);
    return rc;
}

/* ---- figures -------------------------------------------------------------------------- */

static void add_text(mvm_vm *vm, const mvm__dev *dev, const char *name, const char *text)
{
    mvm_value v = {.type = MVM_T_STRING};

    v.as.string.ptr = text;
    v.as.string.len = strlen(text);
    mvm__vm_stat_add(vm, &v, "net.%s.%s", dev->name, name);
}

/* What the host's end of a tap has sent is what the guest has received. */
static void add_counters(mvm_vm *vm, const mvm__dev *dev, const mvm__net *net)
{
    static const char *const names[][2] = {{"rx_bytes", "tx_bytes"},
                                           {"tx_bytes", "rx_bytes"},
                                           {"rx_packets", "tx_packets"},
                                           {"tx_packets", "rx_packets"}};
    char path[96], text[32];

    for (size_t i = 0; i < MVM_COUNT(names); i++) {
        snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", net->tap, names[i][1]);
        FILE *f = fopen(path, "re");
        if (!f)
            return;
        if (fgets(text, sizeof(text), f))
            mvm__vm_stat_add(vm,
                             &(mvm_value){.type = MVM_T_INT, .as.integer = strtoll(text, NULL, 10)},
                             "net.%s.%s", dev->name, names[i][0]);
        fclose(f);
    }
    add_text(vm, dev, "counted", "host");
}

void mvm__net_figures(mvm_vm *vm)
{
    mvm__dev *dev;

    for (size_t i = 0; (dev = mvm__dev_nth(mvm__run_of(vm), "net", i)) != NULL; i++) {
        const mvm__net *net = dev->data;
        add_text(vm, dev, "mac", net->mac);
        add_text(vm, dev, "link", net->down ? "down" : "up");
        if (net->tap[0]) {
            add_text(vm, dev, "interface", net->tap);
            add_counters(vm, dev, net);
        }
    }
}

const mvm__dev_ops mvm__dev_net = {
    .kind = "net",
    .check = check,
    .prepare = prepare,
    .parts = parts,
    .live = live,
    .release = release,
};
