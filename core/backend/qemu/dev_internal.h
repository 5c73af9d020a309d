/* SPDX-License-Identifier: MIT */
/* Making and freeing a device of a run, for dev.c and hotplug.c. */
#ifndef MVM_QEMU_DEV_INTERNAL_H
#define MVM_QEMU_DEV_INTERNAL_H

#include "backend/qemu/dev.h"

/* In run->devs from here on. */
mvm__dev *mvm__dev_new(mvm__run *run, mvm_record *record, bool hot);
/* Makes it ready and fills its parts. After an error: free it. */
int mvm__dev_prepare(mvm__dev *dev, mvm_err *err);
void mvm__dev_free(mvm__dev *dev); /* a job of its ends with an error */
/* One has gone: those that are named by their number are called otherwise now. */
void mvm__devs_name(mvm__run *run);

#endif
