-- SPDX-License-Identifier: MIT
-- Shares, by virtiofs and by 9p: found by their Virtio ids, used, defended, and plugged in and out.

local macvm = require "macvm"

-- ---- the host's side ----------------------------------------------------------------------

local host -- the directory that all of it is below

local function sh(text)
    local pipe = assert(io.popen("cd '" .. host .. "' && { " .. text .. "; } 2>&1"))
    local out = pipe:read "a"
    assert(pipe:close(), out)
    return (out:gsub("%s+$", ""))
end

-- Names, modes, sizes, contents and targets of all that is below a directory.
local function state_of(dir)
    return sh("find " .. dir .. " -printf '%p %y %m %s %l\\n' | sort; find " .. dir .. " -type f | sort | xargs md5sum")
end

local function make_tree()
    if host then return end
    host = os.tmpname()
    os.remove(host)
    assert(os.execute("mkdir -m 700 " .. host))
    -- Gone with the interpreter, whatever happens.
    make_tree = setmetatable({}, { __call = function() end, __gc = function() os.execute("rm -rf " .. host) end })
    sh [[
        mkdir data ro nine 'odd, name\' more load
        for d in data ro nine 'odd, name\'; do
            mkdir "$d/dir"
            echo hello >"$d/hello.txt"
            ln -s /etc/hostname "$d/absolute"
            ln -s ../secret "$d/upwards"
            ln -s ../../../../../../secret "$d/dir/far"
        done
        echo secret >secret
        ln -s "$PWD/secret" data/named
        ln -s "$PWD/secret" nine/named]]
end

local function share(tag, fields)
    fields.tag, fields.path = tag, host .. "/" .. (fields.path or tag)
    return macvm.share(fields)
end

local LONG = ("t"):rep(36)

-- ---- the guest's ------------------------------------------------------------------------------

local function count(vm, id)
    return tonumber(vm:must(("grep -lx 0x%04x /sys/bus/virtio/devices/*/device 2>/dev/null | wc -l"):format(id)))
end

local function mounted(vm, path)
    return vm:must("awk -v p=" .. path .. " '$2 == p { print $1, $3 }' /proc/mounts"):gsub("%s+$", "")
end

-- Every way there is to change something; each must be refused by the host.
local WRITES = {
    "echo x >hello.txt", "echo x >>hello.txt", "echo x >new", "mkdir new", "rm hello.txt", "rmdir dir",
    "mv hello.txt other", "ln hello.txt other", "ln -s hello.txt other", "chmod 777 hello.txt", "chown 1:1 hello.txt",
    "touch hello.txt", "touch -d 2000-01-01 hello.txt", "truncate -s 0 hello.txt", "mknod node c 1 3", "mkfifo pipe",
}

local function cant_be_written(ctx, vm, path)
    for _, command in ipairs(WRITES) do
        local r = vm:exec(("cd %s && %s"):format(path, command))
        ctx.ok(r.status ~= 0, command .. " in " .. path .. " was done: status 0")
        ctx.match(r.stderr, "[Rr]ead%-only file system", command)
    end
end

