/* SPDX-License-Identifier: MIT */
/* Giving a finished file its place. Any thread. */
#ifndef MVM_IO_PUBLISH_H
#define MVM_IO_PUBLISH_H

#include "mvm/status.h"

/* Copies the file `from` to `to`, on whatever file system: under that name is either what was there
 * before or the whole copy, with the rights of a new file. MVM_EIO. */
int mvm__publish(const char *from, const char *to, mvm_err *err);

#endif
