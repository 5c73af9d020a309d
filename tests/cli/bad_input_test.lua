-- SPDX-License-Identifier: MIT
-- Bad input: each mistake gets its exit status and one line that says where, what, and what would be right.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local SIM = { backend = "sim" }

local function sim(text, opts)
    return command.lab(t, text, setmetatable(opts or {}, { __index = SIM }))
end

local function qemu(text, opts)
    return command.lab(t, text, setmetatable(opts or {}, { __index = { backend = "qemu" } }))
end

local HAS_QEMU = command.capture "command -v qemu-system-x86_64" ~= ""

-- A directory with a qemu-system-x86_64 of our own, for the front of PATH.
local function fake_qemu(script)
    local dir = t.tmpdir()
    for _, name in ipairs { "qemu-system-x86_64", "qemu-system-aarch64" } do
        command.write(dir .. "/" .. name, "#!/bin/sh\n" ..
            "[ \"$1\" != --version ] || { echo 'QEMU emulator version 7.2.0'; exit 0; }\n" .. script)
        assert(os.execute("chmod 755 " .. dir .. "/" .. name))
    end
    return dir .. ":" .. os.getenv "PATH"
end

t.case("a missing kernel", function()
    local lab = "\nmacvm.vm { name = 'x', boot = { kernel = '/nonexistent/vmlinuz' } }:start()"
    command.fails(t, sim(lab), 2, "macvm: lab.lua:2: x: boot.kernel: ", "/nonexistent/vmlinuz")
    command.fails(t, qemu(lab), 2, "boot.kernel: ", "/nonexistent/vmlinuz")
end)

t.case("a script in a directory called macvm has lines too", function()
    local dir = t.tmpdir()
    assert(os.execute("mkdir " .. dir .. "/macvm"))
    command.write(dir .. "/macvm/lab.lua", "\nmacvm.vm { memory = '1Q' }\n")
    local text = command.capture(("cd %s && '%s' run macvm/lab.lua 2>&1"):format(dir, command.MACVM))
    t.match(text, "^macvm: macvm/lab.lua:2: memory: ")
end)

t.case("a missing disk", function()
    local lab = "macvm.vm { name = 'x', devices = { macvm.entropy {}, macvm.disk { path = 'none.img' } } }:start()"
    command.fails(t, sim(lab), 2, "x: ", "none.img", "create")
    command.fails(t, qemu(lab), 2, "none.img")
end)

t.case("a misspelt field: did you mean", function()
    command.fails(t, sim "macvm.vm { name = 'x', memroy = '1G' }", 2, "lab.lua:1:", "memroy", "did you mean `memory`?")
    command.fails(t, sim "\n\nmacvm.vm 'x'.cpu = 2", 2, "lab.lua:3:", "did you mean `cpus`?")
    command.fails(t, sim "macvm.disk { pth = 'x' }", 2, "lab.lua:1:", "did you mean `path`?")
    command.fails(t, sim "macvm.vm { boot = { kernal = 'x' } }", 2, "boot.kernal", "did you mean `kernel`?")
    command.fails(t, sim "macvm.dsk {}", 2, "lab.lua:1:", "did you mean `disk`?")
    command.fails(t, sim "macvm.vm 'x':on('raedy', print)", 2, "raedy", "did you mean", "ready")
    command.fails(t, sim "macvm.vm 'x':exec('ls', { tmeout = 1 })", 2, "tmeout", "did you mean `timeout`?")
end)

