-- SPDX-License-Identifier: MIT
-- vm:exec and its family, and whole files, on sim: what the Lua of them adds to the raw verbs.
local t = ...
local macvm = require "macvm"

local function machine(script, sim)
    local vm = macvm.vm { backend = "sim", sim = sim }
    if script then vm:sim_script(script) end
    vm:start()
    t.after(function() vm:kill() end)
    return vm
end

t.case("exec waits for the agent, runs, and tells all", function()
    local vm = machine(function(argv)
        t.same(argv, { "sh", "-c", "make all" })
        return { status = 3, stdout = "out\n", stderr = "err\n", delay = 0.02 }
    end, { boot = 0.05 })
    local r = vm:exec "make all"
    t.eq(r.status, 3)
    t.eq(r.stdout, "out\n")
    t.eq(r.stderr, "err\n")
    t.ok(not r.signal or r.signal == 0)
    t.ok(r.elapsed >= 0.02)
end)

t.case("exec of a list is an argv; numbers become words", function()
    local seen
    local vm = machine(function(argv) seen = argv return { status = 0 } end)
    vm:exec { "ls", "-l", "a b", 5, timeout = 10 }
    t.same(seen, { "ls", "-l", "a b", "5" })
end)

t.case("exec: large output on both streams at once", function()
    local big = ("x"):rep(1 << 20)
    local vm = machine(function() return { status = 0, stdout = big, stderr = big } end)
    local r = vm:exec "flood"
    t.ok(r.stdout == big and r.stderr == big, "the bytes differ")
end)

t.case("exec: a command that a signal ended", function()
    local vm = machine(function() return { status = 137, signal = 9 } end)
    local r = vm:exec "x"
    t.eq(r.status, 137)
    t.eq(r.signal, 9)
    t.raises("guest", "killed by signal 9", vm.must, vm, "x")
end)

t.case("exec: stdin reaches the command", function()
    local vm = machine()
    t.eq(vm:exec({ "cat", stdin = "one\0two" }).stdout, "one\0two")
    t.eq(vm:must("cat", { stdin = "hello" }), "hello")
    t.eq(vm:must "cat", "")
    t.eq(vm:must({ "true", stdin = ("x"):rep(1 << 20) }), "") -- it never reads it
end)

t.case("exec: the deadline kills the command and tells what it printed", function()
    local vm = machine(function() return { status = 0, stdout = "so far", stderr = "and so", delay = 3600 } end)
    local err = t.raises("timeout", "`slow` did not end within 0.1 s", function()
        vm:exec("slow", { timeout = 0.1 })
    end)
    t.eq(err.stdout, "so far")
    t.eq(err.stderr, "and so")
    t.eq(err.vm, vm.name)
    t.match(err.where, "exec_test.lua:%d")
end)

t.case("exec: the death of the guest is an agent error at once", function()
    local vm = machine(function() return { status = 0, stdout = "so far", delay = 3600 } end)
    vm:wait "ready"
    macvm.spawn(function() vm:sim_inject("die", "gone") end)
    local began = macvm.now()
    local ok, err = pcall(vm.exec, vm, "x")
    t.ok(not ok)
    t.ok(err.code == "agent" or err.code == "state", tostring(err))
    t.ok(macvm.now() - began < 5)
end)

t.case("exec: bad arguments are config errors that name the script", function()
    local vm = machine()
    local err = t.raises("config", "as a string or a list, got number", function() vm:exec(5) end)
    t.match(err.where, "exec_test.lua")
    t.raises("config", "word 2 must be a string, got table", vm.exec, vm, { "ls", {} })
    t.raises("config", "the command is empty", vm.exec, vm, {})
    t.raises("config", "did you mean `timeout`", vm.exec, vm, { "ls", timeuot = 4 })
    t.raises("config", "timeout: must be a number, got string", vm.exec, vm, "ls", { timeout = "4" })
    t.raises("config", "env.A: must be a string, got boolean", vm.exec, vm, { "ls", env = { A = true } })
    t.raises("config", "without `=`", vm.exec, vm, { "ls", env = { ["A=B"] = "x" } })
    t.raises("config", "NUL", vm.exec, vm, "a\0b")
    t.raises("config", "stdin", vm.spawn, vm, "ls", { stdin = "x" })
end)

t.case("must returns the output, or raises with the last words", function()
    local vm = machine(function(argv)
        if argv[3] == "good" then return { status = 0, stdout = "yes\n" } end
        return { status = 2, stdout = "trying\n", stderr = "line one\nno \27[1mluck\n\n" }
    end)
    t.eq(vm:must "good", "yes\n")
    local err = t.raises("guest", "`bad` ended with status 2: no .%[1mluck", vm.must, vm, "bad")
    t.eq(err.status, 2)
    t.eq(err.stdout, "trying\n")
    t.match(err.stderr, "line one")
end)

t.case("eventually tries until it works", function()
    local tries = 0
    local vm = machine(function()
        tries = tries + 1
        return { status = tries < 4 and 1 or 0, stdout = "try " .. tries }
    end)
    t.eq(vm:eventually("x", { interval = 0.001 }), "try 4")
    t.eq(tries, 4)
end)

t.case("eventually gives up with the last failure", function()
    local vm = machine(function() return { status = 1, stderr = "not yet" } end)
    local err = t.raises("timeout", "no success within 0.2 s %(%d+ tries%): `x` ended with status 1: not yet",
        vm.eventually, vm, "x", { timeout = 0.2 })
    t.eq(err.stderr, "not yet")
    t.eq(err.status, 1)
end)

t.case("eventually raises other errors at once", function()
    local vm = macvm.vm { backend = "sim" }
    t.raises("state", "stopped", vm.eventually, vm, "x")
end)

t.case("spawn: live streams", function()
    local vm = machine()
    local process <close> = vm:spawn { "cat" }
    process.stdin:write "one\ntwo\n"
    t.eq(process.stdout:read "l", "one")
    t.eq(process.stdout:read "l", "two")
    process.stdin:close()
    t.eq(process.stdout:read "l", nil)
    t.eq(process:wait(), 0)
end)

t.case("64 commands at once", function()
    local vm = machine(function(argv) return { status = 0, stdout = argv[3], delay = 0.01 } end)
    local list = {}
    for i = 1, 64 do list[i] = function() return vm:must("command " .. i) end end
    for i, result in ipairs(macvm.all(list)) do t.eq(result, "command " .. i) end
end)

t.case("read and write: byte for byte", function()
    local vm = machine()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    local all = table.concat(bytes):rep(2000)
    t.eq(vm:write("/tmp/x", all, tonumber("755", 8)), vm)
    t.ok(vm:read "/tmp/x" == all, "the bytes differ")
    vm:write("/tmp/empty", "")
    t.eq(vm:read "/tmp/empty", "")
    t.raises("guest", "No such file", vm.read, vm, "/none")
    t.raises("config", "needs the path", vm.read, vm, nil)
    t.raises("config", "needs the bytes as a string", vm.write, vm, "/x", nil)
    t.raises("config", "mode bits", vm.write, vm, "/x", "", 1 << 20)
end)

t.case("once sees one event", function()
    local vm = machine()
    local seen = {}
    vm:once("state", function(machine_, new, old)
        t.eq(machine_, vm)
        seen[#seen + 1] = old .. ">" .. new
    end)
    vm:wait "ready"
    vm:pause()
    vm:resume()
    vm:kill()
    t.eq(#seen, 1)
    local cancelled = vm:once("ready", function() seen[#seen + 1] = "never" end)
    cancelled:cancel()
    vm:start()
    vm:wait "ready"
    t.eq(#seen, 1)
end)
