/* SPDX-License-Identifier: MIT */
/* The property vm.clipboard. */
#include "mvl.h"

#include "mvm/device.h"

void mvl_push_clipboard(lua_State *L, mvm_vm *vm)
{
    mvm_err err;
    size_t len;
    const char *text = mvm_vm_clipboard(vm, &len, &err);

    if (text)
        lua_pushlstring(L, text, len);
    else if (err.code == 0)
        lua_pushnil(L);
    else
        mvl_fail(L, &err);
}

void mvl_set_clipboard(lua_State *L, mvm_vm *vm, int idx)
{
    size_t len;
    const char *text = mvl_arg_text(L, idx, "the text for the clipboard", &len);
    mvm_err err;

    if (mvm_vm_set_clipboard(vm, text, len, &err) != 0)
        mvl_fail(L, &err);
}