t.case("values that can't be", function()
    command.fails(t, sim "macvm.vm { memory = '512Q' }", 2, "lab.lua:1:", "memory: ", "512Q", "512M")
    command.fails(t, sim "macvm.vm { memory = '1M' }", 2, "memory: ", "32M")
    command.fails(t, sim "macvm.vm { cpus = 0 }", 2, "cpus: ", "1")
    command.fails(t, sim "macvm.vm { cpus = 1.5 }", 2, "cpus: ")
    command.fails(t, sim "macvm.vm { cpus = 'two' }", 2, "cpus: ")
    command.fails(t, sim "macvm.vm { name = '../x' }", 2, "name: ")
    command.fails(t, sim "macvm.vm { name = 'x', devices = { 5 } }", 2, "devices")
    command.fails(t, sim "macvm.vm(7)", 2, "lab.lua:1:")
    command.fails(t, sim "macvm.net { mac = '01:00:00:00:00:00' }", 2, "mac: ")
    command.fails(t, sim "macvm.net { mode = 'nta' }", 2, "mode: ", "nat")
    command.fails(t, sim "macvm.vm 'x':must(5)", 2, "as a string or a list")
    command.fails(t, sim "macvm.vm 'x':exec {}", 2, "the command is empty")
    command.fails(t, sim "macvm.vm 'x':exec('a\\0b')", 2, "NUL")
end)

t.case("more processors than the host has", function()
    local lab = "local vm <close> = macvm.vm { name = 'x', cpus = macvm.host().cpus + 1 } vm:start()"
    command.fails(t, qemu(lab), 2, "x: cpus: ", "more than the host's")
    t.eq(sim(lab).status, 0, "a simulated machine may have them")
end)

t.case("two disks on one file", function()
    local dir = t.tmpdir()
    command.write(dir .. "/a.img", ("\0"):rep(4096))
    local one = ("local disk = { path = %q }\n"):format(dir .. "/a.img") ..
        "macvm.vm { name = 'x', devices = { macvm.disk(disk), macvm.disk(disk) } }:start()"
    command.fails(t, sim(one), 2, "lab.lua:2: x: ", "a.img")
    local two = ([[
        local function make(name)
            return macvm.vm { name = name, devices = { macvm.disk { path = %q } } }
        end
        local a <close>, c = make 'a'
        a:start()
        c = make 'c'
        c:start()
    ]]):format(dir .. "/a.img")
    command.fails(t, sim(two), 2, "lab.lua:7: c: ", "a.img")
end)

t.case("two machines of one name", function()
    command.fails(t, sim "local a = macvm.vm 'same'\nlocal b = macvm.vm 'same'", 2, "lab.lua:2:", "same")
end)

t.case("a syntax error: file and line, no traceback", function()
    command.fails(t, sim "local vm = macvm.vm {\n  name = 'x'\n  cpus = 2,\n}", 2, "macvm: lab.lua:3: ", "near 'cpus'")
    command.fails(t, command.run(t, { "check", "lab.lua" }, { files = { ["lab.lua"] = "x = = 1" } }), 2, "lab.lua:1:")
end)

t.case("verbs on a machine that is stopped", function()
    command.fails(t, sim "macvm.vm 'x':exec 'true'", 1, "lab.lua:1: x: ", "stopped")
    command.fails(t, sim "macvm.vm 'x':read '/etc/passwd'", 1, "x: ", "stopped")
    command.fails(t, sim "macvm.vm 'x':pause()", 1, "x: ", "stopped")
end)

t.case("a wait that can never come true", function()
    command.fails(t, sim "macvm.vm 'x':wait 'ready'", 1, "lab.lua:1: x: ", "stopped")
    command.fails(t, sim "macvm.vm 'x':wait 'raedy'", 2, "did you mean `ready`?")
    command.fails(t, sim [[
        local vm <close> = macvm.vm 'x'
        vm:start()
        macvm.spawn(function() vm:wait 'ready' vm:sim_inject('die', 'gone') end)
        vm:wait 'paused'
    ]], 1, "lab.lua:4: x: ")
end)

t.case("QEMU is not installed: what to install", function()
    local r = qemu("macvm.vm 'x':start()", { env = { PATH = "/nonexistent" } })
    command.fails(t, r, 3, "x: ", "qemu-system-x86", "install")
end)

t.case("a lab that names no back end never gets sim silently", function()
    local r = command.lab(t, "macvm.vm 'x':start()", { env = { PATH = "/nonexistent" } })
    command.fails(t, r, 3, "qemu-system-x86", "install")
end)

