-- SPDX-License-Identifier: MIT
-- The command with real machines on QEMU: what a lab does to disks, ports and files of the host, and how it
-- ends when QEMU is killed, the terminal is closed or the host's file system is full.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

if command.capture "command -v qemu-system-x86_64" == "" then
    t.case("a real machine", function() t.skip "there is no QEMU here" end)
    return
end

local QEMU = { backend = "qemu" }
local SANITISED = command.MACVM:find "asan" ~= nil

local function start(text)
    return command.start(t, { "run", "--backend", "qemu", "lab.lua" }, { files = { ["lab.lua"] = text } })
end

-- A full file system of our own.
local function small_disk()
    local dir = t.tmpdir()
    if not os.execute("mount -t tmpfs -o size=64k tmpfs " .. dir .. " 2>/dev/null") then
        t.skip "no small file system can be mounted here"
    end
    t.after(function() os.execute("umount " .. dir) end)
    return dir
end

t.case("raw and qcow2 disks keep what the guest wrote, under names of any kind", function()
    local dir = t.tmpdir() .. "/ä, b=c"
    assert(os.execute("mkdir " .. command.quote(dir)))
    local r = command.lab(t, ([[
        local dir = %q
        local vm <close> = macvm.vm { name = 'x', devices = {
            macvm.disk { path = dir .. '/raw.img', size = '4M', create = true },
            macvm.disk { path = dir .. '/cow,2.img', size = '64M', format = 'qcow2', create = true },
            macvm.console { log = dir .. '/log' },
        } }
        vm:start()
        vm:must [=[mke2fs /dev/vda && mke2fs /dev/vdb && mkdir /a /b && mount -t ext2 /dev/vda /a &&
            mount -t ext2 /dev/vdb /b && echo raw >/a/f && echo cow >/b/f]=]
        vm:stop()
        vm:start()
        vm:must 'mkdir /a /b; mount -t ext2 /dev/vda /a; mount -t ext2 /dev/vdb /b'
        io.write(vm:must 'cat /a/f /b/f')
        vm.console:send 'echo $((6 * 7)) to the log\n'
        vm.console:expect('42 to the log', { timeout = 20 })
        vm:kill()
    ]]):format(dir), QEMU)
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stdout, "raw\ncow\n")
    t.has(command.read(dir .. "/log"), "42 to the log")
    t.eq(command.capture("qemu-img check -q " .. command.quote(dir .. "/cow,2.img") .. " 2>&1"), "")
end)

