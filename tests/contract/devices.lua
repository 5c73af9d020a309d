-- SPDX-License-Identifier: MIT
-- The contract on devices of a machine that runs: plugging, the balloon, links. What the guest sees of each is told
-- by tests/devices.

local macvm = require "macvm"

return {
    {
        name = "a device is plugged in and out, and is one of the machine's meanwhile",
        needs = "hotplug",
        run = function(ctx)
            local vm, net = ctx.shared, macvm.net {}
            local before = #vm.devices
            ctx.eq(vm:attach(net), vm)
            ctx.eq(#vm.devices, before + 1)
            ctx.raises("state", function() net.id = "lan" end)
            ctx.match(ctx.raises("config", vm.attach, vm, net).message, "attached already")
            vm:detach(net)
            ctx.eq(#vm.devices, before)
            net.id = "lan"
            ctx.raises("config", vm.detach, vm, net)
        end,
    },
    {
        name = "one device too many, and one that is wrong, are refused with their place",
        needs = "hotplug",
        run = function(ctx)
            local vm, balloon = ctx.shared, macvm.balloon {}
            vm:attach(balloon)
            ctx.match(ctx.raises("config", vm.attach, vm, macvm.balloon {}).field, "devices%[%d%]")
            vm:detach(balloon)
            local err = ctx.raises("config", vm.attach, vm, macvm.disk { path = ctx.host_path "missing.img" })
            ctx.match(err.field, "path")
        end,
    },
    {
        name = "a machine that is down takes and gives devices at once",
        run = function(ctx)
            local vm, entropy = ctx.vm(), macvm.entropy {}
            vm:attach(entropy)
            ctx.eq(#vm.devices, 1)
            vm:detach(entropy)
            ctx.eq(#vm.devices, 0)
            ctx.raises("config", vm.detach, vm, entropy)
        end,
    },
    {
        name = "the balloon tells what it left the guest",
        needs = "balloon",
        fresh = true,
        run = function(ctx)
            local vm, told = ctx.machine, {}
            local balloon = macvm.balloon {}
            vm:attach(balloon)
            vm:on("balloon", function(_, bytes) told[bytes] = true end)
            vm:balloon "192M"
            ctx.until_true(function() return told[192 << 20] end)
            ctx.match(ctx.raises("config", vm.balloon, vm, "64G").hint, "256M")
        end,
    },
    {
        name = "a link goes down and up, and both are told",
        needs = "net",
        fresh = true,
        run = function(ctx)
            local vm, net, told = ctx.machine, macvm.net { id = "wan" }, {}
            vm:attach(net)
            vm:on("network", function(_, id, what) told[#told + 1] = id .. " " .. what end)
            net:link(false)
            net:link(true)
            ctx.until_true(function() return told[2] end)
            ctx.eq(table.concat(told, ", "), "wan down, wan up")
        end,
    },
    {
        name = "a disk grows while its machine runs, and never shrinks",
        needs = "hotplug",
        run = function(ctx)
            local vm = ctx.shared
            local disk = macvm.disk { path = ctx.host_path "grown.img", size = "1M", create = true }
            vm:attach(disk)
            ctx.eq(disk:resize "4M", disk)
            ctx.eq(disk.size, 4 << 20)
            ctx.match(ctx.raises("config", disk.resize, disk, "2M").message, "has 4M already, and only grows")
            local more = macvm.spawn(disk.resize, disk, "8M")
            local less = macvm.spawn(pcall, disk.resize, disk, "6M")
            more:join()
            ctx.eq(less:join(), false)
            ctx.eq(disk.size, 8 << 20)
            vm:detach(disk)
        end,
    },
    {
        name = "what a machine has not, or can't have, is said by the verb",
        run = function(ctx)
            local vm = ctx.shared
            local function refused(kind, fn, ...)
                local can, reason = vm:can(kind)
                local err = ctx.raises(can and "config" or "unsupported", fn, vm, ...)
                ctx.ok(can or err.message:find(reason, 1, true), kind .. ": " .. err.message)
            end
            refused("display", vm.screenshot, ctx.host_path "none.png")
            refused("keyboard", vm.type, "x")
            refused("keyboard", vm.key, "ctrl-c")
            refused("pointer", vm.move, 1, 1)
            refused("pointer", vm.click, 1, 1)
            refused("balloon", vm.balloon, "128M")
            refused("vsock", vm.connect, 7)
        end,
    },
    {
        name = "verbs of devices of a machine that is down",
        run = function(ctx)
            local net = macvm.net {}
            ctx.raises("state", net.link, net, false)
            local vm = ctx.vm { devices = { net, macvm.balloon {} } }
            ctx.raises("state", net.link, net, false)
            ctx.raises("state", vm.balloon, vm, "128M")
        end,
    },
}
