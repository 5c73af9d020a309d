-- SPDX-License-Identifier: MIT
-- Subscriptions: order, handlers that wait or fail, what keeps a machine and its handlers alive.
local t = ...
local core = require "macvm.core"

local function machine(fields)
    fields = fields or {}
    fields.backend = "sim"
    local vm = core.vm(fields)
    t.after(function() vm:kill() end)
    return vm
end

local function reports()
    local seen = {}
    local before = core.on_error(function(err) seen[#seen + 1] = tostring(err) end)
    t.after(function() core.on_error(before) end)
    return seen
end

local function settle() core.sleep(0.02) end

t.case("state: (vm, new, old), in order, the same object", function()
    local vm, seen = machine(), {}
    vm:on("state", function(v, new, old)
        t.ok(rawequal(v, vm))
        seen[#seen + 1] = old .. ">" .. new
    end)
    vm:start()
    vm:kill()
    settle()
    t.match(table.concat(seen, " "), "^stopped>starting starting>running running>%S+ ?.*>stopped$")
end)

t.case("* gets every event with its name", function()
    local vm, names = machine(), {}
    local sub = vm:on("*", function(v, name, ...)
        t.ok(rawequal(v, vm))
        names[name] = select("#", ...)
    end)
    vm:start()
    vm:wait "ready"
    vm:sim_inject("console", "hello\n")
    settle()
    sub:cancel()
    t.eq(names.state, 2)
    t.eq(names.ready, 0)
    t.eq(names.console, 1)
end)

t.case("events wait for a slow handler, and none is lost or out of order", function()
    local vm, got = machine():start(), {}
    local sub <close> = vm:on("console", function(_, line)
        if #got == 0 then core.sleep(0.02) end
        got[#got + 1] = line
    end)
    for i = 1, 50 do vm:sim_inject("console", "line " .. i .. "\n") end
    core.sleep(0.1)
    t.match(tostring(sub), "subscription")
    t.eq(#got, 50)
    for i = 1, 50 do t.eq(got[i], "line " .. i) end
end)

t.case("a handler that fails is reported and does not stop the next event", function()
    local seen, vm, count = reports(), machine():start(), 0
    local sub = vm:on("console", function(_, line)
        count = count + 1
        if count == 2 then core.sleep(0.001) end
        error("bad " .. line, 0)
    end)
    for i = 1, 3 do vm:sim_inject("console", i .. "\n") end
    settle()
    sub:cancel()
    t.eq(count, 3)
    t.same(seen, { "bad 1", "bad 2", "bad 3" })
end)

t.case("two handlers: one that hangs does not keep the other from its events", function()
    local vm, got = machine():start(), 0
    local before, known = core.tasks(), {}
    local hung = vm:on("console", function() core.sleep(1000) end)
    local quick <close> = vm:on("console", function() got = got + 1 end)
    for _ = 1, 5 do vm:sim_inject("console", "x\n") end
    settle()
    t.eq(got, 5)
    t.match(tostring(quick), "subscription")
    hung:cancel()
    for _, task in ipairs(before) do known[task] = true end
    for _, task in ipairs(core.tasks()) do
        if not known[task] then task:cancel() end -- the handler that sleeps
    end
    settle()
end)

t.case("cancel drops what has not been handled; from inside a handler too", function()
    local vm, got = machine():start(), 0
    local sub
    sub = vm:on("console", function() got = got + 1 sub:cancel() end)
    for _ = 1, 5 do vm:sim_inject("console", "x\n") end
    settle()
    t.eq(got, 1)
    t.match(tostring(sub), "cancelled")
    sub:cancel()
    do
        local scoped <close> = vm:on("console", function() got = got + 1 end)
        t.match(tostring(scoped), "subscription of")
    end
    vm:sim_inject("console", "x\n")
    settle()
    t.eq(got, 1)
end)

t.case("an event that does not exist, and a handler that is none", function()
    local vm = machine()
    t.raises("config", "did you mean \"state\"", vm.on, vm, "stat", print)
    t.raises("config", "a handler needs a function, got nil", vm.on, vm, "state")
end)

t.case("error: the error object", function()
    local vm, seen = machine(), nil
    vm:on("error", function(_, err) seen = err end)
    vm:start()
    vm:sim_inject "die"
    settle()
    t.eq(vm.state, "error")
    t.eq(type(seen), "table")
    t.eq(seen.code, "backend")
end)

t.case("a hundred thousand events through a handler take less than a second of processor time", function()
    local vm, count = machine():start(), 0
    local sub = vm:on("console", function() count = count + 1 end)
    local began = os.clock()
    for _ = 1, 100000 do vm:sim_inject("console", "x\n") end
    while count < 100000 do core.sleep(0.001) end
    local took = os.clock() - began
    sub:cancel()
    t.eq(count, 100000)
    if not (os.getenv "MACVM_BUILD" or ""):find "asan" then t.ok(took < 1, ("took %.2f s"):format(took)) end
end)

t.case("more events than a queue holds: the rest is dropped, and said so", function()
    local seen, vm, count = reports(), machine():start(), 0
    local sub = vm:on("console", function() if count == 0 then core.sleep(0.2) end count = count + 1 end)
    vm:sim_inject("console", "x\n")
    core.sleep(0.01)
    local many = ("x\n"):rep(1000)
    for _ = 1, 300 do vm:sim_inject("console", many) end
    core.sleep(1)
    sub:cancel()
    t.ok(count < 290000 and count > 200000, "handled " .. count)
    t.match(seen[1], "too slow: %d+ events were dropped")
end)

t.case("a machine that is up, and its handlers, live without a reference", function()
    local heard, weak = 0, setmetatable({}, { __mode = "k" })
    do
        local vm = core.vm { name = "alone", backend = "sim" }
        weak[vm] = true
        vm:on("state", function(v, new) if new == "stopped" then heard = heard + 1 end t.eq(v.name, "alone") end)
        vm:start()
    end
    collectgarbage()
    collectgarbage()
    local vm = core.vms()[1]
    t.eq(vm.name, "alone")
    t.eq(weak[vm], true)
    vm:kill()
    vm = nil -- luacheck: ignore
    settle()
    t.eq(heard, 1)
    collectgarbage()
    collectgarbage()
    t.eq(next(weak), nil, "the machine was not collected")
    t.eq(#core.vms(), 0)
end)

t.case("a name is free again when its machine is garbage", function()
    for _ = 1, 3 do core.vm { name = "again", backend = "sim" } end
    t.raises("config", "memroy", core.vm, { name = "bad", memroy = 1 })
    core.vm { name = "bad", backend = "sim" }
    local held = core.vm { name = "held", backend = "sim" }
    t.raises("config", "is called \"held\"", core.vm, { name = "held" })
    t.eq(held.name, "held")
end)

t.case("stop and the end of a scope: who listens was told, and the name is free", function()
    local seen = {}
    local function note(_, new) seen[#seen + 1] = new end
    for _ = 1, 2 do
        local vm <close> = core.vm { name = "again", backend = "sim" }
        vm:on("state", note)
        vm:start()
    end
    t.eq(seen[#seen], "stopped")
    for _ = 1, 2 do
        local vm = core.vm { name = "again", backend = "sim" }
        vm:on("state", note)
        vm:start():wait "ready"
        seen = {}
        vm:stop()
        t.eq(seen[#seen], "stopped")
    end
end)
