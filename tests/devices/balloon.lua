-- SPDX-License-Identifier: MIT
-- The memory balloon, from inside and from the host.

local macvm = require "macvm"

local MiB = 1 << 20

local function resident(vm)
    return vm:stats().memory.resident
end

-- The guest fills so much memory and gives it back to itself: the host has it then, and the guest does not need it.
local function dirty(vm, mib)
    vm:must("mkdir -p /tmp/full && mount -t tmpfs -o size=100% none /tmp/full")
    vm:must(("dd if=/dev/zero of=/tmp/full/x bs=1M count=%d 2>/dev/null"):format(mib))
    local full = resident(vm)
    vm:must "umount /tmp/full"
    return full
end

local function free(vm)
    return tonumber(vm:must "awk '/^MemFree/ { print $2 }' /proc/meminfo") * 1024
end

return {
    machine = function()
        return { memory = "288M", devices = { macvm.balloon { reporting = false } } }
    end,
    {
        name = "the guest has a virtio balloon",
        run = function(ctx)
            ctx.eq(ctx.machine:must "grep -lx 0x0005 /sys/bus/virtio/devices/*/device | wc -l", "1\n")
        end,
    },
    {
        name = "the guest's free memory follows, and the host's falls",
        run = function(ctx)
            local vm = ctx.machine
            local full = dirty(vm, 100)
            local before = free(vm)
            ctx.ok(full - resident(vm) < 50 * MiB, "without reporting the host keeps what the guest freed")
            local seen = {}
            local _ <close> = vm:on("balloon", function(_, bytes) seen[#seen + 1] = bytes end)
            vm:balloon "160M"
            ctx.ok(before - free(vm) > 100 * MiB, "the guest has less")
            ctx.ok(full - resident(vm) > 60 * MiB, "the host has more")
            ctx.eq(seen[#seen], 160 * MiB)
            ctx.eq(vm:stats().balloon.actual, 160 * MiB)
            vm:balloon(288 * MiB)
            ctx.ok(before - free(vm) < 30 * MiB, "the guest has its memory back")
            ctx.eq(seen[#seen], 288 * MiB)
        end,
    },
    {
        name = "the guest tells of its memory",
        run = function(ctx)
            local vm = ctx.machine
            local memory = ctx.until_true(function()
                local m = vm:stats().memory
                return m.guest_free and m
            end)
            ctx.ok(memory.guest_free > 10 * MiB and memory.guest_free < memory.guest_total, "free")
            ctx.ok(memory.guest_available < memory.guest_total, "available")
            ctx.ok(memory.guest_total > 200 * MiB and memory.guest_total < 288 * MiB, "total")
        end,
    },
    {
        name = "a guest that can't follow: how far it came, and nobody is killed",
        run = function(ctx)
            local vm = ctx.machine
            local err = ctx.raises("timeout", vm.balloon, vm, "64M", { timeout = 3 })
            ctx.match(err.message, "to 64M: it has %d+[KM]")
            ctx.eq(vm:stats().balloon.target, 64 * MiB)
            ctx.eq(vm:must "echo alive", "alive\n")
            vm:balloon "288M"
        end,
    },
    {
        name = "a later target ends an earlier wait, and a paused machine is not waited for",
        run = function(ctx)
            local vm = ctx.machine
            local first = macvm.spawn(function() return pcall(vm.balloon, vm, "64M") end)
            ctx.until_true(function() return vm:stats().balloon.target == 64 * MiB end)
            vm:balloon "256M"
            local ok, err = first:join()
            ctx.eq(ok, false)
            ctx.eq(err.code, "state")
            vm:pause()
            vm:balloon "200M"
            vm:resume()
            ctx.until_true(function() return vm:stats().balloon.actual == 200 * MiB end)
            vm:balloon "288M"
        end,
    },
    {
        name = "targets that are none",
        run = function(ctx)
            local vm = ctx.machine
            for _, bad in ipairs { "63M", "289M", 0, -1, "1T" } do
                local ok, err = pcall(vm.balloon, vm, bad)
                ctx.ok(not ok and err.code == "config", "refused: " .. bad)
                if bad == "63M" or bad == "289M" then ctx.eq(err.hint, "64M to 288M") end
            end
            ctx.raises("config", vm.balloon, vm, "much")
            ctx.raises("config", vm.balloon, vm)
            ctx.match(ctx.raises("config", vm.attach, vm, macvm.balloon {}).message, "at most 1 balloon")
            local down = ctx.vm { devices = { macvm.balloon {} } }
            ctx.raises("state", down.balloon, down, "128M")
            local two = ctx.vm { devices = { macvm.balloon {}, macvm.balloon {} } }
            ctx.eq(ctx.raises("config", two.check, two).field, "devices[2]")
        end,
    },
    {
        name = "free page reporting: what the guest frees is the host's without a word; and plugged in and out",
        timeout = 90,
        run = function(ctx)
            local vm <close> = ctx.boot {}
            ctx.match(ctx.raises("config", vm.balloon, vm, "128M").message, "no balloon")
            local balloon = macvm.balloon {}
            vm:attach(balloon)
            vm:eventually "grep -qx 0x0005 /sys/bus/virtio/devices/*/device"
            local full = dirty(vm, 100)
            ctx.until_true(function() return full - resident(vm) > 60 * MiB end, 30)
            vm:balloon "200M"
            vm:detach(balloon)
            ctx.raises("config", vm.balloon, vm, "128M")
        end,
    },
}
