/* SPDX-License-Identifier: MIT */
/* What core/vm needs of records beyond mvm/record.h. */
#ifndef MVM_VM_RECORD_H
#define MVM_VM_RECORD_H

#include "mvm/record.h"

/* A frozen record, and all below it, refuses every change: its machine is up. Freezing is counted,
 * as a device may be attached to several machines. */
void mvm__record_freeze(mvm_record *record, bool frozen);
/* Puts a device into a list of a record that is frozen, and freezes it too; or takes one out,
 * whether it is frozen or not. false: it is there already, or not there. */
bool mvm__record_plug(mvm_record *record, const char *field, mvm_record *item);
bool mvm__record_unplug(mvm_record *record, const char *field, mvm_record *item);
/* Sets a field, frozen or not: for what has changed with the machine up. */
void mvm__record_note(mvm_record *record, const char *field, const mvm_value *value);
/* Reads a text as a value of the field's type (checked and normalised as by set).
 * MVM_ECONFIG without err->field. */
int mvm__field_parse(const mvm_field *field, const mvm_value *in, mvm_value *out, mvm_err *err);
void mvm__value_free(mvm_value *value);

#endif