local function servers()
    local list = {}
    local children = io.popen "ps -e -o pid=,ppid=,args="
    for line in children:lines() do
        local pid, parent, args = line:match "^%s*(%d+)%s+(%d+)%s+(.*)$"
        if args and args:find "virtiofsd" and args:find(host, 1, true) and not args:find("ps -e", 1, true) then
            list[#list + 1] = { pid = pid, parent = parent, args = args }
        end
    end
    children:close()
    return list
end

-- The processes that serve one directory: the one that macvm started, and, in a process namespace, its child.
local function servers_of(path)
    local list = {}
    for _, s in ipairs(servers()) do
        if s.args:find(path, 1, true) then list[#list + 1] = s end
    end
    table.sort(list, function(a, b) return tonumber(a.pid) < tonumber(b.pid) end)
    return list
end

return {
    machine = function()
        make_tree()
        return { devices = {
            share("data", { mount = "/mnt/data" }),
            share("ro", { mount = "/mnt/ro", readonly = true }),
            share("nine", { mount = "/mnt/nine", driver = "9p" }),
            share("ninero", { path = "ro", mount = "/mnt/ninero", driver = "9p", readonly = true }),
            share(LONG, { path = "odd, name\\", mount = "/mnt/odd" }),
        } }
    end,
    {
        name = "each is found by its Virtio id, and mounted before the machine is ready",
        run = function(ctx)
            local vm = ctx.machine
            ctx.eq(count(vm, 26), 3)
            ctx.eq(count(vm, 9), 2)
            ctx.eq(mounted(vm, "/mnt/data"), "data virtiofs")
            ctx.eq(mounted(vm, "/mnt/nine"), "nine 9p")
            ctx.eq(mounted(vm, "/mnt/odd"), LONG .. " virtiofs")
            ctx.eq(vm:must "cat /mnt/odd/hello.txt", "hello\n")
            local stats = vm:stats().share
            ctx.eq(stats.data.driver, "virtiofs")
            ctx.match(stats.data.sandbox, "^namespace$")
            ctx.eq(stats.nine.driver, "9p")
        end,
    },
    {
        name = "both sides see what the other writes",
        run = function(ctx)
            local vm = ctx.machine
            for _, name in ipairs { "data", "nine" } do
                ctx.eq(vm:must("cat /mnt/" .. name .. "/hello.txt"), "hello\n")
                vm:must(("cd /mnt/%s && echo guest >from-guest && mkdir -p a/b && ln -s b a/link"):format(name))
                ctx.eq(sh("cat " .. name .. "/from-guest; readlink " .. name .. "/a/link"), "guest\nb")
                sh("echo host >" .. name .. "/from-host")
                vm:eventually("grep -q host /mnt/" .. name .. "/from-host", { timeout = 10 })
                vm:must(("dd if=/dev/urandom of=/mnt/%s/big bs=64k count=32 2>/dev/null"):format(name))
                ctx.eq(vm:must(("md5sum </mnt/%s/big"):format(name)):sub(1, 32),
                    sh("md5sum <" .. name .. "/big"):sub(1, 32))
                vm:must(("cd /mnt/%s && rm -r big a from-guest from-host"):format(name))
            end
        end,
    },
    {
        name = "a readonly one can't be changed, whatever root in the guest does",
        run = function(ctx)
            local vm = ctx.machine
            local before = state_of "ro"
            cant_be_written(ctx, vm, "/mnt/ro")
            cant_be_written(ctx, vm, "/mnt/ninero")
            -- The guest's own idea of it does not count.
            vm:must "mount -o remount,rw /mnt/ro; mkdir /mnt/rw; mount -t virtiofs -o rw ro /mnt/rw"
            cant_be_written(ctx, vm, "/mnt/rw")
            vm:must "umount /mnt/rw; mount -o remount,rw /mnt/ninero"
            cant_be_written(ctx, vm, "/mnt/ro")
            cant_be_written(ctx, vm, "/mnt/ninero")
            ctx.eq(state_of "ro", before)
        end,
    },
    {
        name = "no symbolic link and no .. leads out of it",
        run = function(ctx)
            local vm = ctx.machine
            for _, name in ipairs { "data", "nine" } do
                local at = "/mnt/" .. name
                ctx.eq(vm:must("cat " .. at .. "/absolute"), vm:must "cat /etc/hostname", "in the guest's own tree")
                for _, link in ipairs { "upwards", "dir/far", "named", "../secret", "dir/../../secret" } do
                    local r = vm:exec { "cat", at .. "/" .. link }
                    ctx.ok(r.status ~= 0 and not r.stdout:find "secret", link .. " was read: " .. r.stdout)
                end
                ctx.eq(vm:must(("ls -id %s/.. /mnt | awk '{ print $1 }' | uniq | wc -l"):format(at)), "1\n")
                -- A link that the guest makes is the guest's to follow, and not the host's.
                vm:must(("ln -s %s/secret %s/made; ln -s / %s/root"):format(host, at, at))
                ctx.ok(vm:exec("cat " .. at .. "/made").status ~= 0)
                ctx.ok(vm:exec(("echo x >%s/made"):format(at)).status ~= 0)
                ctx.eq(vm:must(("ls -id %s/root/ / | awk '{ print $1 }' | uniq | wc -l"):format(at)), "1\n")
                vm:must(("rm %s/made %s/root"):format(at, at))
            end
            ctx.eq(sh "cat secret", "secret")
        end,
    },
    {
        name = "one comes and goes while the machine runs",
        run = function(ctx)
            local vm = ctx.machine
            local more = share("more", { mount = "/mnt/more" })
            vm:attach(more)
            ctx.eq(mounted(vm, "/mnt/more"), "more virtiofs")
            vm:must "echo 1 >/mnt/more/file"
            ctx.eq(sh "cat more/file", "1")
            ctx.eq(count(vm, 26), 4)
            -- In use: it says by whom, and stays.
            local user = vm:spawn "cd /mnt/more && exec sleep 100"
            vm:eventually("ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -q /mnt/more", { timeout = 10 })
            local err = ctx.raises("guest", vm.detach, vm, more)
            ctx.match(err.message, 'share "more" can\'t be unmounted at /mnt/more: it is in use by process %d+')
            ctx.eq(vm:must "cat /mnt/more/file", "1\n")
            user:kill "KILL"
            user:wait()
            vm:detach(more)
            ctx.eq(mounted(vm, "/mnt/more"), "")
            ctx.eq(count(vm, 26), 3)
            ctx.until_true(function() return #servers_of "/more" == 0 end)
            vm:attach(more)
            ctx.eq(vm:must "cat /mnt/more/file", "1\n")
            vm:detach(more)
            ctx.eq(#vm.devices, 5)
        end,
    },
    {
        name = "one that can't be mounted is not attached",
        run = function(ctx)
            local vm = ctx.machine
            local err = ctx.raises("guest", vm.attach, vm, share("more", { mount = "/proc/1/more" }))
            ctx.match(err.message, 'share "more" can\'t be mounted at /proc/1/more')
            ctx.eq(#vm.devices, 5)
            ctx.eq(count(vm, 26), 3)
            ctx.until_true(function() return #servers_of "/more" == 0 end)
        end,
    },
    {
        name = "9p can't be plugged in, and says so",
        run = function(ctx)
            local vm = ctx.machine
            local err = ctx.raises("unsupported", vm.attach, vm, share("more", { driver = "9p" }))
            ctx.match(err.message, "9p")
            ctx.match(err.hint, "before the start")
            ctx.eq(#vm.devices, 5)
        end,
    },
    {
        name = "a virtiofsd that dies under load: the guest's I/O fails, the lab hears of it, the machine lives",
        run = function(ctx)
            local vm <close> = ctx.boot { devices = {
                share("load", { mount = "/mnt/load" }), share("more", { mount = "/mnt/more" }),
            } }
            local heard = {}
            vm:on("error", function(_, err) heard[#heard + 1] = err end)
            vm:must "mkdir /mnt/load/old && echo open >/mnt/load/open"
            local load = {}
            for i, command in ipairs {
                "cd /mnt/load; while dd if=/dev/zero of=file bs=64k count=64 conv=fsync; do :; done 2>&1 | grep error",
                "cd /mnt/load; while ls >new && md5sum <file; do echo 3 >/proc/sys/vm/drop_caches; done 2>&1",
                "exec 3>>/mnt/load/open; while echo x >&3 && sync -d /mnt/load/open; do :; done 2>&-",
            } do
                load[i] = vm:spawn(command)
            end
            ctx.until_true(function() return sh("ls load"):find "new" and sh "cat load/open":find "x\nx" end)
            sh("kill -9 " .. servers_of("/load")[1].pid)
            -- What was under way fails, and what comes then.
            ctx.match(load[1].stdout:read "l", "Input/output error")
            for _, process in ipairs(load) do process:wait { timeout = 20 } end
            for _, command in ipairs {
                "cat file", "ls old", "echo x >file", "mkdir new", "rm open", "sync -f .", "echo x >>open",
            } do
                local r = vm:exec("cd /mnt/load && " .. command, { timeout = 10 })
                ctx.ok(r.status ~= 0, command .. " was done")
                ctx.match(r.stderr, "Input/output error", command)
            end
            ctx.until_true(function() return #heard > 0 end)
            ctx.eq(heard[1].code, "backend")
            ctx.match(heard[1].message, "share load: virtiofsd was killed by signal 9; what uses it in the guest fails")
            ctx.eq(vm.state, "running")
            vm:must "umount /mnt/load"
            local again = vm:exec("mount -t virtiofs load /mnt/load && ls /mnt/load", { timeout = 10 })
            ctx.ok(again.status ~= 0 and again.stdout == "", "it can't be used again")
            vm:must "echo other >/mnt/more/other"
            ctx.eq(sh "cat more/other", "other")
            -- The process behind it, where it has one: the same.
            local behind = servers_of("/more")
            sh("kill -9 " .. behind[#behind].pid)
            ctx.until_true(function() return #heard > 1 end)
            ctx.match(heard[2].message, "share more: virtiofsd .*; what uses it in the guest fails")
            ctx.ok(vm:exec("cat /mnt/more/other", { timeout = 10 }).status ~= 0)
            -- One that is dead can go, and come again.
            local more = vm.devices[2]
            vm:detach(more)
            vm:attach(more)
            ctx.eq(vm:must "cat /mnt/more/other", "other\n")
            vm:stop { timeout = 30 }
            ctx.eq(vm.state, "stopped")
            ctx.eq(#heard, 2)
        end,
        timeout = 90,
    },
    {
        name = "what was started for a machine ends with it",
        run = function(ctx)
            local vm = ctx.machine
            local errors = 0
            vm:on("error", function() errors = errors + 1 end)
            ctx.ok(#servers() >= 3)
            vm:stop { timeout = 30 }
            ctx.until_true(function() return #servers() == 0 end)
            ctx.eq(errors, 0)
        end,
    },
}
