-- SPDX-License-Identifier: MIT
-- Commands in the guest: vm:spawn, vm:exec, vm:must, vm:eventually. All of them wait for the agent
-- first when the machine is on its way up.

local core = require "macvm.core"
local strict = require "macvm.strict"
local task = require "macvm.task"

local exec = {}

local READY_TIMEOUT = 120 -- seconds that a machine on its way up gets before its first command
local EXEC_TIMEOUT = 900 -- seconds that a command gets when the script names no deadline
local OUTPUT_LIMIT = 64 << 20 -- bytes of one stream that exec keeps
local KILL_TIMEOUT = 2 -- seconds that a killed command gets to be gone

local RUN_OPTIONS = { cwd = "string", env = "table", stdin = "string", timeout = "number" }
local SPAWN_OPTIONS = { cwd = "string", env = "table", timeout = "number" }
local WAIT_OPTIONS = { cwd = "string", env = "table", stdin = "string", timeout = "number", interval = "number" }

local ON_THE_WAY = { starting = true, running = true, resuming = true, restoring = true }

local function refuse(field, message)
    error(core.error { code = "config", field = field, message = message })
end

local function check_env(env, what)
    for name, value in pairs(env or {}) do
        if type(name) ~= "string" or name == "" or name:find "[=%z]" then
            refuse("env", what .. ": the name of a variable must be a text without `=`")
        elseif type(value) ~= "string" and type(value) ~= "number" then
            refuse("env." .. name, ("must be a string, got %s"):format(type(value)))
        end
    end
end

-- A command (string, or list with named options) and the options table after it, as an argv and options.
local function parse(cmd, opts, known, what)
    local merged = {}
    for k, v in pairs(strict.options(opts, known, what)) do merged[k] = v end
    local argv
    if type(cmd) == "string" then
        argv = { "sh", "-c", cmd }
    elseif type(cmd) == "table" then
        for k, v in pairs(strict.options(cmd, known, what)) do
            if type(k) == "string" then merged[k] = v end
        end
        argv = {}
        for i = 1, #cmd do
            local word = cmd[i]
            if type(word) ~= "string" and type(word) ~= "number" then
                refuse(nil, ("%s: word %d must be a string, got %s"):format(what, i, type(word)))
            end
            argv[i] = tostring(word)
        end
        if #argv == 1 and not argv[1]:find "%S" or #argv == 0 then
            refuse(nil, what .. ": the command is empty")
        end
    else
        refuse(nil, ("%s takes a command as a string or a list, got %s"):format(what, type(cmd)))
    end
    for i = 1, #argv do
        if argv[i]:find("\0", 1, true) then refuse(nil, what .. ": a command can't hold a NUL byte") end
    end
    check_env(merged.env, what)
    return argv, merged
end

-- The command as a message shows it: short and on one line.
local function label(cmd)
    local text = type(cmd) == "table" and table.concat(cmd, " ") or cmd
    text = text:gsub("%s+", " ")
    return #text > 60 and text:sub(1, 57) .. "..." or text
end

-- Waits for the agent when the machine is on its way up; in any other state the command itself says
-- what is wrong.
local function when_ready(vm, deadline)
    if vm.ready or not ON_THE_WAY[vm.state] then return end
    vm:wait("ready", { timeout = math.max(0, math.min(READY_TIMEOUT, deadline - core.now())) })
end

local function start(vm, argv, opts, stdin_null)
    return vm:spawn_raw(argv, { cwd = opts.cwd, env = opts.env, stdin_null = stdin_null })
end

-- Is it the error of a read that came to more bytes than it may?
function exec.is_limit(err)
    return type(err) == "table" and err.code == "guest" and err.message:find "^more than %d+ bytes came" ~= nil
end

local function too_much()
    return core.error {
        code = "guest", message = ("the command printed more than %d MiB"):format(OUTPUT_LIMIT >> 20),
        hint = "read a long output with vm:spawn",
    }
end

local function drain(stream)
    local ok, text = pcall(stream.read, stream, "a", { limit = OUTPUT_LIMIT })
    if ok then return text end
    error(exec.is_limit(text) and too_much() or text, 0)
end

-- A command may end without reading all of its input: that is no error.
local function feed(stream, text)
    pcall(stream.write, stream, text)
    pcall(stream.shutdown, stream)
end

-- All that the command prints, on both outputs, and its end.
local function collect(process, stdin)
    local parts = {
        function() return drain(process.stdout) end,
        function() return drain(process.stderr) end,
        function() return table.pack(process:wait()) end,
    }
    if stdin then parts[4] = function() feed(process.stdin, stdin) end end
    return task.all(parts)
end

local function is_timeout(work, err)
    return not work.done and type(err) == "table" and err.code == "timeout"
end

-- What `work` collected, and whether the command was killed: at the deadline, with what it left in the background. Its
-- outputs then end, so that what was printed so far is not lost. Where even that is not answered (the
-- machine is paused, the guest hangs) `late` is raised.
local function join_or_kill(work, process, deadline, late)
    local ok, got = pcall(work.join, work, { timeout = math.max(0, deadline - core.now()) })
    if ok then return got, false end
    if not is_timeout(work, got) then error(got, 0) end
    process:kill(9)
    ok, got = pcall(work.join, work, { timeout = KILL_TIMEOUT })
    if ok then return got, true end
    error(is_timeout(work, got) and late or got, 0)
end

