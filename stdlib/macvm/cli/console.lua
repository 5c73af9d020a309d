-- SPDX-License-Identifier: MIT
-- macvm console NAME[/ID]

local control = require "macvm.control"
local core = require "macvm.core"
local nearest = require "macvm.nearest"
local options = require "macvm.cli.options"
local task = require "macvm.task"

local LEAVE = "\29" -- Ctrl-]
local ANSWER_TIMEOUT = 5 -- seconds
local QUIET = 1 -- seconds without output after the end of a piped input
local SIGNALS = { INT = 130, TERM = 143, HUP = 129 }

local function fail(code, ...)
    error(core.error { code = code, message = string.format(...) }, 0)
end

-- What is told to the user and not to a program that reads the output.
local function say(...)
    io.stderr:write("macvm: ", string.format(...), "\n")
end

-- ---- the lab -----------------------------------------------------------------------------

local function has_machine(lab, name)
    for _, vm in ipairs(lab.vms or {}) do
        if vm.name == name then return vm end
    end
end

local function pids(labs)
    local list = {}
    for i, lab in ipairs(labs) do list[i] = tostring(lab.pid) end
    return table.concat(list, ", ")
end

local function none_has(name, labs, pid)
    local names, silent = {}, {}
    for _, lab in ipairs(labs) do
        for _, vm in ipairs(lab.vms or {}) do names[#names + 1] = vm.name end
        if not lab.vms then silent[#silent + 1] = lab end
    end
    if pid and #labs == 0 then fail("config", "there is no running lab with the PID %s", pid) end
    local near = nearest(name, names)
    local where = pid and ("the lab %s has no machine"):format(pid) or "no running lab has a machine"
    local more = near and (" (did you mean `%s`?)"):format(near)
        or silent[1] and (" (no answer from %s)"):format(pids(silent))
        or #names > 0 and (" (there is %s)"):format(table.concat(names, ", ")) or ""
    fail("config", "%s called `%s`%s", where, name, more)
end

-- The one lab that has the machine.
local function find(name, pid)
    local labs, found = {}, {}
    for _, lab in ipairs(control.labs(ANSWER_TIMEOUT)) do
        if not pid or tostring(lab.pid) == pid then labs[#labs + 1] = lab end
    end
    for _, lab in ipairs(labs) do
        if has_machine(lab, name) then found[#found + 1] = lab end
    end
    if #found == 0 then none_has(name, labs, pid) end
    if #found > 1 then
        fail("config", "several labs have a machine called `%s`: choose one with --lab (%s)", name, pids(found))
    end
    return found[1]
end

-- ---- the terminal ------------------------------------------------------------------------

local function print_output(session)
    for text in session.stream:lines "s" do
        session.heard = core.now()
        if not pcall(session.term.write, session.term, text) then
            session.status = 141
            return
        end
    end
    session.over = true
end

-- Returns when the user leaves; after a piped input, when nothing is printed any more.
local function type_input(session)
    for text in session.term:lines "s" do
        local leave = session.interactive and text:find(LEAVE, 1, true)
        session.stream:write(leave and text:sub(1, leave - 1) or text)
        if leave then
            session.left = true
            return
        end
    end
    session.heard = core.now()
    while core.now() < session.heard + QUIET do core.sleep(session.heard + QUIET - core.now()) end
end

local function converse(session)
    local ok, err = pcall(task.any, {
        function() print_output(session) end,
        function() type_input(session) end,
    })
    if session.status then return end
    if not ok and not session.over then -- the connection broke: as when the lab ends
        if type(err) ~= "table" or rawget(err, "code") ~= "io" then error(err, 0) end
        session.over = true
    end
end

-- What the end of the output means.
local function tell_end(session)
    local answer, stream = control.ask(session.lab.dir, { verb = "vms" }, ANSWER_TIMEOUT)
    if answer then stream:close() end
    local vm = answer and has_machine(answer, session.name)
    if vm and (vm.state == "stopped" or vm.state == "error") then
        say("%s is %s", session.name, vm.state)
        return 0
    end
    say(vm and "the lab %d has closed the connection" or "the lab %d has ended", session.lab.pid)
    return 1
end

local function attach(session, id)
    local answer, stream = control.ask(session.lab.dir,
        { verb = "console", vm = session.name, console = id, rows = core.rows() }, ANSWER_TIMEOUT)
    if not answer then fail("io", "the lab %d does not answer", session.lab.pid) end
    local _ <close> = stream
    session.stream = stream
    if session.interactive then
        say("%s of %s in the lab %d; Ctrl-] leaves", answer.console, session.name, session.lab.pid)
    end
    do
        local term <close> = core.terminal(session.interactive)
        session.term = term
        converse(session)
    end
    if session.status then return session.status end
    if session.over then
        if session.interactive then io.stderr:write "\n" end
        return tell_end(session)
    end
    if session.left then io.stderr:write "\n" end
    return 0
end

return {
    name = "console",
    summary = "type at a machine's console, from another terminal",
    usage = { "console [--lab PID] NAME[/ID]" },
    details = "Connects this terminal to the serial console of a machine of a lab that runs (`macvm run`,\n" ..
        "`macvm repl`), or to its console ID: every key goes there, and what it prints comes here, beginning\n" ..
        "with the last screenful. Ctrl-] leaves; the machine runs on. Several terminals may be at one console.\n" ..
        "\n" ..
        "Where the input is no terminal it is sent as it is, and the command ends when nothing was printed for a\n" ..
        "second after its end. The exit status is 0, or 1 when the lab has ended.",
    options = {
        { name = "lab", arg = "PID", help = "the lab's process, where several have a machine of that name" },
    },
    run = function(args, opts)
        if not args[1] or args[2] then
            error(options.usage_error "`macvm console` needs the name of one machine", 0)
        end
        if opts.lab and not opts.lab:find "^%d+$" then
            error(options.usage_error(("--lab: `%s` is no PID"):format(opts.lab)), 0)
        end
        local name, id = args[1]:match "^([^/]*)/(.+)$"
        local session = { name = name or args[1], interactive = core.isatty(0) and core.isatty(1) }
        local main = core.spawn(function()
            session.lab = find(session.name, opts.lab)
            return attach(session, id)
        end)
        local status
        for signal, number in pairs(SIGNALS) do
            core.on_signal(signal, function()
                status = status or number
                main:cancel()
            end)
        end
        local ok, result = pcall(main.join, main)
        if status then return status end
        if not ok then error(result, 0) end
        return result
    end,
}
