/* SPDX-License-Identifier: MIT */
/*
 * Machines: the class "vm". The box holds one reference and is pinned while the machine is up, so
 * that handlers see the same object and a script may end with nothing but handlers. One box stands
 * for a machine; one that was collected while its machine lives on is made anew.
 */
#include "mvl.h"

#include <string.h>

#include "mvm/sim.h"

/* ---- the box ---------------------------------------------------------------------------- */

static void vm_release(void *box)
{
    mvl_vm *self = box;

    self->obj.awaited = self->unpinning;
    if (!self->vm)
        return;
    mvm_sub_cancel(self->watch);
    self->watch = NULL;
    mvm_sim_script(self->vm, NULL, NULL, NULL); /* it would ask us; fails where there is none */
    mvm_vm_unref(self->vm);
    self->vm = NULL;
}

mvl_vm *mvl_check_vm_box(lua_State *L, int idx)
{
    mvl_vm *self = mvl_check(L, idx, &mvl_vm_class);

    if (!self->vm)
        mvl_failf(L, MVM_ESTATE, NULL, "this vm is closed");
    return self;
}

mvm_vm *mvl_check_vm(lua_State *L, int idx)
{
    return mvl_check_vm_box(L, idx)->vm;
}

/* Deferred, so that the listeners behind ours are still told that it went down. */
static void unpin(void *ud)
{
    mvl_vm *self = ud;

    self->unpinning = false;
    if (!self->obj.ctx->lab || !self->vm || mvm_vm_up(self->vm))
        return;
    mvl_obj_pin(self, false);
    self->untold = false;
}

static void on_state(void *ud, mvm_vm *vm, const mvm_event *event)
{
    mvl_vm *self = ud;
    mvl_ctx *ctx = self->obj.ctx;

    (void)event;
    if (!ctx->lab)
        return;
    mvl_obj_pin(self, true);
    self->untold = !ctx->checking;
    if (!mvm_vm_up(vm) && !self->unpinning && !ctx->checking) {
        self->unpinning = true;
        mvm_loop_defer(ctx->loop, unpin, self);
    }
}

/* Pushes a box that takes over the caller's reference. Only the memory can fail: then the
 * reference is the box's already, or `vm` is not made yet. */
static mvl_vm *box_fill(lua_State *L, mvl_vm *self, mvm_vm *vm)
{
    self->vm = vm;
    self->watch = mvm_vm_subscribe(vm, "state", on_state, self, NULL);
    if (mvm_vm_up(vm) || self->obj.ctx->checking)
        mvl_obj_pin(self, true);
    mvl_id_set(L, vm);
    return self;
}

void mvl_push_vm(lua_State *L, mvm_vm *vm)
{
    if (mvl_id_push(L, vm)) {
        mvl_vm *known = mvl_box(L, -1);
        if (known && known->obj.class == &mvl_vm_class && known->vm == vm)
            return;
        lua_pop(L, 1);
    }
    mvl_vm *self = mvl_obj_new(L, &mvl_vm_class);
    box_fill(L, self, mvm_vm_ref(vm));
}

void mvl_vm_keep(lua_State *L, int vm, int idx)
{
    vm = lua_absindex(L, vm);
    idx = lua_absindex(L, idx);
    if (lua_getiuservalue(L, vm, VM_UV_KEPT) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, vm, VM_UV_KEPT);
    }
    lua_pushvalue(L, idx);
    lua_rawsetp(L, -2, mvl_box(L, idx));
    lua_pop(L, 1);
}

void mvl_vm_let_go(lua_State *L, int vm, const void *box)
{
    if (lua_getiuservalue(L, vm, VM_UV_KEPT) == LUA_TTABLE) {
        lua_pushnil(L);
        lua_rawsetp(L, -2, box);
    }
    lua_pop(L, 1);
}

/* ---- making one ------------------------------------------------------------------------- */

/* Stack: name or nil, spec or nil, level; pushes the box. Protected, so that a machine whose
 * description is wrong does not keep its name until the garbage is collected. */
