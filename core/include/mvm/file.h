/* SPDX-License-Identifier: MIT */
/*
 * Files of the guest, through the agent. Nothing here holds a whole file in
 * memory: 1 GiB moves with the buffers of one stream.
 */
#ifndef MVM_FILE_H
#define MVM_FILE_H

#include <stdint.h>

#include "mvm/stream.h"
#include "mvm/vm.h"

typedef struct mvm_file mvm_file;

enum mvm_file_mode { MVM_FILE_READ, MVM_FILE_WRITE /* create or truncate */ };

/* Opens a guest file. `perm` (0644, ...) is used by WRITE; -1 keeps the mode of a file
 * that exists (0644 for a new one). Errors of the guest come from mvm_file_wait. */
mvm_file *mvm_vm_open(mvm_vm *vm, const char *path, enum mvm_file_mode mode, int perm,
                      mvm_err *err);
mvm_file *mvm_file_ref(mvm_file *file);
void mvm_file_unref(mvm_file *file);
mvm_stream *
mvm_file_stream(mvm_file *file); /* borrowed; READ: read to eof. WRITE: write, shutdown */
/* WRITE: until the guest has stored every byte after shutdown. READ: until all was sent.
 * MVM_EGUEST carries the guest's reason ("No space left on device"). */
mvm_wait *mvm_file_wait(mvm_file *file, const mvm_waiter *waiter, mvm_err *err);
int mvm_file_perm(
    const mvm_file *file); /* READ: mode bits of the guest's file once known, else -1 */

/* Copy one regular file between host and guest, mode bits kept. The target is replaced
 * only when all bytes have arrived (a temporary name, then rename). When `target` is an
 * existing directory or ends in '/', the source's base name is added. */
mvm_wait *mvm_vm_push(mvm_vm *vm, const char *host_path, const char *guest_path,
                      const mvm_waiter *waiter, mvm_err *err);
mvm_wait *mvm_vm_pull(mvm_vm *vm, const char *guest_path, const char *host_path,
                      const mvm_waiter *waiter, mvm_err *err);

#endif
