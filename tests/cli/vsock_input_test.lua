-- SPDX-License-Identifier: MIT
-- Bad input of socket devices: each mistake gets one line that says where, what, and what would be right.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local HAS_QEMU = command.capture "command -v qemu-system-x86_64" ~= ""
local HAS_KERNEL = command.capture "test -e /dev/vhost-vsock && echo yes" ~= ""

local function vsock(fields) return "macvm.vsock { " .. (fields or "") .. " }" end

-- A lab with these devices (Lua text of each), started: it must fail like that.
local function refused(devices, status, ...)
    if not HAS_QEMU then t.skip "no QEMU here" end
    local text = ("macvm.vm { name = 'x', devices = { %s } }:start()"):format(table.concat(devices, ", "))
    command.fails(t, command.lab(t, text, { backend = "qemu" }), status, "lab.lua:1: ", ...)
end

t.case("a CID that no guest can have", function()
    for _, cid in ipairs { "0", "2", "-1", "4294967295", "4294967296", "3.5", "'three'" } do
        refused({ vsock("cid = " .. cid) }, 2, "cid: ")
    end
    refused({ vsock "cid = 2" }, 2, "cid: ", "3", "4294967294")
end)

t.case("a misspelt field", function()
    refused({ vsock "kernal = true" }, 2, "kernal", "did you mean `kernel`?")
end)

t.case("two of them", function()
    refused({ vsock(), vsock "cid = 9" }, 2, "x: devices[2]: ", "a machine has at most 1 vsock")
end)

t.case("a unix socket in a directory that is not there, or where there is something else", function()
    local dir = t.tmpdir()
    command.write(dir .. "/file", "x")
    refused({ vsock "unix = '/nonexistent/dir/vm.sock'" }, 2, "x: devices[1].unix: ",
        "there is no directory /nonexistent/dir/")
    refused({ vsock(("unix = '%s/file/vm.sock'"):format(dir)) }, 2, "devices[1].unix: ", "there is no directory")
    refused({ vsock(("unix = '%s/file'"):format(dir)) }, 2, "devices[1].unix: ", "/file is there, and is no socket",
        "choose a path that is free")
    refused({ vsock(("unix = '%s/'"):format(dir)) }, 2, "devices[1].unix: ", "is there, and is no socket")
    t.eq(command.capture(("cat '%s/file'"):format(dir)), "x", "it is left alone")
    refused({ vsock "unix = ''" }, 2, "unix: ")
    refused({ vsock "unix = 'a\\0b'" }, 2, "unix: ", "NUL")
end)

t.case("a unix socket in a directory without rights", function()
    if not HAS_QEMU then t.skip "no QEMU here" end
    local lab = t.tmpdir()
    assert(os.execute("mkdir -m 555 " .. lab .. "/closed"))
    command.write(lab .. "/lab.lua",
        ("macvm.vm { backend = 'qemu', devices = { macvm.vsock { unix = '%s/closed/s' } } }:start()"):format(lab))
    -- Root may write anywhere, so somebody else asks.
    local root = command.capture "id -u" == "0\n"
    local as = root and "setpriv --reuid=65534 --regid=65534 --clear-groups" or ""
    assert(os.execute(("chmod 755 %s %s/.. && mkdir -m 777 %s/run"):format(lab, lab, lab)))
    local out = command.capture(("cd %s && XDG_RUNTIME_DIR=%s/run %s %s run lab.lua 2>&1"):format(lab, lab, as,
        command.quote(command.MACVM)))
    t.match(out, "devices%[1%]%.unix: you may not write to .*/closed/")
end)

t.case("a unix socket's name that is too long; that of its directory is not", function()
    local dir = t.tmpdir() .. "/" .. ("d"):rep(200)
    assert(os.execute("mkdir " .. dir))
    refused({ vsock(("unix = '%s/%s'"):format(dir, ("s"):rep(81))) }, 2, "devices[1].unix: ",
        "the socket's name is longer than 80 bytes", "its directory may be as deep as you like")
    if not HAS_QEMU then t.skip "no QEMU here" end
    local fine = ("local vm <close> = macvm.vm { devices = { macvm.vsock { unix = '%s/%s' } } } vm:start()"):format(
        dir, ("s"):rep(80))
    t.eq(command.lab(t, fine, { backend = "qemu" }).status, 0)
    t.eq(command.capture("ls " .. dir), "", "the socket is gone with its machine")
end)

