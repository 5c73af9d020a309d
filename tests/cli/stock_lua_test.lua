-- SPDX-License-Identifier: MIT
-- macvm.so in a stock lua5.4: no task is needed to wait, the main program turns the loop itself.
local t = ...

local BUILD = os.getenv "MACVM_BUILD" or "build"

-- Runs a script with lua5.4; returns what it printed (both streams) and its exit status.
local function lua(script)
    if BUILD:find "asan" then t.skip "a stock lua5.4 can't load a sanitised module" end
    local path = t.tmpdir() .. "/script.lua"
    local file = assert(io.open(path, "w"))
    file:write(script)
    file:close()
    local pipe = assert(io.popen(("LUA_CPATH='%s/?.so;;' timeout 60 lua5.4 %s 2>&1"):format(BUILD, path)))
    local text = pipe:read "a"
    local _, _, status = pipe:close()
    return text, status
end

t.case("the main program starts, waits, talks and stops", function()
    local text, status = lua [[
        local macvm = require "macvm"
        assert(package.loaded["macvm.init"] == macvm)
        local vm <close> = macvm.vm { name = "web", backend = "sim" }
        vm:on("state", function(v, new) macvm.sleep(0.001) print(v.name, new) end)
        vm:start():wait "ready"
        print(vm:exec("echo hello").stdout)
        print(macvm.spawn(function(a) macvm.sleep(0.001) return a, nil, 3 end, 1):join())
        print(coroutine.wrap(function() vm:stop() return vm.state end)())
        require("macvm.core").drain()
    ]]
    t.eq(status, 0, text)
    t.has(text, "web\tstarting\nweb\trunning\n")
    t.has(text, "hello\n")
    t.has(text, "1\tnil\t3\n")
    t.has(text, "\nstopped\n")
    t.has(text, "web\tstopped\n")
end)

t.case("lfs is there for it too", function()
    local text, status = lua [[require "macvm" print(require("lfs").currentdir())]]
    t.eq(status, 0, text)
    t.match(text, "^/")
end)

t.case("an error of macvm is one line with the script's place", function()
    local text, status = lua [[
        local macvm = require "macvm"
        local ok, err = pcall(macvm.vm, { memroy = 1 })
        print(err)
        macvm.vm { memroy = 1 }
    ]]
    t.eq(status, 1)
    t.match(text, "^%S*script.lua:%d+: memroy: unknown field of a vm %(did you mean `memory`%?%)\n")
end)

t.case("a machine that is up when the program ends goes with it", function()
    local text, status = lua [[
        local macvm = require "macvm"
        local vm = macvm.vm { backend = "sim" }
        vm:start()
        macvm.spawn(function() macvm.sleep(1000) end)
        local co = coroutine.create(function() macvm.sleep(0.01) coroutine.yield() end)
        coroutine.resume(co)
        print(vm.state)
    ]]
    t.eq(status, 0, text)
    t.eq(text, "running\n")
end)

t.case("a coroutine that is older than the module", function()
    local text, status = lua [[
        local co = coroutine.create(function()
            local macvm = require "macvm"
            coroutine.yield()
            macvm.sleep(0.01)
            return "slept"
        end)
        assert(coroutine.resume(co))
        print(coroutine.resume(co))
    ]]
    t.eq(status, 0, text)
    t.eq(text, "true\tslept\n")
end)

t.case("a wait that can't come true, and waits from a finaliser", function()
    local text, status = lua [[
        local macvm = require "macvm"
        local vm = macvm.vm { name = "web", backend = "sim" }
        print(select(2, pcall(vm.wait, vm, "ready")).code)
        setmetatable({}, { __gc = function() vm:start() print(vm.state) vm:kill() end })
        collectgarbage()
        print(vm.state)
        macvm.spawn(function()
            setmetatable({}, { __gc = function() print(pcall(macvm.sleep, 0.01)) end })
            collectgarbage()
        end):join()
    ]]
    t.eq(status, 0, text)
    t.match(text, "^state\nrunning\nstopped\nfalse\t.*can't wait here")
end)
