/* SPDX-License-Identifier: MIT */
/*
 * The host's side of MOUNT: one call of the agent a share, and the round of them that every READY
 * begins before the machine counts as ready. Loop thread only.
 */
#include "vm/mount.h"

#include <string.h>

#include "base/base.h"
#include "io/wait.h"
#include "vm/agent_internal.h"
#include "vm/vm_struct.h"

#define GUEST_PATH_MAX 4095u /* Linux: PATH_MAX without the end */
#define TAG_MAX        255u

enum { DO_MOUNT, DO_UNMOUNT }; /* as in the frame */

typedef struct mount {
    mvm__call *call;
    mvm_wait *user; /* NULL: the caller's wait is over already */
    int what;
    char *tag, *path, *vm;
} mount;

static const char *words(const mount *m)
{
    return m->what == DO_MOUNT ? "mounted" : "unmounted";
}

/* The agent has answered, or never will. */
static void on_answer(void *ud, const mvm_err *err)
{
    mount *m = ud;

    if (m->user && err) {
        mvm_err why;
        mvm_fail(&why, err->code, "share \"%s\" can't be %s at %s: %s", m->tag, words(m), m->path,
                 err->message);
        mvm_err_vm(&why, m->vm);
        mvm__wait_done(m->user, &why);
    } else if (m->user) {
        mvm__wait_done(m->user, NULL);
    }
    mvm__call_release(m->call);
    mvm__free(m->tag);
    mvm__free(m->path);
    mvm__free(m->vm);
    mvm__free(m);
}

/* The caller's wait was cancelled or timed out. Without its call the answer comes at once. */
static void on_dropped(mvm_wait *wait)
{
    mount *m = wait->subject;

    m->user = NULL;
    mvm__call_drop(m->call);
}

static int put_payload(mvm_agent_writer *w, mvm_vm *vm, const mvm_record *share, int what,
                       mvm_err *err)
{
    const mvm_backend_ops *ops = mvm__vm_ops(vm);
    const char *tag = mvm_record_str(share, "tag"), *path = mvm_record_str(share, "mount");
    const char *driver = ops->share_driver ? ops->share_driver(vm, share) : NULL;

    if (!driver)
        return mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "it has no share \"%s\"", tag);
    if (path[0] != '/' || strlen(path) > GUEST_PATH_MAX) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "share \"%s\" can't be mounted at %.100s", tag, path);
        mvm_err_hint(err, "an absolute path of the guest");
        return MVM_ECONFIG;
    }
    mvm_agent_put_u8(w, (uint8_t)what);
    mvm_agent_put_u8(w, mvm_record_bool(share, "readonly") ? MVM_AGENT_MOUNT_READONLY : 0);
    mvm_agent_put_str(w, driver, strlen(driver));
    mvm_agent_put_str(w, tag, MVM_MIN(strlen(tag), TAG_MAX));
    mvm_agent_put_str(w, path, strlen(path));
    return 0;
}

static mvm_wait *ask(mvm_vm *vm, const mvm_record *share, int what, const mvm_waiter *waiter,
                     mvm_err *err)
{
    uint8_t payload[2 + 3 * 2 + 16 + TAG_MAX + GUEST_PATH_MAX];
    mvm_agent_writer w = {payload, sizeof(payload), 0, false};

    if (mvm__vm_need_agent(vm, err) != 0 || put_payload(&w, vm, share, what, err) != 0)
        return NULL;
    mvm__call *call = mvm__call_new(vm, MVM__CALL_MOUNT, mvm_record_str(share, "mount"));
    if (mvm__call_begin(call, MVM_AGENT_MOUNT, payload, w.len, err) != 0) {
        mvm__call_release(call);
        return NULL;
    }
    mount *m = mvm__alloc(sizeof(*m));
    m->call = call;
    m->what = what;
    m->tag = mvm__strdup(mvm_record_str(share, "tag"));
    m->path = mvm__strdup(mvm_record_str(share, "mount"));
    m->vm = mvm__strdup(mvm_vm_name(vm));
    m->user = mvm__wait_new(mvm__vm_loop(vm), NULL, waiter, "share \"%s\" to be %s at %s", m->tag,
                            words(m), m->path);
    m->user->subject = m;
    m->user->dropped = on_dropped;
    mvm_wait *user = m->user;
    (void)mvm__call_wait(call, &(mvm_waiter){-1, on_answer, m});
    return user;
}

mvm_wait *mvm__mount_one(mvm_vm *vm, const mvm_record *share, const mvm_waiter *waiter,
                         mvm_err *err)
{
    return ask(vm, share, DO_MOUNT, waiter, err);
}

mvm_wait *mvm__unmount_one(mvm_vm *vm, const mvm_record *share, const mvm_waiter *waiter,
                           mvm_err *err)
{
    return ask(vm, share, DO_UNMOUNT, waiter, err);
}

/* ---- at READY ------------------------------------------------------------------------------ */

typedef struct entry {
    mvm_vm *vm;     /* a reference */
    unsigned round; /* the READY that it belongs to */
} entry;

static void report(mvm_vm *vm, const mvm_err *err)
{
    mvm_err copy = *err;

    mvm_err_vm(&copy, mvm_vm_name(vm));
    mvm__vm_emit(vm, &(mvm_event){.name = "error", .err = &copy});
}

/* A session that has ended meanwhile tells of itself, and its successor begins a round anew. */
static void on_mounted(void *ud, const mvm_err *err)
{
    entry *e = ud;
    mvm_vm *vm = e->vm;

    if (e->round == vm->mount_round && mvm__agent_is_ready(vm->agent)) {
        if (err)
            report(vm, err);
        if (--vm->mounts_left == 0)
            mvm__vm_on_mounted(vm);
    }
    mvm__free(e);
    mvm_vm_unref(vm);
}

void mvm__mounts_begin(mvm_vm *vm)
{
    mvm_record *device;

    vm->mount_round++;
    vm->mounts_left = 0;
    for (size_t i = 0; (device = mvm_record_item(vm->config, "devices", i)) != NULL; i++) {
        mvm_err err;
        if (strcmp(mvm_record_schema(device)->kind, "share") != 0 ||
            !mvm_record_has(device, "mount"))
            continue;
        entry *e = mvm__alloc(sizeof(*e));
        *e = (entry){vm, vm->mount_round};
        if (mvm__mount_one(vm, device, &(mvm_waiter){MVM__MOUNT_TIMEOUT, on_mounted, e}, &err)) {
            mvm_vm_ref(vm);
            vm->mounts_left++;
        } else {
            report(vm, &err);
            mvm__free(e);
        }
    }
    if (vm->mounts_left == 0)
        mvm__vm_on_mounted(vm);
}
