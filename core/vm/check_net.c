/* SPDX-License-Identifier: MIT */
/* Checking a net: what its mode takes, and addresses that are there twice. Loop thread only. */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "vm/check.h"

static bool is_bridged(const mvm_record *net)
{
    return strcmp(mvm_record_str(net, "mode"), "bridged") == 0;
}

/* ---- the interface ----------------------------------------------------------------------- */

static void list_interfaces(char *out, size_t cap)
{
    struct if_nameindex *list = if_nameindex();
    size_t len = (size_t)snprintf(out, cap, "this host has:");
    size_t none = len;

    for (size_t i = 0; list && list[i].if_name; i++)
        if (strcmp(list[i].if_name, "lo") != 0 && len < cap)
            len += (size_t)snprintf(out + len, cap - len, " %s", list[i].if_name);
    if (list)
        if_freenameindex(list);
    if (len == none)
        snprintf(out, cap, "this host has no network interface");
}

static int check_interface(const mvm_vm *vm, const mvm_record *net, const char *at, mvm_err *err)
{
    const char *name = mvm_record_str(net, "interface");
    char have[200];

    if (!name)
        return mvm__check_fail(vm, at, "interface", "interface = \"br0\"", err,
                               "a bridged net needs an interface of the host");
    if (!vm->ops->real)
        return 0;
    list_interfaces(have, sizeof(have));
    if (strlen(name) >= IFNAMSIZ || if_nametoindex(name) == 0)
        return mvm__check_fail(vm, at, "interface", have, err,
                               "this host has no network interface \"%s\"", name);
    return 0;
}

/* ---- twice ---------------------------------------------------------------------------------- */

/* "tcp:127.0.0.1:80" is "127.0.0.1:80". */
static const char *bare(const char *key)
{
    return strncmp(key, "tcp:", 4) == 0 ? key + 4 : key;
}

/* Whether both can't be listened on: "0.0.0.0" is every address. The keys have been checked. */
static bool overlap(const char *a, const char *b)
{
    static const char any[] = "0.0.0.0:";
    bool udp = strncmp(a, "udp:", 4) == 0;

    if (udp != (strncmp(b, "udp:", 4) == 0) || strcmp(strrchr(a, ':'), strrchr(b, ':')) != 0)
        return false;
    a = udp ? a + 4 : bare(a);
    b = udp ? b + 4 : bare(b);
    return strcmp(a, b) == 0 || strncmp(a, any, strlen(any)) == 0 ||
           strncmp(b, any, strlen(any)) == 0;
}

static bool forwards_it(const mvm_record *net, const char *key)
{
    const char *other;
    mvm_value port;

    for (size_t i = 0; mvm_record_entry(net, "forward", i, &other, &port); i++)
        if (other != key && overlap(other, key))
            return true;
    return false;
}

static int check_forwards(const mvm_vm *vm, const mvm_record *net, const char *at, mvm_err *err)
{
    const mvm_record *other;
    const char *key;
    mvm_value port;
    char field[96];

    for (size_t i = 0; mvm_record_entry(net, "forward", i, &key, &port); i++) {
        snprintf(field, sizeof(field), "forward[\"%.64s\"]", key);
        if (strcmp(strrchr(key, ':'), ":0") == 0)
            continue;
        for (size_t k = 0; (other = mvm__check_next(vm, &k, "net")) != NULL;) {
            if (forwards_it(other, key))
                return mvm__check_fail(vm, at, field, NULL, err,
                                       "the same address of the host is forwarded twice");
            if (other == net)
                break;
        }
    }
    return 0;
}

/* Of two on one network: those of a machine, and those bridged onto the same interface. */
static int check_mac(const mvm_vm *vm, const mvm_record *net, const char *at, mvm_err *err)
{
    const char *mac = mvm_record_str(net, "mac");

    mvm__list_each (l, &vm->lab->vms) {
        const mvm_vm *m = mvm__container_of(l, mvm_vm, link);
        const mvm_record *other;
        for (size_t i = 0;
             mac && (other = mvm__check_next(m, &i, "net")) != NULL && other != net;) {
            const char *theirs = mvm_record_str(other, "mac");
            bool near = m == vm || (mvm_vm_up(m) && is_bridged(net) && is_bridged(other) &&
                                    strcmp(mvm_record_str(net, "interface"),
                                           mvm_record_str(other, "interface")) == 0);
            if (near && theirs && strcmp(theirs, mac) == 0)
                return mvm__check_fail(vm, at, "mac", "leave it out, and one that is free is made",
                                       err, "%s is the address of another net of \"%s\"", mac,
                                       m->name);
        }
    }
    return 0;
}

int mvm__check_net(mvm_vm *vm, const mvm_record *net, const char *at, mvm_err *err)
{
    bool bridged = is_bridged(net);
    const char *key;
    mvm_value port;

    if (bridged && mvm_record_entry(net, "forward", 0, &key, &port))
        return mvm__check_fail(vm, at, "forward", "connect to vm:address() instead", err,
                               "a bridged net forwards nothing: it is on the host's network");
    if (!bridged && mvm_record_has(net, "interface"))
        return mvm__check_fail(vm, at, "interface", "mode = \"bridged\"", err,
                               "only a bridged net has an interface");
    int rc = bridged ? check_interface(vm, net, at, err) : check_forwards(vm, net, at, err);
    return rc ? rc : check_mac(vm, net, at, err);
}
