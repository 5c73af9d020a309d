-- SPDX-License-Identifier: MIT
--[[
The interactive session: reads lines, runs each statement as a task of its own, shows its values and
what happens to the machines meanwhile. On a terminal with a prompt, history and completion;
otherwise lines are read plainly, so that a session can be piped in.
]]

local complete = require "macvm.complete"
local control = require "macvm.control"
local core = require "macvm.core"
local inspect = require "macvm.inspect"

local repl = {}

local PROMPT <const>, MORE <const> = "macvm> ", "    .. "
local STOP_TIMEOUT <const> = 20 -- seconds that a guest gets to power off when the session ends
local KILL_TIMEOUT <const> = 5

-- ---- showing values --------------------------------------------------------------------

local function size_text(bytes)
    local units, i = { "", "K", "M", "G", "T" }, 1
    while i < #units and bytes ~= 0 and bytes % 1024 == 0 do bytes, i = bytes // 1024, i + 1 end
    return ("%d%s"):format(bytes, units[i])
end

local function span(seconds)
    if seconds < 60 then return ("%.1f s"):format(seconds) end
    if seconds < 3600 then return ("%d min %d s"):format(seconds // 60, seconds % 60 // 1) end
    return ("%d h %d min"):format(seconds // 3600, seconds % 3600 // 60)
end

local function accelerator(vm)
    if vm.state ~= "running" then return "" end
    local ok, stats = pcall(vm.stats, vm, { timeout = 1 })
    local accel = ok and stats.accel
    return accel and accel ~= vm.backend and "/" .. tostring(accel) or ""
end

-- "web: running, ready, 2 cpus, 512M, qemu/tcg, up 12.3 s"; `since` is when it was started.
function repl.vm_line(vm, since)
    local parts = { vm.state }
    if vm.ready then parts[#parts + 1] = "ready" end
    local cpus, memory = vm.cpus, vm.memory
    if cpus then parts[#parts + 1] = cpus == 1 and "1 cpu" or cpus .. " cpus" end
    if memory then parts[#parts + 1] = math.type(memory) == "integer" and size_text(memory) or tostring(memory) end
    local backend = vm.backend
    if backend and backend ~= "" then parts[#parts + 1] = backend .. accelerator(vm) end
    if vm.up and since then parts[#parts + 1] = "up " .. span(core.now() - since) end
    return vm.name .. ": " .. table.concat(parts, ", ")
end

local function one_line(text)
    return (tostring(text):gsub("%s*[\r\n]+%s*", "; "):gsub("%c", "?"))
end

local function is_vm(value)
    local meta = type(value) == "userdata" and debug.getmetatable(value)
    return meta and meta.__name == "macvm.vm"
end

local function is_error(value)
    return type(value) == "table" and type(rawget(value, "code")) == "string"
        and type(rawget(value, "message")) == "string"
end

local function is_vm_list(value)
    if type(value) ~= "table" or value[1] == nil then return false end
    for _, item in next, value do
        if not is_vm(item) then return false end
    end
    return true
end

-- One value as text; `since` maps machines to the time of their start.
function repl.show(value, since)
    if is_vm(value) then return repl.vm_line(value, since[value]) end
    if is_error(value) then return "error " .. value.code .. ": " .. one_line(value) end
    if is_vm_list(value) then
        local lines = {}
        for i, vm in ipairs(value) do lines[i] = repl.vm_line(vm, since[vm]) end
        return table.concat(lines, "\n")
    end
    return inspect(value, { width = math.max(40, core.columns() - 1) })
end

-- ---- reading statements ------------------------------------------------------------------

-- Compiles what was typed so far. Returns the function; or nil and true when more lines are needed; or nil,
-- false and the error.
function repl.compile(text)
    text = text:gsub("^%s*=", "return ")
    local chunk = load("return " .. text, "=stdin", "t")
    if chunk then return chunk end
    local why
    chunk, why = load(text, "=stdin", "t")
    if chunk then return chunk end
    return nil, why:find "<eof>$" ~= nil, why
end

-- ---- machines that are up ----------------------------------------------------------------------

local function up_machines()
    local list = {}
    for _, vm in ipairs(core.vms()) do
        if vm.up then list[#list + 1] = vm end
    end
    return list
end

local function each(list, fn)
    local tasks = {}
    for i, vm in ipairs(list) do tasks[i] = core.spawn(fn, vm) end
    for _, task in ipairs(tasks) do pcall(task.join, task) end
end

local function kill(vm)
    pcall(vm.kill, vm, { timeout = KILL_TIMEOUT })
end

local function kill_all()
    for _, vm in ipairs(up_machines()) do core.spawn(kill, vm) end
end

-- ---- the session ---------------------------------------------------------------------------

local Session = {}
Session.__index = Session

local COLOURS <const> = { dim = "2", good = "32", bad = "31" }

function Session:paint(colour, text)
    if not self.interactive or os.getenv "NO_COLOR" then return text end
    return ("\27[%sm%s\27[0m"):format(COLOURS[colour], text)
end

-- Standard output, without disturbing the line being typed.
function Session:say(text)
    if self.interactive then
        self.term:above(text) -- a terminal that was closed is no error: its SIGHUP ends the session
    else
        self.report.write(text, "\n")
        self.report.flush()
    end
end

-- Errors go to standard error, but not into a line being typed.
function Session:complain(err, traceback)
    if self.report.is_closed(err) then
        self.leaving, self.status = true, 141
        return
    end
    self.failed = true
    if self.interactive then
        local text = one_line(err)
        if self.told and is_error(err) and text:find(self.told, 1, true) then return end -- the panic that was just shown
        self:say(self:paint("bad", text))
        if traceback and self.verbose then self:say(traceback) end
    else
        self.report.print(err, { verbose = self.verbose }, traceback)
    end
end

-- The first line of a kernel's report without what stood before it and its time; the console has all of it.
local function headline(text)
    local line = one_line(text:match "[^\r\n]*%S[^\r\n]*" or "")
    return line:match "%[ *%d+%.%d+%] *(.+)$" or line
end

local EVENTS <const> = {
    state = function(session, _, new)
        return session:paint(new == "error" and "bad" or "dim", new)
    end,
    ready = function(session, vm)
        local ready
        for _, mark in ipairs(vm.timeline) do ready = mark.name == "ready" and mark.at or ready end
        return session:paint("good", ready and ("ready after %.2f s"):format(ready) or "ready")
    end,
    panic = function(session, _, text)
        session.told = headline(text)
        return session:paint("bad", "panic: " .. session.told)
    end,
    error = function(session, _, err)
        return session:paint("bad", "error: " .. one_line(is_error(err) and err.message or err))
    end,
}

function Session:on_event(vm, event, ...)
    if event == "state" then
        local new = ...
        if new == "starting" or new == "restoring" then self.since[vm] = core.now() end
    end
    local describe = EVENTS[event]
    if describe and self.interactive then self:say(vm.name .. ": " .. describe(self, vm, ...)) end
end

-- Every machine made from now on is watched. core.vm is what macvm.vm calls.
function Session:watch_machines()
    local make = core.vm
    core.vm = function(spec, level)
        local vm = make(spec, (level or 1) + 1)
        vm:on("*", function(machine, event, ...) self:on_event(machine, event, ...) end)
        return vm
    end
    return setmetatable({}, { __close = function() core.vm = make end })
end

-- Ctrl-C: what it means depends on what is going on.
function Session:on_interrupt(typing)
    if typing then return end
    if self.stopping then
        kill_all()
    elseif self.current and not self.current.done then
        self.interrupted = true
        self.current:cancel()
    elseif not self.interactive then
        self.abort(130)
    end
end

local function is_cancelled(err)
    return type(err) == "table" and rawget(err, "code") == "cancelled"
end

-- Runs fn as a task, so that it may wait and Ctrl-C can end it. Returns its results, packed, or nil.
function Session:run(fn, ...)
    local traceback
    self.interrupted, self.told = false, nil
    self.current = core.spawn(function(...)
        self.term:guard()
        return table.pack(xpcall(fn, function(err)
            if type(err) == "string" then traceback = traceback or debug.traceback(nil, 2) end
            return err
        end, ...))
    end, ...)
    local joined, result = pcall(self.current.join, self.current)
    self.current = nil
    if joined and result[1] then return result end
    local err = result
    if joined then err = result[2] end
    if is_cancelled(err) and (self.interrupted or rawget(err, "message") == "interrupted") then
        self:say(self:paint("dim", "interrupted"))
        self.failed = true
    elseif not (self.leaving and is_cancelled(err)) then
        self:complain(err, traceback)
    end
    return nil
end

function Session:evaluate(chunk)
    self:run(function()
        local values = table.pack(chunk())
        local texts = {}
        for i = 1, values.n do texts[i] = repl.show(values[i], self.since) end
        if values.n > 0 then self:say(table.concat(texts, "\t")) end
    end)
end

-- Reads one statement, over as many lines as it needs. Returns its function, or nil: nothing to run. Sets
-- `leaving` at the end of input.
function Session:statement()
    local lines = {}
    while not self.leaving do
        local line, why = self.term:read(lines[1] and MORE or PROMPT)
        if why == "interrupt" then return nil end
        if not line then
            self.leaving = not (self.interactive and lines[1])
            if not lines[1] then return nil end
            local _, _, message = repl.compile(table.concat(lines, "\n"))
            self:complain(message)
            return nil
        end
        if line:find "%S" then self.term:remember(line) end
        lines[#lines + 1] = line
        local chunk, more, message = repl.compile(table.concat(lines, "\n"))
        if chunk then return chunk end
        if not more then
            self:complain(message)
            return nil
        end
    end
end

-- Ends every task, then every machine: by its guest, or at once when Ctrl-C is hit meanwhile.
function Session:put_away()
    self.stopping = true
    local me = core.current()
    local tasks = core.tasks()
    for _, task in ipairs(tasks) do
        if task ~= me and not task.done then task:cancel() end
    end
    for _, task in ipairs(tasks) do
        if task ~= me then pcall(task.join, task, { timeout = KILL_TIMEOUT }) end
    end
    local list = up_machines()
    if #list == 0 then return end
    if self.interactive then
        local names = {}
        for i, vm in ipairs(list) do names[i] = vm.name end
        self:say(self:paint("dim", "stopping " .. table.concat(names, ", ") .. " (Ctrl-C: at once)"))
    end
    each(list, function(vm)
        if not pcall(vm.stop, vm, { timeout = STOP_TIMEOUT }) then kill(vm) end
    end)
end

-- ---- life ------------------------------------------------------------------------------------

local function history_path()
    local base = os.getenv "XDG_STATE_HOME"
    if not base or base:sub(1, 1) ~= "/" then
        local home = os.getenv "HOME"
        if not home or home == "" then return nil end
        base = home .. "/.local/state"
    end
    return base .. "/macvm"
end

function Session:open_history()
    local dir = self.interactive and history_path()
    if not dir then return end
    local made, why = core.mkdir_private(dir)
    if made then made, why = pcall(self.term.history, self.term, dir .. "/history") end
    if not made then core.log(1, "no history: " .. one_line(why)) end
end

-- The names that a session changes, and how they come back.
function Session:take_globals()
    local print_before, exit_before = print, os.exit
    _G.print = function(...)
        local texts = table.pack(...)
        for i = 1, texts.n do texts[i] = tostring(texts[i]) end
        self:say(table.concat(texts, "\t", 1, texts.n))
    end
    rawset(os, "exit", function(code)
        self.status = (code == nil or code == true) and 0 or code == false and 1 or math.tointeger(code) or 1
        self.abort(self.status)
        while true do core.sleep(3600) end -- until this task is cancelled
    end)
    return setmetatable({}, { __close = function()
        _G.print = print_before
        rawset(os, "exit", exit_before)
    end })
end

function Session:greet()
    if not self.interactive then return end
    self:say(self:paint("dim", ("macvm %s, %s. Tab completes, Ctrl-C interrupts, Ctrl-D leaves."):format(
        core.version, _VERSION)))
end

function Session:loop()
    self:greet()
    while not self.leaving do
        local chunk = self:statement()
        if chunk then self:evaluate(chunk) end
    end
end

-- repl.run(opts: {report: table, lab: function|nil, args: string[]|nil, verbose: boolean|nil}) -> integer
-- The whole session: runs the lab first when there is one, then what is typed, until the end of input; then stops
-- what is up. Returns the exit status. `report` is how the command writes: macvm.cli.report.
function repl.run(opts)
    local session = setmetatable({
        since = setmetatable({}, { __mode = "k" }), report = opts.report, verbose = opts.verbose, leaving = false,
    }, Session)
    local term <close> = core.repl.open {
        interrupt = function(typing) session:on_interrupt(typing) end,
        complete = function(text) return complete.at(text, _G, core.columns()) end,
    }
    session.term, session.interactive = term, term:interactive()
    if _G.macvm == nil then _G.macvm = require "macvm" end
    local _ <close> = session:take_globals()
    local _ <close> = session:watch_machines()
    core.on_error(function(err, traceback)
        if not is_cancelled(err) then session:complain(err, traceback) end
        return true
    end)
    core.report_early(true)
    control.open()
    -- Everything but the putting away is one task, so that a signal or os.exit can end it.
    local main = core.spawn(function()
        session:open_history()
        if opts.lab then session:run(opts.lab, table.unpack(opts.args or {})) end
        session:loop()
    end)
    function session.abort(status)
        session.leaving, session.status = true, status or session.status
        main:cancel()
    end
    for name, status in pairs { TERM = 143, HUP = 129 } do
        core.on_signal(name, function() session.abort(status) end)
    end
    local ok, err = pcall(main.join, main)
    if not ok and not is_cancelled(err) then session:complain(err) end
    session:put_away()
    return session.status or (session.failed and not session.interactive and 1) or 0
end

return repl
