-- SPDX-License-Identifier: MIT
-- What macvm's own guest does with devices by itself: an address for a network device that comes later, a share that is
-- in use, an end that loses nothing.

local macvm = require "macvm"

local function tmpdir()
    local dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -m 700 " .. dir))
    return setmetatable({ path = dir }, { __close = function() os.execute("rm -rf " .. dir) end })
end

local function content(path)
    local file <close> = assert(io.open(path, "rb"))
    return file:read "a"
end

return {
    machine = function()
        return { devices = { macvm.net {} } }
    end,
    {
        name = "a network device that comes later asks for its address, and takes nothing from the first",
        needs = "hotplug",
        run = function(ctx)
            local vm, second = ctx.machine, macvm.net {}
            local routes, servers = vm:must "ip route", vm:must "cat /etc/resolv.conf"
            ctx.match(routes, "default via 10%.0%.2%.2 dev eth0 ")
            vm:attach(second)
            vm:eventually("ip -4 -o addr show eth1 | grep 'inet '", { timeout = 20 })
            ctx.match(vm:must "ip route | head -n 1", "^default via 10%.0%.2%.2 dev eth0 +\n$")
            ctx.eq(vm:must "cat /etc/resolv.conf", servers)
            vm:detach(second)
            vm:eventually("! pidof udhcpc && ! test -e /sys/class/net/eth1", { timeout = 10 })
            ctx.eq(vm:must "ip route", routes)
        end,
    },
    {
        name = "a share in use stays, and who uses it is told",
        needs = "share",
        run = function(ctx)
            local dir <close> = tmpdir()
            local vm = ctx.machine
            local share = macvm.share { tag = "used", path = dir.path, mount = "/mnt/deep/used" }
            vm:attach(share)
            local user = vm:spawn "cd /mnt/deep/used && echo there && exec sleep 1000"
            ctx.eq(user.stdout:read "l", "there")
            local err = ctx.raises("guest", vm.detach, vm, share)
            ctx.match(err.message, 'share "used" can\'t be unmounted at /mnt/deep/used: ')
            ctx.match(err.message, "it is in use by process %d+ %(sleep%)")
            vm:must "echo still >/mnt/deep/used/file"
            ctx.eq(content(dir.path .. "/file"), "still\n")
            user:kill()
            user:wait()
            vm:detach(share)
            ctx.eq(vm:must "mount | grep -c used || true", "0\n")
        end,
    },
    {
        name = "what was written is there after the end, whatever was in use",
        needs = "share",
        run = function(ctx)
            local dir <close> = tmpdir()
            local image = dir.path .. "/disk.img"
            local vm = ctx.boot { devices = {
                macvm.disk { path = image, size = "16M", create = true },
                macvm.share { tag = "src", path = dir.path, mount = "/mnt/src" },
            } }
            vm:must "head -c 8388608 /dev/urandom >/tmp/random && md5sum </tmp/random >/mnt/src/sum"
            vm:must "cat /tmp/random >/dev/vda"
            vm:spawn "cd /mnt/src && exec sleep 1000"
            vm:stop { timeout = 30 }
            local pipe = assert(io.popen("head -c 8388608 " .. image .. " | md5sum"))
            ctx.eq(pipe:read "a", content(dir.path .. "/sum"))
            pipe:close()
        end,
    },
}
