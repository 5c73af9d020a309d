/* SPDX-License-Identifier: MIT */
/* The QEMU back end. Only core/backend/registry.c includes this. */
#ifndef MVM_QEMU_H
#define MVM_QEMU_H

#include "mvm/backend.h"

extern const mvm_backend_ops mvm__backend_qemu;

#endif
