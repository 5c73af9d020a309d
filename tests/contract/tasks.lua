-- SPDX-License-Identifier: MIT
-- The contract on tasks around a machine's verbs: together, cancelled, with deadlines.

local macvm = require "macvm"

return {
    {
        name = "tasks wait each for their own command",
        run = function(ctx)
            local vm = ctx.shared
            local began = macvm.now()
            local tasks = {}
            for i = 1, 5 do
                tasks[i] = macvm.spawn(function() return vm:must("sleep 0.5; echo " .. i) end)
            end
            for i = 1, 5 do ctx.eq(tasks[i]:join(), i .. "\n") end
            ctx.ok(macvm.now() - began < 2.4, "they ran side by side")
        end,
    },
    {
        name = "join gives results, raises errors",
        run = function(ctx)
            local task = macvm.spawn(function(a, b) return b, a, nil end, 1, "two")
            local results = table.pack(task:join())
            ctx.eq(results[1], "two")
            ctx.eq(results[2], 1)
            ctx.eq(results.n, 3)
            ctx.eq(task.done, true)
            local failing = macvm.spawn(ctx.shared.must, ctx.shared, "exit 9")
            ctx.eq(ctx.raises("guest", failing.join, failing).status, 9)
        end,
    },
    {
        name = "cancelling a command closes its <close> variables and kills it",
        run = function(ctx)
            local vm, closed, pid = ctx.shared, false, nil
            local task = macvm.spawn(function()
                local _ <close> = setmetatable({}, { __close = function() closed = true end })
                local process <close> = vm:spawn "echo $$; sleep 600"
                pid = process.stdout:read "l"
                process:wait()
            end)
            ctx.until_true(function() return pid end)
            task:cancel()
            ctx.raises("cancelled", task.join, task)
            ctx.eq(closed, true)
            vm:eventually("kill -0 " .. pid .. " 2>/dev/null && exit 1 || exit 0", { timeout = 5 })
        end,
    },
    {
        name = "cancelling exec",
        run = function(ctx)
            local task = macvm.spawn(ctx.shared.exec, ctx.shared, "sleep 600")
            macvm.sleep(0.1)
            task:cancel()
            ctx.within(5, ctx.raises, "cancelled", task.join, task)
            ctx.eq(ctx.shared:must "echo fine", "fine\n")
        end,
    },
    {
        name = "cancelling a wait for a state",
        run = function(ctx)
            local task = macvm.spawn(ctx.shared.wait, ctx.shared, "stopped")
            macvm.sleep(0)
            task:cancel()
            ctx.within(1, ctx.raises, "cancelled", task.join, task)
            ctx.eq(ctx.shared.state, "running")
        end,
    },
    {
        name = "a deadline around several verbs",
        run = function(ctx)
            local vm, closed = ctx.shared, false
            local err = ctx.within(5, ctx.raises, "timeout", macvm.timeout, 0.3, function()
                local _ <close> = setmetatable({}, { __close = function() closed = true end })
                vm:must "true"
                vm:must "sleep 600"
            end)
            ctx.match(err.message, "0.3 s")
            ctx.eq(closed, true)
            ctx.eq(macvm.timeout(20, vm.must, vm, "echo in time"), "in time\n")
        end,
    },
    {
        name = "all: results in order; the first error cancels the others",
        run = function(ctx)
            local vm = ctx.shared
            local results = macvm.all {
                function() return vm:must "sleep 0.2; echo slow" end,
                function() return vm:must "echo quick" end,
            }
            ctx.eq(results[1], "slow\n")
            ctx.eq(results[2], "quick\n")
            ctx.within(10, ctx.raises, "guest", macvm.all, {
                function() vm:must "sleep 600" end,
                function() vm:must "exit 1" end,
            })
        end,
    },
    {
        name = "any: the first that succeeds; the others end",
        run = function(ctx)
            local vm = ctx.shared
            local out, which = ctx.within(10, macvm.any, {
                function() return vm:must "sleep 600" end,
                function() return vm:must "exit 1" end,
                function() return vm:must "echo won" end,
            })
            ctx.eq(which, 3)
            ctx.eq(out, "won\n")
            ctx.raises("guest", macvm.any, { function() vm:must "exit 1" end, function() vm:must "exit 2" end })
        end,
    },
    {
        name = "sleep sleeps, and now goes on",
        run = function(ctx)
            local began = macvm.now()
            macvm.sleep(0.2)
            local took = macvm.now() - began
            ctx.ok(took >= 0.2 and took < 2, "0.2 s, took " .. took)
        end,
    },
}