t.case("a forwarded port, and a large file in little memory", function()
    local r = command.lab(t, [[
        local function peak() return tonumber(io.open '/proc/self/status':read 'a':match 'VmHWM:%s*(%d+)') end

        -- A port that nobody listens on may be taken a moment later: then another one.
        local vm <close>, port = macvm.vm 'x'
        local net = macvm.net {}
        local taken = io.open '/proc/net/tcp':read 'a'
        vm:attach(net)
        for try = 1, 5 do
            repeat port = math.random(20000, 32000) until not taken:find((':%04X '):format(port))
            net.forward = { ['127.0.0.1:' .. port] = 80 }
            local ok, err = pcall(vm.start, vm)
            if ok then break end
            if try == 5 then error(err) end
        end

        vm:must 'mkdir /www; echo hello from the guest >/www/f; httpd -p 80 -h /www'
        local get = [=[timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d
            printf "GET /f HTTP/1.0\r\n\r\n" >&3; cat <&3']=]
        local pipe = io.popen(get:format(port))
        print(pipe:read 'a':match 'hello.*')
        pipe:close()

        os.execute 'head -c 67108864 /dev/urandom >src; chmod 640 src'
        local before = peak()
        vm:push('src', '/tmp/big')
        print(peak() - before < 2048 and 'grew little' or 'grew by ' .. peak() - before .. ' kB')
        print(peak() < 12 * 1024 and 'is small' or 'has ' .. peak() .. ' kB')
        vm:pull('/tmp/big', 'back')
        print(vm:must 'stat -c %a /tmp/big':match '%d+', os.execute 'cmp src back' and 'the same')
        os.remove 'src'
        os.remove 'back'
        vm:kill()
    ]], QEMU)
    t.eq(r.status, 0, r.stderr)
    t.match(r.stdout, "^hello from the guest\n\n")
    t.match(r.stdout, "\n640\tthe same\n$")
    if not SANITISED then t.has(r.stdout, "\ngrew little\nis small\n") end -- a sanitiser's memory is not ours
end)

t.case("a kernel and an initrd of one's own", function()
    local r = command.lab(t, [[
        local own = macvm.guest(nil, 'x86_64')
        os.execute(("ln -sf '%s' kernel; ln -sf '%s' initrd"):format(own.kernel, own.initrd))
        local vm <close> = macvm.vm { name = 'x', boot = {
            kernel = 'kernel', initrd = 'initrd', cmdline = 'quiet my=word' } }
        vm:start()
        print((vm:must 'cat /proc/cmdline':gsub('\n', '')))
        vm:kill()
    ]], QEMU)
    t.eq(r.status, 0, r.stderr)
    t.has(r.stdout, "quiet my=word console=ttyS0")
end)

t.case("kill -9 of QEMU while a command runs, and while it boots", function()
    local p = start [[
        local vm = macvm.vm 'x'
        vm:start()
        vm:wait('ready', { timeout = 100 })
        print(vm:stats().pid)
        vm:exec 'sleep 3600'
    ]]
    assert(os.execute("kill -9 " .. p:until_line "^%d+$"))
    command.fails(t, p:wait(), 1, "x: ", "killed by signal 9")

    p = start [[
        local vm = macvm.vm 'x'
        vm:start()
        print(vm:stats().pid)
        vm:wait('ready', { timeout = 100 })
    ]]
    assert(os.execute("kill -9 " .. p:until_line "^%d+$"))
    command.fails(t, p:wait(), 1, "lab.lua:4: x: ", "killed by signal 9")
end)

t.case("a closed terminal, and Ctrl-C twice, while a real machine is up", function()
    local lab = "local vm <close> = macvm.vm 'x' vm:start() print 'up' vm:exec 'sleep 3600'"
    local p = start(lab)
    p:until_line "^up$"
    p:signal "HUP"
    local r = p:wait()
    t.eq(r.status, 129, r.stderr)
    t.eq(r.stderr, "")
    p = start(lab)
    p:until_line "^up$"
    p:signal "INT"
    p:signal("INT", true) -- a guest that still boots is gone within a few milliseconds of the first
    r = p:wait()
    t.eq(r.status, 130, r.stderr)
    t.eq(r.stderr, "")
end)

t.case("no space left: an image can't be made", function()
    local dir = small_disk()
    assert(os.execute("head -c 65536 /dev/zero >" .. dir .. "/fill 2>/dev/null"))
    local r = command.lab(t, ([[
        macvm.vm { name = 'x', devices = {
            macvm.disk { path = %q, size = '64M', format = 'qcow2', create = true } } }:start()
    ]]):format(dir .. "/new.img"), QEMU)
    command.fails(t, r, 3, "lab.lua:", "x: ", "new.img", "No space left on device")
    t.eq(command.capture("ls " .. dir), "fill\n", "half of an image was left")
end)

t.case("no space left: a disk's write and the console's log are told, and the machine runs on", function()
    local dir = small_disk()
    local r = command.lab(t, ([[
        local dir = %q
        local vm <close> = macvm.vm { name = 'x', boot = { cmdline = 'loglevel=8' }, devices = {
            macvm.disk { path = dir .. '/raw.img', size = '1M', create = true },
            macvm.console { log = dir .. '/log' } } }
        vm:on('error', function(_, err) print(err) end)
        vm:start()
        vm:exec 'dd if=/dev/zero of=/dev/vda bs=256k count=4 conv=fsync'
        vm.console:send 'seq 1 20000\n'
        vm.console:expect('19999', { timeout = 60 })
        print(vm.state)
        vm:kill()
    ]]):format(dir), QEMU)
    t.eq(r.status, 0, r.stderr)
    t.match(r.stdout, "x: disk disk1: .*No space left on device")
    t.match(r.stdout, "running\n$")
    t.eq(#r.lines, 1, r.stderr)
    t.match(r.lines[1], "^macvm: x: console log .*: No space left on device")
end)
