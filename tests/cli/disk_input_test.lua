-- SPDX-License-Identifier: MIT
-- Disks that can't be: each gets its exit status and one line that says where, what, and what would be right.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local QEMU = "qemu-system-x86_64"
local HAS_QEMU = command.capture("command -v " .. QEMU) ~= ""
local ROOT = command.capture "id -u" == "0\n"

-- A lab of one machine with one disk that has these fields, in Lua.
local function one(fields, opts, verb)
    local lab = ("local vm <close> = macvm.vm { name = 'x', devices = { macvm.disk { %s } } }\nvm:%s()\nprint 'up'")
        :format(fields, verb or "start")
    return command.lab(t, lab, opts or { backend = "sim" })
end

local function image(bytes, name)
    local path = t.tmpdir() .. "/" .. (name or "a.img")
    command.write(path, bytes)
    return path
end

-- A qcow2 header: version 3, clusters of 64 KiB, 1 MiB, with other bytes at some places.
local function qcow2(changes)
    local head = {}
    for i = 1, 65536 * 4 do head[i] = 0 end
    local function put(at, ...)
        for i, byte in ipairs { ... } do head[at + i] = byte end
    end
    put(0, 0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3)
    put(20, 0, 0, 0, 16, 0, 0, 0, 0, 0, 16, 0, 0)
    put(36, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0)
    for at, byte in pairs(changes or {}) do put(at, byte) end
    local out = {}
    for i = 1, #head, 4096 do out[#out + 1] = string.char(table.unpack(head, i, i + 4095)) end
    return table.concat(out)
end

t.case("no image, and none that could be made", function()
    command.fails(t, one "path = 'none.img'", 2, "lab.lua:2: x: devices[1].path: ", "none.img",
        "No such file or directory", "create = true")
    command.fails(t, one "path = 'none.img', create = true", 2, "devices[1].size: ", "needs a size", '"4G"')
    command.fails(t, one "path = 'no/dir/a.img', create = true, size = '1M'", 2, "devices[1].path: ",
        "no/dir/a.img can't be made: No such file")
    command.fails(t, one "size = '1M'", 2, "devices[1].path: ", "needs a path")
end)

t.case("a directory, a device and a pipe as disk", function()
    command.fails(t, one "path = '/tmp'", 2, "devices[1].path: /tmp: is a directory")
    command.fails(t, one "path = '/dev/null'", 2, "/dev/null: is not a regular file")
    local dir = t.tmpdir()
    assert(os.execute("mkfifo " .. dir .. "/pipe"))
    command.fails(t, one(("path = %q"):format(dir .. "/pipe")), 2, "pipe: is not a regular file")
end)

