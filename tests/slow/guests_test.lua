-- SPDX-License-Identifier: MIT
-- Guests that are built on request only: another kernel, another architecture. Each boots, runs a command and has its
-- share; a second build has nothing to do.
local t = ...

local function make(target, build)
    assert(os.execute("make --no-print-directory " .. target .. " >&2"))
    local pipe = assert(io.popen("scripts/guest/build " .. build .. " 2>&1", "r"))
    t.has(pipe:read "a", "is up to date")
    assert(pipe:close())
end

local function boot(spec)
    local dir = t.tmpdir()
    local file = assert(io.open(dir .. "/file", "w"))
    file:write "from the host"
    file:close()
    spec.devices = { macvm.net {}, macvm.share { tag = "src", path = dir, mount = "/mnt/src" } }
    local vm <close> = macvm.vm(spec)
    vm:start()
    vm:wait("ready", { timeout = 120 })
    t.eq(vm:must "cat /mnt/src/file", "from the host")
    t.has(vm:must "ip -4 addr show eth0", "inet 10.0.2.15/24")
    t.has(vm:must "cat /proc/cmdline", "init_on_alloc=0") -- the words of macvm's own guest
    local release, machine = vm:must "uname -r -m":match "^(%S+) (%S+)\n$"
    local modules = vm:must "cd /lib/modules/$(uname -r) && find . -name '*.ko'"
    vm:stop { timeout = 60 }
    return release, machine, modules
end

t.case("the kernel of the backports, with its sound driver", function()
    make("guest-6.12", "--name 6.12")
    local release, machine, modules = boot { name = "newer", boot = macvm.guest "6.12" }
    t.match(release, "^6%.12%.")
    t.eq(machine, macvm.host().arch)
    t.has(modules, "/virtio_snd.ko")
end)

t.case("aarch64", function()
    make("guest-aarch64", "--arch aarch64 --agent build/macvm-agent-aarch64")
    local _, machine = boot { name = "arm", arch = "aarch64" }
    t.eq(machine, "aarch64")
end)
