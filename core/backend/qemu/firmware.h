/* SPDX-License-Identifier: MIT */
/* The firmware of a machine: EFI with its store of variables, and what starts a kernel that is
 * loaded directly. Loop thread only. */
#ifndef MVM_QEMU_FIRMWARE_H
#define MVM_QEMU_FIRMWARE_H

#include "backend/qemu/arch.h"

#define MVM__FIRMWARE_PATH 512

struct mvm__run;

typedef struct mvm__firmware {
    char code[MVM__FIRMWARE_PATH];     /* never written to */
    char template[MVM__FIRMWARE_PATH]; /* its variables when they are new */
} mvm__firmware;

/* The EFI firmware of this host. MVM_EUNSUPPORTED with the package to install. */
int mvm__firmware_find(const mvm__arch *arch, mvm__firmware *out, mvm_err *err);

/* Can a machine that boots by EFI have its firmware and its variables? Creates nothing. */
int mvm__firmware_check(mvm_vm *vm, mvm_err *err);

/* Makes its variables, when they are not there, for a run: run->variables. MVM_EIO. */
int mvm__firmware_prepare(struct mvm__run *run, mvm_err *err);
void mvm__firmware_release(struct mvm__run *run);

/* qboot, for an uncompressed kernel. false: not installed. */
bool mvm__firmware_qboot(char *path, size_t cap);

#endif
