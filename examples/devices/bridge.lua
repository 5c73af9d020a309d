-- SPDX-License-Identifier: MIT
-- A machine on a network of the host: `macvm run bridge.lua br0`, where br0 is a bridge or any other interface. Needs
-- the right to connect to it (root, or QEMU's bridge helper); where that is missing, the error says what to do.

local interface = ...

local vm <close> = macvm.vm {
    devices = { macvm.net { mode = "bridged", interface = interface or "br0" } },
}

local ok, err = pcall(vm.check, vm)
if not ok then
    print("not here: " .. tostring(err))
    return
end
vm:start()
local found, address = pcall(vm.address, vm, { timeout = 20 })
print(found and "the network reaches it at " .. address or "no DHCP server answered")
