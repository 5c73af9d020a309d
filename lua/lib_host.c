/* SPDX-License-Identifier: MIT */
/*
 * The host and the process: what it has and can do, the log, the terminal's size, directories.
 */
#include "mvl.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mvm/ability.h"
#include "mvm/host.h"
#include "mvm/log.h"

enum { FINDINGS_MAX = 64, PATH_SIZE = 4096 };

static void set_text(lua_State *L, const char *key, const char *text)
{
    lua_pushstring(L, text); /* nil for none */
    lua_setfield(L, -2, key);
}

static void push_findings(lua_State *L)
{
    mvm_finding *found = lua_newuserdatauv(L, FINDINGS_MAX * sizeof(*found), 0);
    size_t n = mvm_host_findings(found, FINDINGS_MAX);

    lua_newtable(L);
    for (size_t i = 0; i < n && i < FINDINGS_MAX; i++) {
        lua_createtable(L, 0, 4);
        set_text(L, "what", found[i].what);
        lua_pushboolean(L, found[i].ok);
        lua_setfield(L, -2, "ok");
        set_text(L, "detail", found[i].detail);
        set_text(L, "cure", found[i].cure);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_remove(L, -2);
}

static void push_abilities(lua_State *L)
{
    const mvm_ability *ability;

    lua_newtable(L);
    for (size_t i = 0; (ability = mvm_ability_at(i)) != NULL; i++) {
        const char *reason, *cure;
        bool can = mvm_host_can(ability, &reason, &cure);
        lua_createtable(L, 0, 6);
        set_text(L, "word", ability->word);
        set_text(L, "what", ability->what);
        lua_pushboolean(L, can);
        lua_setfield(L, -2, "can");
        set_text(L, "reason", can ? NULL : reason);
        set_text(L, "cure", can || !cure[0] ? NULL : cure);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/// core.host() -> {cpus: integer, memory: integer, arch: string, findings: table[], abilities: table[]}
/// What this host has, and what works on it, looked up afresh (it may run `qemu --version`). Memory
/// is in bytes; a finding is `{ what =, ok =, detail =, cure = }`; an ability, of machines that the
/// host's own hypervisor runs, `{ word =, what =, can =, reason =, cure = }`.
static int core_host(lua_State *L)
{
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, mvm_host_cpus());
    lua_setfield(L, -2, "cpus");
    lua_pushinteger(L, mvm_host_memory());
    lua_setfield(L, -2, "memory");
    set_text(L, "arch", mvm_host_arch());
    push_findings(L);
    lua_setfield(L, -2, "findings");
    push_abilities(L);
    lua_setfield(L, -2, "abilities");
    return 1;
}

static void push_steps(lua_State *L, const mvm_ability *ability)
{
    lua_newtable(L);
    for (int i = 0; ability->vz.steps[i].release; i++) {
        lua_createtable(L, 0, 2);
        set_text(L, "release", ability->vz.steps[i].release);
        set_text(L, "what", ability->vz.steps[i].what);
        lua_rawseti(L, -2, i + 1);
    }
}

/// core.ability_table() -> table[]
/// What machines can by each back end and version, whatever this host has: `{ word =, what =,
/// missing =, qemu = { guest =, since =, needs =, cure =, fixed =, none = }, vz = { guest =, steps
/// = { { release =, what = }, ... }, note =, none = } }`.
static int core_ability_table(lua_State *L)
{
    const mvm_ability *ability;

    lua_newtable(L);
    for (size_t i = 0; (ability = mvm_ability_at(i)) != NULL; i++) {
        lua_createtable(L, 0, 5);
        set_text(L, "word", ability->word);
        set_text(L, "what", ability->what);
        set_text(L, "missing", ability->missing);
        lua_createtable(L, 0, 6);
        set_text(L, "guest", ability->qemu.guest);
        set_text(L, "since", ability->qemu.since);
        set_text(L, "needs", ability->qemu.needs);
        set_text(L, "cure", ability->qemu.cure);
        set_text(L, "fixed", ability->qemu.fixed);
        set_text(L, "none", ability->qemu.none);
        lua_setfield(L, -2, "qemu");
        lua_createtable(L, 0, 4);
        set_text(L, "guest", ability->vz.guest);
        push_steps(L, ability);
        lua_setfield(L, -2, "steps");
        set_text(L, "note", ability->vz.note);
        set_text(L, "none", ability->vz.none);
        lua_setfield(L, -2, "vz");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/// core.guest_find(arch?: string, name?: string) -> string, string, boolean
/// Where macvm's own Linux guest is, or is looked for: kernel, initrd, and whether they are there.
/// With a name: a further one.
static int core_guest_find(lua_State *L)
{
    char kernel[PATH_SIZE], initrd[PATH_SIZE];
    bool found = mvm_guest_find(luaL_optstring(L, 1, mvm_host_arch()), luaL_optstring(L, 2, NULL),
                                kernel, initrd, PATH_SIZE);

    lua_pushstring(L, kernel);
    lua_pushstring(L, initrd);
    lua_pushboolean(L, found);
    return 3;
}

/// core.guests() -> {arch: string, name: string}[]
/// The guests with a name that have been built.
static int core_guests(lua_State *L)
{
    mvm_guest guest;

    lua_newtable(L);
    for (size_t i = 0; mvm_guest_at(i, &guest); i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, guest.arch);
        lua_setfield(L, -2, "arch");
        lua_pushstring(L, guest.name);
        lua_setfield(L, -2, "name");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/// core.backend(name?: "qemu"|"vz"|"sim")
/// The hypervisor of machines that name none; nil: the host's own. Raises `config` for one that
/// does not exist.
static int core_backend(lua_State *L)
{
    mvm_err err;

    if (mvm_lab_backend(mvl_of(L)->lab, luaL_optstring(L, 1, NULL), &err) != 0)
        return mvl_fail(L, &err);
    return 0;
}

/// core.log_level(level: integer)
/// 0 errors, 1 warnings (the default), 2 what is done, 3 everything.
static int core_log_level(lua_State *L)
{
    mvm_log_level((int)luaL_checkinteger(L, 1));
    return 0;
}

/// core.log(level: integer, text: string)
/// Writes a line to the log on standard error.
static int core_log(lua_State *L)
{
    int level = (int)luaL_checkinteger(L, 1);

    luaL_argcheck(L, level >= MVM_LOG_ERROR && level <= MVM_LOG_DEBUG, 1, "0 to 3");
    mvm_log(level, "%s", luaL_checkstring(L, 2));
    return 0;
}

/// core.isatty(fd: integer) -> boolean
/// Is this descriptor of the process a terminal?
static int core_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/// core.columns() -> integer
/// The width of the terminal, 80 when there is none.
static int core_columns(lua_State *L)
{
    struct winsize size;
    int columns = 80;

    for (int fd = STDERR_FILENO; fd >= STDIN_FILENO; fd--) {
        if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
            columns = size.ws_col;
    }
    lua_pushinteger(L, columns);
    return 1;
}

/// core.mkdir_private(path: string) -> true|nil, string|nil
/// Makes a directory that only its owner can enter, and those above it. One that is there already
/// is fine when it belongs to the caller. nil and why not otherwise.
static int core_mkdir_private(lua_State *L)
{
    char path[PATH_SIZE];
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct stat st;

    luaL_argcheck(L, len > 0 && len < sizeof(path) && strlen(text) == len, 1, "not a path");
    memcpy(path, text, len + 1);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700); /* the last one tells */
        *slash = '/';
    }
    const char *why = NULL;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        why = strerror(errno);
    else if (stat(path, &st) != 0)
        why = strerror(errno);
    else if (!S_ISDIR(st.st_mode))
        why = strerror(ENOTDIR);
    else if (st.st_uid != geteuid())
        why = "it belongs to somebody else";
    if (why) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s: %s", text, why);
        return 2;
    }
    lua_pushboolean(L, 1);
    return 1;
}

/// core.gc_lab() -> string
/// The lab's private directory, made now; what labs of processes that are gone left behind is
/// removed with that. Raises `io`.
static int core_gc_lab(lua_State *L)
{
    mvm_err err;
    const char *dir = mvm_lab_dir(mvl_of(L)->lab, &err);

    if (!dir)
        return mvl_fail(L, &err);
    lua_pushstring(L, dir);
    return 1;
}

const luaL_Reg mvl_lib_host[] = {
    {"host", core_host},       {"guest_find", core_guest_find},
    {"backend", core_backend}, {"log_level", core_log_level},
    {"log", core_log},         {"isatty", core_isatty},
    {"columns", core_columns}, {"mkdir_private", core_mkdir_private},
    {"gc_lab", core_gc_lab},   {"ability_table", core_ability_table},
    {"guests", core_guests},   {NULL, NULL},
};