static int vm_make(lua_State *L)
{
    mvl_ctx *ctx = mvl_of(L);
    int level = (int)lua_tointeger(L, 3);
    mvm_err err;

    mvl_vm *self = mvl_obj_new(L, &mvl_vm_class);
    lua_pushvalue(L, -1);
    lua_replace(L, lua_upvalueindex(1)); /* for the caller, should we fail */
    mvm_vm *vm = mvm_vm_new(ctx->lab, lua_tostring(L, 1), &err);
    if (!vm) { /* its former owner may be garbage */
        lua_gc(L, LUA_GCCOLLECT);
        vm = mvm_vm_new(ctx->lab, lua_tostring(L, 1), &err);
    }
    if (!vm)
        return mvl_fail_at(L, &err, level);
    box_fill(L, self, vm);
    if (!lua_isnil(L, 2))
        mvl_record_fill(L, mvm_vm_config(vm), "", 2, "name", level);
    return 1;
}

/// core.vm(spec: table|string, level?: integer) -> vm
/// A machine from a table of all its fields, or from its name alone. Nothing is started. Raises
/// `config` that names the field and the script's line; `level` as in Lua's `error`.
static int core_vm(lua_State *L)
{
    lua_Integer level = luaL_optinteger(L, 2, 1);
    bool table = lua_istable(L, 1);

    lua_settop(L, 1);
    if (!table && lua_type(L, 1) != LUA_TSTRING)
        return mvl_failf(L, MVM_ECONFIG, "macvm.vm { name = \"web\" }",
                         "a machine is made from a table or a name, got %s", luaL_typename(L, 1));
    if (table && lua_getfield(L, 1, "name") != LUA_TNIL && lua_type(L, 2) != LUA_TSTRING)
        return mvl_failf(L, MVM_ECONFIG, NULL, "name: expected a string, got %s",
                         luaL_typename(L, 2));
    lua_settop(L, table ? 2 : 1); // spec, name | name
    lua_pushnil(L);
    lua_pushcclosure(L, vm_make, 1);
    lua_insert(L, 1);    // make, ...
    lua_pushvalue(L, 1); // make, ..., make
    lua_insert(L, 2);    // make, make, ...
    if (table)
        lua_insert(L, 3); // make, make, name, spec
    else
        lua_pushnil(L); // make, make, name, nil
    lua_pushinteger(L, level + 1);
    if (lua_pcall(L, 3, 1, 0) == LUA_OK)
        return 1;
    lua_getupvalue(L, 1, 1); // make, error, box
    if (lua_isuserdata(L, -1))
        vm_release(mvl_box(L, -1));
    lua_pop(L, 1);
    return lua_error(L);
}

