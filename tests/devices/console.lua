-- SPDX-License-Identifier: MIT
-- Consoles: several virtio ones and a second serial port beside the first, each with its name, its log and its text.

local macvm = require "macvm"
local core = require "macvm.core"

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read "a"
    file:close()
    return text
end

return {
    machine = function(ctx)
        return {
            devices = {
                macvm.console { type = "hvc", log = ctx.host_path "hvc.log" },
                macvm.console { log = ctx.host_path "serial.log" },
                macvm.console { type = "hvc", id = "aux" },
                macvm.console { type = "serial", log = ctx.host_path "second.log" },
            },
        }
    end,
    {
        name = "each has its name, the serial one that every machine has comes first",
        run = function(ctx)
            local vm, ids = ctx.machine, {}
            for i, console in ipairs(vm.consoles) do
                ids[i] = console.id
                ctx.eq(vm.consoles[console.id], console)
            end
            ctx.eq(table.concat(ids, " "), "serial hvc0 aux serial1")
            ctx.eq(vm.console, vm.consoles[1])
            ctx.eq(vm.consoles.hvc1, nil)
        end,
    },
    {
        name = "the guest finds them: by the Virtio id of a console, and as serial ports",
        run = function(ctx)
            ctx.machine:must "grep -lx 0x0003 /sys/bus/virtio/devices/*/device"
            ctx.machine:must "test -c /dev/hvc0 -a -c /dev/hvc1"
            ctx.machine:must "! (: </dev/hvc2) 2>/dev/null"
            ctx.match(ctx.machine:must "cat /proc/tty/driver/serial", "\n1: uart:16550A")
        end,
    },
    {
        name = "what the guest writes arrives at that console alone, and in its log",
        run = function(ctx)
            local vm = ctx.machine
            for id, device in pairs { serial = "ttyS0", hvc0 = "hvc0", aux = "hvc1", serial1 = "ttyS1" } do
                vm:must(("echo word-for-%s >/dev/%s"):format(device, device))
                vm.consoles[id]:expect("word%-for%-" .. device, { timeout = 10 })
                for _, other in ipairs(vm.consoles) do
                    if other.id ~= id then
                        ctx.ok(not other:text():find("word-for-" .. device, 1, true), other.id .. " shows it too")
                    end
                end
            end
            ctx.match(read(ctx.host_path "hvc.log"), "word%-for%-hvc0")
            ctx.match(read(ctx.host_path "serial.log"), "word%-for%-ttyS0")
            ctx.match(read(ctx.host_path "second.log"), "word%-for%-ttyS1")
        end,
    },
    {
        name = "a dialogue with the shell on each virtio console",
        run = function(ctx)
            for device, id in pairs { hvc0 = "hvc0", hvc1 = "aux" } do
                local console = ctx.machine.consoles[id]
                console:send "\n"
                console:expect("# ", { timeout = 20 })
                console:send "tty; echo sum-$((40 + 2))\n"
                console:expect("\n/dev/" .. device .. "\r\nsum%-42\r\n", { timeout = 20 })
            end
        end,
    },
    {
        -- QEMU drops what a virtio console's host end has no room for, so the sum is not asked for.
        name = "much output is kept to the last MiB, and the log has all that came",
        timeout = 120,
        run = function(ctx)
            local vm, console = ctx.machine, ctx.machine.consoles.hvc0
            local before = console:position()
            vm:must("dd if=/dev/zero bs=65536 count=32 2>/dev/null | tr '\\0' 'x' | fold -w 1023 >/dev/hvc0",
                { timeout = 90 })
            ctx.until_true(function()
                vm:must "echo the-end >/dev/hvc0"
                return pcall(console.expect, console, "the%-end", { timeout = 1 })
            end, 60)
            local came = console:position() - before
            ctx.ok(came > 1024 * 1024, "only " .. came .. " bytes came")
            ctx.eq(#console:text(), 1024 * 1024)
            ctx.ok(#read(ctx.host_path "hvc.log") >= came)
        end,
    },
    {
        name = "none is plugged in while the machine runs",
        run = function(ctx)
            ctx.raises("unsupported", function() ctx.machine:attach(macvm.console { type = "hvc" }) end)
            ctx.eq(#ctx.machine.consoles, 4)
        end,
    },
    {
        name = "bad configurations",
        run = function(ctx)
            local function with(...)
                return ctx.vm { devices = { ... } }
            end
            ctx.raises("config", function()
                with(macvm.console { id = "a" }, macvm.console { type = "hvc", id = "a" }):check()
            end, 'another console of this machine is called "a"')
            local hvc, serial = {}, {}
            for i = 1, 7 do hvc[i] = macvm.console { type = "hvc" } end
            for i = 1, 5 do serial[i] = macvm.console {} end
            ctx.raises("config", function() with(table.unpack(hvc)):check() end, "at most 6 consoles of type `hvc`")
            ctx.raises("config", function() with(table.unpack(serial)):check() end,
                "at most 4 consoles of type `serial`")
            ctx.raises("config", function() macvm.console { type = "usb" } end, "type")
            ctx.raises("config", function()
                with(macvm.console { type = "hvc", log = "/nonexistent/log" }):start()
            end, "/nonexistent/log")
        end,
    },
    {
        name = "when the machine goes down every console says so, and keeps what it has",
        run = function(ctx)
            local vm = ctx.machine
            local waits = {}
            for i, console in ipairs(vm.consoles) do
                waits[i] = core.spawn(function() return console:wait(console:position() + 1000000) end)
            end
            macvm.sleep(0)
            vm:kill()
            for _, wait in ipairs(waits) do ctx.raises("state", function() wait:join() end) end
            ctx.match(vm.consoles.aux:text(), "word%-for%-hvc1")
            ctx.raises("state", function() vm.consoles.aux:send "x" end)
        end,
    },
}
