/* SPDX-License-Identifier: MIT */
/*
 * A QMP client: commands with ids and deadlines over one connected socket, answers in any order,
 * events to one handler. Loop thread only.
 */
#ifndef MVM_QEMU_QMP_H
#define MVM_QEMU_QMP_H

#include "mvm/loop.h"
#include "mvm/status.h"
#include "wire/qmp_wire.h"

typedef struct mvm__qmp mvm__qmp;

/* err NULL: `value` is what the command returned. MVM_EBACKEND: QEMU refused, or it broke the
 * protocol; MVM_ETIMEOUT; MVM_ECANCELLED: the client or its socket was closed. Both live only
 * during the call. */
typedef void (*mvm__qmp_reply_fn)(void *ud, const mvm_qmp_value *value, const mvm_err *err);

/* Called from the loop or from mvm__qmp_drain; each may close the client. */
typedef struct mvm__qmp_ops {
    void (*ready)(void *ud, const char *version); /* greeted; commands may be sent */
    void (*event)(void *ud, const char *name, const mvm_qmp_value *data);
    /* The socket is closed (MVM_EIO), the protocol broken (MVM_EBACKEND), or the greeting did not
     * come (MVM_ETIMEOUT). Once, after every pending command has failed. */
    void (*dead)(void *ud, const mvm_err *err);
} mvm__qmp_ops;

/* Takes the socket. `seconds`: how long the greeting may take. */
mvm__qmp *mvm__qmp_open(mvm_loop *loop, int fd, double seconds, const mvm__qmp_ops *ops, void *ud);
/* fn is called exactly once. Arguments as for mvm_qmp_command. MVM_ESTATE before `ready`,
 * MVM_EBACKEND when it is dead. */
int mvm__qmp_call(mvm__qmp *qmp, double seconds, mvm__qmp_reply_fn fn, void *ud, mvm_err *err,
                  const char *command, const char *pack, ...);
/* `getfd`: QEMU gets a copy of the descriptor, under that name. MVM_EBACKEND also when the socket
 * is full. */
int mvm__qmp_give_fd(mvm__qmp *qmp, double seconds, mvm__qmp_reply_fn fn, void *ud, mvm_err *err,
                     int fd, const char *name);
/* Handles what has arrived already. */
void mvm__qmp_drain(mvm__qmp *qmp);
/* Pending commands end with MVM_ECANCELLED before it returns. NULL is fine. */
void mvm__qmp_close(mvm__qmp *qmp);

#endif
