-- Events: handlers see everything that happens after they were registered, in order.
local vm <close> = macvm.vm "events"

local seen = {}
vm:on("*", function(_, event, ...)
    if event ~= "console" then seen[#seen + 1] = event .. "(" .. table.concat({ ... }, ", ") .. ")" end
end)
vm:once("ready", function(machine)
    print("ready; it runs " .. machine:must "uname -r":gsub("%s", ""))
end)
local lines = 0
local subscription = vm:on("console", function() lines = lines + 1 end)

vm:start()
vm:wait("ready", { timeout = 120 })
subscription:cancel()
vm:stop { timeout = 30 }
macvm.sleep(0.05)
print("events: " .. table.concat(seen, " "))
print("console lines while booting: " .. lines)
