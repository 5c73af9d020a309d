-- SPDX-License-Identifier: MIT
-- The contract on events: order, fan-out, handlers that fail, wait or subscribe.

return {
    {
        name = "a listener registered before the act misses nothing",
        run = function(ctx)
            local vm = ctx.vm()
            local states, all = {}, {}
            vm:on("state", function(who, new, old)
                ctx.eq(who, vm)
                states[#states + 1] = old .. ">" .. new
            end)
            vm:on("*", function(who, event, first)
                ctx.eq(who, vm)
                if event == "state" then event = first end
                if event ~= "console" then all[#all + 1] = event end
            end)
            vm:start()
            vm:wait "ready"
            vm:stop()
            ctx.until_true(function() return states[#states] == "stopping>stopped" end)
            ctx.eq(table.concat(states, " "),
                "stopped>starting starting>running running>stopping stopping>stopped")
            local order = {}
            for i, event in ipairs(all) do order[event] = order[event] or i end
            ctx.ok(order.starting < order.running, "starting before running")
            ctx.ok(order.running < order.ready, "running before ready")
            ctx.ok(order.ready < order.stopping, "ready before stopping")
            ctx.ok(order.stopping < order.stopped, "stopping before stopped")
        end,
    },
    {
        name = "pause and resume are told with the state before",
        needs = "pause",
        run = function(ctx)
            local vm, states = ctx.shared, {}
            local sub <close> = vm:on("state", function(_, new, old) states[#states + 1] = old .. ">" .. new end)
            vm:pause()
            vm:resume()
            ctx.until_true(function() return #states == 4 end)
            ctx.eq(table.concat(states, " "), "running>pausing pausing>paused paused>resuming resuming>running")
            ctx.ok(sub)
        end,
    },
    {
        name = "once is told once",
        run = function(ctx)
            local vm, told, lines = ctx.shared, 0, 0
            vm:once("console", function() told = told + 1 end)
            local sub <close> = vm:on("console", function(_, line)
                if line:find "line %d" then lines = lines + 1 end
            end)
            vm:must "echo line 1 > /dev/console; echo line 2 > /dev/console; echo line 3 > /dev/console"
            ctx.until_true(function() return lines == 3 end)
            ctx.eq(told, 1)
            ctx.ok(sub)
        end,
    },
    {
        name = "a console line is an event",
        run = function(ctx)
            local vm, seen = ctx.shared, nil
            local sub <close> = vm:on("console", function(_, line)
                if line:find "hello from inside" then seen = line end
            end)
            vm:must "echo hello from inside > /dev/console"
            ctx.until_true(function() return seen end)
            ctx.match(seen, "hello from inside$")
            ctx.ok(sub)
        end,
    },
    {
        name = "a cancelled subscription is told nothing more",
        run = function(ctx)
            local vm, cancelled, scoped, lines = ctx.shared, 0, 0, 0
            local first = vm:on("console", function() cancelled = cancelled + 1 end)
            first:cancel()
            first:cancel()
            do
                local second <close> = vm:on("console", function() scoped = scoped + 1 end)
                ctx.ok(second)
            end
            local sub <close> = vm:on("console", function(_, line) if line:find "the end" then lines = 1 end end)
            vm:must "echo the end > /dev/console"
            ctx.until_true(function() return lines == 1 end)
            ctx.eq(cancelled, 0)
            ctx.eq(scoped, 0)
            ctx.ok(sub)
        end,
    },
    {
        name = "a handler that fails harms nobody, and is reported",
        run = function(ctx)
            local vm, good, bad = ctx.shared, 0, 0
            local first <close> = vm:on("console", function(_, line)
                if line:find "mark %d" then
                    bad = bad + 1
                    error "the handler is broken"
                end
            end)
            local second <close> = vm:on("console", function(_, line)
                if line:find "mark %d" then good = good + 1 end
            end)
            vm:must "echo mark 1 > /dev/console; echo mark 2 > /dev/console"
            ctx.until_true(function() return good == 2 and bad == 2 end)
            local reported = ctx.strays()
            ctx.eq(#reported, 2)
            ctx.match(tostring(reported[1]), "the handler is broken")
            ctx.ok(first and second)
        end,
    },
    {
        name = "a handler may wait, and gets its events one after the other",
        run = function(ctx)
            local vm, order, running = ctx.shared, {}, 0
            local sub <close> = vm:on("console", function(_, line)
                local mark = line:match "step (%d)"
                if not mark then return end
                running = running + 1
                ctx.eq(running, 1)
                order[#order + 1] = mark .. vm:must("echo done"):sub(1, 4)
                running = running - 1
            end)
            vm:must "echo step 1 > /dev/console; echo step 2 > /dev/console; echo step 3 > /dev/console"
            ctx.until_true(function() return #order == 3 end)
            ctx.eq(table.concat(order, " "), "1done 2done 3done")
            ctx.ok(sub)
        end,
    },
    {
        name = "a slow handler holds up nobody else",
        run = function(ctx)
            local vm, fast, release = ctx.shared, 0, false
            local slow <close> = vm:on("console", function(_, line)
                if line:find "tick" then ctx.until_true(function() return release end) end
            end)
            local quick <close> = vm:on("console", function(_, line) if line:find "tick" then fast = fast + 1 end end)
            vm:must "echo tick > /dev/console; echo tick > /dev/console; echo tick > /dev/console"
            ctx.until_true(function() return fast == 3 end)
            release = true
            ctx.ok(slow and quick)
        end,
    },
    {
        name = "a misspelt event is refused with a hint",
        run = function(ctx)
            local err = ctx.raises("config", ctx.shared.on, ctx.shared, "redy", print)
            ctx.match(err.hint, "ready")
        end,
    },
    {
        name = "a kernel panic is an event with its text, and ends what ran",
        fresh = true,
        run = function(ctx)
            local vm, text = ctx.machine, nil
            vm:on("panic", function(_, report) text = report end)
            local process = vm:spawn "sleep 600"
            pcall(vm.exec, vm, "echo c > /proc/sysrq-trigger", { timeout = 10 })
            ctx.until_true(function() return text end)
            ctx.match(text, "Kernel panic")
            ctx.raises("agent", process.wait, process, { timeout = 10 })
            vm:kill()
            ctx.eq(vm.state, "stopped")
        end,
    },
}
