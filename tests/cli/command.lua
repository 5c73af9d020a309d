-- SPDX-License-Identifier: MIT
--[[
Drives the macvm command from outside, for the tests of the command line. Every run gets a directory and a
run-time directory of its own, and must leave nothing in it and no process behind.

    local r = command.run(t, { "run", "lab.lua" }, { files = { ["lab.lua"] = "..." } })
    r.status, r.stdout, r.stderr, r.lines (of standard error)

    local p = command.start(t, { "run", "lab.lua" }, { files = ... })
    p:line()            the next line of its standard output, nil at the end
    p:signal "INT"      to its process group, as a terminal does
    p:wait()            as command.run
]]

local command = {}

local MACVM = os.getenv "MACVM" or "build/macvm"
if MACVM:sub(1, 1) ~= "/" then
    MACVM = os.getenv "PWD" .. "/" .. MACVM
end
command.MACVM = MACVM

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end
command.quote = quote

local function sh(text)
    local ok, how, code = os.execute(text)
    return ok == true, how == "signal" and 128 + code or code
end

local function read(path)
    local file = io.open(path, "rb")
    if not file then return "" end
    local text = file:read "a"
    file:close()
    return text
end
command.read = read

function command.write(path, text)
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    assert(file:close())
end

function command.capture(text)
    local pipe = assert(io.popen(text, "r"))
    local out = pipe:read "a"
    pipe:close()
    return out
end

-- Processes of a run that live: they have its run-time directory in their environment.
local function processes(dir)
    local list = {}
    local out = command.capture("grep -lsaF " .. quote("XDG_RUNTIME_DIR=" .. dir .. "/run") .. " /proc/[0-9]*/environ")
    for pid in out:gmatch "/proc/(%d+)/" do
        local cmdline = read("/proc/" .. pid .. "/cmdline"):gsub("%z", " ")
        if cmdline ~= "" then list[#list + 1] = pid .. " " .. cmdline:sub(1, 80) end
    end
    return list
end
command.processes = processes

local function prepare(t, opts)
    local dir = t.tmpdir()
    assert(sh("mkdir -m 700 " .. dir .. "/run"))
    for name, text in pairs(opts.files or {}) do command.write(dir .. "/" .. name, text) end
    return dir
end

local function shell_line(dir, args, opts)
    local words = { "cd", dir, "&& exec", opts.deadline or "", "env", opts.flags or "" }
    words[#words + 1] = "XDG_RUNTIME_DIR=" .. dir .. "/run"
    for name, value in pairs(opts.env or {}) do words[#words + 1] = quote(name .. "=" .. value) end
    words[#words + 1] = quote(MACVM)
    for _, arg in ipairs(args) do words[#words + 1] = quote(arg) end
    return table.concat(words, " ")
end

-- Of one that was killed the kernel ends the children, a moment later.
local function nothing_left(t, dir, opts)
    local left, deadline = processes(dir), os.time() + 10
    while opts.killed and #left > 0 and os.time() < deadline do left = processes(dir) end
    t.eq(#left, 0, "processes left behind: " .. table.concat(left, "; "))
    if opts.killed then return end
    t.eq(command.capture("find " .. dir .. "/run ! -type d"), "", "files left behind")
end

local function result_of(t, dir, status, opts)
    local stderr = read(dir .. "/stderr")
    local lines = {}
    for line in stderr:gmatch "[^\n]+" do lines[#lines + 1] = line end
    nothing_left(t, dir, opts)
    return { status = status, stdout = read(dir .. "/stdout"), stderr = stderr, lines = lines, dir = dir }
end

function command.run(t, args, opts)
    opts = opts or {}
    local dir = prepare(t, opts)
    local stdout = opts.stdout or dir .. "/stdout"
    opts = setmetatable({ deadline = "timeout -k 5 60" }, { __index = opts })
    local _, status = sh(("(%s) </dev/null >%s 2>%s/stderr"):format(shell_line(dir, args, opts), stdout, dir))
    return result_of(t, dir, status, opts)
end

-- One line on standard error, with these words, and this exit status.
function command.fails(t, r, status, ...)
    t.eq(r.status, status, "exit status; stderr: " .. r.stderr)
    t.eq(#r.lines, 1, "lines on stderr: " .. r.stderr)
    t.match(r.lines[1], "^macvm: ")
    for _, words in ipairs { ... } do t.has(r.lines[1], words) end
    return r
end

function command.lab(t, text, opts, ...)
    opts = opts or {}
    opts.files = opts.files or {}
    opts.files["lab.lua"] = text
    local args = { "run", "lab.lua", ... }
    if opts.backend then table.move({ "--backend", opts.backend }, 1, 2, 2, table.move(args, 2, #args, 4)) end
    return command.run(t, args, opts)
end

-- ---- a command that runs while the test goes on ------------------------------------------

local Running = {}
Running.__index = Running

function command.start(t, args, opts)
    opts = opts or {}
    local dir = prepare(t, opts)
    assert(sh(("mkfifo %s/out %s/status"):format(dir, dir)))
    local inner = ("echo $$ >%s/pid; %s"):format(dir,
        shell_line(dir, args, setmetatable({ flags = "--default-signal=INT,QUIT" }, { __index = opts })))
    assert(sh(("(setsid -w sh -c %s </dev/null >%s/out 2>%s/stderr; echo $? >%s/status) &"):format(
        quote(inner), dir, dir, dir)))
    local out = assert(io.open(dir .. "/out", "r"))
    return setmetatable({ t = t, dir = dir, opts = opts, out = out, seen = {} }, Running)
end

function Running:line()
    local line = self.out:read "l"
    self.seen[#self.seen + 1] = line
    return line
end

-- Reads on until a line matches.
function Running:until_line(pattern)
    while true do
        local line = self:line()
        if not line then
            self.t.fail(("it ended before it printed %s; stderr: %s"):format(pattern, read(self.dir .. "/stderr")))
        end
        if line:find(pattern) then return line end
    end
end

function Running:pid()
    return assert(tonumber(read(self.dir .. "/pid"):match "%d+"))
end

-- `late`: the process may have ended already, by an earlier signal.
function Running:signal(name, late)
    local sent = sh(("bash -c 'kill -%s -- -%d' 2>/dev/null"):format(name, self:pid()))
    assert(sent or late, "there is no process to signal")
end

function Running:wait()
    while self:line() do end -- to the end of its output
    self.out:close()
    local status = tonumber(read(self.dir .. "/status"):match "%d+")
    local r = result_of(self.t, self.dir, status, self.opts)
    r.stdout = table.concat(self.seen, "\n")
    return r
end

return command
