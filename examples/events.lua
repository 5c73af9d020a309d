-- Events: this script sets up its handlers and ends. The lab lives on while its machine is up.
local vm = macvm.vm { name = "events", boot = { cmdline = "loglevel=6" } }

local lines = 0
vm:on("console", function() lines = lines + 1 end)

vm:once("ready", function(machine)
    print("ready; it runs " .. machine:must "uname -r":gsub("%s", ""))
    machine:stop { timeout = 30 } -- a handler is a task: it may wait
end)

-- "*" sees everything that happens after this line, in order.
local seen = {}
vm:on("*", function(_, event, ...)
    if event == "console" then return end
    seen[#seen + 1] = event .. "(" .. table.concat({ ... }, ", ") .. ")"
    if event == "state" and ... == "stopped" then
        print("events: " .. table.concat(seen, " "))
        print("console lines: " .. lines)
    end
end)

vm:start()
