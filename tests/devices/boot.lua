-- SPDX-License-Identifier: MIT
-- Booting by EFI: a disk with a boot loader on it, the firmware's variables, and what is refused.

local core = require "macvm.core"
local macvm = require "macvm"
local ESP, FIRST = 64 << 20, 1 << 20 -- the size of the EFI partition, and where it begins
local LOADER = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
local VARIABLE = "/sys/firmware/efi/efivars/MacvmTest-6b4e8f6c-0d3f-4a52-9f0e-5d6f5b1d2a11"

local function shell(fmt, ...)
    local words = { ... }
    for i, word in ipairs(words) do words[i] = "'" .. tostring(word):gsub("'", "'\\''") .. "'" end
    assert(os.execute("{ " .. fmt:format(table.unpack(words)) .. "; } >&2"))
end

local function write(path, bytes)
    local file <close> = assert(io.open(path, "wb"))
    assert(file:write(bytes))
end

-- One partition of the type EFI.
local function partition_table()
    local entry = string.pack("<BBBB BBBB I4I4", 0, 254, 255, 255, 0xef, 254, 255, 255, FIRST // 512, ESP // 512)
    return ("\0"):rep(446) .. entry .. ("\0"):rep(48) .. "\x55\xaa"
end

-- The kernel as its package has it, which firmware can start; macvm's guest keeps it unpacked only.
local function kernel_of_guest(target)
    local _, initrd, found = core.guest_find "x86_64"
    assert(found, "the guest is not built")
    local dir = initrd:match "^(.*)/"
    local release
    for line in io.lines(dir .. "/manifest") do release = line:match "^kernel=(.*)" or release end
    shell("deb=$(ls -t %s/../linux-image-%s_*_amd64.deb | head -n 1) && " ..
        "dpkg-deb --fsys-tarfile \"$deb\" | tar -xO ./boot/vmlinuz-%s >%s", dir, release, release, target)
    return initrd
end

-- A disk from which systemd-boot starts macvm's guest: made with mtools, without any right.
local function make_disk(ctx)
    local path, kernel = ctx.host_path "system.img", ctx.host_path "vmlinuz"
    local initrd = kernel_of_guest(kernel)
    write(path, partition_table())
    shell("truncate -s %s %s && mformat -i %s@@%s -F -T %s -h 64 -s 32 -v ESP ::", FIRST + ESP, path, path, FIRST,
        ESP // 512)
    write(ctx.host_path "loader.conf", "timeout 0\ndefault macvm\n")
    write(ctx.host_path "macvm.conf", "title macvm\nlinux /vmlinuz\ninitrd /initrd\n" ..
        "options console=ttyS0 quiet panic=0 no_timer_check mitigations=off by=systemd-boot\n")
    shell("image=%s@@%s; mmd -i $image ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries && " ..
        "mcopy -i $image %s ::/EFI/BOOT/BOOTX64.EFI && mcopy -i $image %s ::/vmlinuz && " ..
        "mcopy -i $image %s ::/initrd && mcopy -i $image %s ::/loader/loader.conf && " ..
        "mcopy -i $image %s ::/loader/entries/macvm.conf", path, FIRST, LOADER, kernel, initrd,
        ctx.host_path "loader.conf", ctx.host_path "macvm.conf")
    return path
end

local function system(ctx)
    ctx.system = ctx.system or make_disk(ctx)
    return ctx.system
end

local function machine(ctx, variables)
    return ctx.vm {
        guest = "efi", arch = "x86_64", boot = variables and { variables = variables },
        devices = { macvm.disk { path = system(ctx), id = "system" } },
    }
end

local function start(vm)
    vm:start()
    vm:wait("ready", { timeout = 120 })
    vm:must "modprobe efivarfs && mount -t efivarfs efivarfs /sys/firmware/efi/efivars"
end

-- Its attributes, which say that it is kept, and its value have to come in one piece.
local function set_variable(vm, value)
    vm:must(("printf '\\007\\000\\000\\000%s' >%s"):format(value, VARIABLE))
end

local function variable_of(vm)
    return (vm:must(("cat %s 2>/dev/null || true"):format(VARIABLE))):sub(5) -- after its attributes
end

local function refused(ctx, field, pattern, spec)
    spec.devices = spec.devices or { macvm.disk { path = ctx.host_path "empty.img" } }
    local vm = ctx.vm(spec)
    local err = ctx.raises("config", vm.check, vm)
    ctx.eq(err.field, field)
    ctx.match(tostring(err), pattern)
end

return {
    {
        name = "a disk with a boot loader boots by EFI, and variables are kept",
        needs = "efi",
        timeout = 200,
        run = function(ctx)
            local path = ctx.host_path "variables.fd"
            local vm <close> = machine(ctx, path)
            start(vm)
            ctx.match(vm:must "cat /proc/cmdline", "by=systemd%-boot")
            ctx.eq(vm:must "cat /sys/firmware/efi/fw_platform_size", "64\n")
            ctx.eq(vm:must "cat /sys/block/vda/serial", "system")
            ctx.eq(variable_of(vm), "")
            set_variable(vm, "green")
            ctx.eq(variable_of(vm), "green")

            local disk = macvm.disk { path = ctx.host_path "hot.img", size = "16M", create = true, id = "hot" }
            vm:attach(disk)
            vm:eventually("grep -qx hot /sys/block/vd*/serial", { timeout = 20 })
            vm:detach(disk)
            vm:eventually("! grep -qx hot /sys/block/vd*/serial", { timeout = 20 })

            local other = machine(ctx, path)
            other.devices[1].readonly = true
            ctx.raises("config", other.start, other) -- the disk is in use
            vm:stop { timeout = 60 }
            shell("test \"$(stat -c %%a %s)\" = 600", path)
            start(vm)
            ctx.eq(variable_of(vm), "green")
            vm:stop { timeout = 60 }
        end,
    },
    {
        name = "variables that are not kept outlive a reboot, and no stop",
        needs = "efi",
        timeout = 200,
        run = function(ctx)
            local vm <close> = machine(ctx)
            start(vm)
            ctx.eq(variable_of(vm), "")
            set_variable(vm, "amber")
            vm:reboot()
            vm:wait("ready", { timeout = 120 })
            vm:must "modprobe efivarfs && mount -t efivarfs efivarfs /sys/firmware/efi/efivars"
            ctx.eq(variable_of(vm), "amber")
            vm:stop { timeout = 60 }
            start(vm)
            ctx.eq(variable_of(vm), "")
            vm:stop { timeout = 60 }
        end,
    },
    {
        name = "two machines can't have the same variables",
        needs = "efi",
        run = function(ctx)
            local path = ctx.host_path "shared.fd"
            write(ctx.host_path "empty.img", ("\0"):rep(1 << 20))
            local function empty()
                return ctx.vm {
                    guest = "efi", boot = { variables = path },
                    devices = { macvm.disk { path = ctx.host_path "empty.img", readonly = true } },
                }
            end
            local first <close> = empty()
            local second <close> = empty()
            first:start()
            first:wait "running"
            local err = ctx.raises("config", second.start, second)
            ctx.eq(err.field, "boot.variables")
            ctx.match(err.message, "another machine that is up")
            first:kill()
            second:start()
            second:kill()
        end,
    },
    {
        name = "bad boots are refused before anything starts",
        needs = "efi",
        run = function(ctx)
            write(ctx.host_path "empty.img", ("\0"):rep(1 << 20))
            local efi = function(variables) return { guest = "efi", boot = { variables = variables } } end
            refused(ctx, "boot.variables", "bytes", efi(ctx.host_path "empty.img"))
            refused(ctx, "boot.variables", "directory", efi "/tmp")
            refused(ctx, "boot.variables", "No such file", efi "/nonexistent/variables.fd")
            refused(ctx, "boot.variables", 'guest = "efi"', { boot = { variables = ctx.host_path "v.fd" } })
            refused(ctx, "boot.kernel", "takes no kernel", {
                guest = "efi", boot = { kernel = ctx.host_path "empty.img" },
            })
            refused(ctx, "devices", "no disk to boot from", { guest = "efi", devices = {} })
            write(ctx.host_path "Image", ("\0"):rep(56) .. "ARM\x64" .. ("\0"):rep(1024))
            refused(ctx, "boot.kernel", "kernel for aarch64", {
                arch = "x86_64", boot = { kernel = ctx.host_path "Image" },
            })
        end,
    },
}