t.case("a unix socket in use", function()
    if not HAS_QEMU then t.skip "no QEMU here" end
    local path = t.tmpdir() .. "/vm.sock"
    local lab = ([[
        local function make(name) return macvm.vm { name = name, devices = { macvm.vsock { unix = %q } } } end
        local a <close>, b = make "a", make "b"
        a:start()
        b:start()]]):format(path)
    command.fails(t, command.lab(t, lab, { backend = "qemu" }), 2, "lab.lua:4: b: ", path .. " is in use",
        "a path of its own")
    t.eq(command.capture("ls " .. path .. " 2>&1 >/dev/null | wc -l"), "1\n", "the socket is gone with its machine")
end)

t.case("a CID that another machine of the lab has", function()
    if not HAS_QEMU then t.skip "no QEMU here" end
    command.fails(t, command.lab(t, [[
        local function make(name) return macvm.vm { name = name, devices = { macvm.vsock { cid = 77 } } } end
        local a <close>, b = make "a", make "b"
        a:start()
        b:start()]], { backend = "qemu" }), 2, "lab.lua:4: b: devices[1].cid: ", '77 is the machine "a" already',
        "one that is free")
end)

t.case("ports that there are not", function()
    for _, port in ipairs { "-1", "4294967295", "'http'", "1.5", "nil" } do
        for _, verb in ipairs { "vm:connect(%s)", "vm:listen(%s, print)" } do
            local lab = ("local vm = macvm.vm { devices = { macvm.vsock {} } }\n" .. verb):format(port)
            command.fails(t, command.lab(t, lab, { backend = "qemu" }), 2, "lab.lua:2: ", "port")
        end
    end
end)

t.case("a machine that is down, that has no such device, where nobody listens", function()
    command.fails(t, command.lab(t, "macvm.vm { name = 'x', devices = { macvm.vsock {} } }:connect(1)",
        { backend = "qemu" }), 1, "lab.lua:1: x: ", "can't connect: the machine is stopped", "start it first")
    if not HAS_QEMU then t.skip "no QEMU here" end
    command.fails(t, command.lab(t, "local vm <close> = macvm.vm 'x'\nvm:start()\nvm:connect(1)", { backend = "qemu" }),
        2, "lab.lua:3: x: ", "it has no vsock device", "devices = { macvm.vsock {} }")
    local lab = [[
        local vm <close> = macvm.vm { name = "x", devices = { macvm.vsock {} } }
        vm:start()
        -- Its driver is not there yet: waited for as long as was asked, and no longer.
        local began = macvm.now()
        local ok, err = pcall(vm.connect, vm, 4321, { timeout = 0.05 })
        assert(not ok and err.code == "timeout" and macvm.now() - began < 5, tostring(err))
        began = macvm.now()
        vm:connect(4321, { timeout = 60 })]]
    command.fails(t, command.lab(t, lab, { backend = "qemu" }), 1, "lab.lua:8: x: ",
        "nobody listens on the guest's vsock port 4321")
end)

t.case("the kernel's device where there is none, and with what it can't do", function()
    refused({ vsock "kernel = true, unix = '/tmp/vm.sock'" }, 2, "x: devices[1].unix: ", "AF_VSOCK",
        "leave out one of them")
    if HAS_KERNEL then t.skip "this host has /dev/vhost-vsock" end
    refused({ vsock "kernel = true" }, 3, "x: devices[1].kernel: ", "this host has no /dev/vhost-vsock",
        "modprobe vhost_vsock")
    local can = command.lab(t, "print(macvm.vm('x'):can 'vsock.kernel')", { backend = "qemu" })
    t.match(can.stdout, "^false\tthis host has no /dev/vhost%-vsock; modprobe vhost_vsock, ")
end)
