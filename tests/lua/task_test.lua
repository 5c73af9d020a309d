-- SPDX-License-Identifier: MIT
-- macvm.timeout, macvm.all, macvm.any: results, errors, and that none of their tasks outlives them.
local t = ...
local macvm = require "macvm"
local core = require "macvm.core"

-- Tells when it was closed.
local function guard(log, name)
    return setmetatable({}, { __close = function() log[#log + 1] = name end })
end

local function sleeper(log, name)
    return function()
        local _ <close> = guard(log, name)
        macvm.sleep(3600)
    end
end

local function fails(text)
    return function() error(text, 0) end
end

t.case("timeout gives the results of the function", function()
    t.same({ macvm.timeout(10, function(a, b) return b, a, nil end, 1, 2) }, { 2, 1 })
    t.eq(select("#", macvm.timeout(10, function() return nil, nil end)), 2)
    t.eq(macvm.timeout(10, function() macvm.sleep(0.001) return "x" end), "x")
end)

t.case("timeout raises `timeout` after the function's variables were closed", function()
    local log = {}
    local err = t.raises("timeout", "within 0.01 s", function()
        macvm.timeout(0.01, sleeper(log, "closed"))
    end)
    t.same(log, { "closed" })
    t.match(err.where, "task_test.lua:%d+")
end)

t.case("timeout waits for a <close> that takes its time", function()
    local log = {}
    t.raises("timeout", nil, macvm.timeout, 0.01, function()
        local _ <close> = setmetatable({}, { __close = function()
            macvm.sleep(0.05)
            log[1] = "slow"
        end })
        macvm.sleep(3600)
    end)
    t.same(log, { "slow" })
end)

t.case("timeout passes errors on as they are", function()
    local thing = {}
    local ok, err = pcall(macvm.timeout, 10, function() error(thing) end)
    t.ok(not ok and err == thing)
    err = t.raises("timeout", "own", macvm.timeout, 10, function()
        error(core.error { code = "timeout", message = "its own" })
    end)
    t.eq(err.message, "its own")
end)

t.case("timeout: what is no deadline or no function", function()
    t.raises("config", "number of seconds", macvm.timeout, "5", print)
    t.raises("config", "must be a function", macvm.timeout, 5, nil)
end)

t.case("all gives one result of each, in order", function()
    local results = macvm.all {
        function() macvm.sleep(0.02) return "slow", 1 end,
        function() return "quick" end,
        function() end,
    }
    t.same(results, { "slow", "quick", n = 3 })
    t.same(macvm.all {}, { n = 0 })
end)

t.case("all: they run at the same time", function()
    local order = {}
    local function step(name)
        return function()
            for i = 1, 2 do
                order[#order + 1] = name .. i
                macvm.sleep(0)
            end
        end
    end
    macvm.all { step "a", step "b" }
    t.eq(table.concat(order, " "), "a1 b1 a2 b2")
end)

t.case("all: the first error cancels the others, waits for their end, and is raised", function()
    local log = {}
    local ok, err = pcall(macvm.all, { sleeper(log, "a"), function() macvm.sleep(0.01) error("boom", 0) end,
        sleeper(log, "c") })
    t.ok(not ok)
    t.eq(err, "boom")
    table.sort(log)
    t.same(log, { "a", "c" })
end)

t.case("all: an error before the others began", function()
    local log = {}
    local ok, err = pcall(macvm.all, { fails "first", sleeper(log, "never") })
    t.ok(not ok)
    t.eq(err, "first")
end)

t.case("any gives the result and place of the first that succeeds", function()
    local log = {}
    t.same({ macvm.any { sleeper(log, "a"), function() macvm.sleep(0.01) return "x", "y" end, sleeper(log, "c") } },
        { "x", 2 })
    table.sort(log)
    t.same(log, { "a", "c" })
    t.same({ macvm.any { fails "no", function() macvm.sleep(0.001) return "yes" end } }, { "yes", 2 })
end)

t.case("any: when all fail, the error lists all", function()
    local err = t.raises("guest", "1: one; 2: two", macvm.any, { fails "one", fails "two" })
    t.same(err.errors, { "one", "two" })
    local state = core.error { code = "state", message = "is stopped" }
    t.raises("state", "is stopped", macvm.any, { function() error(state) end, fails "two" })
    t.raises("config", "at least one", macvm.any, {})
end)

t.case("what is no list of functions", function()
    t.raises("config", "list of functions, got nil", macvm.all)
    t.raises("config", "item 2 must be a function, got number", macvm.all, { print, 2 })
    t.raises("config", "list of functions", macvm.any, "x")
end)

t.case("cancelling a task that waits in all, any or timeout cancels what it waits for", function()
    for _, wait in ipairs {
        function(log) macvm.all { sleeper(log, "in") } end,
        function(log) macvm.any { sleeper(log, "in"), sleeper(log, "in") } end,
        function(log) macvm.timeout(3600, sleeper(log, "in")) end,
        function(log) macvm.all { function() macvm.timeout(3600, sleeper(log, "in")) end } end,
    } do
        local log = {}
        local task = macvm.spawn(wait, log)
        for _ = 1, 5 do macvm.sleep(0) end -- so that the innermost sleeps
        task:cancel()
        t.raises("cancelled", nil, task.join, task)
        t.ok(#log >= 1, "the inner task was not closed")
    end
end)

t.case("nothing is left of a thousand of them", function()
    for i = 1, 300 do
        t.eq((macvm.any { function() return i end, function() macvm.sleep(3600) end }), i)
        pcall(macvm.all, { fails "x", function() macvm.sleep(3600) end })
        pcall(macvm.timeout, 0, macvm.sleep, 3600)
    end
end)

t.case("any and all: a caller that was cancelled as a function ended is cancelled", function()
    for _, together in ipairs { macvm.any, macvm.all } do
        local caller, went_on
        caller = macvm.spawn(function()
            together { function() caller:cancel() end }
            went_on = true
        end)
        t.raises("cancelled", nil, caller.join, caller)
        t.eq(went_on, nil)
    end
end)

t.case("a second cancel does not end the wait for what is closing", function()
    for _, together in ipairs { macvm.any, macvm.all, function(list) macvm.timeout(60, list[1]) end } do
        local log = {}
        local caller = macvm.spawn(function()
            local _ <close> = guard(log, "caller")
            together { function()
                local _ <close> = setmetatable({}, { __close = function()
                    macvm.sleep(0.03)
                    log[#log + 1] = "function"
                end })
                macvm.sleep(3600)
            end }
        end)
        for _ = 1, 2 do
            macvm.sleep(0.005)
            caller:cancel()
        end
        t.raises("cancelled", nil, caller.join, caller)
        t.same(log, { "function", "caller" })
    end
end)
