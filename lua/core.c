/* SPDX-License-Identifier: MIT */
/*
 * The module macvm.core: the raw verbs, gathered from the lib files. What is policy is built on
 * them in stdlib/macvm.
 */
#include "mvl.h"

#include "mvm/host.h"

int luaopen_macvm_core(lua_State *L)
{
    static const mvl_class *const classes[] = {
        &mvl_vm_class,       &mvl_device_class, &mvl_record_class,  &mvl_process_class,
        &mvl_stream_class,   &mvl_file_class,   &mvl_console_class, &mvl_sub_class,
        &mvl_listener_class, &mvl_task_class,   &mvl_server_class,  NULL,
    };

    mvl_open(L);
    lua_newtable(L);
    luaL_setfuncs(L, mvl_lib_vm, 0);
    luaL_setfuncs(L, mvl_lib_device, 0);
    luaL_setfuncs(L, mvl_lib_task, 0);
    luaL_setfuncs(L, mvl_lib_host, 0);
    luaL_setfuncs(L, mvl_lib_schema, 0);
    luaL_setfuncs(L, mvl_lib_sock, 0);
    mvl_open_error(L);
    lua_setfield(L, -2, "error");
    mvl_classes_open(L, classes); // core, core.class
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "class");
    lua_pushstring(L, mvl_vm_class.name);
    lua_call(L, 1, 1); // core, methods of the class
    luaL_setfuncs(L, mvl_vm_life, 0);
    lua_pop(L, 1);
    lua_pushstring(L, mvm_version());
    lua_setfield(L, -2, "version");
    mvl_open_coroutine(L);
    return 1;
}
