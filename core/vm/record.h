/* SPDX-License-Identifier: MIT */
/* What core/vm needs of records beyond mvm/record.h. */
#ifndef MVM_VM_RECORD_H
#define MVM_VM_RECORD_H

#include "mvm/record.h"

/* A frozen record, and all below it, refuses every change: its machine is up. Freezing is counted,
 * as a device may be attached to several machines. */
void mvm__record_freeze(mvm_record *record, bool frozen);
/* Reads a text as a value of the field's type (checked and normalised as by set).
 * MVM_ECONFIG without err->field. */
int mvm__field_parse(const mvm_field *field, const mvm_value *in, mvm_value *out, mvm_err *err);
void mvm__value_free(mvm_value *value);

#endif
