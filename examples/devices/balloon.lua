-- SPDX-License-Identifier: MIT
-- Memory that a machine does not need goes back to the host, and comes again.

local vm <close> = macvm.vm { memory = "256M", devices = { macvm.balloon {} } }

local function free()
    return tonumber(vm:must "awk '/^MemFree/ { print $2 }' /proc/meminfo") // 1024
end

vm:start()
vm:wait "ready"
print(("free in the guest: %d MiB"):format(free()))

vm:balloon "160M"
print(("with 160M left to it: %d MiB"):format(free()))

vm:balloon "256M"
print(("with all again: %d MiB"):format(free()))

local ok, err = pcall(vm.balloon, vm, "1G")
print(ok, err.hint)
