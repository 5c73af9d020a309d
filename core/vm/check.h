/* SPDX-License-Identifier: MIT */
/* What the files that check a configuration share. `at` is the field path of a device,
 * "devices[2]"; MVM_ECONFIG comes with err->field. */
#ifndef MVM_VM_CHECK_H
#define MVM_VM_CHECK_H

#include "vm/vm_struct.h"

/* check.c */
int mvm__check_bad_file(const mvm_vm *vm, const char *path, const char *why, mvm_err *err,
                        const char *field);
/* A regular file that can be read. */
int mvm__check_readable(const mvm_vm *vm, const char *path, const char *field, mvm_err *err);

/* check_device.c */
/* The next device of a kind from *i on, which moves past it; NULL at the end. */
mvm_record *mvm__check_next(const mvm_vm *vm, size_t *i, const char *kind);
/* Says what is wrong with a field of a device. */
int mvm__check_fail(const mvm_vm *vm, const char *at, const char *field, const char *hint,
                    mvm_err *err, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* One of each kind that needs more than its schema. */
int mvm__check_disk(mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err);
int mvm__check_share(mvm_vm *vm, const mvm_record *share, const char *at, mvm_err *err);
int mvm__check_net(mvm_vm *vm, const mvm_record *net, const char *at, mvm_err *err);
int mvm__check_vsock(mvm_vm *vm, const mvm_record *vsock, const char *at, mvm_err *err);
int mvm__check_console(mvm_vm *vm, const mvm_record *console, const char *at, mvm_err *err);
int mvm__check_display(mvm_vm *vm, const mvm_record *display, const char *at, mvm_err *err);

#endif
