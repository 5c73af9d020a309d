/* SPDX-License-Identifier: MIT */
/*
 * A QEMU that says anything: the bytes go into the QMP parser in pieces whose size the first byte
 * chooses. Whatever comes, a broken stream stays broken and every message can be read.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wire/qmp_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void look(const mvm_qmp_msg *msg)
{
    require(msg->name && msg->text && msg->root);
    require(msg->kind != MVM_QMP_EVENT || msg->name[0] != '\0');
    require(strlen(msg->version) < sizeof(msg->version));
    mvm_qmp_int(msg->data, "a", 0);
    mvm_qmp_str(mvm_qmp_at(msg->data, 0), "a");
    mvm_qmp_bool(mvm_qmp_get(msg->data, "a"), "b");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mvm_qmp_parser parser = {0};
    mvm_qmp_msg msg;
    mvm_err err;
    bool broken = false;
    size_t piece = size > 0 ? 1 + data[0] % 64 * 31u : 1;

    for (size_t at = 1; at < size; at += piece) {
        int rc;
        mvm_qmp_feed(&parser, data + at, MVM_MIN(piece, size - at));
        while ((rc = mvm_qmp_next(&parser, &msg, &err)) > 0) {
            require(!broken);
            look(&msg);
            mvm_qmp_msg_free(&msg);
        }
        require(rc == 0 ? !broken : rc == MVM_EBACKEND);
        broken = rc < 0;
    }
    mvm_qmp_parser_free(&parser);
    return 0;
}
