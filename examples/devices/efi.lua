-- SPDX-License-Identifier: MIT
-- EFI: a machine that boots by its firmware, with variables that are kept in a file. With a system on its disk it would
-- boot that; this disk is empty, so the firmware's own shell answers.
--
--     macvm run examples/devices/efi.lua [IMAGE]
local macvm = require "macvm"

local image = ...
local disk = image or os.tmpname()
local variables = os.tmpname()
os.remove(variables) -- it is made at the first start
local _ <close> = setmetatable({}, { __close = function()
    os.remove(variables)
    if not image then os.remove(disk) end
end })
if not image then
    local file <close> = assert(io.open(disk, "wb"))
    file:seek("set", (16 << 20) - 1)
    file:write "\0"
end

local vm <close> = macvm.vm {
    name = "efi", guest = "efi",
    boot = { variables = variables },
    devices = { macvm.disk { path = disk } },
}
local can, reason = vm:can "efi"
if not can then
    print("no EFI here: " .. reason)
    return
end

vm:start()
if image then
    vm:wait("ready", { timeout = 120 })
    print(vm:must "ls /sys/firmware/efi")
    return
end

-- Types a line at the prompt, and waits for the next one.
local function shell(line, answer)
    vm.console:send(line .. "\r")
    local found = answer and vm.console:expect(answer, { timeout = 60 })
    vm.console:expect("Shell> ", { timeout = 60 })
    return found
end

local variable = "setvar colour -guid 6b4e8f6c-0d3f-4a52-9f0e-5d6f5b1d2a11"
vm.console:expect("Shell> ", { timeout = 60 })
print("firmware", (shell("ver", "UEFI v[%d.]+")))
shell(variable .. ' -nv -bs =L"blue"')
vm:kill()

vm:start() -- the variables are in the file
vm.console:expect("Shell> ", { timeout = 60 })
print("after a restart", (shell(variable, "62 00 6C 00 75 00 65 00")))
vm:kill()
