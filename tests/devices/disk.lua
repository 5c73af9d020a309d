-- SPDX-License-Identifier: MIT
-- Disks: found inside the guest by their Virtio id and their serial number, and used.

local macvm = require "macvm"

local MIB = 1 << 20

local function write_file(path, bytes)
    local file = assert(io.open(path, "wb"))
    assert(file:write(bytes))
    assert(file:close())
    return path
end

local function read_file(path, from, n)
    local file <close> = assert(io.open(path, "rb"))
    file:seek("set", from or 0)
    return file:read(n or "a")
end

local function size_of(path)
    local file <close> = assert(io.open(path, "rb"))
    return file:seek "end"
end

-- A file with text at its beginning, and zeros up to `size`.
local function image(ctx, name, text, size)
    return write_file(ctx.host_path(name), text .. ("\0"):rep(size - #text))
end

-- /dev/vdX of the virtio block device (id 2) with that serial number.
local function node(vm, serial)
    local name = vm:must(([[for d in /sys/block/vd*; do
        [ "$(cat $d/serial 2>/dev/null)" = %s ] && [ "$(cat $d/device/device)" = 0x0002 ] && echo ${d##*/}
        done; true]]):format(serial)):match "%w+"
    return name and "/dev/" .. name
end

local function blocks(vm, dev)
    return tonumber(vm:must("cat /sys/block/" .. dev:match "%w+$" .. "/size"))
end

-- Waits until a disk that was attached is there, and returns its node.
local function appears(ctx, vm, serial)
    return ctx.until_true(function() return node(vm, serial) end, 15)
end

local function read_disk(vm, dev, from, n)
    return vm:must(("dd if=%s bs=1 skip=%d count=%d 2>/dev/null"):format(dev, from, n))
end

-- Past the guest's own cache, and flushed.
local function write_disk(vm, dev, from, text)
    vm:must(("cat >/tmp/block; dd if=/tmp/block of=%s bs=1 seek=%d conv=notrunc,fsync 2>/dev/null"):format(dev, from),
        { stdin = text })
    vm:must "echo 3 >/proc/sys/vm/drop_caches"
end

-- One request to the first sector, by a driver that the guest has brought: how the device answered.
local function past_the_kernel(vm, serial, request)
    local dev = node(vm, serial):match "%w+$"
    local address = vm:must(("basename $(dirname $(readlink -f /sys/block/%s/device))"):format(dev)):match "%S+"
    return vm:must { "/tmp/virtio_request", address, request, "0", "broken", timeout = 30 }
end

local function capture(command)
    local pipe <close> = assert(io.popen(command))
    return pipe:read "a"
end

local data -- the disks of the machine, by id

local function disks(ctx)
    local base = image(ctx, "base.img", "the base", 4 * MIB)
    image(ctx, "fixed.img", "fixed", MIB)
    return {
        data = macvm.disk { path = ctx.host_path "data.img", size = "32M", create = true, id = "data",
            cache = "uncached" },
        cow = macvm.disk { path = ctx.host_path "cow.qcow2", size = "32M", create = true, id = "cow",
            format = "qcow2", sync = "none" },
        fixed = macvm.disk { path = ctx.host_path "fixed.img", id = "fixed", readonly = true },
        one = macvm.disk { path = base, id = "one", ephemeral = true },
        two = macvm.disk { path = base, id = "two", ephemeral = true, size = "8M" },
    }
end

return {
    machine = function(ctx)
        data = disks(ctx)
        return { name = "disks", devices = { data.data, data.cow, data.fixed, data.one, data.two } }
    end,
    {
        name = "each is found by its serial number, with its size, and keeps what is written",
        run = function(ctx)
            local vm = ctx.machine
            for id, size in pairs { data = 32 * MIB, cow = 32 * MIB, fixed = MIB, one = 4 * MIB, two = 8 * MIB } do
                local dev = ctx.ok(node(vm, id), id)
                ctx.eq(blocks(vm, dev) * 512, size, id)
            end
            for _, id in ipairs { "data", "cow" } do
                write_disk(vm, node(vm, id), 12345, "kept on " .. id)
                ctx.eq(read_disk(vm, node(vm, id), 12345, #id + 8), "kept on " .. id)
            end
            ctx.eq(read_file(ctx.host_path "data.img", 12345, 12), "kept on data")
            ctx.ok(size_of(ctx.host_path "cow.qcow2") < 4 * MIB, "the qcow2 image is not sparse")
            local stats = vm:stats()
            ctx.ok(stats.disk.data.write_bytes >= 512, "written bytes are counted")
        end,
    },
    {
        name = "readonly holds whatever the guest does",
        run = function(ctx)
            local vm = ctx.machine
            local dev = node(vm, "fixed")
            ctx.eq(read_disk(vm, dev, 0, 5), "fixed")
            ctx.eq(vm:must("cat /sys/block/" .. dev:match "%w+$" .. "/ro"), "1\n")
            ctx.ok(vm:exec("echo broken | dd of=" .. dev .. " conv=fsync").status ~= 0)
            -- The kernel refuses that by itself. A driver that doesn't care about the flag meets QEMU.
            vm:push(ctx.guest_program "virtio_request", "/tmp/virtio_request")
            ctx.eq(past_the_kernel(vm, "fixed", "write"), "error\n")
            ctx.ok(past_the_kernel(vm, "fixed", "zeroes") ~= "done\n")
            ctx.eq(read_file(ctx.host_path "fixed.img", 0, 6), "fixed\0")
            ctx.eq(read_file(ctx.host_path "fixed.img", 512, 6), ("\0"):rep(6))
            -- The same on a disk that can be written shows that it is QEMU, and not the program, that fails.
            ctx.eq(past_the_kernel(vm, "data", "write"), "done\n")
            ctx.eq(read_file(ctx.host_path "data.img", 0, 6), "broken")
        end,
    },
    {
        name = "ephemeral: writes are private, and the base is as it was",
        run = function(ctx)
            local vm = ctx.machine
            local one, two = node(vm, "one"), node(vm, "two")
            ctx.eq(read_disk(vm, one, 0, 8), "the base")
            ctx.eq(read_disk(vm, two, 0, 8), "the base")
            write_disk(vm, one, 4, "one!")
            write_disk(vm, two, 6 * MIB, "beyond the base")
            ctx.eq(read_disk(vm, one, 0, 8), "the one!")
            ctx.eq(read_disk(vm, two, 0, 8), "the base")
            ctx.eq(read_disk(vm, two, 6 * MIB, 15), "beyond the base")
            ctx.eq(read_file(ctx.host_path "base.img", 0, 9), "the base\0")
            ctx.eq(size_of(ctx.host_path "base.img"), 4 * MIB)
            vm:detach(data.one)
            vm:attach(data.one)
            one = appears(ctx, vm, "one")
            ctx.eq(read_disk(vm, one, 0, 8), "the base", "thrown away")
        end,
    },
    {
        name = "ephemeral over qcow2, plugged in, with the base in two machines",
        run = function(ctx)
            local vm = ctx.machine
            vm:detach(data.cow)
            local over = macvm.disk { path = ctx.host_path "cow.qcow2", format = "qcow2", id = "over",
                ephemeral = true }
            vm:attach(over)
            local dev = appears(ctx, vm, "over")
            write_disk(vm, dev, 0, "thrown away")
            ctx.eq(read_disk(vm, dev, 0, 11), "thrown away")
            local other <close> = ctx.vm { devices = { macvm.disk { path = over.path, format = "qcow2",
                id = "cow", ephemeral = true } } }
            other:start()
            local third = ctx.vm { devices = { macvm.disk { path = over.path, format = "qcow2" } } }
            local err = ctx.raises("config", third.start, third)
            ctx.match(err.message, "is a disk of the machine")
            other:kill()
            vm:detach(over)
            vm:attach(data.cow)
            ctx.eq(read_disk(vm, appears(ctx, vm, "cow"), 0, 11), ("\0"):rep(11))
        end,
    },
    {
        name = "resize: the guest sees it at once; only growing",
        run = function(ctx)
            local vm = ctx.machine
            for id, path in pairs { data = "data.img", cow = "cow.qcow2" } do
                local dev = node(vm, id)
                local disk = ctx.eq(data[id]:resize "48M", data[id])
                ctx.until_true(function() return blocks(vm, dev) * 512 == 48 * MIB end)
                ctx.eq(disk.size, 48 * MIB)
                write_disk(vm, dev, 47 * MIB, "at the new end")
                ctx.eq(read_disk(vm, dev, 47 * MIB, 14), "at the new end")
                ctx.match(ctx.raises("config", disk.resize, disk, "48M").message, "only grows")
                ctx.raises("config", disk.resize, disk, 1 * MIB)
                ctx.raises("config", disk.resize, disk, 48 * MIB + 5)
                ctx.ok(size_of(ctx.host_path(path)) <= 48 * MIB)
            end
            -- Two at once: what came second may not take back what came first.
            local larger = macvm.spawn(data.data.resize, data.data, "52M")
            local smaller = macvm.spawn(pcall, data.data.resize, data.data, "50M")
            larger:join()
            ctx.eq(smaller:join(), false)
            ctx.until_true(function() return blocks(vm, node(vm, "data")) * 512 == 52 * MIB end)
            ctx.eq(size_of(ctx.host_path "data.img"), 52 * MIB)
            ctx.eq(data.data.size, 52 * MIB)
            data.one:resize(6 * MIB)
            ctx.until_true(function() return blocks(vm, node(vm, "one")) * 512 == 6 * MIB end)
            ctx.eq(size_of(ctx.host_path "base.img"), 4 * MIB)
            ctx.match(ctx.raises("config", data.fixed.resize, data.fixed, "64M").message, "readonly")
            local net = macvm.net {}
            ctx.match(ctx.raises("config", net.resize, net, "64M").message, "a net has no resize")
        end,
    },
    {
        name = "detached under load and while mounted: the guest loses it, and goes on",
        run = function(ctx)
            local vm = ctx.machine
            local path = ctx.host_path "busy.img"
            local disk = macvm.disk { path = path, id = "busy" }
            assert(os.execute("PATH=$PATH:/usr/sbin:/sbin mkfs.ext2 -q " .. path .. " 64M 2>/dev/null"), "mkfs.ext2")
            vm:attach(disk)
            local dev = appears(ctx, vm, "busy")
            vm:must("mkdir -p /tmp/busy && mount -t ext4 " .. dev .. " /tmp/busy")
            local writer <close> = vm:spawn
                "while :; do dd if=/dev/zero of=/tmp/busy/file bs=64k count=200 conv=fsync || exit 7; done"
            vm:eventually("[ -s /tmp/busy/file ]", { timeout = 20 })
            vm:detach(disk)
            ctx.ok(writer:wait { timeout = 30 } == 7, "the writer saw it")
            ctx.eq(node(vm, "busy"), nil)
            vm:must "umount -l /tmp/busy"
            vm:attach(disk)
            ctx.ok(appears(ctx, vm, "busy"))
            vm:detach(disk)
            ctx.eq(#vm.devices, 5)
        end,
    },
    {
        name = "one image is never writable at two places",
        run = function(ctx)
            local vm = ctx.machine
            local other = ctx.vm()
            for _, fields in ipairs { {}, { readonly = true }, { ephemeral = true } } do
                fields.path, fields.id = ctx.host_path "data.img", "again"
                local disk = macvm.disk(fields)
                ctx.match(ctx.raises("config", vm.attach, vm, disk).message, "two disks use")
                other:attach(disk)
                ctx.match(ctx.raises("config", other.start, other).message, 'a disk of the machine "disks"')
                other:detach(disk)
            end
            os.execute(("ln %s %s"):format(ctx.host_path "data.img", ctx.host_path "alias.img"))
            local alias = macvm.disk { path = ctx.host_path "alias.img" }
            ctx.match(ctx.raises("config", vm.attach, vm, alias).message, "two disks use")
            os.execute(("ln -s . %s"):format(ctx.host_path "here"))
            for i, path in ipairs { "here/new.img", "new.img" } do -- which is not there yet
                other:attach(macvm.disk { path = ctx.host_path(path), size = "1M", create = true, id = "new" .. i })
            end
            ctx.match(ctx.raises("config", other.start, other).message, "two disks use")
            local again = macvm.disk { path = ctx.host_path "fixed.img", readonly = true, id = "again" }
            vm:attach(again)
            ctx.ok(appears(ctx, vm, "again"))
            vm:detach(again)
        end,
    },
    {
        name = "a header that the guest writes is never believed",
        run = function(ctx)
            local vm = ctx.machine
            local secret = image(ctx, "secret.img", "the host's secret", MIB)
            local forged = ("\81\70\73\251\0\0\0\3\0\0\0\0\0\0\1\0\0\0\0") .. string.char(#secret) ..
                "\0\0\0\16\0\0\0\0\0\16\0\0" -- a disk of 1 MiB over the image named at 256
            forged = forged .. ("\0"):rep(256 - #forged) .. secret
            local disk = macvm.disk { path = ctx.host_path "forged.img", size = "2M", create = true, id = "forged" }
            vm:attach(disk)
            write_disk(vm, appears(ctx, vm, "forged"), 0, forged)
            vm:detach(disk)
            vm:attach(disk)
            local dev = appears(ctx, vm, "forged")
            ctx.eq(blocks(vm, dev) * 512, 2 * MIB)
            ctx.eq(read_disk(vm, dev, 0, #forged), forged)
            vm:detach(disk)
        end,
    },
    {
        name = "no space on the host: the guest's write fails, an event tells",
        skip = function() return capture "id -u" ~= "0\n" and "only root may mount a small file system" or nil end,
        run = function(ctx)
            local vm = ctx.machine
            local dir = ctx.host_path "small"
            assert(os.execute("mkdir -p " .. dir))
            assert(os.execute("mount -t tmpfs -o size=1m tmpfs " .. dir))
            local _ <close> = setmetatable({}, { __close = function()
                os.execute("umount -l " .. dir .. " && rmdir " .. dir)
            end })
            local disk = macvm.disk { path = dir .. "/full.img", size = "8M", create = true, id = "full" }
            vm:attach(disk)
            local dev = appears(ctx, vm, "full")
            local errors = {}
            local sub = vm:on("error", function(_, err) errors[#errors + 1] = err end)
            ctx.ok(vm:exec("dd if=/dev/urandom of=" .. dev .. " bs=64k count=64 conv=fsync").status ~= 0)
            ctx.until_true(function() return errors[1] end)
            sub:cancel()
            ctx.eq(errors[1].code, "io")
            ctx.match(tostring(errors[1]), "disk full: a write failed on the host: No space left on device")
            ctx.eq(#errors, 1, "told once")
            ctx.eq(vm:must "echo alive", "alive\n")
            vm:detach(disk)
        end,
    },
    {
        name = "the disk that it boots from stays",
        run = function(ctx)
            local disk = macvm.disk { path = image(ctx, "boot.img", "no loader", MIB) }
            local second = macvm.disk { path = image(ctx, "second.img", "data", MIB) }
            local vm <close> = ctx.vm { guest = "efi", devices = { disk, second } }
            vm:start()
            local err = ctx.raises("config", vm.detach, vm, disk)
            ctx.match(err.message, "is what the machine boots from")
            ctx.eq(#vm.devices, 2)
            vm:kill()
        end,
    },
    {
        name = "killed, grown and started again: what was written is there, what was ephemeral is nowhere",
        timeout = 90,
        run = function(ctx)
            local vm = ctx.machine
            local pid = vm:stats().pid
            local open = capture(("ls -l /proc/%d/fd"):format(pid))
            ctx.match(open, "%(deleted%)", "the overlay has no name")
            -- Not flushed on raw; flushed on qcow2, though sync = "none" does not reach the storage.
            vm:must(("echo unflushed | dd of=%s bs=512 seek=100 conv=sync oflag=direct 2>/dev/null")
                :format(node(vm, "data")))
            write_disk(vm, node(vm, "cow"), 512 * 100, "flushed")
            write_disk(vm, node(vm, "one"), 0, "gone")
            vm:kill()
            ctx.eq(read_file(ctx.host_path "data.img", 512 * 100, 9), "unflushed")
            ctx.eq(read_file(ctx.host_path "base.img", 0, 9), "the base\0")
            local raw = ctx.host_path "cow.raw"
            ctx.ok(os.execute(("qemu-img convert -f qcow2 -O raw %s %s"):format(ctx.host_path "cow.qcow2", raw)))
            ctx.eq(read_file(raw, 512 * 100, 7), "flushed")
            -- Down: the images are grown, and the next start finds all that was there.
            for id, path in pairs { data = "data.img", cow = "cow.qcow2" } do
                ctx.raises("config", data[id].resize, data[id], "48M")
                data[id]:resize "56M"
                ctx.eq(data[id].size, 56 * MIB)
                ctx.ok(size_of(ctx.host_path(path)) <= 56 * MIB)
            end
            local again <close> = ctx.boot { devices = { data.data, data.cow } }
            for _, id in ipairs { "data", "cow" } do
                local dev = node(again, id)
                ctx.eq(blocks(again, dev) * 512, 56 * MIB)
                ctx.eq(read_disk(again, dev, 47 * MIB, 14), "at the new end")
                write_disk(again, dev, 55 * MIB, "the newest end")
                ctx.eq(read_disk(again, dev, 55 * MIB, 14), "the newest end")
            end
        end,
    },
}
