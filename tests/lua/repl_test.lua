-- SPDX-License-Identifier: MIT
-- What the REPL makes of a line: completion, statements, values. The terminal is tests/cli/repl_test.lua.
local t = ...

local complete = require "macvm.complete"
local core = require "macvm.core"
local macvm = require "macvm"
local repl = require "macvm.repl"

local function names(line, globals)
    local list, part = complete.names(line, globals or _G)
    return table.concat(list, " "), part
end

t.case("globals and keywords", function()
    t.eq(names("alp", { alpha = 1, alps = 2, beta = 3 }), "alpha alps")
    t.eq(names("x = alph", { alpha = 1 }), "alpha")
    t.eq(names("f(alph", { alpha = 1 }), "alpha")
    t.eq(names("1 ..alph", { alpha = 1 }), "alpha")
    t.eq(names("els", {}), "else elseif")
    t.eq(names("", { alpha = 1 }), "alpha")
end)

t.case("fields of tables, methods behind a colon", function()
    local env = { a = { b = { one = 1, two = print, ["not a name"] = 1 } }, list = { { name = "x" } },
                  map = { ["k-1"] = { deep = 1 } } }
    t.eq(names("a.b.", env), "one two")
    t.eq(names("a.b:", env), "two")
    t.eq(names("a.b.o", env), "one")
    t.eq(names("list[1].na", env), "name")
    t.eq(names("map['k-1'].de", { map = env.map }), "")
    t.eq(names('map["k1"].de', { map = { k1 = { deep = 1 } } }), "deep")
    t.eq(names("a.nothing.", env), "")
    t.eq(names("s:rep", { s = "text" }), "rep")
end)

t.case("nothing is completed in strings, comments, numbers and results", function()
    local env = { alpha = { beta = 1 } }
    for _, line in ipairs { "'alp", '"alp', "-- alp", "f().alp", "t[i].alp", "12alp", "[[alp", "alpha.beta()." } do
        t.eq(names(line, env), "", line)
    end
    t.eq(names("'it\\'s' .. alp", env), "alpha")
end)

t.case("an __index that is a table is followed, a function is never called", function()
    local called = false
    local function trap() called = true end
    local base = { inherited = 1 }
    local env = {
        object = setmetatable({ own = 1 }, { __index = base }),
        ring = setmetatable({ a = 1 }, {}),
        lazy = setmetatable({}, { __index = trap, __pairs = trap, __len = trap }),
    }
    getmetatable(env.ring).__index = env.ring
    t.eq(names("object.", env), "inherited own")
    t.eq(names("ring.", env), "a")
    t.eq(names("lazy.", env), "")
    t.eq(names("lazy.x.", env), "")
    t.eq(called, false)
end)

t.case("machines and devices: fields of their schema, and methods", function()
    core.backend "sim"
    local vm = macvm.vm "complete-me"
    local env = { vm = vm, disk = macvm.disk { path = "x.img", size = "1M" } }
    t.eq(names("vm.memo", env), "memory")
    t.eq(names("vm.sta", env), "state")
    t.match(names("vm:", env), "exec.*start.*stop")
    t.eq(names("vm:memo", env), "")
    t.match(names("vm.console:", env), "expect")
    t.match(names("disk.", env), "format.*kind.*path.*readonly.*size")
    t.match(names("macvm.", { macvm = macvm }), "all.*disk.*sleep.*spawn.*vm")
end)

t.case("Tab: inserts what is common, else shows the choice; an indent on an empty line", function()
    local env = { apple = 1, applet = 2, banana = 3 }
    t.eq(complete.at("ban", env, 80), "ana")
    t.eq(complete.at("ap", env, 80), "ple")
    local insert, show = complete.at("apple", env, 80)
    t.eq(insert, nil)
    t.eq(show, "apple   applet")
    t.eq(complete.at("  ", env, 80), "    ")
    t.eq(complete.at("zzz", env, 80), nil)
end)

t.case("columns fill the width from top to bottom", function()
    t.eq(complete.columns({ "a", "b", "c", "d", "e" }, 9), "a  c  e\nb  d")
    t.eq(complete.columns({ "long-name" }, 3), "long-name")
end)

t.case("a line is an expression, a statement, the beginning of one, or wrong", function()
    t.eq(repl.compile("1 + 1")(), 2)
    t.eq(repl.compile("= 1 + 1")(), 2)
    t.eq(repl.compile("local x = 3 return x")(), 3)
    t.eq(repl.compile("")(), nil)
    local begun, more = repl.compile "for i = 1, 2 do"
    t.same({ begun, more }, { nil, true })
    local chunk, on, why = repl.compile "for for"
    t.same({ chunk, on }, { nil, false })
    t.match(why, "^stdin:1: ")
    t.eq(repl.compile("function f()\nreturn 1\nend") ~= nil, true)
end)

t.case("values", function()
    local since = {}
    t.eq(repl.show("text", since), '"text"')
    t.eq(repl.show({ 1, 2, x = "y" }, since), '{ 1, 2, x = "y" }')
    t.eq(repl.show(nil, since), "nil")
    local err = core.error { code = "timeout", message = "too late", vm = "web", level = 0 }
    t.eq(repl.show(err, since), "error timeout: web: too late")
end)

t.case("a machine is one line", function()
    core.backend "sim"
    local vm <close> = macvm.vm { name = "line", cpus = 1, memory = "96M" }
    t.eq(repl.show(vm, {}), "line: stopped, 1 cpu, 96M")
    vm:start()
    vm:wait "ready"
    t.match(repl.show(vm, { [vm] = core.now() - 12.34 }),
        "^line: running, ready, 1 cpu, 96M, sim[%w/]*, up 12%.[34] s$")
    local two = repl.show({ vm, vm }, {})
    t.match(two, "^line: running[^\n]*\nline: running[^\n]*$")
end)
