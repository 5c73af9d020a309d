/* SPDX-License-Identifier: MIT */
/* The back ends of this build, the host's own hypervisor first. The only file that names them. */
#include "backend/qemu/qemu.h"
#include "backend/sim/sim.h"
#include "base/base.h"

static const mvm_backend_ops *const g_backends[] = {
    &mvm__backend_qemu,
    &mvm__backend_sim,
};

const mvm_backend_ops *mvm__backend_at(size_t i)
{
    return i < MVM_COUNT(g_backends) ? g_backends[i] : NULL;
}
