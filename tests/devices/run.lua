-- SPDX-License-Identifier: MIT
--[[
Devices, found and used inside the guest of a real machine.

    macvm run tests/devices/run.lua FILE [PATTERN]

FILE.lua beside this one returns a list of cases { name =, run = function(ctx) end }, as those of the contract
(tests/contract/run.lua). More fields of a case: `needs`, a word for vm:can, where the machine can't, the case is
skipped; `skip`, a function that says why this host can't, or nil; `timeout` in seconds (60). The list may have `machine = function(ctx) return spec end`: one machine,
ready, that all its cases share as ctx.machine; one that a case has lost is started again. ctx.boot(spec) makes
others, ctx.vm(spec) some that are not started.
]]

local here = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
local core = require "macvm.core"
local cases = dofile(here .. "/../support/cases.lua")

local words = { ... }
if words[1] == "--" then table.remove(words, 1) end
local FILE, PATTERN = words[1], words[2]

if not FILE then
    error(core.error { code = "config", message = "which device?", hint = "macvm run tests/devices/run.lua disk" })
end

local ctx = cases.ctx
ctx.backend = "qemu"
ctx.here = here

local file, list = dofile(here .. "/" .. FILE .. ".lua"), {}
for _, case in ipairs(file) do
    case.name = FILE .. ": " .. case.name
    if not PATTERN or case.name:find(PATTERN) then list[#list + 1] = case end
end

local machine -- the one that the cases share

local function attempt(case)
    if file.machine and not (machine and machine.state == "running" and machine.ready) then
        if machine then pcall(machine.kill, machine) end
        machine = ctx.boot(file.machine(ctx))
    end
    ctx.machine = machine
    local why = case.skip and case.skip()
    if why then return nil, why end
    if case.needs then
        local can, reason = (machine or ctx.vm()):can(case.needs)
        if not can then return nil, reason end
    end
    return cases.perform(case)
end

local ok, err = pcall(cases.run, list, attempt)
if not ok then print("not ok - " .. tostring(err)) end
cases.finish()
if not ok then error(err, 0) end
