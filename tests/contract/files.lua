-- SPDX-License-Identifier: MIT
-- The contract on files of the guest: whole contents, modes, copies, and what can go wrong.

local lfs = require "lfs"

local function every_byte()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    return table.concat(bytes)
end

-- Bytes that show when a piece is missing, doubled or out of place.
local function pattern(size)
    local pieces, total, i = {}, 0, 0
    while total < size do
        i = i + 1
        local piece = ("%08d:%s\n"):format(i, string.char(i * 31 % 256):rep(i % 61))
        pieces[i] = piece
        total = total + #piece
    end
    return table.concat(pieces):sub(1, size)
end

local function host_read(path)
    local file <close> = assert(io.open(path, "rb"))
    return file:read "a"
end

local function host_write(path, bytes)
    local file <close> = assert(io.open(path, "wb"))
    file:write(bytes)
end

return {
    {
        name = "every byte survives write and read",
        run = function(ctx)
            local bytes = every_byte():rep(3)
            ctx.shared:write("/tmp/bytes", bytes)
            ctx.eq(ctx.shared:read "/tmp/bytes", bytes)
        end,
    },
    {
        name = "an empty file",
        run = function(ctx)
            ctx.shared:write("/tmp/empty", "")
            ctx.eq(ctx.shared:read "/tmp/empty", "")
            ctx.eq(ctx.shared:exec("test -f /tmp/empty").status, 0)
        end,
    },
    {
        name = "5 MiB there and back",
        run = function(ctx)
            local bytes = pattern(5 << 20)
            ctx.shared:write("/tmp/big", bytes)
            ctx.match(ctx.shared:must "wc -c /tmp/big", "^5242880 ")
            ctx.ok(ctx.shared:read "/tmp/big" == bytes, "the same bytes")
            ctx.shared:must "rm /tmp/big"
        end,
    },
    {
        name = "write replaces, and the guest's commands see it",
        run = function(ctx)
            ctx.shared:write("/tmp/twice", ("long "):rep(1000))
            ctx.shared:write("/tmp/twice", "short\n")
            ctx.eq(ctx.shared:must "cat /tmp/twice", "short\n")
        end,
    },
    {
        name = "read sees what a command wrote",
        run = function(ctx)
            ctx.shared:must "echo from the guest > /tmp/theirs"
            ctx.eq(ctx.shared:read "/tmp/theirs", "from the guest\n")
        end,
    },
    {
        name = "modes: 0644 when new, kept when there, set when given",
        run = function(ctx)
            local vm = ctx.shared
            local function mode() return vm:must("stat -c %a /tmp/mode"):match "%d+" end
            vm:exec "rm -f /tmp/mode"
            vm:write("/tmp/mode", "1")
            ctx.eq(mode(), "644")
            vm:must "chmod 750 /tmp/mode"
            vm:write("/tmp/mode", "2")
            ctx.eq(mode(), "750")
            vm:write("/tmp/mode", "3", tonumber("600", 8))
            ctx.eq(mode(), "600")
            ctx.eq(vm:read "/tmp/mode", "3")
        end,
    },
    {
        name = "reading what is not there",
        run = function(ctx)
            local err = ctx.raises("guest", ctx.shared.read, ctx.shared, "/tmp/not/there")
            ctx.match(err.message, "No such file or directory")
            ctx.match(err.message, "/tmp/not/there")
        end,
    },
    {
        name = "reading a directory",
        run = function(ctx)
            ctx.match(ctx.raises("guest", ctx.shared.read, ctx.shared, "/tmp").message, "[Dd]irectory")
        end,
    },
    {
        name = "writing into a directory that is not there",
        run = function(ctx)
            local err = ctx.raises("guest", ctx.shared.write, ctx.shared, "/no/such/dir/file", "x")
            ctx.match(err.message, "No such file or directory")
        end,
    },
    {
        name = "writing over a directory",
        run = function(ctx)
            ctx.match(ctx.raises("guest", ctx.shared.write, ctx.shared, "/tmp", "x").message, "[Dd]irectory")
            ctx.eq(ctx.shared:exec("test -d /tmp").status, 0)
        end,
    },
    {
        name = "no space left: the guest's reason, and no half of a file",
        run = function(ctx)
            local vm = ctx.shared
            vm:must "mkdir -p /tmp/small; mount -t tmpfs -o size=64k none /tmp/small"
            local err = ctx.raises("guest", vm.write, vm, "/tmp/small/file", ("x"):rep(1 << 20))
            ctx.match(err.message, "No space left")
            ctx.eq(vm:must "ls /tmp/small", "")
            vm:write("/tmp/small/file", "it works again")
            ctx.eq(vm:read "/tmp/small/file", "it works again")
        end,
    },
    {
        name = "push keeps bytes and mode",
        run = function(ctx)
            local path, bytes = ctx.host_path "pushed", pattern(300000)
            host_write(path, bytes)
            os.execute("chmod 751 '" .. path .. "'")
            ctx.shared:push(path, "/tmp/pushed")
            ctx.ok(ctx.shared:read "/tmp/pushed" == bytes, "the same bytes")
            ctx.eq(ctx.shared:must "stat -c %a /tmp/pushed", "751\n")
        end,
    },
    {
        name = "pull keeps bytes and mode",
        run = function(ctx)
            local path, bytes = ctx.host_path "pulled", pattern(300000)
            ctx.shared:write("/tmp/source", bytes, tonumber("640", 8))
            ctx.shared:pull("/tmp/source", path)
            ctx.ok(host_read(path) == bytes, "the same bytes")
            ctx.eq(lfs.attributes(path, "permissions"), "rw-r-----")
        end,
    },
    {
        name = "push into a directory adds the name",
        run = function(ctx)
            local path = ctx.host_path "named"
            host_write(path, "by name")
            ctx.shared:push(path, "/tmp/")
            ctx.eq(ctx.shared:read "/tmp/named", "by name")
        end,
    },
    {
        name = "pull into a directory adds the name",
        run = function(ctx)
            local path = ctx.host_path "fetched"
            ctx.shared:write("/tmp/fetched", "by name")
            ctx.shared:pull("/tmp/fetched", (path:gsub("/fetched$", "")))
            ctx.eq(host_read(path), "by name")
        end,
    },
    {
        name = "pulling what is not there leaves the host as it was",
        run = function(ctx)
            local path = ctx.host_path "kept"
            host_write(path, "as it was")
            ctx.raises("guest", ctx.shared.pull, ctx.shared, "/tmp/not/there", path)
            ctx.eq(host_read(path), "as it was")
        end,
    },
    {
        name = "pushing what is not there is the host's error",
        run = function(ctx)
            local path = ctx.host_path "absent"
            local err = ctx.raises("io", ctx.shared.push, ctx.shared, path, "/tmp/absent")
            ctx.match(err.message, "No such file or directory")
            ctx.eq(ctx.shared:exec("test -e /tmp/absent").status, 1)
        end,
    },
    {
        name = "pulling into a directory that is not there is the host's error",
        run = function(ctx)
            ctx.shared:write("/tmp/source", "x")
            ctx.raises("io", ctx.shared.pull, ctx.shared, "/tmp/source", ctx.host_path "no/such/dir/file")
        end,
    },
    {
        name = "files of a machine that is down",
        run = function(ctx)
            local vm = ctx.vm()
            ctx.raises("state", vm.read, vm, "/etc/hostname")
            ctx.raises("state", vm.write, vm, "/tmp/x", "x")
        end,
    },
}
