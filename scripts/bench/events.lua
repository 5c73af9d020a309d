-- SPDX-License-Identifier: MIT
-- 100,000 events of a simulated machine through a Lua handler. Prints CPU seconds and the count.
local macvm = require "macvm"
local total, batch = 100000, 1000
local vm <close> = macvm.vm { name = "bench", backend = "sim" }
vm:start()

local seen = 0
vm:on("network", function() seen = seen + 1 end)
local began = os.clock()
for sent = batch, total, batch do
  for _ = 1, batch do vm:sim_inject("network", "eth0") end
  repeat macvm.sleep(0) until seen >= sent
end
print("events", seen, ("%.6f"):format(os.clock() - began))
vm:kill()
