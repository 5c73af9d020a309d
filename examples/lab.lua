-- First light: two machines, one described by a table and one built step by step, boot side by side,
-- tell of their events, run commands, and are put away. Run it with: macvm run examples/lab.lua
local macvm = require "macvm"

local began = macvm.now()

-- Declarative: a table is a machine.
local web <close> = macvm.vm {
    name = "web",
    cpus = 1,
    memory = "256M",
    devices = { macvm.net { mode = "nat" }, macvm.entropy {} },
}

-- Procedural: the same, step by step.
local db <close> = macvm.vm "db"
db.cpus = 1
db.memory = "256M"
db:attach(macvm.entropy {})

-- Handlers run as tasks of their own, in the order of the events.
local function report(vm, new, old)
    print(("%5.2f s  %-3s  %s -> %s"):format(macvm.now() - began, vm.name, old, new))
end
web:on("state", report)
db:on("state", report)

-- Start both, and wait until both are ready: one error would cancel the other wait.
macvm.all {
    function() web:start():wait("ready", { timeout = 120 }) end,
    function() db:start():wait("ready", { timeout = 120 }) end,
}

-- A string goes to the guest's shell, a list is an argv. What fails raises; what is only wanted returns.
print("web says:", (web:must "uname -sr && nproc":gsub("%s+", " ")))
local result = db:exec { "cat", "/proc/meminfo", timeout = 20 }
print("db has:", result.stdout:match "MemTotal:%s*(%d+ kB)", ("(%.0f ms)"):format(result.elapsed * 1000))

-- A clean stop: the guests sync and power off by themselves.
macvm.all {
    function() web:stop { timeout = 30 } end,
    function() db:stop { timeout = 30 } end,
}

-- One line: when each machine passed which point of its boot.
local lines = {}
for i, vm in ipairs { web, db } do
    local marks = {}
    for k, mark in ipairs(vm.timeline) do marks[k] = ("%s %.2f"):format(mark.name, mark.at) end
    lines[i] = vm.name .. " [" .. table.concat(marks, " ") .. "]"
end
print(("2 machines in %.1f s: %s"):format(macvm.now() - began, table.concat(lines, ", ")))
