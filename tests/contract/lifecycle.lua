-- SPDX-License-Identifier: MIT
-- The contract on a machine's life: every verb, what is refused, what the guest does by itself.

local macvm = require "macvm"

-- A command that still runs when its machine goes away; the task gives the error's code.
local function command_in_flight(vm)
    local process = vm:spawn "echo on; sleep 600"
    assert(process.stdout:read "l" == "on")
    return macvm.spawn(function()
        local ok, err = pcall(process.wait, process, { timeout = 60 })
        return not ok and err.code or "ended"
    end)
end

return {
    {
        name = "a new machine is stopped and has its own name",
        run = function(ctx)
            local one, two = ctx.vm(), ctx.vm()
            ctx.eq(one.state, "stopped")
            ctx.eq(one.up, false)
            ctx.eq(one.ready, false)
            ctx.ok(one.name ~= two.name, "names differ")
            ctx.match(tostring(one), one.name, "as text")
        end,
    },
    {
        name = "a booted machine runs, is up and ready, on this back end",
        run = function(ctx)
            local vm = ctx.shared
            ctx.eq(vm.state, "running")
            ctx.eq(vm.up, true)
            ctx.eq(vm.ready, true)
            ctx.eq(vm.backend, ctx.backend)
        end,
    },
    {
        name = "starting a running machine is refused",
        run = function(ctx)
            local err = ctx.raises("state", ctx.shared.start, ctx.shared)
            ctx.match(err.message, "running")
            ctx.eq(err.vm, ctx.shared.name)
        end,
    },
    {
        name = "waiting for what is already so returns at once",
        run = function(ctx)
            ctx.within(1, ctx.shared.wait, ctx.shared, "running")
            ctx.within(1, ctx.shared.wait, ctx.shared, "ready")
        end,
    },
    {
        name = "stop and kill of a machine that is down do nothing",
        run = function(ctx)
            local vm = ctx.vm()
            vm:stop()
            vm:kill()
            ctx.eq(vm.state, "stopped")
        end,
    },
    {
        name = "pause, resume, reboot of a machine that is down are refused",
        run = function(ctx)
            local vm = ctx.vm()
            for _, verb in ipairs { "pause", "resume", "reboot" } do
                local err = ctx.raises("state", vm[verb], vm)
                ctx.match(err.message, verb)
                ctx.match(err.message, "stopped")
            end
        end,
    },
    {
        name = "stop powers the guest off, and it starts again as new",
        fresh = true,
        run = function(ctx)
            local vm = ctx.machine
            vm:must "echo mine > /tmp/mine"
            vm:stop()
            ctx.eq(vm.state, "stopped")
            ctx.eq(vm.ready, false)
            vm:start()
            vm:wait "ready"
            ctx.eq(vm:exec("test -e /tmp/mine").status, 1)
        end,
    },
    {
        name = "two tasks may stop one machine",
        fresh = true,
        run = function(ctx)
            local vm = ctx.machine
            macvm.all { function() vm:stop() end, function() vm:stop() end }
            ctx.eq(vm.state, "stopped")
        end,
    },
    {
        name = "pause and resume",
        needs = "pause",
        run = function(ctx)
            local vm = ctx.shared
            vm:pause()
            ctx.eq(vm.state, "paused")
            ctx.raises("state", vm.pause, vm)
            ctx.raises("state", vm.stop, vm)
            ctx.raises("state", vm.reboot, vm)
            vm:resume()
            ctx.eq(vm.state, "running")
            ctx.raises("state", vm.resume, vm)
            ctx.eq(vm:must "echo alive", "alive\n")
        end,
    },
    {
        name = "a command sent to a paused machine runs after resume",
        needs = "pause",
        run = function(ctx)
            local vm = ctx.shared
            vm:pause()
            local task = macvm.spawn(vm.must, vm, "echo later")
            macvm.sleep(0.3)
            ctx.eq(task.done, false)
            vm:resume()
            ctx.eq(task:join(), "later\n")
        end,
    },
    {
        name = "a command's deadline holds while the machine is paused",
        needs = "pause",
        run = function(ctx)
            local vm = ctx.shared
            vm:pause()
            local ok, err = pcall(ctx.within, 5, ctx.raises, "timeout", vm.exec, vm, "true", { timeout = 0.2 })
            vm:resume()
            if not ok then error(err, 0) end
            ctx.match(err.message, "0.2 s")
            ctx.eq(vm:must "echo alive", "alive\n")
        end,
    },
    {
        name = "a paused guest does not get on",
        needs = "pause",
        run = function(ctx)
            local vm = ctx.shared
            local process <close> = vm:spawn "sleep 0.3; echo over"
            vm:pause()
            macvm.sleep(0.8)
            ctx.eq(process.ended, false)
            vm:resume()
            ctx.eq(process.stdout:read "l", "over")
        end,
    },
    {
        name = "reboot brings a new boot, and ends what ran",
        needs = "reboot",
        fresh = true,
        run = function(ctx)
            local vm = ctx.machine
            vm:must "echo mine > /tmp/mine"
            local command = command_in_flight(vm)
            vm:reboot()
            ctx.eq(vm.state, "running")
            ctx.eq(vm.ready, true)
            ctx.eq(command:join(), "agent")
            ctx.eq(vm:exec("test -e /tmp/mine").status, 1)
        end,
    },
    {
        name = "a guest that reboots by itself is ready again",
        needs = "reboot",
        fresh = true,
        run = function(ctx)
            local vm = ctx.machine
            local readies, reasons = 0, {}
            vm:on("ready", function() readies = readies + 1 end)
            vm:on("guest-shutdown", function(_, reason) reasons[#reasons + 1] = reason end)
            local command = command_in_flight(vm)
            pcall(vm.exec, vm, "reboot -f", { timeout = 20 })
            ctx.eq(command:join(), "agent")
            ctx.until_true(function() return readies == 1 end, 40)
            ctx.eq(reasons[1], "reset")
            ctx.eq(vm.state, "running")
            ctx.eq(vm:must "echo back", "back\n")
        end,
    },
    {
        name = "kill ends it at once, and tells everybody who waits",
        fresh = true,
        run = function(ctx)
            local vm = ctx.machine
            local command = command_in_flight(vm)
            local waiter = macvm.spawn(pcall, vm.wait, vm, "paused")
            macvm.sleep(0)
            ctx.within(5, vm.kill, vm)
            ctx.eq(vm.state, "stopped")
            ctx.eq(command:join { timeout = 1 }, "agent")
            local ok, err = waiter:join { timeout = 1 }
            ctx.eq(ok, false)
            ctx.eq(err.code, "state")
            ctx.match(err.message, "killed")
        end,
    },
    {
        name = "kill while it starts",
        run = function(ctx)
            local vm = ctx.vm()
            local starting = macvm.spawn(pcall, vm.start, vm)
            ctx.until_true(function() return vm.state ~= "stopped" end)
            vm:kill()
            local ok, err = starting:join { timeout = 5 }
            ctx.eq(vm.state, "stopped")
            if not ok then ctx.eq(err.code, "state") end
        end,
    },
    {
        name = "starting twice at once is refused",
        run = function(ctx)
            local vm = ctx.vm()
            local starting = macvm.spawn(vm.start, vm)
            ctx.until_true(function() return vm.state ~= "stopped" end)
            ctx.raises("state", vm.start, vm)
            starting:join()
            vm:kill()
        end,
    },
    {
        name = "the end of a scope stops the machine",
        fresh = true,
        run = function(ctx)
            local vm = ctx.machine
            do
                local scoped <close> = vm
                ctx.eq(scoped.state, "running")
            end
            ctx.eq(vm.state, "stopped")
        end,
    },
    {
        name = "a guest that powers itself off is stopped, not broken",
        fresh = true,
        run = function(ctx)
            local vm = ctx.machine
            local reason
            vm:on("guest-shutdown", function(_, why) reason = why end)
            local command = command_in_flight(vm)
            pcall(vm.exec, vm, "poweroff -f", { timeout = 20 })
            vm:wait "stopped"
            ctx.eq(command:join { timeout = 5 }, "agent")
            ctx.until_true(function() return reason end)
            ctx.eq(reason, "shutdown")
        end,
    },
    {
        name = "can says yes, or no with a reason",
        run = function(ctx)
            local vm = ctx.shared
            ctx.eq(vm:can "agent", true)
            for _, ability in ipairs(require "macvm.core".abilities()) do
                local can, reason = vm:can(ability)
                if can then
                    ctx.eq(reason, nil, ability)
                else
                    ctx.match(reason, "%w", ability)
                end
            end
            local can, reason = vm:can "fly"
            ctx.eq(can, false)
            ctx.match(reason, "%w")
        end,
    },
    {
        name = "the timeline goes up from process to ready",
        run = function(ctx)
            local last, seen = -1, {}
            for _, mark in ipairs(ctx.shared.timeline) do
                ctx.ok(mark.at >= last, mark.name .. " after the mark before it")
                last = mark.at
                seen[mark.name] = mark.at
            end
            for _, name in ipairs { "process", "running", "ready" } do ctx.ok(seen[name], name) end
            ctx.ok(seen.ready >= seen.running, "ready after running")
        end,
    },
    {
        name = "stats of a running machine",
        needs = "stats",
        run = function(ctx)
            local vm = ctx.shared
            local stats = vm:stats()
            ctx.match(stats.accel, "%w")
            ctx.eq(stats.memory.size, vm.memory)
            ctx.raises("state", function() ctx.vm():stats() end)
        end,
    },
    {
        name = "a machine that is up can't be configured",
        run = function(ctx)
            local vm = ctx.shared
            local before = vm.cpus
            ctx.raises("state", function() vm.cpus = before end)
            ctx.raises("state", function() vm.memory = "1G" end)
            ctx.eq(vm.cpus, before)
        end,
    },
}
