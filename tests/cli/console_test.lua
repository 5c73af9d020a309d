-- SPDX-License-Identifier: MIT
-- macvm console: from a real terminal (tmux) and through pipes, at labs that run, end and are killed.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local quote = command.quote
local DEADLINE, STEP = 20, 0.05 -- seconds until what is expected must be on the screen
local HAS_TMUX = command.capture "command -v tmux" ~= ""

local LAB = [[
    local vm = macvm.vm { name = ... }
    vm:start()
    vm:wait "ready"
    vm.console:send "echo marker-42\n"
    vm.console:expect "\nmarker%-42\r"
    print "up"
]]

-- A lab with one machine that is up, in a run-time directory of its own or that of another lab.
local function start_lab(name, opts)
    opts = opts or {}
    local lab = command.start(t, { "run", "--backend", opts.backend or "sim", "lab.lua", name or "web" },
        { files = { ["lab.lua"] = opts.text or LAB }, killed = opts.killed,
            env = { XDG_RUNTIME_DIR = opts.beside and opts.beside.dir .. "/run" } })
    lab.run = (opts.beside or lab).dir .. "/run"
    t.after(function() os.execute(("bash -c 'kill -KILL -- -$(cat %s/pid)' 2>/dev/null"):format(lab.dir)) end)
    lab:until_line "^up$"
    return lab
end

local function end_lab(lab)
    lab:signal "TERM"
    t.eq(lab:wait().status, 143)
end

-- The command, with this input through a pipe: its output and standard error, and its exit status.
local function pipe(lab, words, input)
    local file = t.tmpdir() .. "/input"
    command.write(file, input or "")
    local line = ("cat %s | XDG_RUNTIME_DIR=%s timeout 30 %s console %s 2>&1; echo \"status ${PIPESTATUS[1]}\"")
        :format(file, lab.run, quote(command.MACVM), words)
    local text = command.capture("bash -c " .. quote(line))
    local out, status = text:match "^(.*)status (%d+)\n$"
    return out, tonumber(status)
end

-- The list of these is longer than any request may be.
local CROWD = [[
    local crowd = {}
    for i = 1, 1000 do crowd[i] = macvm.vm { name = ("x"):rep(60) .. i } end
]] .. LAB

local function refused(lab, words, ...)
    local out, status = pipe(lab, words)
    t.eq(status, 2, out)
    t.match(out, "^macvm: [^\n]*\n$")
    for _, text in ipairs { ... } do t.has(out, text) end
end

-- ---- a terminal --------------------------------------------------------------------------

local Terminal = {}
Terminal.__index = Terminal

function Terminal:tmux(words)
    return command.capture(("timeout 10 tmux -S %s/tmux %s 2>&1"):format(self.dir, words))
end

function Terminal:screen()
    return (self:tmux "capture-pane -p -S -200":gsub("%s+$", ""))
end

function Terminal:expect(pattern)
    for _ = 1, DEADLINE / STEP do
        local found = table.pack(self:screen():match(pattern))
        if found[1] then return table.unpack(found, 1, found.n) end
        os.execute("sleep " .. STEP)
    end
    t.fail(("%s is not on the screen:\n%s"):format(pattern, self:screen()))
end

function Terminal:type(text, ...)
    if text ~= "" then self:tmux("send-keys -l -- " .. quote(text)) end
    for _, key in ipairs { ... } do self:tmux("send-keys " .. key) end
end

-- Runs `macvm console` in a new terminal. When it has ended, its exit status and whether the terminal is as it was
-- are on the screen.
local function attach(lab, words)
    if not HAS_TMUX then t.skip "tmux is not installed" end
    local self = setmetatable({ dir = t.tmpdir() }, Terminal)
    local inner = ("before=$(stty -g); XDG_RUNTIME_DIR=%s %s console %s & pid=$!; echo $pid >%s/pid; fg >/dev/null; " ..
        "status=$?; [ \"$(stty -g)\" = \"$before\" ] && mode=same || mode=changed; " ..
        "echo; echo \"left with $status, mode $mode\"; exec cat"):format(lab.run, quote(command.MACVM), words, self.dir)
    t.after(function() self:tmux "kill-server" end)
    t.eq(self:tmux("-f /dev/null new-session -d -x 100 -y 40 " .. quote("bash -mc " .. quote(inner))), "")
    return self
end

