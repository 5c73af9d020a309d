-- SPDX-License-Identifier: MIT
--[[
The life of a lab that the command runs: from the script's first line to the last machine put away,
whatever ends it: its own end, an error, os.exit, Ctrl-C, SIGTERM, a closed terminal or a reader that went away.
]]

local control = require "macvm.control"
local core = require "macvm.core"
local report = require "macvm.cli.report"

local life = {}

local SIGNALS = { INT = 130, TERM = 143, HUP = 129 }

-- Puts one machine away as the end of its scope does: politely where the guest has something to lose.
local function put_away(vm)
    local _ <close> = vm
end

local function each_up(fn)
    for _, vm in ipairs(core.vms()) do
        if vm.up then core.spawn(fn, vm) end
    end
end

-- Ends the lab: every task of it is cancelled (their <close> variables run), and what they don't stop is
-- stopped.
local function finish(lab)
    lab.ending = true
    local current = core.current()
    for _, task in ipairs(core.tasks()) do
        if task ~= current and task ~= lab.command then task:cancel() end
    end
    each_up(put_away)
end

local function on_signal(lab, status)
    return function()
        lab.signals = (lab.signals or 0) + 1
        if lab.signals == 1 then
            lab.status = status
            core.spawn(finish, lab)
        else
            core.exit(status) -- at once: closing the lab kills what still runs
        end
    end
end

-- os.exit in a lab ends it in order: machines are put away, then the process exits with that status.
local function orderly_exit(lab)
    return function(code)
        lab.status = code == nil and 0 or code == true and 0 or code == false and 1 or math.tointeger(code) or 1
        core.spawn(finish, lab)
        while true do core.sleep(3600) end -- until this task is cancelled
    end
end

-- print that notices that nobody reads any more.
local function checked_print(...)
    local texts = table.pack(...)
    for i = 1, texts.n do texts[i] = tostring(texts[i]) end
    report.write(table.concat(texts, "\t", 1, texts.n), "\n")
    report.flush() -- a write that only fills the buffer can't tell
end

local function is_cancelled(err)
    return type(err) == "table" and rawget(err, "code") == "cancelled"
end

-- Notes an error that ended the script or a task; the first one makes the exit status.
local function note(lab, err, opts, traceback)
    if lab.ending and is_cancelled(err) then return end
    if report.is_closed(err) then
        if not lab.closed then
            lab.closed, lab.status = true, lab.status or 141
            core.spawn(finish, lab)
        end
        return
    end
    report.print(err, opts, traceback)
    lab.status = lab.status or report.status(err)
end

-- Runs chunk(table.unpack(args)) as the lab's first task, until no task runs and no machine is up. Returns
-- the exit status.
function life.run(chunk, args, opts)
    local lab = { command = core.current() }
    local traceback
    for name, status in pairs(SIGNALS) do core.on_signal(name, on_signal(lab, status)) end
    core.on_error(function(err, trace) note(lab, err, opts, trace) end)
    control.open()
    _G.print, os.exit = checked_print, orderly_exit(lab)

    local main = core.spawn(function()
        return xpcall(chunk, function(err)
            traceback = traceback or debug.traceback(nil, 2)
            return err
        end, table.unpack(args))
    end)
    local joined, ok, err = pcall(main.join, main)
    if not joined then ok, err = false, ok end
    if not ok then
        note(lab, err, opts, traceback)
        if not lab.ending then core.spawn(finish, lab) end
    end
    core.drain()
    return lab.status or 0
end

return life
