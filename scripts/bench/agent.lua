-- SPDX-License-Identifier: MIT
-- What goes through the agent's port of one running machine: round trips, files, and our memory.
-- Prints "NAME VALUE" lines; times in seconds.  usage: macvm run agent.lua FILE
local macvm = require "macvm"
local blob, rounds = arg[1], 200

local vm <close> = macvm.vm { name = "bench", memory = "512M" }
vm:start { timeout = 60 }
vm:wait("ready", { timeout = 60 })

local function memory()
  local figures = {}
  for line in io.lines "/proc/self/status" do
    local name, kib = line:match "^(Vm%u+):%s+(%d+)"
    if name then figures[name] = kib end
  end
  return figures
end
local at_ready = memory()
print("rss_ready", at_ready.VmRSS)

local function timed(name, count, fn)
  for _ = 1, count do
    local began = macvm.now()
    fn()
    print(name, ("%.6f"):format(macvm.now() - began))
  end
end

timed("exec", rounds, function() assert(vm:exec("true").status == 0) end)

-- What the guest itself needs for a process, counted by its own shell.
local loop = ("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done"):format(rounds)
for _ = 1, 5 do
  local began = macvm.now()
  vm:must(loop)
  local all = macvm.now() - began
  began = macvm.now()
  vm:must "i=0"
  print("fork", ("%.6f"):format((all - (macvm.now() - began)) / rounds))
end

-- One byte through a process of the agent and back.
local cat = vm:spawn { "cat" }
timed("cat", rounds, function()
  cat.stdin:write "x"
  assert(cat.stdout:read(1) == "x")
end)
cat.stdin:close()
cat:wait()

timed("push", 3, function() vm:push(blob, "/tmp/blob") end)
local at_end = memory()
print("rss_end", at_end.VmRSS)
print("rss_peak", at_end.VmHWM)
vm:kill()
