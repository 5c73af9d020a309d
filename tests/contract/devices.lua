-- SPDX-License-Identifier: MIT
-- The contract on devices of a machine that runs: plugging, the balloon, links. What the guest sees of each is told
-- by tests/devices.

local macvm = require "macvm"

return {
    {
        name = "a device is plugged in and out, and is one of the machine's meanwhile",
        needs = "hotplug",
        run = function(ctx)
            local vm, entropy = ctx.shared, macvm.entropy {}
            local before = #vm.devices
            ctx.eq(vm:attach(entropy), vm)
            ctx.eq(#vm.devices, before + 1)
            ctx.raises("state", function() entropy.rate = "1M" end)
            ctx.match(ctx.raises("config", vm.attach, vm, entropy).message, "attached already")
            vm:detach(entropy)
            ctx.eq(#vm.devices, before)
            entropy.rate = "1M"
            ctx.raises("config", vm.detach, vm, entropy)
        end,
    },
    {
        name = "one device too many, and one that is wrong, are refused with their place",
        needs = "hotplug",
        run = function(ctx)
            local vm, entropy = ctx.shared, macvm.entropy {}
            vm:attach(entropy)
            ctx.match(ctx.raises("config", vm.attach, vm, macvm.entropy {}).field, "devices%[%d%]")
            vm:detach(entropy)
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
            local vm, told = ctx.machine, nil
            local balloon = macvm.balloon {}
            vm:attach(balloon)
            vm:on("balloon", function(_, bytes) told = bytes end)
            vm:balloon "192M"
            ctx.until_true(function() return told == 192 << 20 end)
            ctx.eq(vm:stats().balloon.actual, 192 << 20)
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
