/* SPDX-License-Identifier: MIT */
/* What differs between the machines of one processor architecture and of another: one table, and
 * nothing else in this back end asks which it is. Any thread. */
#ifndef MVM_QEMU_ARCH_H
#define MVM_QEMU_ARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/vm.h"

typedef struct mvm__arch {
    const char *name;     /* as configurations say it */
    const char *binary;   /* QEMU's program */
    const char *packages; /* that hold it */
    const char *machine;  /* -machine, without what belongs to the run */
    const char *tcg_cpu;  /* -cpu without KVM; with it: the host's */
    const char *console;  /* the kernel's name of the serial port */
    bool pc;              /* SeaBIOS or qboot start a kernel; it has a time stamp counter */
    unsigned slots;       /* for devices that are plugged in: PCI Express root ports; 0: one bridge
                             with ACPI hot-plug */
    const char *efi_package;
    const char *const (*efi)[2]; /* firmware and template of its variables, in the order of
                                    preference, up to NULL; "+" stands for QEMU's own data */
} mvm__arch;

/* By a word of the schema. */
const mvm__arch *mvm__arch_named(const char *name);
/* Of a machine; NULL: of one that says nothing, which is this host's. */
const mvm__arch *mvm__arch_of(mvm_vm *vm);

/* Is its QEMU installed? MVM_EUNSUPPORTED with the package. */
int mvm__arch_check(const mvm__arch *arch, mvm_err *err);

/* Which of them a kernel is for, by its header; NULL: it can't be told. */
const mvm__arch *mvm__arch_of_kernel(const char *path);

#endif