t.case("a size that shrinks, that is no size, or that a readonly disk has not", function()
    local path = image(("\0"):rep(2 << 20))
    command.fails(t, one(("path = %q, size = '1M'"):format(path)), 2, "lab.lua:2: x: devices[1].size: 1M would shrink ",
        "which has 2M", 'size = "2M"')
    command.fails(t, one(("path = %q, size = '3M', readonly = true"):format(path)), 2, "devices[1].size: ", "readonly")
    command.fails(t, one(("path = %q, size = %d"):format(path, (4 << 20) + 1)), 2, "devices[1].size: ", "512")
    t.eq(one(("path = %q, size = '2M', readonly = true"):format(path)).status, 0)
    t.eq(one(("path = %q, size = '3M', ephemeral = true"):format(path)).status, 0)
    t.eq(#command.read(path), 2 << 20, "a check changes nothing")
    local grow = ("local d = macvm.disk { path = %q }\nd:resize %s"):format(path, "%s")
    command.fails(t, command.lab(t, grow:format "'1M'"), 2, "lab.lua:2: ", "has 2M already, and only grows")
    command.fails(t, command.lab(t, grow:format "'1Q'"), 2, "lab.lua:2: ", "1Q")
    command.fails(t, command.lab(t, grow:format "(-512)"), 2, "lab.lua:2: ", "no size of a disk")
    t.eq(command.lab(t, grow:format "'3M'").status, 0)
    t.eq(#command.read(path), 3 << 20)
end)

t.case("an image without rights", function()
    local path = image(("\0"):rep(4096))
    local dir = path:match "^(.*)/"
    if not ROOT then
        assert(os.execute("chmod 444 " .. path))
    elseif os.execute(("mount --bind %s %s 2>/dev/null && mount -o remount,bind,ro %s"):format(dir, dir, dir)) then
        t.after(function() os.execute("umount " .. dir) end)
    else
        t.skip "nothing can be mounted here, and root may write everywhere"
    end
    command.fails(t, one(("path = %q"):format(path)), 2, "lab.lua:2: x: devices[1].path: ", "a.img: ",
        "readonly = true")
    t.eq(one(("path = %q, readonly = true"):format(path)).status, 0)
    t.eq(one(("path = %q, ephemeral = true"):format(path)).status, 0)
    if ROOT then return end
    assert(os.execute("chmod 0 " .. path))
    command.fails(t, one(("path = %q, readonly = true"):format(path)), 2, "a.img: Permission denied")
end)

t.case("images that are not what they are said to be", function()
    local function is(bytes, ...)
        command.fails(t, one(("path = %q, format = 'qcow2'"):format(image(bytes))), 2, "x: devices[1].format: ",
            "a.img ", ...)
    end
    is("this is no image", "is not in qcow2 format", 'format = "raw"')
    is("", "is not in qcow2 format")
    is(qcow2 { [7] = 9 }, "version")
    is(qcow2 { [24] = 255 }, "impossible size")
    is(qcow2 { [14] = 1 }, "is laid over another image", "qemu-img convert")
    is(qcow2 { [79] = 4 }, "keeps its data in another file")
    is(qcow2 { [35] = 1 }, "is encrypted")
    t.eq(one(("path = %q, format = 'qcow2'"):format(image(qcow2()))).status, 0)
    local path = image(qcow2())
    local r = command.run(t, { "check", "--backend", "sim", "lab.lua" }, { files = { ["lab.lua"] =
        ("macvm.vm { name = 'x', devices = { macvm.disk { path = %q } } }"):format(path) } })
    t.eq(r.status, 0, r.stderr)
    t.match(r.stderr, "x: devices%[1%]: .*a.img is used as raw, and begins like a qcow2 image")
end)

t.case("uncached on a file system that has nothing else", function()
    local dir = t.tmpdir()
    if not os.execute("mount -t ramfs ramfs " .. dir .. " 2>/dev/null") then
        t.skip "nothing can be mounted here"
    end
    t.after(function() os.execute("umount " .. dir) end)
    command.write(dir .. "/a.img", ("\0"):rep(4096))
    for _, fields in ipairs { "path = '%s/a.img'", "path = '%s/b.img', create = true, size = '1M'" } do
        fields = fields:format(dir) .. ", cache = 'uncached'"
        command.fails(t, one(fields), 2, "x: devices[1].cache: ", "can't do without the page cache", 'cache = "cached"')
    end
    t.eq(command.capture("ls " .. dir), "a.img\n")
end)

t.case("an image that another program uses: which", function()
    if not HAS_QEMU then t.skip "there is no QEMU here" end
    local path = image(("\0"):rep(1 << 20))
    local pidfile = path .. ".pid"
    local function hold(how)
        assert(os.execute(("%s -S -nodefaults -display none -machine accel=tcg -daemonize -pidfile %s " ..
            "-blockdev driver=raw,node-name=d,file.driver=file,file.filename=%s%s -device virtio-blk-pci,drive=d")
            :format(QEMU, pidfile, path, how)))
        local pid = assert(command.read(pidfile):match "%d+")
        return pid, setmetatable({}, { __close = function()
            os.execute(("kill -9 %s; while [ -e /proc/%s ]; do sleep 0.01; done"):format(pid, pid))
        end })
    end
    local opts = { backend = "qemu" }
    do
        local pid, _ <close> = hold ""
        for _, more in ipairs { "", ", readonly = true", ", ephemeral = true" } do
            command.fails(t, one(("path = %q%s"):format(path, more), opts), 2, "lab.lua:2: x: devices[1].path: ",
                "a.img is in use by process " .. pid .. " (qemu-system-x86), which writes to it", "one user")
        end
        command.fails(t, command.lab(t, ("macvm.disk { path = %q }:resize '2M'"):format(path)), 2, "in use by process")
    end
    do
        local pid, _ <close> = hold ",read-only=on"
        command.fails(t, one(("path = %q"):format(path), opts), 2, "in use by process " .. pid, "lets nobody write")
        t.eq(one(("path = %q, ephemeral = true"):format(path), opts).stdout, "up\n")
    end
    t.eq(one(("path = %q"):format(path), opts).stdout, "up\n", "free again")
end)

t.case("one image in two macvm processes; nothing is left of one that is killed", function()
    if not HAS_QEMU then t.skip "there is no QEMU here" end
    local path = image(("\0"):rep(1 << 20))
    local spool = t.tmpdir()
    local lab = [[
        local d = macvm.disk { path = %q }
        local o = macvm.disk { path = %q, ephemeral = true }
        local vm <close> = macvm.vm { name = 'first', devices = { d, o } }
        vm:start()
        print 'up'
        macvm.sleep(60)
    ]]
    local base = image(("\0"):rep(1 << 20), "base.img")
    local first = command.start(t, { "run", "--backend", "qemu", "lab.lua" }, { killed = true,
        env = { TMPDIR = spool }, files = { ["lab.lua"] = lab:format(path, base) } })
    first:until_line "up"
    local refused = command.fails(t, one(("path = %q"):format(path), { backend = "qemu" }), 2,
        "lab.lua:2: x: devices[1].path: ", "is in use by process ", "(macvm-first)")
    local pid = t.match(refused.stderr, "process %d+"):match "process (%d+)"
    t.eq(one(("path = %q, ephemeral = true"):format(base), { backend = "qemu" }).stdout, "up\n")
    t.eq(command.capture("ls -A " .. spool), "", "an overlay has no name")
    first:signal "KILL"
    local r = first:wait()
    t.eq(r.status, 137)
    os.execute(("timeout 20 sh -c 'while [ -e /proc/%s ]; do sleep 0.01; done'"):format(pid)) -- its QEMU, that dies
    t.eq(command.capture("ls -A " .. spool), "")
    t.eq(one(("path = %q"):format(path), { backend = "qemu" }).stdout, "up\n", "the lock went with it")
end)

t.case("an image that is taken between our look and QEMU's", function()
    local path = image(("\0"):rep(1 << 20))
    local dir = t.tmpdir()
    command.write(dir .. "/" .. QEMU, "#!/bin/sh\n" ..
        "[ \"$1\" != --version ] || { echo 'QEMU emulator version 7.2.0'; exit 0; }\n" ..
        ("echo '%s: -device virtio-blk-pci: Failed to get \"write\" lock' >&2\n"):format(QEMU) ..
        ("echo 'Is another process using the image [%s]?' >&2\nexit 1\n"):format(path))
    assert(os.execute("chmod 755 " .. dir .. "/" .. QEMU))
    local r = one(("path = %q"):format(path), { backend = "qemu", env = { PATH = dir .. ":" .. os.getenv "PATH" } })
    command.fails(t, r, 2, "lab.lua:2: x: devices[1].path: ", "a.img was in use by another process")
end)
