-- SPDX-License-Identifier: MIT
-- Bad places for what a machine makes on the host: console logs, the socket of a display; and lists with gaps.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local function refused(backend, device, ...)
    local text = ("macvm.vm { name = 'x', devices = { %s } }:start()"):format(device)
    command.fails(t, command.lab(t, text, { backend = backend }), 2, "lab.lua:1: x: devices[1].", ...)
end

t.case("a console's log in a directory that is not there, or that is one itself", function()
    local dir = t.tmpdir()
    refused("sim", "macvm.console { log = '/nonexistent/dir/log' }", "log: there is no directory /nonexistent/dir/")
    refused("sim", ("macvm.console { log = '%s' }"):format(dir), "log: ", "is a directory")
end)

t.case("the socket of a display in the place of a file, or nowhere", function()
    if command.capture "command -v qemu-system-x86_64" == "" then t.skip "no QEMU here" end
    local dir = t.tmpdir()
    command.write(dir .. "/file", "x")
    refused("qemu", ("macvm.display { vnc = '%s/file' }"):format(dir), "vnc: ", "/file is there, and is no socket")
    t.eq(command.capture(("cat '%s/file'"):format(dir)), "x", "it is left alone")
    refused("qemu", "macvm.display { vnc = '/nonexistent/dir/v' }", "vnc: there is no directory /nonexistent/dir/")
    refused("qemu", ("macvm.display { vnc = '%s/%s' }"):format(dir, ("v"):rep(81)), "vnc: ", "longer than 80 bytes")
end)

t.case("a list with a gap loses no device in silence", function()
    local function gap(list, ...)
        command.fails(t, command.lab(t, ("macvm.vm { devices = { %s } }"):format(list), { backend = "sim" }), 2,
            "lab.lua:1: devices", ...)
    end
    gap("nil, macvm.entropy {}", "[1]: is nil", "vm:attach")
    gap("macvm.entropy {}, nil, macvm.net {}", "[2]: is nil")
    gap("macvm.entropy {}, wan = macvm.net {}", ": expected a list")
end)
