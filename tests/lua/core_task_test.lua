-- SPDX-License-Identifier: MIT
-- The scheduler: tasks, joins, cancelling, waits that can't come true, and errors that nobody takes.
local t = ...
local core = require "macvm.core"

local function machine()
    local vm = core.vm { backend = "sim" }
    t.after(function() vm:kill() end)
    return vm
end

-- Collects what core.on_error is told, in place of the command's own hook.
local function reports()
    local seen = {}
    local before = core.on_error(function(err, traceback, task)
        seen[#seen + 1] = { err = err, traceback = traceback, task = task }
    end)
    t.after(function() core.on_error(before) end)
    return seen
end

local function turns(n)
    for _ = 1, n or 3 do coroutine.yield() end
end

t.case("join returns all results, nils too, as often as it is asked", function()
    local task = core.spawn(function(...) core.sleep(0.001) return ... end, 1, nil, 3, nil)
    for _ = 1, 2 do
        local got = table.pack(task:join())
        t.eq(got.n, 4)
        t.eq(got[3], 3)
    end
    t.eq(task.state, "done")
    t.eq(core.spawn(function() end):join(), nil)
end)

t.case("a task does not run before its maker waits", function()
    local ran = false
    local task = core.spawn(function() ran = true end)
    t.eq(ran, false)
    task:join()
    t.eq(ran, true)
end)

t.case("join raises the task's own error value, again and again", function()
    local value = setmetatable({}, { __tostring = function() return "mine" end })
    local task = core.spawn(function() error(value) end)
    for _ = 1, 2 do
        local ok, err = pcall(task.join, task)
        t.ok(not ok and rawequal(err, value))
    end
    t.eq(task.state, "failed")
    local text = core.spawn(function() error("plain", 0) end)
    t.eq(select(2, pcall(text.join, text)), "plain")
end)

t.case("join gives up at its deadline and the task goes on", function()
    local task = core.spawn(function() core.sleep(0.05) return "late" end)
    t.raises("timeout", "task to end", task.join, task, { timeout = 0.001 })
    t.eq(task:join(), "late")
    t.raises("config", "did you mean `timeout`", task.join, task, { timout = 1 })
    t.raises("config", "timeout: is not a time", task.join, task, { timeout = "soon" })
end)

t.case("cancel ends a sleep, a join and a wait for a machine", function()
    local vm = machine():start()
    local sleeper = core.spawn(core.sleep, 1000)
    for _, task in ipairs {
        core.spawn(function() sleeper:join() end),
        core.spawn(function() vm:wait("paused", { timeout = 1000 }) end),
        core.spawn(function() vm.console:wait(1 << 40) end),
        sleeper,
    } do
        turns()
        t.eq(task.state, "waiting")
        task:cancel()
        t.raises("cancelled", nil, task.join, task)
        t.eq(task.state, "cancelled")
    end
end)

t.case("cancel before it began: it never runs", function()
    local ran = false
    local task = core.spawn(function() ran = true end)
    task:cancel()
    t.raises("cancelled", nil, task.join, task)
    t.eq(ran, false)
end)

t.case("cancel is raised once; <close> variables may wait meanwhile", function()
    local order = {}
    local task = core.spawn(function()
        local _ <close> = setmetatable({}, { __close = function(_, err)
            order[#order + 1] = err.code
            core.sleep(0.005)
            order[#order + 1] = "closed"
        end })
        local ok, err = pcall(core.sleep, 1000)
        order[#order + 1] = tostring(ok) .. err.code
        core.sleep(0.001) -- the first one was used up
        order[#order + 1] = "went on"
        core.sleep(1000)
    end)
    turns()
    task:cancel()
    core.sleep(0.02)
    t.eq(task.state, "waiting")
    task:cancel()
    t.raises("cancelled", nil, task.join, task)
    t.same(order, { "falsecancelled", "went on", "cancelled", "closed" })
end)

t.case("a task that cancels itself stops at its next wait", function()
    local before, after = false, false
    local task = core.spawn(function()
        core.current():cancel()
        before = true
        core.sleep(0)
        after = true
    end)
    t.raises("cancelled", nil, task.join, task)
    t.ok(before and not after)
end)

t.case("a task that catches its cancelling ends well", function()
    local task = core.spawn(function() pcall(core.sleep, 1000) return "caught" end)
    turns()
    task:cancel()
    t.eq(task:join(), "caught")
    task:cancel() -- it has ended: nothing happens
    t.eq(task:join(), "caught")
end)

t.case("<close> of a task cancels it and waits for its end", function()
    local ended = false
    local task
    do
        local scoped <close> = core.spawn(function()
            local _ <close> = setmetatable({}, { __close = function() core.sleep(0.005) ended = true end })
            core.sleep(1000)
        end)
        task = scoped
        turns()
    end
    t.eq(ended, true)
    t.eq(task.state, "cancelled")
end)

t.case("a plain yield lets the others go first", function()
    local order = {}
    local function worker(name)
        return function()
            for i = 1, 3 do order[#order + 1] = name .. i coroutine.yield() end
        end
    end
    local a, b = core.spawn(worker "a"), core.spawn(worker "b")
    a:join()
    b:join()
    t.eq(table.concat(order, " "), "a1 b1 a2 b2 a3 b3")
end)

t.case("an error that nobody can join is reported once, soon, with its traceback", function()
    local seen = reports()
    core.spawn(function() error "lost" end)
    turns(6)
    t.eq(#seen, 1)
    t.match(seen[1].err, "lost$")
    t.match(seen[1].traceback, "stack traceback")
    t.raises(nil, "lost", seen[1].task.join, seen[1].task)
    turns(6)
    collectgarbage()
    turns(6)
    t.eq(#seen, 1)
end)

t.case("an error is not reported while somebody holds the task, nor when it was joined", function()
    local seen = reports()
    local task = core.spawn(function() error "kept" end)
    turns(6)
    t.eq(#seen, 0)
    t.raises(nil, "kept", task.join, task)
    task = nil -- luacheck: ignore
    collectgarbage()
    turns(6)
    t.eq(#seen, 0)
end)

t.case("an error of a task that was dropped later is reported then", function()
    local seen = reports()
    local hold = { core.spawn(function() error "dropped" end) }
    turns(6)
    t.eq(#seen, 0)
    t.eq(hold[1].state, "failed")
    hold[1] = nil
    collectgarbage()
    turns(6)
    t.eq(#seen, 1)
end)

t.case("cancelled tasks are not reported", function()
    local seen = reports()
    local task = core.spawn(core.sleep, 1000)
    turns()
    task:cancel()
    task = nil -- luacheck: ignore
    turns()
    collectgarbage()
    turns(6)
    t.eq(#seen, 0)
end)

t.case("a wait that can't come true any more is told so at once", function()
    local vm = machine()
    local began = core.now()
    t.raises("state", "is stopped and nothing is left that could start it", vm.wait, vm, "ready",
        { timeout = 100 })
    t.raises("state", nil, vm.wait, vm, "running", { timeout = 100 })
    t.ok(core.now() - began < 5)
    t.eq(vm:wait("stopped", { timeout = 100 }), vm)
end)

t.case("a wait on a machine that somebody will start is left alone", function()
    local vm = machine()
    local starter = core.spawn(function() core.sleep(0.02) vm:start() end)
    vm:wait("running", { timeout = 100 })
    starter:join()
end)

t.case("tasks that wait for each other are told so", function()
    local a, b
    a = core.spawn(function() b:join() end)
    b = core.spawn(function() a:join() end)
    t.raises("state", "wait for each other", a.join, a)
    pcall(b.join, b)
    local own
    own = core.spawn(function() own:join() end)
    t.raises("state", "its own end", own.join, own)
end)

t.case("deadlines and sleeps: nonsense is refused", function()
    t.raises("config", "can.t sleep for %-1", core.sleep, -1)
    t.raises("config", "can.t sleep for x", core.sleep, "x")
    t.raises("config", "a task needs a function, got nil", core.spawn)
    t.raises("config", "a task needs a function, got number", core.spawn, 3)
    local callable = setmetatable({}, { __call = function(_, x) return x end })
    t.eq(core.spawn(callable, 7):join(), 7)
end)

t.case("a thousand tasks", function()
    local tasks, sum = {}, 0
    for i = 1, 1000 do tasks[i] = core.spawn(function() core.sleep(i % 7 / 1000) return i end) end
    for i = 1, 1000 do sum = sum + tasks[i]:join() end
    t.eq(sum, 500500)
end)

t.case("what ended is collected", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
        local task = core.spawn(function() core.sleep(0.001) return {} end)
        weak[task] = true
        task:join()
        local cancelled = core.spawn(core.sleep, 100)
        weak[cancelled] = true
        turns()
        cancelled:cancel()
    end
    turns()
    collectgarbage()
    collectgarbage()
    t.eq(next(weak), nil)
end)

t.case("a plan: nothing starts, waits return, questions raise", function()
    core.check_mode(true)
    t.after(function() core.check_mode(false) end)
    local vm = core.vm { backend = "sim" }
    t.eq(vm.planned, false)
    t.eq(vm:start(), vm)
    t.eq(vm.planned, true)
    t.eq(vm.state, "stopped")
    t.eq(vm:wait "ready", vm)
    core.sleep(1000)
    local err = t.raises("cancelled", nil, vm.spawn_raw, vm, { "true" })
    t.eq(err.plan, true)
    t.eq(t.raises("cancelled", nil, vm.stats, vm).plan, true)
    vm:stop()
    core.check_mode(false)
end)

t.case("a circle of joins that a deadline opens is none", function()
    local one, two
    one = core.spawn(function() return pcall(two.join, two, { timeout = 0.01 }) end)
    two = core.spawn(function() return one:join() end)
    local ok, err = two:join()
    t.eq(ok, false)
    t.eq(err.code, "timeout")
end)

t.case("an error of ours that has no place gets that of the join", function()
    local vm = machine()
    local task = core.spawn(vm.spawn_raw, vm, { "x" })
    local err = t.raises("state", nil, function() task:join() end)
    t.match(err.where, "core_task_test.lua:%d+")
    local kept = err.where
    t.eq(select(2, pcall(function()
        task:join()
    end)).where, kept)
end)

t.case("cancelling every task leaves subscriptions alive", function()
    local vm, mine, heard = machine(), {}, 0
    for _, task in ipairs(core.tasks()) do mine[task] = true end
    vm:on("state", function()
        for _, task in ipairs(core.tasks()) do
            if not mine[task] and task ~= core.current() then task:cancel() end
        end
    end)
    vm:on("state", function() heard = heard + 1 end)
    vm:start()
    vm:kill()
    core.sleep(0.01)
    t.ok(heard >= 3, heard .. " events")
end)
