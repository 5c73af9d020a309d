-- SPDX-License-Identifier: MIT
-- macvm's own guests by name: what is listed, what the builder is told, what macvm.guest says of one that is not there.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local BUILDER = os.getenv "PWD" .. "/scripts/guest/build"

-- A cache that holds guests as the builder leaves them: links to directories.
local function cache(names)
    local dir = t.tmpdir()
    for _, name in ipairs(names) do
        local place = ("%s/macvm/guest/%s@0123456789abcdef"):format(dir, name)
        assert(os.execute(("mkdir -p '%s' && ln -s '%s@0123456789abcdef' '%s/macvm/guest/%s'"):format(place, name, dir,
            name)))
        command.write(place .. "/vmlinux", "kernel")
        command.write(place .. "/initrd", "initramfs")
    end
    return { XDG_CACHE_HOME = dir }, dir .. "/macvm/guest/"
end

t.case("guests with a name are listed after the usual ones", function()
    local env, dir = cache { "x86_64", "x86_64-6.12", "aarch64-mine" }
    assert(os.execute(("mkdir '%sx86_64-torn' && ln -s nowhere '%sx86_64-gone'"):format(dir, dir)))
    local r = command.run(t, { "guest" }, { env = env })
    t.eq(r.status, 0, r.stderr)
    t.match(r.stdout, "linux x86_64  +kernel " .. dir:gsub("%p", "%%%0") .. "x86_64/vmlinux")
    t.match(r.stdout, "linux aarch64  +not built")
    t.match(r.stdout, "\nlinux aarch64 mine +kernel .*\nlinux x86_64 6%.12 +kernel")
    t.eq(r.stdout:find("torn", 1, true) or r.stdout:find("gone", 1, true), nil)
    t.match(command.run(t, { "guest", "list", "--json" }, { env = env }).stdout, '"name": "6%.12"')
end)

t.case("macvm.guest gives what `boot` takes", function()
    local env, dir = cache { "x86_64-6.12", "aarch64-6.12" }
    local r = command.run(t, { "run", "lab.lua" }, { env = env, files = { ["lab.lua"] = [[
        print(macvm.guest("6.12", "x86_64").kernel)
        print(macvm.guest("6.12", "aarch64").initrd)
        local vm = macvm.vm { name = "x", arch = "x86_64", boot = macvm.guest("6.12", "x86_64") }
        print(vm.boot.kernel)
    ]] } })
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stdout, ("%sx86_64-6.12/vmlinux\n%saarch64-6.12/initrd\n%sx86_64-6.12/vmlinux\n"):format(dir, dir, dir))
end)

t.case("a guest that is not built, and words that name none", function()
    local env = cache {}
    local function refused(status, call, ...)
        local r = command.run(t, { "run", "lab.lua" }, { env = env, files = { ["lab.lua"] = call } })
        command.fails(t, r, status, ...)
    end
    refused(3, "macvm.guest '6.12'", "guest 6.12 is not built", "macvm guest build --name 6.12")
    refused(3, "macvm.guest('6.12', 'aarch64')", "macvm guest build --name 6.12 --arch aarch64")
    refused(3, "macvm.guest()", "own guest is not built", "macvm guest build")
    refused(2, "macvm.guest '../x'", "can't be called `../x`")
    refused(2, "macvm.guest(6.12)", "can't be called `6.12`")
    refused(2, "macvm.guest(nil, 'sparc')", "no guest for the architecture `sparc`", "x86_64 or aarch64")
end)

t.case("guest build hands the name and the suite on", function()
    local dir = t.tmpdir()
    assert(os.execute(("mkdir '%s/guest'"):format(dir)))
    command.write(dir .. "/guest/build", "#!/bin/sh\necho \"$@\"\n")
    assert(os.execute(("chmod 755 '%s/guest/build'"):format(dir)))
    local r = command.run(t, { "guest", "build", "--name", "6.12", "--suite", "sid", "--arch", "x86_64" },
        { env = { MACVM_DATA = dir } })
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stdout, "--arch x86_64 --name 6.12 --suite sid\n")
end)

t.case("the builder refuses what it can't make", function()
    local function refused(args, ...)
        local out = command.capture(("XDG_CACHE_HOME='%s' '%s' %s 2>&1; echo \"status $?\""):format(t.tmpdir(), BUILDER,
            args))
        for _, words in ipairs { ... } do t.has(out, words) end
    end
    refused("--name a/b", "status 2", "a name has letters")
    refused("--name ''", "status 2", "--name needs a value")
    refused("--suite sid", "status 2", "--suite is of a guest with a name")
    refused("--name x --suite '../sid'", "status 2", "unknown suite")
    refused("--arch sparc", "status 2", "unknown architecture: sparc")
    refused("--agent /nonexistent", "status 3", "no agent at /nonexistent")
    refused("--arch aarch64 --agent /nonexistent", "status 3", "no agent at /nonexistent")
end)
