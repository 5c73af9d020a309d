-- SPDX-License-Identifier: MIT
-- Ctrl-C, SIGTERM and a closed terminal, at bad moments. Nothing stays behind, machines are stopped.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local HAS_QEMU = command.capture "command -v qemu-system-x86_64" ~= ""

local function start(text, backend)
    return command.start(t, { "run", "--backend", backend or "sim", "lab.lua" }, { files = { ["lab.lua"] = text } })
end

local function quiet(r, status)
    t.eq(r.status, status, "exit status; stderr: " .. r.stderr)
    t.eq(r.stderr, "")
    return r
end

local SLEEPER = [[
    local guard <close> = setmetatable({}, { __close = function() print 'guard closed' end })
    local vm = macvm.vm { name = 'x', sim = { boot = BOOT } }
    vm:on('state', function(_, new) print(new) end)
    WHAT
]]

local function sleeper(boot, what)
    return (SLEEPER:gsub("BOOT", boot):gsub("WHAT", what))
end

t.case("Ctrl-C during boot", function()
    local p = start(sleeper("3600", "vm:start() print 'waits' vm:wait 'ready'"))
    p:until_line "^waits$"
    p:signal "INT"
    local r = quiet(p:wait(), 130)
    t.has(r.stdout, "guard closed")
    t.has(r.stdout, "stopped")
end)

t.case("Ctrl-C during exec, and a clean stop of the machine", function()
    local p = start(sleeper("0.01", "vm:start() vm:wait 'ready' print 'waits' vm:exec 'sleep 3600'"))
    p:until_line "^waits$"
    p:signal "INT"
    local r = quiet(p:wait(), 130)
    t.has(r.stdout, "guard closed")
    t.has(r.stdout, "stopping\nstopped")
end)

t.case("Ctrl-C in a lab that only has handlers left", function()
    local p = start(sleeper("0.01", "vm:start() vm:on('ready', function() print 'serves' end)"))
    p:until_line "^serves$"
    p:signal "INT"
    t.has(quiet(p:wait(), 130).stdout, "stopped")
end)

t.case("Ctrl-C reaches every task", function()
    local p = start [[
        for i = 1, 3 do
            macvm.spawn(function()
                local guard <close> = setmetatable({}, { __close = function() print('closed ' .. i) end })
                macvm.sleep(3600)
            end)
        end
        macvm.sleep(0)
        print 'waits'
        macvm.sleep(3600)
    ]]
    p:until_line "^waits$"
    p:signal "INT"
    local r = quiet(p:wait(), 130)
    for i = 1, 3 do t.has(r.stdout, "closed " .. i) end
end)

t.case("a second Ctrl-C ends it at once, whatever holds on", function()
    local p = start [[
        local vm = macvm.vm { name = 'x', sim = { shutdown = 'ignore' } }
        vm:start()
        vm:wait 'ready'
        vm:on('state', function(_, new) if new == 'stopping' then print 'stopping' end end)
        print 'waits'
        while true do pcall(macvm.sleep, 3600) end
    ]]
    p:until_line "^waits$"
    p:signal "INT"
    p:until_line "^stopping$"
    p:signal "INT"
    quiet(p:wait(), 130)
end)

t.case("SIGTERM", function()
    local p = start(sleeper("0.01", "vm:start() vm:wait 'ready' print 'waits' vm:exec 'sleep 3600'"))
    p:until_line "^waits$"
    p:signal "TERM"
    local r = quiet(p:wait(), 143)
    t.has(r.stdout, "guard closed")
    t.has(r.stdout, "stopped")
end)

t.case("a closed terminal (SIGHUP)", function()
    local p = start(sleeper("0.01", "vm:start() vm:wait 'ready' print 'waits' vm:exec 'sleep 3600'"))
    p:until_line "^waits$"
    p:signal "HUP"
    t.has(quiet(p:wait(), 129).stdout, "stopped")
end)

t.case("Ctrl-C while a real machine boots", function()
    if not HAS_QEMU then t.skip "there is no QEMU here" end
    local p = start([[
        local vm <close> = macvm.vm 'x'
        vm:on('state', function(_, new) if new == 'running' then print 'boots' end end)
        vm:start()
        vm:wait('ready', { timeout = 100 })
    ]], "qemu")
    p:until_line "^boots$"
    p:signal "INT"
    quiet(p:wait(), 130)
end)

t.case("Ctrl-C while a real machine runs a command", function()
    if not HAS_QEMU then t.skip "there is no QEMU here" end
    local p = start([[
        local vm <close> = macvm.vm 'x'
        vm:start()
        local process = vm:spawn 'echo waits; sleep 3600'
        print(process.stdout:read 'l')
        process:wait()
    ]], "qemu")
    p:until_line "^waits$"
    p:signal "INT"
    quiet(p:wait(), 130)
end)

-- Nothing in a guest that has panicked follows a request to power off, so none is waited for.
local PANICKED = [[
    local vm <close> = macvm.vm 'x'
    vm:start()
    print(pcall(vm.exec, vm, 'echo c >/proc/sysrq-trigger'))
    print 'panicked'
    WHAT
]]

local function seconds()
    return tonumber(command.capture "date +%s.%N")
end

t.case("a real machine whose kernel has panicked is put away at once", function()
    if not HAS_QEMU then t.skip "there is no QEMU here" end
    local p = start((PANICKED:gsub("WHAT", "")), "qemu")
    t.has(p:until_line "^false", "kernel panicked")
    p:until_line "^panicked$"
    local began = seconds()
    quiet(p:wait(), 0)
    t.ok(seconds() - began < 2, "at the end of the script")

    p = start((PANICKED:gsub("WHAT", "macvm.sleep(3600)")), "qemu")
    p:until_line "^panicked$"
    began = seconds()
    p:signal "INT"
    quiet(p:wait(), 130)
    t.ok(seconds() - began < 2, "after Ctrl-C")
end)
