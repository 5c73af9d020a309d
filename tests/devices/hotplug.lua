-- SPDX-License-Identifier: MIT
-- Plugging devices in and out of a machine that runs, seen from inside.

local macvm = require "macvm"

-- How many devices of a Virtio id the guest's kernel drives.
local function count(vm, id)
    return tonumber(vm:must(("grep -lx 0x%04x /sys/bus/virtio/devices/*/device 2>/dev/null | wc -l"):format(id)))
end

return {
    machine = function()
        return {}
    end,
    {
        name = "a device comes, is used, and goes",
        run = function(ctx)
            local vm = ctx.machine
            local entropy = macvm.entropy {}
            ctx.eq(count(vm, 4), 0)
            vm:attach(entropy)
            vm:eventually("grep -q virtio_rng /sys/class/misc/hw_random/rng_current", { timeout = 10 })
            ctx.eq(#vm:must "head -c 16 /dev/hwrng", 16)
            ctx.eq(count(vm, 4), 1)
            vm:detach(entropy)
            ctx.eq(count(vm, 4), 0)
            vm:attach(entropy)
            vm:eventually("grep -q virtio_rng /sys/class/misc/hw_random/rng_current", { timeout = 10 })
            vm:detach(entropy)
        end,
    },
    {
        name = "a device that is attached is one of the configuration, and can't be changed",
        run = function(ctx)
            local vm = ctx.machine
            local entropy = macvm.entropy { rate = "1M" }
            vm:attach(entropy)
            ctx.eq(#vm.devices, 1)
            ctx.raises("state", function() entropy.rate = "2M" end)
            ctx.raises("config", vm.attach, vm, entropy)
            vm:detach(entropy)
            ctx.eq(#vm.devices, 0)
            entropy.rate = "2M"
        end,
    },
    {
        name = "what can't be plugged in leaves nothing",
        run = function(ctx)
            local vm = ctx.machine
            ctx.raises("config", vm.attach, vm, macvm.disk { path = ctx.host_path "none.img" })
            ctx.raises("config", vm.detach, vm, macvm.entropy {})
            ctx.eq(#vm.devices, 0)
            local first, second = macvm.entropy {}, macvm.entropy {}
            vm:attach(first)
            local err = ctx.raises("config", vm.attach, vm, second)
            ctx.match(err.message, "at most 1 entropy")
            vm:detach(first)
        end,
    },
    {
        name = "in a machine that is paused, and one that goes down on the way",
        run = function(ctx)
            local vm <close> = ctx.boot()
            local entropy = macvm.entropy {}
            vm:pause()
            vm:attach(entropy)
            ctx.raises("timeout", vm.detach, vm, entropy, { timeout = 0.2 })
            local waiting = macvm.spawn(function() return pcall(vm.attach, vm, macvm.net {}) end)
            vm:kill()
            waiting:join()
            ctx.raises("config", vm.detach, vm, macvm.entropy {})
            ctx.eq(vm.state, "stopped")
        end,
    },
}
