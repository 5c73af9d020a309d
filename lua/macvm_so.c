/* SPDX-License-Identifier: MIT */
/* The module for a stock Lua 5.4: `require "macvm"`. */
#include "mvl.h"

int luaopen_macvm(lua_State *L)
{
    mvl_open_embedded(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "macvm.init");
    lua_call(L, 1, 1);
    return 1;
}
