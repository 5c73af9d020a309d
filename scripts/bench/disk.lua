-- SPDX-License-Identifier: MIT
-- Runs a shell script in a machine with one raw disk a `sync` mode, and prints what it prints.
-- usage: macvm run disk.lua DIRECTORY SCRIPT; the machine has its disks alone.
local macvm = require "macvm"
local dir, script = arg[1], arg[2]

local devices = {}
for i, sync in ipairs { "full", "fsync", "none" } do
  devices[i] = macvm.disk { path = dir .. "/" .. sync .. ".img", sync = sync, id = sync }
end
local vm <close> = macvm.vm { name = "bench", memory = "512M", devices = devices }
vm:start { timeout = 60 }
vm:wait("ready", { timeout = 60 })
io.write(vm:must(script, { timeout = 120 }))
vm:kill()
