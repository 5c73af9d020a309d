-- SPDX-License-Identifier: MIT
-- Plugging devices in and out of a machine that runs, seen from inside.

local macvm = require "macvm"

-- How many devices of a Virtio id the guest's kernel drives.
local function count(vm, id)
    return tonumber(vm:must(("grep -lx 0x%04x /sys/bus/virtio/devices/*/device 2>/dev/null | wc -l"):format(id)))
end

-- Switches off every slot that has a device of this Virtio id, as a guest may that nobody asked to.
local EJECT = [[
    for slot in /sys/bus/pci/slots/*; do
        for id in /sys/bus/pci/devices/$(cat $slot/address).0/virtio*/device; do
            [ "$(cat $id 2>/dev/null)" = %s ] && echo 0 >$slot/power
        done
    done
    true]]

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
            local net = macvm.net { id = "lan" }
            vm:attach(net)
            ctx.eq(#vm.devices, 1)
            ctx.raises("state", function() net.id = "wan" end)
            ctx.raises("config", vm.attach, vm, net)
            vm:detach(net)
            ctx.eq(#vm.devices, 0)
            net.id = "wan"
        end,
    },
    {
        name = "what can't be plugged in leaves nothing",
        run = function(ctx)
            local vm = ctx.machine
            ctx.raises("config", vm.attach, vm, macvm.disk { path = ctx.host_path "none.img" })
            ctx.raises("config", vm.detach, vm, macvm.entropy {})
            ctx.eq(#vm.devices, 0)
            local first, second = macvm.balloon {}, macvm.balloon {}
            vm:attach(first)
            local err = ctx.raises("config", vm.attach, vm, second)
            ctx.match(err.message, "at most 1 balloon")
            vm:detach(first)
        end,
    },
    {
        name = "what was there from the start can go too, but for what QEMU can't plug",
        needs = "x86_64",
        timeout = 120,
        run = function(ctx)
            local dir = ctx.host_path "cold"
            assert(os.execute("mkdir -p " .. dir))
            local devices = {
                macvm.display {},
                macvm.net {}, macvm.entropy {}, macvm.balloon {}, macvm.vsock {}, macvm.keyboard {},
                macvm.disk { path = ctx.host_path "cold.img", size = "1M", create = true, id = "cold" },
                macvm.share { tag = "cold", path = dir, mount = "/mnt/cold" },
            }
            local vm <close> = ctx.boot { devices = devices }
            local err = ctx.raises("unsupported", vm.detach, vm, devices[1])
            ctx.match(err.message, "%a")
            ctx.eq(vm.devices[1], devices[1])
            vm:must "echo there >/mnt/cold/file && grep -qx cold /sys/block/vd*/serial"
            for i = #devices, 2, -1 do vm:detach(devices[i]) end
            ctx.eq(#vm.devices, 1)
            for _, id in ipairs { 1, 4, 5, 19, 26 } do ctx.eq(count(vm, id), 0) end
            vm:must "! grep -q /mnt/cold /proc/mounts && ! grep -qx cold /sys/block/vd*/serial"
            vm:attach(devices[8])
            ctx.eq(vm:must "cat /mnt/cold/file", "there\n")
            vm:stop { timeout = 30 }
            vm:detach(devices[1])
            ctx.eq(#vm.devices, 1)
        end,
    },
    {
        name = "asked for before the guest's kernel listens, it is asked for again",
        needs = "x86_64",
        run = function(ctx)
            local net = macvm.net {}
            local vm <close> = ctx.vm { devices = { net } }
            vm:start()
            vm:detach(net)
            ctx.eq(#vm.devices, 0)
            vm:kill()
        end,
    },
    {
        name = "a guest that lets go unasked: an event, and it is attached no more",
        run = function(ctx)
            local vm = ctx.machine
            local entropy, told = macvm.entropy {}, nil
            local _ <close> = vm:on("error", function(_, err) told = err end)
            vm:attach(entropy)
            vm:eventually("grep -q virtio_rng /sys/class/misc/hw_random/rng_current", { timeout = 10 })
            vm:must(EJECT:format "0x0004")
            ctx.until_true(function() return told end)
            ctx.eq(told.code, "guest")
            ctx.match(told.message, "entropy entropy1: the guest let go of it unasked")
            ctx.eq(#vm.devices, 0)
            ctx.raises("config", vm.detach, vm, entropy)
            vm:attach(entropy)
            vm:eventually("grep -q virtio_rng /sys/class/misc/hw_random/rng_current", { timeout = 10 })
            vm:detach(entropy)
        end,
    },
    {
        name = "what has no name of its own is counted anew when one has gone",
        run = function(ctx)
            local vm = ctx.machine
            local first, second, third = macvm.net {}, macvm.net {}, macvm.net {}
            vm:attach(first):attach(second)
            local mac = vm:stats().net.net2.mac
            vm:detach(first)
            ctx.eq(vm:stats().net.net1.mac, mac)
            ctx.eq(vm:stats().net.net2, nil)
            ctx.eq(vm:address { net = second }, "10.0.3.15")
            vm:attach(third)
            ctx.eq(vm:stats().net.net1.mac, mac)
            ctx.ok(vm:stats().net.net2.mac ~= mac)
            vm:detach(second):detach(third)
        end,
    },
    {
        name = "no two disks have the same serial number, whatever has come and gone",
        run = function(ctx)
            local vm, disks = ctx.machine, {}
            for i = 1, 3 do
                disks[i] = macvm.disk { path = ctx.host_path("serial" .. i), size = "1M", create = true }
            end
            vm:attach(disks[1]):attach(disks[2]):detach(disks[1]):attach(disks[3])
            vm:eventually("[ $(grep -h . /sys/block/vd*/serial | wc -l) = 2 ]", { timeout = 10 })
            ctx.eq(vm:must "grep -h . /sys/block/vd*/serial | sort -u", "disk1\ndisk2\n")
            local stats = vm:stats().disk
            ctx.ok(stats.disk1 and stats.disk2 and not stats.disk3)
            vm:detach(disks[2]):detach(disks[3])
        end,
    },
    {
        name = "in a machine that is paused, and one that goes down on the way",
        run = function(ctx)
            local vm <close> = ctx.boot()
            local entropy = macvm.entropy {}
            vm:pause()
            vm:attach(entropy)
            local err = ctx.raises("timeout", vm.detach, vm, entropy, { timeout = 0.2 })
            ctx.match(err.message, "waiting for .*: the guest to let go of an entropy$")
            vm:resume()
            vm:detach(entropy) -- it is waited for again
            vm:pause()
            vm:attach(entropy)
            ctx.raises("timeout", vm.detach, vm, entropy, { timeout = 0.2 })
            local stopped = vm:stats().pid
            os.execute("kill -STOP " .. stopped) -- so that it does not answer before it ends
            local waiting = macvm.spawn(function() return pcall(vm.attach, vm, macvm.net {}) end)
            macvm.sleep(0)
            vm:kill()
            local attached
            attached, err = waiting:join()
            ctx.eq(attached, false)
            ctx.eq(err.code, "state")
            ctx.raises("config", vm.detach, vm, macvm.entropy {})
            ctx.eq(vm.state, "stopped")
        end,
    },
}