function Terminal:signal(name)
    assert(os.execute(("kill -%s $(cat %s/pid)"):format(name, self.dir)))
end

function Terminal:left(status)
    self:expect(("\nleft with %d, mode same$"):format(status))
end

-- ---- cases -------------------------------------------------------------------------------

t.case("a terminal at the console: the last screen first, then both ways, and Ctrl-] leaves", function()
    local lab = start_lab()
    local term = attach(lab, "web")
    term:expect "^macvm: serial of web in the lab %d+; Ctrl%-%] leaves\n"
    term:expect "marker%-42"
    term:type("echo both-42", "Enter")
    term:expect "\nboth%-42\n"
    term:type("echo never", "C-c") -- for the guest, not for us
    term:type("", "Enter")
    term:type("echo still-2", "Enter")
    term:expect "\nstill%-2\n"
    term:type("", "C-]")
    term:left(0)
    term = attach(lab, "web/serial") -- and once more
    term:expect "still%-2"
    term:type("", "C-]")
    term:left(0)
    end_lab(lab)
end)

t.case("two terminals see the same", function()
    local lab = start_lab()
    local one, two = attach(lab, "web"), attach(lab, "web")
    one:expect "marker%-42"
    two:expect "marker%-42"
    one:type("echo from-1", "Enter")
    one:expect "\nfrom%-1\n"
    two:expect "\nfrom%-1\n"
    two:type("echo from-2", "Enter")
    one:expect "\nfrom%-2\n"
    one:type("", "C-]")
    one:left(0)
    two:type("echo alone-3", "Enter")
    two:expect "\nalone%-3\n"
    two:type("", "C-]")
    two:left(0)
    end_lab(lab)
end)

t.case("a signal ends it and gives the terminal back", function()
    local lab = start_lab()
    local term = attach(lab, "web")
    term:expect "marker%-42"
    term:signal "TERM"
    term:left(143)
    end_lab(lab)
end)

t.case("the machine goes down, the lab ends, the lab is killed: each is told", function()
    local lab = start_lab("web", { text = LAB .. "macvm.vm('other'):start()" })
    local term = attach(lab, "web")
    term:expect "marker%-42"
    term:type("poweroff", "Enter")
    term:expect "\nmacvm: web is stopped\n"
    term:left(0)
    term = attach(lab, "other")
    term:expect "Ctrl%-%] leaves"
    end_lab(lab) -- an open connection does not keep it alive
    -- The machine goes first, then the lab: either may be what the terminal hears of.
    local what = term:expect "\nmacvm: ([%w ]+[pd]ed)\n"
    term:left(what:find "stopped" and 0 or 1)
    lab = start_lab("web", { killed = true })
    term = attach(lab, "web")
    term:expect "marker%-42"
    lab:signal "KILL"
    lab:wait()
    term:expect "\nmacvm: the lab %d+ has ended\n"
    term:left(1)
    refused(lab, "web", "no running lab has a machine called `web`") -- what a killed lab left is no lab
end)

