-- Every device at once, each used from this script. What this host can't do is said, and left out.

local dir = os.tmpname()
os.remove(dir)
assert(os.execute(("mkdir -m 700 '%s' '%s/shared'"):format(dir, dir)))
local _ <close> = setmetatable({}, { __close = function() os.execute(("rm -r '%s'"):format(dir)) end })

local vm <close> = macvm.vm { name = "everything" }
local disk = macvm.disk { path = dir .. "/data.img", size = "16M", create = true, id = "data" }
local net = macvm.net { id = "wan", forward = { ["127.0.0.1:0"] = 7 } }

for _, device in ipairs {
    disk, net,
    macvm.share { tag = "shared", path = dir .. "/shared", mount = "/mnt/shared" },
    macvm.vsock {}, macvm.console { type = "hvc", id = "extra" }, macvm.entropy {}, macvm.balloon {},
    macvm.display { width = 1024, height = 768 }, macvm.keyboard {}, macvm.pointer {}, macvm.clipboard {},
    macvm.sound { file = dir .. "/sound.wav" },
} do
    local can, reason = vm:can(device.kind)
    if can then
        vm:attach(device)
    else
        print(("no %s here: %s"):format(device.kind, reason))
    end
end

vm:start()
vm:wait "ready"

vm:must "mke2fs -q /dev/vda && mount /dev/vda /mnt && echo kept >/mnt/file && umount /mnt"
print("disk:", vm:stats().disk.data.write_bytes .. " bytes written")
disk:resize "32M"
vm:eventually "test $(cat /sys/block/vda/size) = 65536"

print("net:", vm:address() .. ", host port " .. vm:forwards()[1].port .. " leads to its port 7")
net:link(false)
vm:eventually "test $(cat /sys/class/net/eth0/carrier) = 0"
net:link(true)

vm:must "echo from the guest >/mnt/shared/note"
print("share:", io.lines(dir .. "/shared/note")())

vm:listen(1, function(channel) channel:write "over vsock\n" end)
print("vsock:", (vm:must "vsock connect 2 1 </dev/null":gsub("\n", "")))

vm.consoles.extra:send "echo ex''tra console\n"
print("console:", vm.consoles.extra:expect "(extra console)")

print("entropy:", vm:must "cat /sys/class/misc/hw_random/rng_current | tr -d '\\n'")

vm:balloon "192M"
print("balloon:", (vm:stats().balloon.actual >> 20) .. " MiB left to the guest")

if vm:can "display" then
    vm:type "echo typed >/tmp/typed\n"
    vm:eventually "test -s /tmp/typed"
    vm:click(100, 100)
    vm:screenshot(dir .. "/screen.png")
    print("display:", "typed, clicked, and shot")
end
vm:stop()
