-- Tasks: several things at once in one machine, with deadlines. Nothing is left running behind them.
local vm <close> = macvm.vm "tasks"
vm:start()

-- All of them; the results come in the order of the list.
local results = macvm.all {
    function() return (vm:must "sleep 0.3; echo first"):gsub("\n", "") end,
    function() return (vm:must "sleep 0.1; echo second"):gsub("\n", "") end,
}
print("all:", results[1], results[2])

-- The first that succeeds; the others are cancelled, which kills their commands.
local answer, which = macvm.any {
    function() return vm:must "sleep 60; echo slow" end,
    function() return vm:must "echo quick" end,
}
print("any:", which, (answer:gsub("\n", "")))

-- A deadline around anything.
local ok, err = pcall(macvm.timeout, 0.5, function() vm:exec "sleep 60" end)
print("timeout:", ok, err.code)

-- A live process: read it line by line while it runs, then end it.
local process <close> = vm:spawn "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.05; done"
for line in process.stdout:lines() do
    if line == "line 3" then break end
end
process:kill(15)
local _, signal = process:wait { timeout = 10 }
print("process: ended by signal " .. signal)
