/* SPDX-License-Identifier: MIT */
/*
 * The Lua layer when memory runs out: a script that makes machines, tasks, events, processes and
 * coroutines is run with an allocator that fails at the 1st, 2nd, 3rd ... allocation until it gets
 * through. Whatever fails may end as an error of the script, never as a crash, a hang, a leak or a
 * lab that does not close clean. Two ways of failing: from that allocation on until the script has
 * given up, and that one allocation alone, which leaves those who handle it memory to go on with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <lualib.h>

#include "mvl.h"
#include "mvm/log.h"

typedef struct heap {
    size_t held;      /* bytes */
    long count, fail; /* allocations so far, and the first one to fail */
    bool once;        /* only that one fails */
    bool failed;
    bool eager; /* the collector never rests */
} heap;

static void *heap_alloc(void *ud, void *ptr, size_t old, size_t new)
{
    heap *h = ud;

    if (!ptr)
        old = 0;
    if (new == 0) {
        h->held -= old;
        free(ptr);
        return NULL;
    }
    if (new > old && h->fail > 0) {
        h->count++;
        if (h->once ? h->count == h->fail : h->count >= h->fail) {
            h->failed = true;
            return NULL;
        }
    }
    void *moved = realloc(ptr, new);
    if (moved)
        h->held += new - old;
    return moved;
}

/* What macvm does in the state, and its result. */
static const char g_script[] =
    "local core = require 'macvm.core'\n"
    "local log = {}\n"
    "local function run()\n"
    "  local vm <close> = core.vm { name = 'web', backend = 'sim', memory = '64M', cpus = 1,\n"
    "    boot = { cmdline = 'quiet' }, sim = { boot = 0.01 }, devices = {\n"
    "      core.device('net', { mode = 'nat', forward = { ['127.0.0.1:0'] = 80 } }) } }\n"
    "  vm:sim_script(function(argv)\n"
    "    if argv[1] == 'two' then return { status = 2, stdout = 'line\\nrest', delay = 0.01 } end\n"
    "  end)\n"
    "  local sub = vm:on('state', function(v, new, old) log[#log + 1] = new .. tostring(v == vm) "
    "end)\n"
    "  local all <close> = vm:on('*', function(v, name) core.sleep(0.001) log[#log + 1] = name "
    "end)\n"
    "  vm:start { timeout = 30 }\n"
    "  vm:wait('ready', { timeout = 30 })\n"
    "  local process = vm:spawn_raw({ 'two', 'words' }, { cwd = '/', env = { A = 'b' } })\n"
    "  for line in process.stdout:lines() do log[#log + 1] = line end\n"
    "  assert(process:wait() == 2)\n"
    "  vm:sim_inject('console', 'hello\\n')\n"
    "  vm.console:wait(0, { timeout = 5 })\n"
    "  log[#log + 1] = vm.console:text()\n"
    "  local t = core.spawn(function(...) core.sleep(0.01) return ... end, 1, 2)\n"
    "  local late <close> = core.spawn(core.sleep, 100)\n"
    "  log[#log + 1] = select('#', t:join())\n"
    "  local step = coroutine.wrap(function() core.sleep(0.01) coroutine.yield(1) return 2 end)\n"
    "  log[#log + 1] = step() + step()\n"
    "  local ok, err = pcall(core.vm, { memroy = 1 })\n"
    "  log[#log + 1] = tostring(err)\n"
    "  log[#log + 1] = tostring(vm) .. tostring(vm:stats().accel) .. #vm.timeline\n"
    "  local file = vm:open('/tmp/x', 'w')\n"
    "  file.stream:write('text'):shutdown()\n"
    "  file:wait()\n"
    "  sub:cancel()\n"
    "  vm:stop { timeout = 30 }\n"
    "  return table.concat(log, ' ')\n"
    "end\n"
    "return run()\n";

/* Stack: nothing; leaves the task that runs the script. */
static int boot(lua_State *L)
{
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    luaL_requiref(L, LUA_COLIBNAME, luaopen_coroutine, 1);
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    luaL_requiref(L, LUA_LOADLIBNAME, luaopen_package, 1);
    luaL_requiref(L, "macvm.core", luaopen_macvm_core, 0);
    mvm_loop_virtual_time(mvl_of(L)->loop, true);
    if (luaL_loadbufferx(L, g_script, sizeof(g_script) - 1, "=script", "t") != LUA_OK)
        return lua_error(L);
    mvl_spawn(L, 0);
    return 1;
}

static void quiet(void *ud, int level, const char *line)
{
    (void)ud;
    (void)level;
    (void)line;
}

enum { TURNS_MAX = 20000 };

/* Runs the script with that failure; true: it got through. */
static bool run(heap *h, char *result, size_t cap)
{
    int leaks = 0;
    bool through = false;
    lua_State *L = lua_newstate(heap_alloc, h);

    if (!L)
        return false;
    if (h->eager)
        lua_gc(L, LUA_GCINC, 1, 400, 4); /* a whole cycle every 16 bytes */
    lua_pushcfunction(L, boot);
    if (lua_pcall(L, 0, 1, 0) == LUA_OK) {
        mvl_task *task = mvl_box(L, -1);
        int turns = 0;
        while (!mvl_ended(task) && turns++ < TURNS_MAX)
            mvl_step(mvl_of(L), true);
        assert_in_range(turns, 1, TURNS_MAX - 1);
        h->fail = 0; /* from here on there is memory */
        if (task->state == MVL_DONE) {
            mvl_task_outcome(L, task);
            snprintf(result, cap, "%s", lua_tostring(L, -1));
            through = true;
        }
    }
    h->fail = 0;
    mvl_ctx *ctx = mvl_peek(L);
    if (ctx)
        ctx->leaks = &leaks;
    lua_close(L);
    assert_int_equal(leaks, 0);
    assert_int_equal(h->held, 0);
    return through;
}

static void sweep(bool once)
{
    char want[4096] = "", got[4096] = "";
    heap whole = {.fail = 0};

    assert_true(run(&whole, want, sizeof(want)));
    assert_non_null(strstr(want, "rest"));
    for (long n = 1;; n++) {
        heap h = {.fail = n, .once = once};
        bool through = run(&h, got, sizeof(got));
        if (!h.failed) {
            assert_true(through);
            assert_string_equal(got, want);
            assert_in_range(n, 500, 100000); /* the sweep has met something */
            break;
        }
    }
}

static void test_no_memory_from_then_on(void **state)
{
    (void)state;
    sweep(false);
}

static void test_one_failure(void **state)
{
    (void)state;
    sweep(true);
}

static void test_collecting_all_the_time(void **state)
{
    (void)state;
    char want[4096] = "", got[4096] = "";
    heap roomy = {.fail = 0}, tidy = {.eager = true};

    assert_true(run(&roomy, want, sizeof(want)));
    assert_true(run(&tidy, got, sizeof(got)));
    assert_string_equal(got, want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_from_then_on),
        cmocka_unit_test(test_one_failure),
        cmocka_unit_test(test_collecting_all_the_time),
    };

    mvm_log_sink(quiet, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
