-- SPDX-License-Identifier: MIT
--[[
The lab's control socket, by which a command in another terminal reaches a lab that runs: `control` in the lab's
private directory, for this user only. A connection is one request and its answer, each one line of JSON, and then
whatever the verb says:

    {"verb":"vms"}                                         {"ok":true,"vms":[{"name","state","backend","consoles"}]}
    {"verb":"console","vm":NAME,"console":ID,"rows":N}     {"ok":true,"console":ID}, then raw bytes both ways
    anything that can't be done                            {"ok":false,"code":CODE,"message":TEXT}

Every connection is served by a task beside the lab: it waits for no lab, no lab waits for it, and it does not keep
the lab alive.
]]

local core = require "macvm.core"
local decode = require "macvm.json_decode"
local encode = require "macvm.json"

local NAME = "control"
local CONNECTIONS_MAX, LINE_MAX = 64, 65536
local ANSWER_MAX = 16 * LINE_MAX -- it may list many machines
local LINE_TIMEOUT = 10 -- seconds
local TYPE_TIMEOUT = 60 -- seconds that a machine gets to take what was typed
local SCREEN_BYTES, ROWS = 16384, 24

local control = {}

-- ---- what can be asked of a lab ---------------------------------------------------------

local verbs = {}

local function fail(code, ...)
    error(core.error { code = code, message = string.format(...) }, 0)
end

local function machine(name)
    for _, vm in ipairs(core.vms()) do
        if vm.name == name then return vm end
    end
    fail("config", "this lab has no machine called `%s`", tostring(name))
end

local function console_ids(vm)
    local ids = {}
    for i, console in ipairs(vm.consoles) do ids[i] = console.id end
    return ids
end

function verbs.vms()
    local list = {}
    for i, vm in ipairs(core.vms()) do
        list[i] = { name = vm.name, state = vm.state, backend = vm.backend, consoles = console_ids(vm) }
    end
    return { vms = list }
end

-- Where the last screenful of what the console has kept begins.
local function screen_start(console, rows)
    local text, begin = console:text(math.max(0, console:position() - SCREEN_BYTES))
    local at = #text
    for _ = 1, rows do
        local line = text:sub(1, at):find "\n[^\n]*$"
        if not line then return begin end
        at = line - 1
    end
    return begin + at + 1
end

-- Everything that the console prints from a position on, until the machine is down or nobody reads.
local function print_all(console, stream, position)
    while true do
        local text, begin = console:text(position)
        if begin > position then
            stream:write(("\r\n[macvm: %d bytes were not read in time]\r\n"):format(begin - position))
        end
        position = begin + #text
        if text ~= "" then
            stream:write(text)
        else
            console:wait(position)
        end
    end
end

local function type_all(console, stream)
    for text in stream:lines "s" do
        for i = 1, #text, LINE_MAX / 4 do
            console:send(text:sub(i, i + LINE_MAX / 4 - 1)):flush { timeout = TYPE_TIMEOUT }
        end
    end
end

function verbs.console(request)
    local vm = machine(request.vm)
    local id = request.console
    local console = id == nil and vm.console or type(id) == "string" and vm.consoles[id]
    if not console then
        fail("config", "`%s` has no console `%s` (it has %s)", vm.name, tostring(id),
            table.concat(console_ids(vm), ", "))
    end
    if not vm.up then fail("state", "`%s` is %s, its console is silent", vm.name, vm.state) end
    local rows = math.tointeger(request.rows) or ROWS
    local position = screen_start(console, math.max(0, math.min(rows, 1000)))
    return { console = console.id }, function(stream)
        local printer = core.spawn_aside(function()
            pcall(print_all, console, stream, position)
            stream:shutdown()
        end)
        pcall(type_all, console, stream)
        printer:cancel()
    end
end

-- ---- connections ------------------------------------------------------------------------

local function answer_to(line)
    local request, why = decode(line)
    if type(request) ~= "table" then fail("config", "the request is no JSON object: %s", why or type(request)) end
    local verb = verbs[request.verb]
    if not verb then fail("config", "there is no verb `%s`", tostring(request.verb)) end
    local answer, go_on = verb(request)
    answer.ok = true
    return answer, go_on
end

local function refusal(err)
    local code = type(err) == "table" and rawget(err, "code") or "state"
    return { ok = false, code = code, message = type(err) == "table" and rawget(err, "message") or tostring(err) }
end

local function serve(stream)
    local line = stream:read("l", { timeout = LINE_TIMEOUT, limit = LINE_MAX })
    if not line then return end
    local ok, answer, go_on = pcall(answer_to, line)
    if not ok then answer, go_on = refusal(answer), nil end
    stream:write(encode(answer) .. "\n")
    if go_on then return go_on(stream) end
    stream:shutdown()
    stream:read("l", { timeout = LINE_TIMEOUT, limit = LINE_MAX }) -- until the other side has read and left
end

local connections = 0

-- Its errors are the other side's, never the lab's.
local function on_connection(stream)
    if connections >= CONNECTIONS_MAX then return stream:close() end
    connections = connections + 1
    local ok, err = pcall(serve, stream)
    connections = connections - 1
    stream:close()
    if not ok then core.log(3, "control socket: " .. tostring(err)) end
end

-- control.open(): from the first start of a machine on, the lab listens.
function control.open()
    local vm = core.class "vm"
    local start = vm.start
    local tried = false
    function vm.start(...)
        if not tried then
            tried = true
            local ok, err = pcall(function() return core.listen(core.lab_dir() .. "/" .. NAME, on_connection) end)
            if not ok then core.log(2, "this lab can't be reached from other terminals: " .. tostring(err)) end
        end
        return start(...)
    end
end

-- ---- the other side ----------------------------------------------------------------------

-- Sends a request to the lab whose private directory is `dir`. Returns the answer and the stream, which the caller
-- closes; or nil: nobody answers, and whether there is somebody (who computes, or was stopped). Raises what the lab
-- refuses.
function control.ask(dir, request, timeout)
    local ok, stream = pcall(core.dial, dir .. "/" .. NAME)
    if not ok then return nil, false end
    local line
    ok, line = pcall(function()
        stream:write(encode(request) .. "\n", { timeout = timeout })
        return stream:read("l", { timeout = timeout, limit = ANSWER_MAX })
    end)
    local answer = ok and line and decode(line, ANSWER_MAX)
    if type(answer) ~= "table" then
        stream:close()
        return nil, true
    end
    if not answer.ok then
        stream:close()
        fail(tostring(answer.code), "%s", tostring(answer.message))
    end
    return answer, stream
end

-- Every lab of this user that runs: { pid, dir, vms } (vms nil: it did not answer in time).
function control.labs(timeout)
    local list, tasks = {}, {}
    for i, lab in ipairs(core.labs()) do
        tasks[i] = core.spawn(function()
            local answer, stream = control.ask(lab.dir, { verb = "vms" }, timeout)
            if answer then stream:close() end
            lab.vms = answer and type(answer.vms) == "table" and answer.vms or nil
            if answer or stream then list[#list + 1] = lab end
        end)
    end
    for _, task in ipairs(tasks) do task:join() end
    table.sort(list, function(a, b) return a.pid < b.pid end)
    return list
end

return control
