-- SPDX-License-Identifier: MIT
-- One cold start. Prints "ready", and what passed between the agent's first bytes and this line.
local macvm = require "macvm"
local vm <close> = macvm.vm { name = "bench" }
local began = macvm.now()
vm:start { timeout = 60 }
vm:wait("ready", { timeout = 60 })
local took = macvm.now() - began
print "ready"
io.stdout:flush()
local marks = {}
for _, mark in ipairs(vm.timeline) do marks[#marks + 1] = ("%s=%.6f"):format(mark.name, mark.at) end
print(("lua=%.6f %s"):format(took, table.concat(marks, " ")))
vm:kill()
