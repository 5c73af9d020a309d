-- SPDX-License-Identifier: MIT
--[[
What several tasks do together: a deadline around a function, all of several functions, the first
of several. Structured: when one of these returns or raises, none of its tasks runs any more.
]]

local core = require "macvm.core"

local task = {}

-- Waits for the end of a task, also while the caller is cancelled once more.
local function close(child)
    local _ <close> = child
end

-- Cancels every task of `tasks` that still runs and waits for their end; their errors are dropped.
local function put_away(tasks)
    for i = #tasks, 1, -1 do tasks[i]:cancel() end
    for i = 1, #tasks do
        close(tasks[i])
        pcall(tasks[i].join, tasks[i])
    end
end

local SCOPE = { __close = put_away }

local function cancel_others(tasks, i)
    for k = 1, #tasks do
        if k ~= i then tasks[k]:cancel() end
    end
end

local function is_callable(value)
    local meta = getmetatable(value)
    return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end

-- Raises `config` unless `fn` can be called.
function task.check_function(fn, what)
    if not is_callable(fn) then
        error(core.error {
            code = "config", message = ("%s: what is called must be a function, got %s"):format(what, type(fn)),
        })
    end
end

local function check_functions(list, what)
    if type(list) ~= "table" then
        error(core.error {
            code = "config", message = what .. " takes a list of functions, got " .. type(list),
        })
    end
    for i = 1, #list do
        if not is_callable(list[i]) then
            error(core.error {
                code = "config",
                message = ("%s: item %d must be a function, got %s"):format(what, i, type(list[i])),
            })
        end
    end
end

-- Runs list[i] in a task of its own and tells on_end(i, true, results) or on_end(i, false, err).
local function watched(fn, i, on_end)
    return core.spawn(function()
        local results
        local _ <close> = setmetatable({}, { __close = function(_, err)
            on_end(i, results ~= nil, results or err)
        end })
        local got = table.pack(fn())
        results = got
    end)
end

-- Waits for every task; an error of task i goes to on_error(i, err). When the wait itself is
-- cancelled, that is raised: the caller's scope puts the tasks away. A task that is "done" has no error.
local function join_all(tasks, on_error)
    for i = 1, #tasks do
        local ok, err = pcall(tasks[i].join, tasks[i])
        if not ok then
            if not tasks[i].done or tasks[i].state == "done" then error(err, 0) end
            on_error(i, err)
        end
    end
end

local function cancelled()
    return core.error { code = "cancelled", message = "the task was cancelled" }
end

--- macvm.timeout(seconds: number, fn: function, ...) -> ...
--- Calls fn(...) with a deadline and returns its results. When the deadline passes first, fn is
--- cancelled, its `<close>` variables run, and then `timeout` is raised. An error of fn is raised as it is.
function task.timeout(seconds, fn, ...)
    if type(seconds) ~= "number" or seconds ~= seconds then
        error(core.error {
            code = "config", message = "the deadline must be a number of seconds, got " .. type(seconds),
        })
    end
    task.check_function(fn, "macvm.timeout")
    local scope <close> = setmetatable({}, SCOPE)
    local child = core.spawn(fn, ...)
    scope[1] = child
    local got = table.pack(pcall(child.join, child, { timeout = seconds }))
    if got[1] then return table.unpack(got, 2, got.n) end
    -- Its own error, or the caller itself was cancelled.
    if child.done or got[2].code ~= "timeout" then error(got[2], 0) end
    put_away(scope)
    error(core.error {
        code = "timeout", message = ("the function did not end within %g s"):format(seconds),
    })
end

--- macvm.all(functions: function[]) -> any[]
--- Runs every function in a task of its own and waits for all. Returns the list of their results, one of
--- each function in the order given (its first, or nil; their number is `n`). The first error cancels the others, waits for
--- their end and is raised.
function task.all(functions)
    check_functions(functions, "macvm.all")
    local scope <close> = setmetatable({}, SCOPE)
    local results, failure = { n = #functions }, nil
    local function on_end(i, ok, value)
        if ok then
            results[i] = value[1]
        elseif not failure then
            failure = { value or cancelled() }
            cancel_others(scope, i)
        end
    end
    for i = 1, #functions do
        scope[i] = watched(functions[i], i, on_end)
    end
    join_all(scope, function(_, err) failure = failure or { err } end)
    if failure then error(failure[1], 0) end
    return results
end

local function all_failed(failures)
    local texts = {}
    for i, err in ipairs(failures) do texts[i] = ("%d: %s"):format(i, tostring(err)) end
    local first = failures[1]
    local err = core.error {
        code = type(first) == "table" and first.code or "guest",
        message = "every one of them failed: " .. table.concat(texts, "; "),
    }
    err.errors = failures
    return err
end

--- macvm.any(functions: function[]) -> any, integer
--- Runs every function in a task of its own until one succeeds. Returns its (first) result and its
--- place in the list; the others are cancelled and have ended by then. When all fail, raises an error with the code of
--- the first function's error, whose message names every failure and whose field `errors` lists them.
function task.any(functions)
    check_functions(functions, "macvm.any")
    if #functions == 0 then
        error(core.error { code = "config", message = "macvm.any needs at least one function" })
    end
    local scope <close> = setmetatable({}, SCOPE)
    local winner, result, failures = nil, nil, {}
    local function on_end(i, ok, value)
        if ok and not winner then
            winner, result = i, value[1]
            cancel_others(scope, i)
        elseif not ok then
            failures[i] = value or cancelled()
        end
    end
    for i = 1, #functions do
        scope[i] = watched(functions[i], i, on_end)
    end
    join_all(scope, function(i, err) failures[i] = failures[i] or err end)
    if not winner then error(all_failed(failures)) end
    return result, winner
end

return task
