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

local here = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
local macvm = require "macvm"
local core = require "macvm.core"
local cases = dofile(here .. "/../support/cases.lua")

local words = { ... }
if words[1] == "--" then table.remove(words, 1) end
local BACKEND, PATTERN = words[1], words[2]
local AHEAD = 2 -- fresh machines that are booted before they are asked for
local FILES = { "lifecycle", "events", "exec", "files", "channels", "console", "tasks", "errors",
                "devices" }

if not BACKEND then
    error(core.error { code = "config", message = "which back end?", hint = "macvm run tests/contract/run.lua sim" })
end

local ctx = cases.ctx
ctx.backend = BACKEND

-- ---- machines ----------------------------------------------------------------------------

-- Machines on their way, oldest first: tasks whose result is a ready machine.
local pool, wanted = {}, 0

local function boot_ahead()
    while wanted > 0 and #pool < AHEAD do
        pool[#pool + 1] = macvm.spawn(ctx.boot)
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
    ctx.shared = ctx.boot()
    return ctx.shared
end

-- ---- running -------------------------------------------------------------------------------

local list = {}

for _, file in ipairs(FILES) do
    for _, case in ipairs(dofile(here .. "/" .. file .. ".lua")) do
        case.name = file .. ": " .. case.name
        if not PATTERN or case.name:find(PATTERN) then
            list[#list + 1] = case
            if case.fresh then wanted = wanted + 1 end
        end
    end
end

local function attempt(case)
    local vm = shared()
    if case.needs then
        local can, reason = vm:can(case.needs)
        if not can then return nil, reason end
    end
    ctx.machine = case.fresh and take_fresh() or nil
    local ok, err = cases.perform(case)
    if ctx.machine then pcall(ctx.machine.kill, ctx.machine) end
    return ok, err
end

local ok, err = pcall(function()
    boot_ahead()
    cases.run(list, attempt)
end)
for _, task in ipairs(pool) do
    pcall(task.join, task, { timeout = 60 })
end
if not ok then print("not ok - " .. tostring(err)) end
cases.finish()
if not ok then error(err, 0) end
