-- SPDX-License-Identifier: MIT
-- Blocking verbs inside a script's own coroutines, and the coroutine functions that make it work.
local t = ...
local core = require "macvm.core"

t.case("a wait inside wrap suspends the task, not the coroutine", function()
    local other = 0
    local ticker = core.spawn(function() while true do core.sleep(0.001) other = other + 1 end end)
    local step = coroutine.wrap(function(a)
        for i = 1, 3 do
            core.sleep(0.01)
            a = coroutine.yield(a + i)
        end
        return "end"
    end)
    t.eq(step(1), 2)
    t.eq(step(10), 12)
    t.eq(step(100), 103)
    t.eq(step(), "end")
    t.ok(other > 5, "the other task did not run meanwhile")
    ticker:cancel()
end)

t.case("nested coroutines, with results and errors of the verbs", function()
    local inner = coroutine.create(function()
        core.sleep(0.001)
        coroutine.yield "one"
        core.sleep(0.001)
        error("two", 0)
    end)
    local outer = coroutine.create(function()
        local ok, value = coroutine.resume(inner)
        coroutine.yield(ok, value)
        ok, value = coroutine.resume(inner)
        core.sleep(0.001)
        return ok, value
    end)
    t.same({ coroutine.resume(outer) }, { true, true, "one" })
    t.same({ coroutine.resume(outer) }, { true, false, "two" })
    t.eq(coroutine.status(outer), "dead")
    t.eq(coroutine.status(inner), "dead")
end)

t.case("an iterator that waits", function()
    local function ticks(n)
        return coroutine.wrap(function() for i = 1, n do core.sleep(0.001) coroutine.yield(i) end end)
    end
    local sum = 0
    for i in ticks(4) do sum = sum + i end
    t.eq(sum, 10)
end)

t.case("a task that is cancelled inside a coroutine is cancelled there", function()
    local where
    local task = core.spawn(function()
        local co = coroutine.wrap(function()
            local _, err = pcall(core.sleep, 1000)
            where = "inside"
            error(err, 0)
        end)
        co()
    end)
    coroutine.yield()
    coroutine.yield()
    task:cancel()
    t.raises("cancelled", nil, task.join, task)
    t.eq(where, "inside")
end)

t.case("a coroutine that waits is nobody else's to resume, close or wrap", function()
    local co = coroutine.create(function() core.sleep(0.02) return "mine" end)
    local owner = core.spawn(function() return coroutine.resume(co) end)
    core.sleep(0.005)
    t.eq(coroutine.status(co), "normal")
    local ok, why = coroutine.resume(co)
    t.eq(ok, false)
    t.match(why, "waits in a task")
    t.raises(nil, "waits in a task", coroutine.close, co)
    t.same({ owner:join() }, { true, "mine" })
    t.eq(coroutine.status(co), "dead")
end)

t.case("where nothing can be suspended a wait is refused with the reason", function()
    local err = t.raises("state", "can't wait here", table.sort, { 3, 2, 1 }, function(a, b)
        core.sleep(0.001)
        return a < b
    end)
    t.match(tostring(err), "core_coroutine_test.lua:%d+: can't wait here")
    t.raises("state", "can't wait here", string.gsub, "x", "x", function() core.sleep(0.001) end)
    local co = coroutine.wrap(function()
        return select(2, pcall(string.gsub, "x", "x", function()
            return coroutine.wrap(function() core.sleep(0.001) end)()
        end))
    end)
    t.match(tostring(co()), "can't wait here")
end)

t.case("a wait in a metamethod and in a pcall inside a coroutine", function()
    local object = setmetatable({}, { __index = function(_, k) core.sleep(0.001) return k end,
        __close = function() core.sleep(0.001) end })
    t.eq(object.field, "field")
    local co = coroutine.wrap(function()
        local ok, v = pcall(function()
            local scoped <close> = object
            return scoped.name
        end)
        coroutine.yield(ok)
        return v
    end)
    t.eq(co(), true)
    t.eq(co(), "name")
end)

t.case("without waits the functions do what Lua's do", function()
    t.same({ coroutine.resume(coroutine.create(function(...) return select("#", ...), ... end), 1, nil) },
        { true, 2, 1 })
    local dead = coroutine.create(function() end)
    coroutine.resume(dead)
    t.same({ coroutine.resume(dead) }, { false, "cannot resume dead coroutine" })
    t.raises(nil, "cannot resume dead coroutine", (function()
        local f = coroutine.wrap(function() end)
        f()
        return f
    end)())
    local err = t.raises(nil, "oops", function()
        local value = coroutine.wrap(function() error "oops" end)()
        return value
    end)
    t.match(err, "core_coroutine_test.lua:%d+: .*core_coroutine_test.lua:%d+: oops")
    local value = {}
    t.eq(select(2, pcall(coroutine.wrap(function() error(value) end))), value)
    local closed
    pcall(coroutine.wrap(function()
        local _ <close> = setmetatable({}, { __close = function() closed = true end })
        error "x"
    end))
    t.eq(closed, true)
    local co = coroutine.create(function() coroutine.yield() end)
    coroutine.resume(co)
    t.eq(coroutine.status(co), "suspended")
    t.eq(coroutine.close(co), true)
    t.eq(coroutine.status(co), "dead")
    t.raises(nil, "coroutine expected", coroutine.resume, 3)
    t.raises(nil, "function expected", coroutine.wrap, 3)
end)
