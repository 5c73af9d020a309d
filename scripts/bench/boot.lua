-- SPDX-License-Identifier: MIT
-- One cold start. Prints "ready", and what passed between the agent's first bytes and this line.
-- usage: macvm run boot.lua [DIRECTORY KIND...]: with a device of each of these kinds, with files in the directory;
-- where the host has no such device it prints "can't: REASON" instead.
local macvm = require "macvm"
local dir = arg[1]

local make = {
  disk = function() return macvm.disk { path = dir .. "/start.img", size = "16M", create = true } end,
  share = function() return macvm.share { tag = "start", path = dir } end,
  net = function() return macvm.net {} end,
  console = function() return macvm.console { type = "hvc" } end,
  sound = function() return macvm.sound { file = dir .. "/start.wav" } end,
}

local vm <close> = macvm.vm { name = "bench" }
for i = 2, #arg do
  local kind = arg[i]
  local can, reason = vm:can(kind)
  if not can then
    print("can't: " .. reason)
    return
  end
  vm:attach((make[kind] or macvm[kind]) {})
end
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
