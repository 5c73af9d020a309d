-- SPDX-License-Identifier: MIT
--[[
The back-end contract: one list of cases that every back end passes.

    macvm run tests/contract/run.lua BACKEND [PATTERN]

A case is { name =, run = function(ctx) end } in the list that a file beside this one returns. More fields:
  needs   a word for vm:can; where the machine can't, the case is skipped
  fresh   true: ctx.machine is a ready machine of the case's own, which it may destroy
  timeout seconds for this case (60)
Boots are dear on a real hypervisor: cases that leave a machine as they found it share ctx.shared, and fresh
machines are booted ahead of their cases, two at a time. Nothing here knows one back end from another.
]]

local macvm = require "macvm"
local core = require "macvm.core"
local lfs = require "lfs"

local words = { ... }
if words[1] == "--" then table.remove(words, 1) end
local BACKEND, PATTERN = words[1], words[2]
local AHEAD = 2 -- fresh machines that are booted before they are asked for
local CASE_TIMEOUT = 60
local FILES = { "lifecycle", "events", "exec", "files", "channels", "console", "tasks", "errors" }

if not BACKEND then
    error(core.error { code = "config", message = "which back end?", hint = "macvm run tests/contract/run.lua sim" })
end

-- ---- checks that cases use --------------------------------------------------------------

local ctx = { backend = BACKEND }

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

-- ---- machines ----------------------------------------------------------------------------

function ctx.vm(spec)
    spec = spec or {}
    spec.backend = BACKEND
    return macvm.vm(spec)
end

local function boot()
    local vm = ctx.vm()
    local ok, err = pcall(function()
        vm:start()
        vm:wait("ready", { timeout = 60 })
    end)
    if ok then return vm end
    pcall(vm.kill, vm)
    error(err, 0)
end

-- Machines on their way, oldest first: tasks whose result is a ready machine.
local pool, wanted = {}, 0

local function boot_ahead()
    while wanted > 0 and #pool < AHEAD do
        pool[#pool + 1] = macvm.spawn(boot)
        wanted = wanted - 1
    end
end

local function take_fresh()
    if #pool == 0 then wanted = math.max(wanted, 1) end
    boot_ahead()
    local task = table.remove(pool, 1)
    boot_ahead()
    return task:join()
end

-- The shared machine; another one when a case has ruined it.
local function shared()
    local vm = ctx.shared
    if vm and vm.state == "running" and vm.ready then return vm end
    if vm then pcall(vm.kill, vm) end
    ctx.shared = boot()
    return ctx.shared
end

-- ---- host files ----------------------------------------------------------------------------

local trash = {}

-- A path in a private directory of the host that is removed in the end.
function ctx.host_path(name)
    if not trash.dir then
        local path = os.tmpname()
        os.remove(path)
        trash.dir = path .. ".macvm"
        assert(lfs.mkdir(trash.dir))
    end
    return trash.dir .. "/" .. name
end

local function take_out_trash()
    if not trash.dir then return end
    for name in lfs.dir(trash.dir) do
        if name ~= "." and name ~= ".." then os.remove(trash.dir .. "/" .. name) end
    end
    lfs.rmdir(trash.dir)
end

-- ---- running -------------------------------------------------------------------------------

local here = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
local cases, counts = {}, { passed = 0, failed = 0, skipped = 0 }

for _, file in ipairs(FILES) do
    for _, case in ipairs(dofile(here .. "/" .. file .. ".lua")) do
        case.name = file .. ": " .. case.name
        if not PATTERN or case.name:find(PATTERN) then
            cases[#cases + 1] = case
            if case.fresh then wanted = wanted + 1 end
        end
    end
end

local function explain(err)
    return type(err) == "table" and err or debug.traceback(tostring(err), 2)
end

-- true, or false and why; nil and why: skipped.
local function attempt(case)
    local vm = shared()
    if case.needs then
        local can, reason = vm:can(case.needs)
        if not can then return nil, reason end
    end
    ctx.machine = case.fresh and take_fresh() or nil
    local task = macvm.spawn(function() return xpcall(case.run, explain, ctx) end)
    local joined, ok, err = pcall(task.join, task, { timeout = case.timeout or CASE_TIMEOUT })
    if not joined then
        ok, err = false, ok
        if not task.done then
            task:cancel()
            pcall(task.join, task, { timeout = 10 })
        end
    end
    if ctx.machine then pcall(ctx.machine.kill, ctx.machine) end
    return ok, err
end

local function run_all()
    local began = macvm.now()
    boot_ahead()
    for number, case in ipairs(cases) do
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
    print(("1..%d"):format(#cases))
    print(("# %s: %.1f s"):format(BACKEND, macvm.now() - began))
end

local function put_away()
    for _, task in ipairs(pool) do
        local ok, vm = pcall(task.join, task, { timeout = 60 })
        if ok then pcall(vm.kill, vm) end
    end
    for _, vm in ipairs(core.vms()) do
        if vm.up then pcall(vm.kill, vm) end
    end
    take_out_trash()
end

local ok, err = pcall(run_all)
put_away()
if not ok then error(err, 0) end
print(("%d passed, %d failed%s"):format(counts.passed, counts.failed,
    counts.skipped > 0 and (", %d skipped"):format(counts.skipped) or ""))
io.stdout:flush()
if counts.failed > 0 or counts.passed == 0 then error("contract failed", 0) end
