-- SPDX-License-Identifier: MIT
-- Processes, their streams, files and the console: the raw verbs, on sim.
local t = ...
local core = require "macvm.core"

local function machine(script)
    local vm = core.vm { backend = "sim" }
    if script then vm:sim_script(script) end
    t.after(function() vm:kill() end)
    return vm:start():wait "ready"
end

local function process(reply, argv)
    local vm = machine(function() return reply end)
    return vm:spawn_raw(argv or { "x" }), vm
end

t.case("read formats", function()
    local p = process "one\ntwo\n\nlast"
    local out = p.stdout
    t.ok(rawequal(out, p.stdout))
    t.eq(out:read(0), "")
    t.eq(out:read "l", "one")
    t.eq(out:read "L", "two\n")
    t.eq(out:read(), "")
    t.eq(out:read(2), "la")
    t.eq(out:read(100), "st")
    t.eq(out:read(1), nil)
    t.eq(out:read(0), nil)
    t.eq(out:read "l", nil)
    t.eq(out:read "a", "")
    t.raises("config", "no read format \"x\"", out.read, out, "x")
    t.raises("config", "can't read %-1 bytes", out.read, out, -1)
    t.raises("config", "unknown option", out.read, out, "l", { timeot = 1 })
end)

t.case("lines, with binary bytes and no newline at the end", function()
    local p = process "a\0b\n\255\nend"
    local got = {}
    for line in p.stdout:lines() do got[#got + 1] = line end
    t.same(got, { "a\0b", "\255", "end" })
    p = process "x\ny\n"
    got = {}
    for line in p.stdout:lines "L" do got[#got + 1] = line end
    t.same(got, { "x\n", "y\n" })
end)

t.case("a lot, in pieces larger than any buffer", function()
    local big = ("0123456789abcdef"):rep(1 << 16) -- 1 MiB
    local p = process(big)
    t.eq(p.stdout:read(1000), big:sub(1, 1000))
    t.eq(p.stdout:read(500000), big:sub(1001, 501000))
    t.ok(p.stdout:read "a" == big:sub(501001))
    t.eq(p:wait(), 0)
end)

t.case("a line without end, and a limit", function()
    local p = process(("x"):rep(100000))
    t.raises("guest", "more than 5000 bytes", p.stdout.read, p.stdout, "l", { limit = 5000 })
end)

t.case("a read has a deadline and can be cancelled; the stream stays usable", function()
    local vm = machine()
    local p = vm:spawn_raw { "cat" }
    t.raises("timeout", nil, p.stdout.read, p.stdout, "l", { timeout = 0.01 })
    local reader = core.spawn(function() return p.stdout:read "l" end)
    coroutine.yield()
    coroutine.yield()
    t.raises("state", nil, p.stdout.read, p.stdout, "l")
    reader:cancel()
    t.raises("cancelled", nil, reader.join, reader)
    p.stdin:write "hello\nrest"
    t.eq(p.stdout:read "l", "hello")
    p.stdin:close()
    t.eq(p.stdout:read "a", "rest")
    t.eq(p:wait(), 0)
    t.raises("state", "closed", p.stdin.write, p.stdin, "x")
end)

t.case("much input and output at once", function()
    local vm = machine()
    local p = vm:spawn_raw { "cat" }
    local big = ("line of text\n"):rep(100000)
    local writer = core.spawn(function() p.stdin:write(big):shutdown() end)
    t.ok(p.stdout:read "a" == big)
    writer:join()
    t.eq(p:wait(), 0)
end)

t.case("status, signal, pid, kill", function()
    local p = process { status = 3, stderr = "oops\n" }
    t.eq(p.ended, false)
    t.same({ p:wait() }, { 3 })
    t.eq(p.ended, true)
    t.eq(p.stderr:read "a", "oops\n")
    local vm = machine()
    p = vm:spawn_raw { "sleep", "1000" }
    t.raises("timeout", nil, p.wait, p, { timeout = 0.05 })
    t.ok(p.pid > 0)
    t.match(tostring(p), "^process %d+ %(running%)$")
    p:kill "TERM"
    t.same({ p:wait() }, { 143, 15 })
    p:kill() -- it has ended: fine
    p = vm:spawn_raw { "sleep", "1000" }
    p:kill(9)
    t.same({ p:wait() }, { 137, 9 })
    t.raises("config", "no signal \"NOPE\"", p.kill, p, "NOPE")
end)

t.case("<close> kills the process; its streams end", function()
    local vm = machine()
    local out
    do
        local p <close> = vm:spawn_raw { "sleep", "1000" }
        out = p.stdout
    end
    t.ok(not pcall(out.read, out, "l") or out:read "l" == nil)
end)

t.case("a stream keeps its process alive", function()
    local vm = machine()
    local input, output
    do
        local p = vm:spawn_raw { "cat" }
        input, output = p.stdin, p.stdout
    end
    collectgarbage()
    collectgarbage()
    input:write "still here\n"
    t.eq(output:read "l", "still here")
    input:close()
end)

t.case("what is no command is refused", function()
    local vm = machine()
    t.raises("config", "at least one word", vm.spawn_raw, vm, {})
    t.raises("config", "word 2 of the command", vm.spawn_raw, vm, { "a", {} })
    t.raises("config", "NUL", vm.spawn_raw, vm, { "a\0b" })
    t.raises("config", "unknown option `evn`", vm.spawn_raw, vm, { "a" }, { evn = {} })
    t.raises("config", "env: expected", vm.spawn_raw, vm, { "a" }, { env = { "x" } })
    t.raises("config", "env: expected a table", vm.spawn_raw, vm, { "a" }, { env = 3 })
    t.raises("config", "cwd", vm.spawn_raw, vm, { "a" }, { cwd = {} })
    vm:kill()
    t.raises("state", "stopped", vm.spawn_raw, vm, { "true" })
end)

t.case("the environment and the directory arrive", function()
    local vm = machine()
    local p = vm:spawn_raw({ "sh", "-c", "echo $A$B; pwd" }, { env = { A = "x=y", B = 2 }, cwd = "/tmp" })
    t.eq(p.stdout:read "l", "x=y2")
    t.eq(p.stdout:read "l", "/tmp")
end)

t.case("files: write, wait, read, perm, close", function()
    local vm = machine()
    local file = vm:open("/tmp/f", "w", 384)
    file.stream:write "some bytes"
    file.stream:shutdown()
    t.eq(file:wait(), file)
    file:close()
    file:close()
    t.match(tostring(file), "closed")
    t.raises("state", "closed", file.wait, file)
    local back <close> = vm:open("/tmp/f", "r")
    t.eq(back.stream:read "a", "some bytes")
    t.eq(back.perm, 384)
    local none = vm:open("/no/such", "r")
    t.raises("guest", nil, none.stream.read, none.stream, "a")
    t.raises(nil, "invalid option", vm.open, vm, "/x", "rw")
    t.raises("config", "no path", vm.open, vm, "a\0b", "r")
end)

t.case("push and pull", function()
    local vm, dir = machine(), t.tmpdir()
    local host = io.open(dir .. "/a", "wb")
    host:write(("\0\1\2\255"):rep(50000))
    host:close()
    t.eq(vm:push(dir .. "/a", "/tmp/a"), vm)
    t.eq(vm:pull("/tmp/a", dir .. "/b"), vm)
    local back = io.open(dir .. "/b", "rb")
    t.ok(back:read "a" == ("\0\1\2\255"):rep(50000))
    back:close()
    t.raises("io", nil, vm.push, vm, dir .. "/none", "/tmp/x")
    t.raises("guest", nil, vm.pull, vm, "/none", dir .. "/x")
end)

t.case("the console: text, position, wait, send", function()
    local vm = machine()
    local console = vm.console
    t.ok(rawequal(console, vm.console))
    local from = console:position()
    vm:sim_inject("console", "greetings\n")
    console:wait(from, { timeout = 5 })
    local text, at = console:text(from)
    t.eq(at, from)
    t.match(text, "greetings")
    t.raises("timeout", nil, console.wait, console, console:position() + 1000, { timeout = 0.01 })
    t.eq(console:send "x", console)
    local waiter = core.spawn(function() console:wait(1 << 40) end)
    coroutine.yield()
    coroutine.yield()
    vm:kill()
    t.raises("state", nil, waiter.join, waiter)
    t.raises("state", nil, console.send, console, "x")
    t.match(tostring(console), "console of vm")
end)

t.case("a sim script that fails is reported, and the command ends with 126", function()
    local seen
    local before = core.on_error(function(err) seen = tostring(err) end)
    t.after(function() core.on_error(before) end)
    local vm = machine(function(argv) error("no answer to " .. argv[1], 0) end)
    local p = vm:spawn_raw { "x" }
    t.eq(p:wait(), 126)
    t.eq(seen, "no answer to x")
    vm = machine(function() core.sleep(0.001) end)
    t.eq(vm:spawn_raw({ "x" }):wait(), 126)
    t.match(seen, "can't wait here")
end)

t.case("<close> of a machine stops it, kills one that does not follow, and always ends", function()
    local states = {}
    local function scope(fields, prepare)
        local vm
        do
            fields.backend = "sim"
            local scoped <close> = core.vm(fields)
            vm = scoped
            vm:start()
            if prepare then prepare(vm) end
        end
        states[#states + 1] = vm.state
    end
    scope {}
    scope({}, function(vm) vm:wait "ready" end)
    scope({}, function(vm) vm:pause() end)
    scope({}, function(vm) core.current():cancel() t.eq(vm.up, true) end)
    t.same(states, { "stopped", "stopped", "stopped", "stopped" })
    t.raises("cancelled", nil, core.sleep, 0) -- was asked for inside the scope
    local vm = core.vm { backend = "sim" }
    local task = core.spawn(function()
        local scoped <close> = vm
        scoped:start()
        core.sleep(1000)
    end)
    vm:wait "running"
    task:cancel()
    t.raises("cancelled", nil, task.join, task)
    t.eq(vm.state, "stopped")
end)

t.case("what a read that failed had taken is there for the next one", function()
    local vm = machine()
    local p = vm:spawn_raw { "cat" }
    local out = p.stdout
    p.stdin:write "one\ntw"
    t.raises("timeout", "timed out after 0.01 s", out.read, out, "a", { timeout = 0.01 })
    t.eq(out:read "l", "one")
    t.raises("timeout", nil, out.read, out, "l", { timeout = 0.01 })
    t.raises("timeout", nil, out.read, out, 10, { timeout = 0.01 })
    local reader = core.spawn(out.read, out)
    core.sleep(0.005)
    reader:cancel()
    t.raises("cancelled", nil, reader.join, reader)
    local doomed = core.spawn(function()
        core.current():cancel()
        return out:read "l"
    end)
    t.raises("cancelled", nil, doomed.join, doomed)
    t.eq(out:read(1), "t")
    p.stdin:write "o\nrest"
    p.stdin:close()
    t.eq(out:read "l", "wo")
    p:wait()
    t.eq(out:read(0), "")
    t.eq(out:read "a", "rest")
    t.eq(out:read(0), nil)
end)

t.case("a read beyond its limit loses nothing", function()
    local p = process(("x"):rep(200000))
    t.raises("guest", "more than 100000 bytes", p.stdout.read, p.stdout, "a", { limit = 100000 })
    t.eq(#p.stdout:read "a", 200000)
end)

t.case("a sim script's reply: only what the table itself holds", function()
    local vm = machine(function()
        return setmetatable({}, { __index = function(_, key)
            if key:find "^std" then return ("x"):rep(100) .. os.clock() end
        end })
    end)
    t.eq(vm:spawn_raw({ "x" }).stdout:read "a", "")
end)
