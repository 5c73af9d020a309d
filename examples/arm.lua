-- SPDX-License-Identifier: MIT
-- A machine with an Arm processor, whatever this host has. Its guest is built once: macvm guest build --arch aarch64
local macvm = require "macvm"

local vm <close> = macvm.vm { name = "arm", arch = "aarch64" }
local ok, err = pcall(vm.check, vm)
if not ok then
    print("not here: " .. tostring(err))
    return
end
vm:start()
vm:wait("ready", { timeout = 120 })
print(vm:must "uname -m")
print(("ready after %.1f s"):format(vm.timeline[#vm.timeline].at))
