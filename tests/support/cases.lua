-- SPDX-License-Identifier: MIT
--[[
Lists of cases for suites that macvm runs itself: the checks that cases use, and the running and counting of
them. tests/contract/run.lua and tests/devices/run.lua stand on it.
]]

local macvm = require "macvm"
local core = require "macvm.core"

local CASE_TIMEOUT = 60

local cases = {}
local ctx = { arch = os.getenv "MACVM_TEST_ARCH" } -- of every machine of a suite; nil: the host's
cases.ctx = ctx

-- ---- checks that cases use --------------------------------------------------------------

local function show(value)
    if type(value) ~= "string" then return tostring(value) end
    if #value > 200 then value = value:sub(1, 200) .. ("... (%d bytes)"):format(#value) end
    return (("%q"):format(value):gsub("\\\n", "\\n"))
end

function ctx.ok(value, message)
    if not value then error((message or "expected a true value") .. ", got " .. show(value), 2) end
    return value
end

function ctx.eq(got, want, message)
    if got ~= want then
        error(("%sgot %s, expected %s"):format(message and message .. ": " or "", show(got), show(want)), 2)
    end
    return got
end

function ctx.match(text, pattern, message)
    if type(text) ~= "string" or not text:find(pattern) then
        error(("%s%s does not match %s"):format(message and message .. ": " or "", show(text), show(pattern)), 2)
    end
    return text
end

-- fn(...) must raise a macvm error with that code, whose text is one line; returns it.
function ctx.raises(code, fn, ...)
    local ok, err = pcall(fn, ...)
    if ok then error(("expected a `%s` error, there was none"):format(code), 2) end
    if type(err) ~= "table" or err.code ~= code then
        error(("expected a `%s` error, got %s (%s)"):format(code, tostring(err),
            type(err) == "table" and tostring(err.code) or type(err)), 2)
    end
    if tostring(err):find "\n" then error("the error's text has several lines: " .. tostring(err), 2) end
    return err
end

-- Waits until fn() is true: for what an event handler has noted.
function ctx.until_true(fn, timeout)
    local deadline = macvm.now() + (timeout or 20)
    repeat
        local value = fn()
        if value then return value end
        macvm.sleep(0.005)
    until macvm.now() > deadline
    error("it did not come true in time", 2)
end

-- fn() must be over within so many seconds: "at once" and not after somebody's timeout.
function ctx.within(seconds, fn, ...)
    local began = macvm.now()
    local results = table.pack(fn(...))
    local took = macvm.now() - began
    if took > seconds then error(("took %.2f s, expected at most %g"):format(took, seconds), 2) end
    return table.unpack(results, 1, results.n)
end

-- Errors of tasks and handlers that nobody joined since the last call. What is left of them at the end
-- of a case fails it.
local strays = {}

function ctx.strays()
    local list = strays
    strays = {}
    return list
end

core.on_error(function(err)
    strays[#strays + 1] = err
    return true
end)

-- The path of a static program for the guest, from tests/guest.
function ctx.guest_program(name)
    return (os.getenv "MACVM_BUILD" or "build") .. "/guest/" .. name
end

-- A machine for this suite.
function ctx.vm(spec)
    spec = spec or {}
    spec.backend = spec.backend or ctx.backend
    spec.arch = spec.arch or ctx.arch
    return macvm.vm(spec)
end

-- The same, started and ready.
function ctx.boot(spec)
    local vm = ctx.vm(spec)
    local ok, err = pcall(function()
        vm:start()
        vm:wait("ready", { timeout = 120 })
    end)
    if ok then return vm end
    pcall(vm.kill, vm)
    error(err, 0)
end

-- ---- host files ----------------------------------------------------------------------------

local trash = {}

-- A path in a private directory of the host that is removed in the end.
function ctx.host_path(name)
    if not trash.dir then
        local pipe <close> = assert(io.popen "mktemp -d") -- in $TMPDIR, where what is left is noticed
        trash.dir = assert(pipe:read "l")
    end
    return trash.dir .. "/" .. name
end

local function take_out_trash()
    if trash.dir then os.execute(("rm -rf '%s'"):format(trash.dir)) end
end

-- ---- running -------------------------------------------------------------------------------

local counts = { passed = 0, failed = 0, skipped = 0 }

local function explain(err)
    return type(err) == "table" and err or debug.traceback(tostring(err), 2)
end

-- Runs case.run(ctx) as a task with a deadline: true, or false and why.
function cases.perform(case)
    local task = macvm.spawn(function() return xpcall(case.run, explain, ctx) end)
    local joined, ok, err = pcall(task.join, task, { timeout = case.timeout or CASE_TIMEOUT })
    if joined then return ok, err end
    if not task.done then
        task:cancel()
        pcall(task.join, task, { timeout = 10 })
    end
    return false, ok
end

-- Runs them in order by attempt(case), which returns what cases.perform does, or nil and why it was
-- skipped, and prints TAP.
function cases.run(list, attempt)
    local began = macvm.now()
    for number, case in ipairs(list) do
        local since = macvm.now()
        local reached, ok, err = pcall(attempt, case)
        if not reached then ok, err = false, ok end
        local stray = ctx.strays()[1]
        if ok and stray then ok, err = false, "an error that nobody joined: " .. tostring(stray) end
        local verdict = ok == false and "failed" or ok and "passed" or "skipped"
        counts[verdict] = counts[verdict] + 1
        print(("%s %d - %s%s # %.2f s"):format(ok == false and "not ok" or "ok", number, case.name,
            verdict == "skipped" and " # SKIP " .. tostring(err) or "", macvm.now() - since))
        if ok == false then print("  # " .. tostring(err):gsub("\n", "\n  # ")) end
        io.stdout:flush()
    end
    print(("1..%d"):format(#list))
    print(("# %.1f s"):format(macvm.now() - began))
end

-- Kills what is up, removes the files, prints the closing line; raises when a case failed or none ran.
function cases.finish()
    for _, vm in ipairs(core.vms()) do
        if vm.up then pcall(vm.kill, vm) end
    end
    take_out_trash()
    print(("%d passed, %d failed%s"):format(counts.passed, counts.failed,
        counts.skipped > 0 and (", %d skipped"):format(counts.skipped) or ""))
    io.stdout:flush()
    if counts.failed > 0 or counts.passed == 0 then error("failed", 0) end
end

return cases
