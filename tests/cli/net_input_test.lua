-- SPDX-License-Identifier: MIT
-- What is wrong with a net, a balloon or an entropy device: one line, and the status of bad input.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local QEMU = { backend = "qemu" }

local function fails(devices, ...)
    local lab = ("macvm.vm { name = 'x', devices = { %s } }:start()"):format(devices)
    command.fails(t, command.lab(t, lab, QEMU), 2, ...)
end

t.case("addresses that can't be", function()
    fails("macvm.net { mac = '53:54:00:00:00:01' }", "lab.lua:1:", "mac: ", "multicast", "first byte must be even")
    fails("macvm.net { mac = '52:54:00:00:00' }", "mac: ", "six bytes")
    fails("macvm.net { mac = '52:54:00:00:00:01' }, macvm.net { mac = '52:54:00:00:00:01' }", "devices[2].mac: ",
        "another net")
    fails("macvm.net { forward = { ['localhost:80'] = 80 } }", "forward", "127.0.0.1:8080")
    fails("macvm.net { forward = { ['127.0.0.1:8080'] = { 80, 443 } } }", "forward", "host port 0 alone")
    fails("macvm.net { forward = { ['127.0.0.1:0'] = {} } }", "forward", "integer from 1 to 65535")
    fails("macvm.net { forward = { ['192.0.2.77:0'] = 80, ['192.0.2.77:8080'] = 80 } }", "can't listen", "192.0.2.77",
        "address of this host")
end)

t.case("bridged: an interface that is missing or unknown, and forwards", function()
    fails("macvm.net { mode = 'bridged' }", "devices[1].interface: ", "needs an interface")
    fails("macvm.net { mode = 'bridged', interface = 'nosuch0' }", "devices[1].interface: ", "nosuch0", "this host has")
    fails("macvm.net { mode = 'bridged', interface = 'lo', forward = { ['127.0.0.1:0'] = 80 } }",
        "devices[1].forward: ", "vm:address()")
    fails("macvm.net { interface = 'lo' }", "devices[1].interface: ", "bridged")
end)

t.case("one of a kind", function()
    fails("macvm.balloon {}, macvm.balloon {}", "devices[2]: ", "at most 1 balloon")
    fails("macvm.entropy {}, macvm.net {}, macvm.entropy {}", "devices[3]: ", "at most 1 entropy")
    fails("macvm.entropy { rate = 0 }", "rate: ", "too small")
end)

t.case("a port of the host that another process has, which is named", function()
    local p = command.start(t, { "run", "--backend", "qemu", "lab.lua" }, { files = { ["lab.lua"] = [[
        local vm = macvm.vm { name = "holder", devices = {
            macvm.net { forward = { ["127.0.0.1:0"] = 80, ["udp:127.0.0.1:0"] = 53 } } } }
        vm:start()
        for _, f in ipairs(vm:forwards()) do print(f.port) end
        io.stdout:flush()]] } })
    local tcp, udp = p:line(), p:line()
    fails(("macvm.net { forward = { ['127.0.0.1:%s'] = 80 } }"):format(tcp), ("devices[1].forward[\"127.0.0.1:%s\"]: ")
        :format(tcp), "TCP port " .. tcp, "is in use by process ", "macvm-holder", "port 0 takes one")
    fails(("macvm.net { forward = { ['0.0.0.0:%s'] = 80 } }"):format(tcp), "is in use by process ")
    fails(("macvm.net { forward = { ['udp:127.0.0.1:%s'] = 80 } }"):format(udp), "UDP port " .. udp,
        "is in use by process ")
    p:signal "INT"
    p:wait()
end)
