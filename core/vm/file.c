/* SPDX-License-Identifier: MIT */
/* Files of the guest: the OPEN call of the agent session as mvm/file.h offers it. Loop thread
 * only. */
#include "mvm/file.h"

#include <string.h>

#include "base/base.h"
#include "vm/agent_internal.h"

#define GUEST_PATH_MAX 4095u /* Linux: PATH_MAX without the end */

struct mvm_file {
    int refs;
    mvm__call *call;
    enum mvm_file_mode mode;
};

static int check(const char *path, int perm, mvm_err *err)
{
    size_t len = strlen(path);

    if (len == 0)
        return mvm_fail(err, MVM_ECONFIG, "the guest's path is empty");
    if (len > GUEST_PATH_MAX)
        return mvm_fail(err, MVM_ECONFIG,
                        "the guest's path is %zu bytes long, at most %u can be used", len,
                        GUEST_PATH_MAX);
    if (perm < -1 || perm > 07777) {
        mvm_fail(err, MVM_ECONFIG, "%d is no file mode", perm);
        mvm_err_hint(err, "0 to 07777, or -1 to keep what the file has");
        return MVM_ECONFIG;
    }
    return 0;
}

mvm_file *mvm_vm_open(mvm_vm *vm, const char *path, enum mvm_file_mode mode, int perm, mvm_err *err)
{
    uint8_t payload[1 + 4 + 2 + GUEST_PATH_MAX];
    mvm_agent_writer w = {payload, sizeof(payload), 0, false};

    if (check(path, perm, err) || mvm__vm_need_agent(vm, err))
        return NULL;
    mvm_agent_put_u8(&w, mode == MVM_FILE_WRITE);
    mvm_agent_put_u32(&w, (uint32_t)perm);
    mvm_agent_put_str(&w, path, strlen(path));
    mvm__call *call =
        mvm__call_new(vm, mode == MVM_FILE_WRITE ? MVM__CALL_WRITE : MVM__CALL_READ, path);
    if (mvm__call_begin(call, MVM_AGENT_OPEN, payload, w.len, err)) {
        mvm__call_release(call);
        return NULL;
    }
    mvm_file *file = mvm__alloc(sizeof(*file));
    *file = (mvm_file){.refs = 1, .call = call, .mode = mode};
    return file;
}

mvm_file *mvm_file_ref(mvm_file *file)
{
    file->refs++;
    return file;
}

/* A file that was shut down is whole: it is stored to its end though nobody waits for it. */
void mvm_file_unref(mvm_file *file)
{
    if (!file || --file->refs > 0)
        return;
    if (file->mode == MVM_FILE_READ || !mvm_file_stream(file)->shut)
        mvm__call_drop(file->call);
    mvm__call_release(file->call);
    mvm__free(file);
}

mvm_stream *mvm_file_stream(mvm_file *file)
{
    return &file->call->chan[file->mode == MVM_FILE_WRITE ? 0 : 1].s;
}

mvm_wait *mvm_file_wait(mvm_file *file, const mvm_waiter *waiter, mvm_err *err)
{
    (void)err; /* waiting is always possible */
    return mvm__call_wait(file->call, waiter);
}

int mvm_file_perm(const mvm_file *file)
{
    return file->mode == MVM_FILE_READ ? file->call->perm : -1;
}

void mvm__file_abort(mvm_file *file)
{
    mvm__call_drop(file->call);
}

int mvm__file_errno(const mvm_file *file)
{
    return file->call->guest_errno;
}
