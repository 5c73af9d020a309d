-- SPDX-License-Identifier: MIT
-- Consoles: the serial port that every machine has, and a virtio console beside it. While this runs,
-- `macvm console box/hvc0` in another terminal types at the second one.

local vm <close> = macvm.vm {
    name = "box",
    devices = { macvm.console { type = "hvc" } },
}
vm:start()
vm:wait "ready"

for _, console in ipairs(vm.consoles) do print("console", console.id) end

local hvc = vm.consoles.hvc0
hvc:send "\n"
hvc:expect "# "
hvc:send "echo $((6 * 7)) from $(tty)\n"
print(hvc:expect "\n(%d+ from /dev/%w+)")
