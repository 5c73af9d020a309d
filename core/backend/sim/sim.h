/* SPDX-License-Identifier: MIT */
/* The back end `sim`: machines without a hypervisor, in this process and on the loop's thread. */
#ifndef MVM_BACKEND_SIM_H
#define MVM_BACKEND_SIM_H

#include "mvm/backend.h"

extern const mvm_backend_ops mvm__backend_sim;

#endif
