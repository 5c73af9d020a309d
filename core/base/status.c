/* SPDX-License-Identifier: MIT */
/* Status words and the building of error records. */
#include "mvm/status.h"

#include <stdarg.h>
#include <stdio.h>

const char *mvm_code_word(int code)
{
    switch (code) {
    case MVM_OK:
        return "ok";
#define X(name, word, meaning)                                                                     \
    case MVM_E##name:                                                                              \
        return word;
        MVM_CODE_MAP(X)
#undef X
    default:
        return "unknown";
    }
}

int mvm_fail(mvm_err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    err->code = code;
    err->field[0] = err->hint[0] = err->vm[0] = '\0';
    return code;
}

void mvm_err_field(mvm_err *err, const char *fmt, ...)
{
    if (!err)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->field, sizeof(err->field), fmt, args);
    va_end(args);
}

void mvm_err_hint(mvm_err *err, const char *fmt, ...)
{
    if (!err)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->hint, sizeof(err->hint), fmt, args);
    va_end(args);
}

void mvm_err_vm(mvm_err *err, const char *name)
{
    if (err)
        snprintf(err->vm, sizeof(err->vm), "%s", name);
}