local function run(vm, cmd, argv, opts)
    local began = core.now()
    local timeout = opts.timeout or EXEC_TIMEOUT
    local deadline = began + timeout
    when_ready(vm, deadline)
    local late = core.error {
        code = "timeout", vm = vm.name, message = ("`%s` did not end within %g s"):format(label(cmd), timeout),
    }
    local process <close> = start(vm, argv, opts, opts.stdin == nil)
    local work <close> = core.spawn(collect, process, opts.stdin)
    local got, killed = join_or_kill(work, process, deadline, late)
    local out, err, ending = table.unpack(got, 1, 3)
    local result = {
        status = ending[1], signal = ending[2], stdout = out, stderr = err, elapsed = core.now() - began,
    }
    if not killed then return result end
    late.stdout, late.stderr = result.stdout, result.stderr
    error(late)
end

local function last_line(text)
    return text:match "([^\n]*%S[^\n]*)%s*$"
end

-- "ended with status 3: no such file": what a failed command says of itself.
local function describe(cmd, result)
    local how = result.signal and result.signal > 0 and ("was killed by signal %d"):format(result.signal)
        or ("ended with status %d"):format(result.status)
    local said = last_line(result.stderr) or last_line(result.stdout)
    local text = ("`%s` %s"):format(label(cmd), how)
    return said and text .. ": " .. said:gsub("%c", " "):sub(1, 200) or text
end

--- vm:exec(command: string|string[], opts?: {cwd?: string, env?: table<string,string>, stdin?: string, timeout?: number}) -> {status: integer, signal: integer?, stdout: string, stderr: string, elapsed: number}
--- Runs a command in the guest and waits for its end. A string goes to the guest's
--- `sh -c`; a list is an argv, and may hold the options too: `vm:exec { "ls", "-l", cwd = "/etc" }`. A command that fails
--- is a result, not an error: `status` is 0..255, or 128 + `signal` when a signal ended it. A machine that is on its way up is
--- waited for. A command ends when it has exited and both outputs are closed, so a child in the background that holds one
--- open is waited for too: redirect its output. `timeout` is in seconds (900 when left out) and counts from the call, with at most 120 s of it for a machine on its way up: then
--- the command and its children are killed and `timeout` is raised; the error's fields `stdout` and `stderr` hold what was printed so far. Raises `state` when
--- the machine is down, `agent` when it or its agent dies meanwhile, `guest` when the command can't be started or
--- prints more than 64 MiB.
function exec.exec(vm, cmd, opts)
    local argv, o = parse(cmd, opts, RUN_OPTIONS, "vm:exec")
    return run(vm, cmd, argv, o)
end

local function failed(vm, cmd, result)
    local err = core.error {
        code = "guest", vm = vm.name, message = describe(cmd, result),
    }
    err.status, err.signal, err.stdout, err.stderr = result.status, result.signal, result.stdout, result.stderr
    return err
end

--- vm:must(command: string|string[], opts?: {cwd?: string, env?: table<string,string>, stdin?: string, timeout?: number}) -> string
--- Like vm:exec, for a command that has to succeed: returns what it printed on
--- standard output. Raises `guest` when its status is not 0; the error's fields `status`, `signal`, `stdout` and
--- `stderr` tell more.
function exec.must(vm, cmd, opts)
    local argv, o = parse(cmd, opts, RUN_OPTIONS, "vm:must")
    local result = run(vm, cmd, argv, o)
    if result.status ~= 0 then error(failed(vm, cmd, result)) end
    return result.stdout
end

-- The failure of the last try, put into the words of a wait that came to nothing.
local function gave_up(vm, timeout, tries, last)
    local err = core.error {
        code = "timeout", vm = vm.name,
        message = ("no success within %g s (%d %s): %s"):format(timeout, tries,
            tries == 1 and "try" or "tries", last and last.message or "no try ended"),
    }
    if last then
        err.status, err.stdout, err.stderr = last.status, last.stdout, last.stderr
    end
    return err
end

--- vm:eventually(command: string|string[], opts?: {timeout?: number, interval?: number, cwd?: string, env?: table<string,string>, stdin?: string}) -> string
--- Runs the command again and again until its status is 0, and returns what that run printed on
--- standard output. Between tries it waits `interval` seconds, or, when left out, 0.05 s growing to 1 s. After `timeout`
--- seconds (30) raises `timeout` with the failure of the last try in its message. Other errors than a status are
--- raised at once.
function exec.eventually(vm, cmd, opts)
    local argv, o = parse(cmd, opts, WAIT_OPTIONS, "vm:eventually")
    local timeout, pause = o.timeout or 30, o.interval or 0.05
    local deadline, tries, last = core.now() + timeout, 0, nil
    while true do
        o.timeout = math.max(0, deadline - core.now())
        local ok, result = pcall(run, vm, cmd, argv, o)
        if not ok then
            if type(result) ~= "table" or result.code ~= "timeout" then error(result, 0) end
            error(gave_up(vm, timeout, tries + 1, last or result))
        end
        tries = tries + 1
        if result.status == 0 then return result.stdout end
        last = failed(vm, cmd, result)
        local left = deadline - core.now()
        if left <= pause then error(gave_up(vm, timeout, tries, last)) end
        core.sleep(pause)
        if not o.interval then pause = math.min(pause * 2, 1) end
    end
end

--- vm:spawn(command: string|string[], opts?: {cwd?: string, env?: table<string,string>, timeout?: number}) -> process
--- Starts a command in the guest and returns at once: its streams `stdin`, `stdout` and `stderr` are
--- live, process:wait() gives its end. The command is killed when the process is closed or collected. `timeout` is how many
--- seconds a machine on its way up gets to be ready (120). Raises `state` when the machine is down.
function exec.spawn(vm, cmd, opts)
    local argv, o = parse(cmd, opts, SPAWN_OPTIONS, "vm:spawn")
    when_ready(vm, core.now() + (o.timeout or READY_TIMEOUT))
    return start(vm, argv, o, false)
end

exec.when_ready = when_ready

return exec