t.case("through a pipe: input as it is, output until it is quiet", function()
    local lab = start_lab()
    local out, status = pipe(lab, "web", "echo piped-9\n\29echo not left\n")
    t.eq(status, 0)
    t.has(out, "marker-42")
    t.has(out, "\npiped-9\r\n")
    t.has(out, "not left")
    out, status = pipe(lab, "web") -- no input at all
    t.eq(status, 0)
    t.has(out, "piped-9")
    command.write(lab.dir .. "/input", "echo file-16\n")
    out = command.capture(("XDG_RUNTIME_DIR=%s timeout 30 %s console web <%s/input"):format(lab.run,
        quote(command.MACVM), lab.dir))
    t.has(out, "\nfile-16\r\n")
    out = command.capture(("XDG_RUNTIME_DIR=%s timeout 30 %s console web </dev/null 2>&1 | head -c 5"):format(lab.run,
        quote(command.MACVM)))
    t.eq(#out, 5)
    end_lab(lab)
end)

t.case("more than a console takes at once arrives whole", function()
    local lab = start_lab()
    local lines = {}
    for i = 1, 3000 do lines[i] = ("echo n%04d-%s\n"):format(i, ("x"):rep(60)) end
    local out, status = pipe(lab, "web", table.concat(lines) .. "echo last-25\n")
    t.eq(status, 0)
    t.has(out, "\nlast-25\r\n")
    t.has(out, "\nn3000-")
    end_lab(lab)
end)

t.case("which lab is meant", function()
    local lab = start_lab()
    refused(lab, "wep", "no running lab has a machine called `wep`", "did you mean `web`?")
    refused(lab, "web/aux", "`web` has no console `aux` (it has serial)")
    refused(lab, "--lab 1 web", "there is no running lab with the PID 1")
    refused(lab, "--lab one web", "`one` is no PID")
    refused(lab, "", "needs the name of one machine")
    refused(lab, "web db", "needs the name of one machine")
    local other = start_lab("web", { beside = lab })
    refused(lab, "web", "several labs have a machine called `web`: choose one with --lab (")
    local out, status = pipe(lab, ("--lab %d web"):format(other:pid()), "echo one-1\n")
    t.eq(status, 0, out)
    t.has(out, "\none-1\r\n")
    end_lab(other)
    out, status = pipe(lab, "web")
    t.eq(status, 0, out)
    end_lab(lab)
    refused(lab, "web", "no running lab has a machine called `web`")
end)

t.case("a lab with a thousand machines", function()
    local lab = start_lab("web", { text = CROWD })
    local out, status = pipe(lab, "web", "echo crowd-8\n")
    t.eq(status, 0, out)
    t.has(out, "\ncrowd-8\r\n")
    end_lab(lab)
end)

t.case("the socket is private, and what is said to it is bounded", function()
    local lab = start_lab()
    local socket = command.capture("find " .. lab.run .. " -name control"):match "%S+"
    t.eq(command.capture("stat -c %a " .. socket), "600\n")
    t.eq(command.capture("stat -c %a $(dirname " .. socket .. ")"), "700\n")
    local r = command.lab(t, [[
        local core = require "macvm.core"
        local path = ...
        local function ask(text)
            local stream <close> = core.dial(path)
            local ok, err = pcall(stream.write, stream, text)
            local answer = ok and stream:read("l", { timeout = 20 })
            print(answer or ok and "closed" or err.code)
        end
        ask "no JSON\n"
        ask "[]\n"
        ask "{\"verb\":\"format\"}\n"
        ask "{\"verb\":[1]}\n"
        ask "{\"verb\":\"console\"}\n"
        ask "{\"verb\":\"console\",\"vm\":\"web\",\"console\":{}}\n"
        ask(("["):rep(60000) .. "\n")
        ask(("x"):rep(100000))
        ask "{\"verb\":\"vms\"}\n"
        -- Connections that say nothing, more of them than there is room for: the next one is closed at once.
        local idle = {}
        for i = 1, 64 do idle[i] = core.dial(path) end
        local one <close> = core.dial(path)
        print(pcall(one.read, one, "l", { timeout = 20 }))
        for i = 1, 64 do idle[i]:close() end
    ]], {}, socket)
    t.eq(r.status, 0, r.stderr)
    local lines = {}
    for line in r.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
    t.has(lines[1], "the request is no JSON object")
    for i = 1, 7 do
        t.match(lines[i], '^{"code":"config","message":".*","ok":false}$')
    end
    t.has(lines[3], "there is no verb `format`")
    t.has(lines[7], "more than 16 levels")
    t.match(lines[8], "^closed$")
    t.has(lines[9], '"name":"web"')
    t.has(lines[9], '"consoles":["serial"]')
    t.match(lines[10], "^true\tnil$")
    end_lab(lab)
end)

t.case("a real hypervisor's guest, at each of its consoles", function()
    local lab = start_lab("web", { backend = "qemu", text = [[
        local vm = macvm.vm { name = "web", memory = "128M", devices = { macvm.console { type = "hvc" } } }
        vm:start()
        vm:wait "ready"
        print "up"
    ]] })
    local out, status = pipe(lab, "web/hvc0", "echo on-$((3 * 3))-hvc; tty\n")
    t.eq(status, 0, out)
    t.has(out, "on-9-hvc")
    t.has(out, "/dev/hvc0")
    out, status = pipe(lab, "web", "echo on-$((2 * 4))-qemu\n")
    t.eq(status, 0, out)
    t.has(out, "on-8-qemu")
    local term = attach(lab, "web")
    term:expect "on%-8%-qemu"
    term:type("echo term-$((2 * 8))", "Enter")
    term:expect "\nterm%-16"
    term:type("", "C-]")
    term:left(0)
    end_lab(lab)
end)