t.case("a QEMU that exits at once: its own words", function()
    local path = fake_qemu "echo 'qemu-system-x86_64: the moon is full' >&2\nexit 1\n"
    local r = qemu("macvm.vm 'x':start()", { env = { PATH = path } })
    command.fails(t, r, 3, "lab.lua:1: x: ", "the moon is full", "1")
end)

t.case("a QEMU that is killed by a signal", function()
    local path = fake_qemu "kill -SEGV $$\n"
    local r = qemu("macvm.vm 'x':start()", { env = { PATH = path } })
    command.fails(t, r, 3, "lab.lua:1: x: ", "signal 11")
end)

t.case("an unreadable guest image", function()
    if not HAS_QEMU then t.skip "there is no QEMU here" end
    local dir = t.tmpdir()
    assert(os.execute("mkdir " .. dir .. "/disk.img"))
    command.write(dir .. "/garbage.qcow2", "this is no qcow2 image, whatever its name says")
    command.write(dir .. "/kernel", "no kernel either")
    local lab = ("local vm <close> = macvm.vm { name = 'x', devices = { macvm.disk { path = %q } } } vm:start()")
    command.fails(t, qemu(lab:format(dir .. "/disk.img")), 2, "x: ", "disk.img", "directory")
    lab = "macvm.vm { name = 'x', devices = { macvm.disk { path = %q, format = 'qcow2' } } }:start()"
    command.fails(t, qemu(lab:format(dir .. "/garbage.qcow2")), 2, "x: ", "garbage.qcow2", "not in qcow2 format")
    lab = "local vm <close> = macvm.vm { name = 'x', boot = { kernel = %q } } vm:start()"
    local r = qemu(lab:format(dir .. "/kernel"))
    t.ok(r.status == 2 or r.status == 3, "exit status " .. r.status)
    command.fails(t, r, r.status, "x: ", "kernel")
end)

t.case("no space left on the host", function()
    local dir = t.tmpdir()
    if not os.execute("mount -t tmpfs -o size=64k tmpfs " .. dir .. " 2>/dev/null") then
        t.skip "no small file system can be mounted here"
    end
    t.after(function() os.execute("umount " .. dir) end)
    local r = sim(([[
        local vm <close> = macvm.vm 'x'
        vm:sim_file('/big', ('x'):rep(1 << 20))
        vm:start()
        vm:wait 'ready'
        vm:pull('/big', %q)
    ]]):format(dir .. "/big"))
    command.fails(t, r, 3, "lab.lua:5: ", "No space left on device")
    t.eq(command.capture("ls -A " .. dir), "", "half of a file was left")
end)

t.case("a guest that has no such file", function()
    local lab = "local vm <close> = macvm.vm 'x' vm:start() vm:read '/none'"
    command.fails(t, sim(lab), 1, "x: ", "No such file")
end)

t.case("a run-time directory whose path is too long", function()
    local dir = t.tmpdir() .. "/" .. ("d"):rep(120)
    assert(os.execute("mkdir -m 700 " .. dir))
    if not HAS_QEMU then t.skip "there is no QEMU here" end
    local r = command.lab(t, "local vm <close> = macvm.vm 'x' vm:start() print(vm.state) vm:kill()",
        { env = { XDG_RUNTIME_DIR = dir }, backend = "qemu" })
    if r.status == 0 then
        t.eq(r.stdout, "running\n")
    else
        command.fails(t, r, r.status, "too long")
    end
end)

t.case("a run-time directory that can't be written", function()
    if not HAS_QEMU then t.skip "there is no QEMU here" end
    local r = command.lab(t, "local vm <close> = macvm.vm 'x' vm:start()",
        { env = { XDG_RUNTIME_DIR = "/proc/macvm" }, backend = "qemu" })
    command.fails(t, r, 3, "/proc/macvm")
end)
