-- sim: a machine in this process, with no hypervisor and a scripted guest, for tests of scripts
-- and for dry runs. With virtual time, an hour of waiting takes no time.
local core = require "macvm.core"
core.virtual_time(true)

local vm <close> = macvm.vm { name = "dream", backend = "sim" }
vm:sim_script(function(argv)
    local command = argv[#argv]
    if command == "make test" then
        return { status = 0, stdout = "3 tests passed\n", delay = 3600 }
    elseif command == "flaky" then
        return { status = 1, stderr = "no luck\n" }
    end
end)

local began = macvm.now()
vm:start()
print((vm:must("make test", { timeout = 7200 }):gsub("\n", "")))
print(("that took %.0f simulated seconds"):format(macvm.now() - began))

local ok, err = pcall(vm.must, vm, "flaky")
assert(not ok)
print(err.code, err.message)

-- What never works in a test of the real thing: the hypervisor dies on cue.
vm:once("error", function(_, why) print("event:", why.message or why) end)
vm:sim_inject("die", "the power went out")
pcall(vm.wait, vm, "stopped", { timeout = 5 })
print("state: " .. vm.state)
