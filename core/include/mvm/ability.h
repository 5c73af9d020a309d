/* SPDX-License-Identifier: MIT */
/*
 * The one table of what machines can: each device and each power, on each
 * back end, since which version, and what it needs. vm:can, `macvm doctor`,
 * macvm.host() and docs/devices.md are made from it.
 */
#ifndef MVM_ABILITY_H
#define MVM_ABILITY_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/vm.h"

enum { MVM_VZ_STEPS = 5 };

typedef struct mvm_ability {
    const char *word;    /* for vm:can; "net.bridged" is a part of "net" */
    const char *what;    /* in a few words */
    const char *missing; /* why this version of macvm has it nowhere, or NULL */

    /* QEMU. `none` is why it has it nowhere; else the others. */
    struct {
        const char *guest; /* what the guest sees */
        const char *since; /* its version; NULL: every one that macvm runs on */
        const char *needs; /* on the host; NULL: nothing more */
        const char *cure;  /* what to do where that is missing */
        const char *fixed; /* of a device: why it can't be plugged in or out; NULL: it can */
        const char *none;
    } qemu;

    /* Virtualization.framework, as it is documented: the class and the macOS release that it came
     * with, then what later ones added. */
    struct {
        const char *guest;
        struct {
            const char *release, *what;
        } steps[MVM_VZ_STEPS + 1]; /* release NULL past the last */
        const char *note;
        const char *none;
    } vz;
} mvm_ability;

/* NULL past the end. */
const mvm_ability *mvm_ability_at(size_t i);
/* NULL: there is no such word. */
const mvm_ability *mvm_ability_find(const char *word);
/* Of a device: the word has a schema. */
bool mvm_ability_is_device(const mvm_ability *ability);

/* Whether machines can it that this host's own hypervisor runs; if not, *reason and *cure (either
 * may be NULL) say why and what to do, "" when nothing helps, and stay valid until the next call.
 * Starts no machine; may ask a program for its version. The loop's thread. */
bool mvm_host_can(const mvm_ability *ability, const char **reason, const char **cure);

#endif
