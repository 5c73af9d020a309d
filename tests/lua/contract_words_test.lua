-- SPDX-License-Identifier: MIT
-- Every word of the Lua API, called on sim: its name, the shape of what it returns, and the code of its errors.
-- What the words do in depth is tested elsewhere; here nothing may be missing, renamed or of another shape.
local t = ...
local macvm = require "macvm"

local CODES <const> = {
    config = true, state = true, timeout = true, unsupported = true, agent = true, guest = true, backend = true,
    io = true, cancelled = true,
}

local function machine(spec)
    local vm = macvm.vm(spec or {})
    vm.backend = "sim"
    t.after(function() vm:kill() end)
    return vm
end

local function ready(spec)
    return machine(spec):start():wait "ready"
end

-- fn must raise an error object of that code, whose text is one line that begins with a line of this file.
local function refuses(code, pattern, fn)
    local err = t.raises(code, pattern, fn)
    t.ok(CODES[err.code], "an unknown code")
    t.eq(type(err.message), "string")
    t.ok(not tostring(err):find "%c", "more than one line: " .. tostring(err))
    t.match(tostring(err), "^[^:]*contract_words_test%.lua:%d+: ")
    for _, key in ipairs { "field", "hint", "vm" } do
        t.ok(err[key] == nil or type(err[key]) == "string", key)
    end
    return err
end

t.case("a machine as a table", function()
    local dir = t.tmpdir()
    local vm = machine {
        name = "web", guest = "linux", backend = "sim", cpus = 1, memory = "512M",
        devices = {
            macvm.disk {
                path = dir .. "/web.img", size = "4M", format = "raw", readonly = false, id = "data", create = true,
            },
            macvm.net { mode = "nat", mac = "52:54:00:12:34:56", forward = { ["127.0.0.1:8080"] = 80 } },
            macvm.console { log = dir .. "/web.log" },
            macvm.entropy {},
        },
    }
    t.eq(vm.name, "web")
    t.eq(vm.memory, 512 << 20)
    t.eq(math.type(vm.cpus), "integer")
    local kinds = {}
    for i, device in ipairs(vm.devices) do kinds[i] = device.kind end
    t.same(kinds, { "disk", "net", "console", "entropy" })
    t.eq(vm.devices[1].id, "data")
    t.eq(vm.devices[2].forward["127.0.0.1:8080"], 80)
    t.match(tostring(vm), "^vm web: stopped")
end)

