-- SPDX-License-Identifier: MIT
--[[
The test runner of the Lua and command line tests.

    macvm run tests/lua/harness.lua FILE...     tests that use VMs
    lua5.4 tests/lua/harness.lua FILE...        tests that drive the macvm command from outside

A test file is called with the table `t` below as its argument (`local t = ...`). It declares its cases
with t.case(name, fn), or returns a list of { name, fn }. A case passes when fn returns. Options:
-k PATTERN runs the cases whose name matches, -x stops after the first failure.

The output is TAP, and a closing line "N passed, M failed" (with ", K skipped" when there are).
]]

local t = {}
package.loaded.harness = t

local has_core, core = pcall(require, "macvm.core")
local SKIP = {} -- marks the error of t.skip
local CASE_TIMEOUT = tonumber(os.getenv "MACVM_CASE_TIMEOUT") or 120

local cases, patience
local passed, failed, skipped = 0, 0, 0

-- ---- what a test file uses -------------------------------------------------------

function t.case(name, fn)
    assert(type(name) == "string" and type(fn) == "function", "t.case(name, fn)")
    cases[#cases + 1] = { name = name, fn = fn, timeout = patience }
end

-- The deadline, in seconds, of the cases declared from here on in this file.
function t.patience(seconds)
    patience = seconds
end

local function show(value)
    if type(value) == "string" then
        return (("%q"):format(value):gsub("\\\n", "\\n"))
    end
    return tostring(value)
end

local function fail(level, text, message)
    error((message and message .. ": " or "") .. text, level + 1)
end

function t.fail(message)
    fail(2, message or "failed")
end

function t.skip(why)
    error(setmetatable({ why = why or "no reason given" }, SKIP), 0)
end

function t.ok(value, message)
    if not value then
        fail(2, "expected a true value, got " .. show(value), message)
    end
    return value
end

function t.eq(got, want, message)
    if got ~= want then
        fail(2, ("got %s, expected %s"):format(show(got), show(want)), message)
    end
    return got
end

function t.near(got, want, tolerance, message)
    if math.abs(got - want) > tolerance then
        fail(2, ("got %s, expected %s within %s"):format(got, want, tolerance), message)
    end
end

local function differs(a, b, path)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a ~= b and ("%s is %s, expected %s"):format(path, show(a), show(b)) or nil
    end
    for k, v in pairs(b) do
        local why = differs(a[k], v, path .. "." .. tostring(k))
        if why then return why end
    end
    for k, v in pairs(a) do
        if b[k] == nil then
            return ("%s.%s is %s, expected nothing"):format(path, tostring(k), show(v))
        end
    end
end

-- Tables with the same content, deeply.
function t.same(got, want, message)
    local why = differs(got, want, "value")
    if why then fail(2, why, message) end
    return got
end

function t.match(text, pattern, message)
    if type(text) ~= "string" or not text:find(pattern) then
        fail(2, ("%s does not match %s"):format(show(text), show(pattern)), message)
    end
    return text
end

-- The text holds `part` as it is (no pattern).
function t.has(text, part, message)
    if type(text) ~= "string" or not text:find(part, 1, true) then
        fail(2, ("%s does not hold %s"):format(show(text), show(part)), message)
    end
    return text
end

-- fn(...) raises; `code` is the code of a macvm error, or nil for any error; `pattern` matches its
-- text. Returns the error.
function t.raises(code, pattern, fn, ...)
    local ok, err = pcall(fn, ...)
    if ok then
        fail(2, ("expected an error%s, there was none"):format(code and " " .. code or ""))
    end
    if code and (type(err) ~= "table" or err.code ~= code) then
        fail(2, ("expected a %s error, got %s (%s)"):format(code, tostring(err),
            type(err) == "table" and tostring(err.code) or type(err)))
    end
    if pattern and not tostring(err):find(pattern) then
        fail(2, ("%s does not match %s"):format(show(tostring(err)), show(pattern)))
    end
    return err
end

-- A fresh private directory, removed after the case.
local trash = {}
function t.tmpdir()
    local pipe = assert(io.popen("mktemp -d /tmp/macvm-test-XXXXXX", "r"))
    local dir = pipe:read "l"
    pipe:close()
    assert(dir and dir:find "^/tmp/macvm%-test%-%w+$", "mktemp failed")
    trash[#trash + 1] = dir
    return dir
end

-- Runs fn after the case, whatever its end.
local atend = {}
function t.after(fn)
    atend[#atend + 1] = fn
end

-- ---- running ---------------------------------------------------------------------

local function tidy()
    for i = #atend, 1, -1 do
        local ok, err = pcall(atend[i])
        if not ok then print("# after the case: " .. tostring(err)) end
    end
    for i = #trash, 1, -1 do
        os.execute("rm -rf -- " .. trash[i])
        trash[i] = nil
    end
    atend = {}
end

-- What a case left running, as a text, or nil. It is put away, so that the next case starts clean.
local function leftovers(tasks_before)
    if not has_core then return nil end
    local left = {}
    for _, vm in ipairs(core.vms()) do
        if vm.up then
            left[#left + 1] = ("machine %s is %s"):format(vm.name, vm.state)
            pcall(vm.kill, vm)
        end
    end
    local tasks = core.tasks and core.tasks() or {}
    for _, task in ipairs(tasks) do
        if not tasks_before[task] and task ~= core.current() then
            left[#left + 1] = "a task still runs"
            pcall(task.cancel, task)
        end
    end
    return left[1] and table.concat(left, "; ")
end

local function set_of_tasks()
    local set = {}
    for _, task in ipairs(has_core and core.tasks and core.tasks() or {}) do set[task] = true end
    return set
end

local function handler(err)
    if getmetatable(err) == SKIP or type(err) == "table" then return err end
    return debug.traceback(tostring(err), 2)
end

local function call(case)
    if not has_core then
        return xpcall(case.fn, handler, t)
    end
    local task = core.spawn(function()
        return xpcall(case.fn, handler, t)
    end)
    local joined, ok, err = pcall(task.join, task, { timeout = case.timeout or CASE_TIMEOUT })
    if joined then return ok, err end
    if not task.done then
        task:cancel()
        pcall(task.join, task, { timeout = 30 })
        return false, ("the case did not end within %g s"):format(case.timeout or CASE_TIMEOUT)
    end
    return false, ok
end

local function run(case, number)
    local before = set_of_tasks()
    local ok, err = call(case)
    tidy()
    local left = leftovers(before)
    if ok and left then ok, err = false, "left behind: " .. left end
    if ok then
        passed = passed + 1
        print(("ok %d - %s"):format(number, case.name))
    elseif getmetatable(err) == SKIP then
        skipped = skipped + 1
        print(("ok %d - %s # SKIP %s"):format(number, case.name, err.why))
    else
        failed = failed + 1
        print(("not ok %d - %s"):format(number, case.name))
        print("  # " .. tostring(err):gsub("\n", "\n  # "))
    end
    io.stdout:flush()
    return ok or getmetatable(err) == SKIP
end

local function load(path)
    local list = {}
    cases, patience = list, nil
    local chunk, why = loadfile(path)
    if not chunk then
        t.case("loads", function() error(why, 0) end)
        return list
    end
    local ok, result = pcall(chunk, t)
    if not ok then
        t.case("loads", function() error(result, 0) end)
    elseif type(result) == "table" then
        for _, case in ipairs(result) do
            t.case(case.name or case[1], case.fn or case[2])
        end
    end
    return list
end

local function main(args)
    local files, filter, stop_early, number = {}, nil, false, 0
    local i = 1
    while args[i] do
        if args[i] == "-k" then
            i = i + 1
            filter = args[i]
        elseif args[i] == "-x" then
            stop_early = true
        else
            files[#files + 1] = args[i]
        end
        i = i + 1
    end
    io.stdout:setvbuf "line"
    for _, path in ipairs(files) do
        print("# " .. path)
        local list = load(path)
        for _, case in ipairs(list) do
            if not filter or case.name:find(filter) then
                number = number + 1
                if not run(case, number) and stop_early then goto done end
            end
        end
    end
    ::done::
    print(("1..%d"):format(number))
    print(("%d passed, %d failed%s"):format(passed, failed,
        skipped > 0 and (", %d skipped"):format(skipped) or ""))
    io.stdout:flush()
    if failed == 0 and number > 0 then return end
    if has_core then
        error(number == 0 and "there was no test to run" or "tests failed", 0)
    end
    os.exit(1)
end

main(arg)