/// core.vms() -> vm[]
/// The living machines, in the order of their making.
static int core_vms(lua_State *L)
{
    mvl_ctx *ctx = mvl_of(L);
    mvm_vm *vm;

    lua_newtable(L);
    for (size_t i = 0; (vm = mvm_lab_vm(ctx->lab, i)) != NULL; i++) {
        mvl_push_vm(L, vm);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* ---- configuration and looking ------------------------------------------------------------ */

/// vm:check() -> vm
/// Checks the whole configuration against this host: files, sizes, the other machines, the
/// hypervisor. Starts nothing. Raises what vm:start would raise.
static int vm_check(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    mvm_err err;

    if (mvm_vm_check(self->vm, &err) != 0)
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    return 1;
}

/// vm:can(what: string) -> boolean, string|nil
/// Can this machine do that here (`"pause"`, `"save"`, `"agent"`, a kind of device, ...)? When it
/// can't, the second result says why.
static int vm_can(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    const char *reason = NULL;
    bool can = mvm_vm_can(self->vm, mvl_arg_text(L, 2, "the ability", NULL), &reason);

    lua_pushboolean(L, can);
    if (can)
        return 1;
    lua_pushstring(L, reason);
    return 2;
}

/* Replaces the table on top of the stack by its subtable of that name. */
static void descend(lua_State *L, const char *name, size_t len)
{
    lua_pushlstring(L, name, len);
    luaL_getsubtable(L, -2, lua_tostring(L, -1)); // t, name, t[name]
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* "disk.data.read_bytes" goes into t.disk.data.read_bytes; the middle part, the name of a device,
 * may hold dots itself. Stack: ..., t, value -> ..., t */
static void set_stat(lua_State *L, const char *name)
{
    const char *first = strchr(name, '.'), *last = strrchr(name, '.');

    luaL_checkstack(L, 6, NULL);
    lua_pushvalue(L, -2);
    if (first)
        descend(L, name, (size_t)(first - name));
    if (first && last > first)
        descend(L, first + 1, (size_t)(last - first - 1));
    lua_insert(L, -2);
    lua_setfield(L, -2, last ? last + 1 : name);
    lua_pop(L, 1);
}

static int stats_then(lua_State *L, const mvm_err *err)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    const char *name;
    mvm_value value;

    if (err)
        return mvl_fail(L, err);
    lua_newtable(L);
    for (size_t i = 0; mvm_vm_stat(self->vm, i, &name, &value); i++) {
        mvl_push_value(L, &value);
        set_stat(L, name);
    }
    return 1;
}

/// vm:stats(opts?: {timeout?: number}) -> table
/// Figures of the running machine (10 s), nested by their names: `stats.memory.size`,
/// `stats.disk.data.read_bytes`, `stats.accel`. Of a net: `mac`, `link`, and `rx_bytes`,
/// `tx_bytes`, `rx_packets`, `tx_packets` as the guest sees them, with `counted` to say by whom: the
/// `"host"` on a bridge, else the `"guest"`, while its agent answers. With a balloon: `balloon.actual`,
/// `balloon.target`, and what the guest tells of its memory every 2 s: `memory.guest_free`,
/// `memory.guest_available`, `memory.guest_total`, `memory.guest_cache`. Raises `state` when it is
/// down.
static int vm_stats(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    double timeout = mvl_opt_timeout(L, 2, 10, NULL);

    if (self->obj.ctx->checking)
        return mvl_fail_plan(L);
    lua_settop(L, 1);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_vm_stats(self->vm, &w->waiter, &w->err);
    return stats_then(L, mvl_await(L, w, stats_then));
}

static void push_timeline(lua_State *L, const mvl_vm *self)
{
    const mvm_mark *marks;
    size_t n = mvm_vm_timeline(self->vm, &marks);

    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, marks[i].name);
        lua_setfield(L, -2, "name");
        lua_pushnumber(L, marks[i].at);
        lua_setfield(L, -2, "at");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* Properties that are no fields of the schema. */
static bool push_property(lua_State *L, const mvl_vm *self, const char *key)
{
    if (strcmp(key, "state") == 0)
        lua_pushstring(L, mvm_state_word(mvm_vm_state(self->vm)));
    else if (strcmp(key, "name") == 0)
        lua_pushstring(L, mvm_vm_name(self->vm));
    else if (strcmp(key, "console") == 0)
        mvl_push_console(L, self->vm);
    else if (strcmp(key, "consoles") == 0)
        mvl_push_consoles(L, self->vm);
    else if (strcmp(key, "clipboard") == 0)
        mvl_push_clipboard(L, self->vm);
    else if (strcmp(key, "timeline") == 0)
        push_timeline(L, self);
    else if (strcmp(key, "backend") == 0 && mvm_vm_backend(self->vm)[0])
        lua_pushstring(L, mvm_vm_backend(self->vm));
    else if (strcmp(key, "ready") == 0)
        lua_pushboolean(L, mvm_vm_ready(self->vm));
    else if (strcmp(key, "up") == 0)
        lua_pushboolean(L, mvm_vm_up(self->vm));
    else if (strcmp(key, "planned") == 0)
        lua_pushboolean(L, self->planned);
    else
        return false;
    return true;
}

static int vm_index(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);

    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *key = lua_tostring(L, 2);
    return mvl_method(L) || push_property(L, self, key) ||
           mvl_record_push(L, mvm_vm_config(self->vm), key);
}

static int fail_set(lua_State *L, const mvl_vm *self, const char *key, const char *why,
                    const char *hint)
{
    mvm_err err;

    mvm_fail(&err, MVM_ECONFIG, "%s", why);
    mvm_err_field(&err, "%s", key);
    if (hint)
        mvm_err_hint(&err, "%s", hint);
    mvm_err_vm(&err, mvm_vm_name(self->vm));
    return mvl_fail(L, &err);
}

static int vm_newindex(lua_State *L)
{
    static const char *const read_only[] = {"state",    "up",       "ready",   "console",
                                            "consoles", "timeline", "planned", NULL};
    mvl_vm *self = mvl_check_vm_box(L, 1);
    const char *key = luaL_checkstring(L, 2);

    if (strcmp(key, "name") == 0)
        return fail_set(L, self, key, "a machine keeps its name", NULL);
    if (strcmp(key, "devices") == 0)
        return fail_set(L, self, key, "can't be replaced", "vm:attach(device) adds one");
    if (strcmp(key, "clipboard") == 0) {
        mvl_set_clipboard(L, self->vm, 3);
        return 0;
    }
    for (const char *const *p = read_only; *p; p++)
        if (strcmp(key, *p) == 0)
            return fail_set(L, self, key, "can only be read", NULL);
    mvl_record_set(L, mvm_vm_config(self->vm), "", key, 3, 1);
    return 0;
}

/* `vm web: running, 2 cpus, 512M, qemu` */
static int vm_tostring(lua_State *L)
{
    mvl_vm *self = mvl_check(L, 1, &mvl_vm_class);
    char memory[24];

    if (!self->vm) {
        lua_pushliteral(L, "vm (closed)");
        return 1;
    }
    const mvm_record *config = mvm_vm_config(self->vm);
    const char *backend = mvm_vm_backend(self->vm);
    int cpus = (int)mvm_record_int(config, "cpus");
    mvm_format_size(mvm_record_int(config, "memory"), memory, sizeof(memory));
    lua_pushfstring(L, "vm %s: %s%s, %d cpu%s, %s%s%s", mvm_vm_name(self->vm),
                    mvm_state_word(mvm_vm_state(self->vm)),
                    mvm_vm_ready(self->vm) ? " and ready" : "", cpus, cpus == 1 ? "" : "s", memory,
                    backend[0] ? ", " : "", backend);
    return 1;
}

static const luaL_Reg vm_methods[] = {
    {"attach", mvl_vm_attach},
    {"detach", mvl_vm_detach},
    {"screenshot", mvl_vm_screenshot},
    {"type", mvl_vm_type},
    {"key", mvl_vm_key},
    {"move", mvl_vm_move},
    {"click", mvl_vm_click},
    {"check", vm_check},
    {"can", vm_can},
    {"stats", vm_stats},
    {"on", mvl_vm_on},
    {"connect", mvl_vm_connect},
    {"listen_raw", mvl_vm_listen},
    {"spawn_raw", mvl_vm_spawn},
    {"open", mvl_vm_open},
    {"push", mvl_vm_push},
    {"pull", mvl_vm_pull},
    {"forwards", mvl_vm_forwards},
    {"balloon", mvl_vm_balloon},
    {"sim_script", mvl_sim_script},
    {"sim_fail", mvl_sim_fail},
    {"sim_file", mvl_sim_file},
    {"sim_inject", mvl_sim_inject},
    {NULL, NULL},
};

const mvl_class mvl_vm_class = {
    .name = "vm",
    .tname = "macvm.vm",
    .size = sizeof(mvl_vm),
    .nuv = VM_NUV,
    .pinned = true,
    .release = vm_release,
    .methods = vm_methods,
    .index = vm_index,
    .newindex = vm_newindex,
    .tostring = vm_tostring,
    .close = mvl_vm_close,
};

const luaL_Reg mvl_lib_vm[] = {
    {"vm", core_vm},
    {"vms", core_vms},
    {NULL, NULL},
};
