/* SPDX-License-Identifier: MIT */
/* The random number device, fed by QEMU's own generator, which the host's seeds. Loop thread only.
 */
#include <stdio.h>

#include "backend/qemu/dev.h"
#include "base/base.h"

#define PERIOD_MS 1000 /* of the limit: what is left of one period is not added to the next */

static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    char source[32];

    snprintf(source, sizeof(source), "%s-source", dev->id);
    mvm_qemu_part_add(p, MVM_QEMU_OBJECT, "rng-builtin", source);
    mvm__dev_removable(dev);
    mvm__dev_pci(dev, p, "virtio-rng-pci");
    mvm_qemu_key_text(p, "rng", source);
    if (mvm_record_has(dev->record, "rate")) {
        mvm_qemu_key_int(p, "max-bytes", mvm_record_int(dev->record, "rate"));
        mvm_qemu_key_int(p, "period", PERIOD_MS);
    }
}

const mvm__dev_ops mvm__dev_entropy = {
    .kind = "entropy",
    .parts = parts,
};