t.case("the same, step by step", function()
    local db = machine "db"
    db.cpus = 1
    db.memory = 2 ^ 28
    db.boot = { cmdline = "quiet" }
    t.eq(db:attach(macvm.net { mode = "nat" }), db)
    t.eq(#db.devices, 1)
    t.eq(db.memory, 256 << 20)
    t.eq(db.boot.cmdline, "quiet")
    db.boot.cmdline = "loud"
    t.eq(db.boot.cmdline, "loud")
end)

t.case("bad descriptions", function()
    refuses("config", "memory", function() machine { memory = "512Q" } end)
    refuses("config", "did you mean `memory`", function() machine { memroy = "1G" } end)
    refuses("config", "got nil", function() macvm.vm() end)
    refuses("config", "did you mean `cpus`", function() machine "w1".cpu = 1 end)
    refuses("config", "a device, got nil", function() machine "w2":attach() end)
    refuses("config", "keeps its name", function() machine "w3".name = "x" end)
    refuses("config", "state: can only be read", function() machine "w4".state = "running" end)
    refuses("config", "did you mean `spawn`", function() macvm.spwan() end)
end)

t.case("life: start pause resume reboot stop kill, wait and state", function()
    local vm = machine()
    t.eq(vm.state, "stopped")
    t.eq(vm:start(), vm)
    t.eq(vm:wait "running", vm)
    t.eq(vm:wait("ready", { timeout = 60 }), vm)
    t.eq(vm:pause(), vm)
    t.eq(vm.state, "paused")
    t.eq(vm:resume(), vm)
    t.eq(vm:reboot(), vm)
    t.eq(vm.state, "running")
    t.eq(vm:stop { timeout = 20 }, vm)
    t.eq(vm.state, "stopped")
    t.eq(vm:kill(), vm)
    refuses("state", "stopped", function() vm:pause() end)
    refuses("config", "did you mean", function() vm:wait "runing" end)
    refuses("config", "what to wait for must be a string", function() vm:wait() end)
    refuses("config", "did you mean `timeout`", function() vm:start { timeot = 1 } end)
    refuses("config", "not a time", function() vm:start { timeout = -1 } end)
    vm:sim_fail("start", 1, "scripted")
    refuses("backend", "scripted", function() vm:start() end)
    t.eq(vm.state, "error")
end)

t.case("timeouts, and what a running machine refuses", function()
    local vm = ready()
    refuses("timeout", "0.01 s", function() vm:wait("paused", { timeout = 0.01 }) end)
    refuses("unsupported", "attach a display", function() vm:attach(macvm.display {}) end)
    refuses("state", "running", function() vm:start() end)
end)

t.case("can", function()
    local vm = machine()
    t.eq(select("#", vm:can "pause"), 1)
    t.eq(vm:can "pause", true)
    for _, word in ipairs { "save", "rosetta", "no-such-word" } do
        local can, reason = vm:can(word)
        t.eq(can, false)
        t.match(reason, "%a")
    end
    refuses("config", "must be a string", function() vm:can() end)
end)

t.case("events: every name, on, once, cancel, <close>", function()
    local vm, seen = machine(), {}
    for _, name in ipairs { "state", "ready", "console", "panic", "channel", "balloon", "network", "snapshot",
        "guest-shutdown", "error" } do
        local subscription = vm:on(name, function() end)
        t.eq(type(subscription.cancel), "function")
        subscription:cancel()
        subscription:cancel()
    end
    local all <close> = vm:on("*", function(who, event, ...)
        t.eq(who, vm)
        seen[event] = (seen[event] or 0) + 1
        if event == "state" and seen.state == 1 then t.same({ ... }, { "starting", "stopped" }) end
    end)
    local once = 0
    vm:once("state", function(_, new)
        once = once + 1
        t.eq(new, "starting")
    end)
    do local _ <close> = vm:on("state", function() t.fail "it was cancelled" end) end
    vm:start():wait "ready"
    macvm.sleep(0.02)
    t.eq(once, 1)
    t.eq(seen.state, 2)
    t.eq(seen.ready, 1)
    all:cancel()
    refuses("config", "did you mean", function() vm:on("stat", print) end)
    refuses("config", "a handler needs a function", function() vm:on "state" end)
    refuses("config", "vm:once: what is called must be a function", function() vm:once "state" end)
    refuses("config", "the event must be a string", function() vm:on(nil, print) end)
end)

t.case("exec in both forms, must, eventually", function()
    local vm = ready()
    local r = vm:exec "echo out; exit 3"
    t.eq(r.status, 3)
    t.eq(r.stdout, "out\n")
    t.eq(r.stderr, "")
    t.ok(r.elapsed >= 0 and (r.signal == nil or math.type(r.signal) == "integer"))
    t.eq(vm:exec({ "cat" }, { stdin = "a\0b" }).stdout, "a\0b")
    t.eq(vm:exec { "cat", stdin = "a", timeout = 5, cwd = "/", env = { A = "1" } }.stdout, "a")
    t.eq(vm:must "echo x", "x\n")
    t.eq(vm:eventually("echo y", { timeout = 30 }), "y\n")
    local err = refuses("guest", "status 4", function() vm:must "exit 4" end)
    t.eq(err.status, 4)
    refuses("timeout", "no success", function() vm:eventually("exit 1", { timeout = 0.01 }) end)
    refuses("timeout", "did not end", function() vm:exec("sleep 60", { timeout = 0.01 }) end)
    refuses("guest", "no%-such%-program", function() vm:exec { "no-such-program" } end)
    refuses("guest", "5: No such file", function() vm:exec { 5 } end)
    refuses("config", "empty", function() vm:exec {} end)
    refuses("config", "did you mean `timeout`", function() vm:exec("true", { timout = 1 }) end)
    refuses("config", "timeout: is not a time", function() vm:exec("true", { timeout = -1 }) end)
    refuses("config", "NUL", function() vm:exec "a\0b" end)
    macvm.spawn(function()
        macvm.sleep(0.01)
        vm:kill()
    end)
    refuses("agent", "went down", function() vm:exec "sleep 60" end)
    refuses("state", "stopped", function() vm:exec "true" end)
end)

t.case("spawn: a process and its streams", function()
    local vm = ready()
    local process <close> = vm:spawn "cat"
    process.stdin:write "one\ntwo\nthree\nrest"
    t.eq(process.stdout:read "l", "one")
    t.eq(process.stdout:read(2), "tw")
    process.stdin:close()
    local lines = {}
    for line in process.stdout:lines() do lines[#lines + 1] = line end
    t.same(lines, { "o", "three", "rest" })
    t.eq(process.stdout:read(1), nil)
    t.eq(process.stdout:read "l", nil)
    t.eq(process.stdout:read "a", "")
    t.eq(process.stderr:read "l", nil)
    t.eq(process:wait(), 0)
    local sleeper <close> = vm:spawn { "sleep", "60" }
    refuses("config", "no signal", function() sleeper:kill(1 << 32 | 9) end)
    refuses("config", "an integer, got 1.5", function() sleeper:kill(1.5) end)
    refuses("config", "read format", function() sleeper.stdout:read "x" end)
    refuses("config", "must be a string, got nil", function() sleeper.stdin:write() end)
    refuses("timeout", "waiting", function() sleeper:wait { timeout = 0.01 } end)
    t.eq(sleeper:kill "KILL", sleeper)
    local status, signal = sleeper:wait()
    t.eq(status, 137)
    t.eq(signal, 9)
    sleeper.stdin:shutdown()
    sleeper.stdin:close()
    refuses("state", "closed", function() sleeper.stdin:write "x" end)
end)

t.case("files", function()
    local vm, dir = ready(), t.tmpdir()
    t.eq(vm:write("/tmp/f", "a\0\255"), vm)
    t.eq(vm:read "/tmp/f", "a\0\255")
    t.eq(vm:pull("/tmp/f", dir .. "/f"), vm)
    t.eq(vm:push(dir .. "/f", "/tmp/g"), vm)
    t.eq(vm:read "/tmp/g", "a\0\255")
    refuses("guest", "No such file", function() vm:read "/tmp/none" end)
    refuses("guest", "No such file", function() vm:pull("/tmp/none", dir .. "/x") end)
    refuses("io", "No such file", function() vm:push(dir .. "/none", "/tmp/x") end)
    refuses("guest", "No such file", function() vm:read "/tmp/a\nb" end)
    refuses("config", "the path must be a string", function() vm:push() end)
    refuses("config", "the path of a file", function() vm:read() end)
end)

t.case("the console", function()
    local vm = ready()
    t.eq(vm.console, vm.console)
    t.eq(select("#", vm.console:text()), 1)
    t.match(vm.console:text(), "Linux")
    t.eq(vm.console:expect "Li(nu)x", "nu")
    local which, text = vm.console:expect { "never", "init" }
    t.eq(which, 2)
    t.eq(text, "init")
    vm.console:send "some text\n"
    vm.console:expect("some text", { timeout = 5 })
    refuses("timeout", "never", function() vm.console:expect("never", { timeout = 0.01 }) end)
    refuses("config", "no Lua pattern", function() vm.console:expect "%\n%" end)
    refuses("config", "must be a string", function() vm.console:send() end)
end)

t.case("stats, timeline and its picture", function()
    local vm, dir = ready(), t.tmpdir()
    local stats = vm:stats()
    t.eq(math.type(stats.memory.size), "integer")
    t.eq(type(stats.accel), "string")
    local names, last = {}, 0
    for _, mark in ipairs(vm.timeline) do
        t.ok(mark.at >= last, "the marks are in order")
        last, names[mark.name] = mark.at, true
    end
    t.ok(names.process and names.running and names.ready)
    macvm.timeline.svg({ vm }, dir .. "/boot.svg")
    local file <close> = assert(io.open(dir .. "/boot.svg"))
    t.match(file:read "a", "^<svg")
    refuses("io", "can't write", function() macvm.timeline.svg(vm, dir .. "/none/x.svg") end)
    refuses("config", "a list of VMs", function() macvm.timeline.svg(5, dir .. "/x.svg") end)
    vm:kill()
    refuses("state", "stopped", function() vm:stats() end)
end)

t.case("tasks", function()
    local task = macvm.spawn(function(...) return select("#", ...), ... end, 1, nil)
    t.same({ task:join() }, { 2, 1 })
    t.eq(task.done, true)
    local sleeper = macvm.spawn(macvm.sleep, 60)
    t.eq(sleeper:cancel(), sleeper)
    refuses("cancelled", nil, function() sleeper:join() end)
    local before = macvm.now()
    macvm.sleep(0)
    macvm.sleep(0.005)
    t.ok(macvm.now() - before >= 0.005)
    t.same({ macvm.timeout(5, function(a) return a, 2 end, 1) }, { 1, 2 })
    refuses("timeout", "0.01 s", function() macvm.timeout(0.01, macvm.sleep, 60) end)
    t.same(macvm.all { function() return 1 end, function() return 2 end }, { 1, 2, n = 2 })
    t.eq((macvm.any { function() macvm.sleep(60) end, function() return "won" end }), "won")
    refuses("config", "must be a function, got nil", function() macvm.timeout(1) end)
    refuses("config", "needs a function", function() macvm.spawn() end)
    refuses("config", "can't sleep for %-1", function() macvm.sleep(-1) end)
    refuses("config", "can't sleep for nil", function() macvm.sleep() end)
    refuses("config", "a list of functions", function() macvm.all(print) end)
end)

t.case("what this version does not have is an unsupported error, not a call of nil", function()
    local vm = macvm.vm { backend = "sim" }
    for _, verb in ipairs { "snapshot", "restore", "snapshots", "fork" } do
        refuses("unsupported", "this version of macvm has no", function() vm[verb](vm) end)
    end
    refuses("unsupported", "no rosetta device", function() macvm.rosetta {} end)
    t.eq((vm:can "rosetta"), false)
    t.eq(vm.forks, nil)
end)

t.case("the end of a scope stops the machine, and names are free again", function()
    do
        local vm <close> = macvm.vm { name = "scoped", backend = "sim" }
        vm:start()
    end
    collectgarbage()
    collectgarbage()
    t.eq(machine { name = "scoped", backend = "sim" }.state, "stopped")
end)
