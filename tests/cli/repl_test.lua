-- SPDX-License-Identifier: MIT
-- macvm repl, on a real terminal (tmux, on a server of its own for each case) and through a pipe.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local quote = command.quote
local DEADLINE = 20 -- seconds until what is expected must be on the screen
local STEP = 0.05

local HAS_TMUX = command.capture "command -v tmux" ~= ""

-- ---- a terminal --------------------------------------------------------------------------

local Terminal = {}
Terminal.__index = Terminal

function Terminal:tmux(words)
    return command.capture(("timeout 10 tmux -S %s/tmux %s 2>&1"):format(self.dir, words))
end

function Terminal:screen()
    return (self:tmux "capture-pane -p -S -200":gsub("%s+$", ""))
end

-- Waits until the whole screen matches, and returns what the pattern captured.
function Terminal:expect(pattern)
    for _ = 1, DEADLINE / STEP do
        local found = table.pack(self:screen():match(pattern))
        if found[1] then return table.unpack(found, 1, found.n) end
        os.execute("sleep " .. STEP)
    end
    t.fail(("%s is not on the screen:\n%s"):format(pattern, self:screen()))
end

-- Types text as it is, and keys by their names.
function Terminal:type(text, ...)
    if text ~= "" then self:tmux("send-keys -l -- " .. quote(text)) end
    for _, key in ipairs { ... } do self:tmux("send-keys " .. key) end
end

-- Types a line once the prompt stands at the end of the screen.
function Terminal:line(text)
    self:expect "macvm>$"
    self:type(text, "Enter")
end

local function start(args, files)
    if not HAS_TMUX then t.skip "tmux is not installed" end
    local dir = t.tmpdir()
    for name, text in pairs(files or {}) do command.write(dir .. "/" .. name, text) end
    assert(os.execute(("mkdir -m 700 %s/run"):format(dir)))
    local self = setmetatable({ dir = dir }, Terminal)
    local words = { quote(command.MACVM), "repl", "--backend", "sim" }
    for _, arg in ipairs(args or {}) do words[#words + 1] = quote(arg) end
    local env = ("NO_COLOR=1 HOME=%s XDG_STATE_HOME=%s/state XDG_RUNTIME_DIR=%s/run"):format(dir, dir, dir)
    self.inner = ("cd %s; %s %s; echo left with $?; exec cat"):format(dir, env, table.concat(words, " "))
    t.after(function() self:tmux "kill-server" end)
    t.eq(self:tmux("-f /dev/null new-session -d -x 100 -y 50 " .. quote(self.inner)), "")
    return self
end

-- The same command once more, on an empty screen.
function Terminal:again()
    t.eq(self:tmux("respawn-pane -k " .. quote(self.inner)), "")
    self:tmux "clear-history"
end

-- Leaves with Ctrl-D; nothing may stay behind.
local function leave(term, status)
    term:expect "macvm>$"
    term:type("", "C-d")
    term:expect("left with " .. (status or 0) .. "$")
    local left = command.processes(term.dir)
    t.eq(#left, 0, "processes left behind: " .. table.concat(left, "; "))
    t.eq(command.capture("find " .. term.dir .. "/run ! -type d"), "", "files left behind")
end

t.case("a prompt, and values without `=` or return", function()
    local term = start()
    term:line "1 + 1, 'two', nil"
    term:expect "\n2\t? *\"two\"\t? *nil\n"
    term:line "x = { 1, b = 'c' }"
    term:line "x"
    term:expect "\n{ 1, b = \"c\" }\n"
    term:line "#x"
    term:expect "#x\n1\n"
    leave(term)
end)

t.case("a function over several lines", function()
    local term = start()
    term:line "function double(a)"
    term:expect "%.%.$"
    term:type("return a * 2", "Enter")
    term:type("end", "Enter")
    term:line "double(21)"
    term:expect "double%(21%)\n42\n"
    leave(term)
end)

t.case("Ctrl-C drops a half-typed line and a half-typed block", function()
    local term = start()
    term:expect "macvm>$"
    term:type("this is no Lua")
    term:expect "this is no Lua$" -- the terminal drops what nobody has read when Ctrl-C comes
    term:type("", "C-c")
    term:expect "this is no Lua%^C\nmacvm>$"
    term:type("function f()", "Enter")
    term:expect "%.%.$"
    term:type("", "C-c")
    term:expect "%^C\nmacvm>$"
    term:line "7 * 6"
    term:expect "\n42\n"
    leave(term)
end)

t.case("errors are one line and the session goes on", function()
    local term = start()
    term:line "nothing.at.all"
    term:expect "\nstdin:1: attempt to index a nil value %(global 'nothing'%)\n"
    term:line "x ="
    term:expect "%.%.$"
    term:type(")", "Enter")
    term:expect "\nstdin:2: unexpected symbol near '%)'\n"
    term:line "macvm.vm { nmae = 'x' }"
    term:expect "\nstdin:1: .*nmae.*did you mean `name`"
    leave(term)
end)

t.case("Tab completes globals, fields and methods of live machines", function()
    local term = start()
    term:line "web = macvm.vm 'web'"
    term:expect "macvm>$"
    term:type("macvm.slee", "Tab")
    term:expect "macvm> macvm%.sleep$"
    term:type("", "C-c")
    term:expect "%^C\nmacvm>$"
    term:type("web:st", "Tab")
    term:expect "start%s+stats%s+stop\nmacvm> web:st$"
    term:type("o", "Tab")
    term:expect "macvm> web:stop$"
    term:type("", "C-u")
    term:expect "macvm>$"
    term:type("web.mem", "Tab", "Enter")
    term:expect "macvm> web%.memory\n"
    leave(term)
end)

t.case("events stand above the line being typed, and a machine is one line", function()
    local term = start()
    term:line "web = macvm.vm { name = 'web', cpus = 1, memory = '128M' }"
    term:line "t = macvm.spawn(function() macvm.sleep(1) web:start() end)"
    term:expect "macvm>$"
    term:type "half a line"
    term:expect "\nweb: starting\nweb: running\nweb: ready[^\n]*\nmacvm> half a line$"
    term:type("", "C-u")
    term:line "web"
    term:expect "\nweb: running, ready, 1 cpu, 128M, sim[%w/]*, up [%d.]+ s\n"
    leave(term)
end)

t.case("what a task prints goes above the line being typed", function()
    local term = start()
    term:line "t = macvm.spawn(function() macvm.sleep(0.5) print('hello', 42) end)"
    term:expect "macvm>$"
    term:type "typing"
    term:expect "\nhello%s+42\nmacvm> typing$"
    term:type("", "C-u")
    leave(term)
end)

t.case("Ctrl-C ends a wait and a computation, not the session", function()
    local term = start()
    term:line "print 'sleeps' macvm.sleep(60)"
    term:expect "\nsleeps$"
    term:type("", "C-c")
    term:expect "interrupted\nmacvm>$"
    term:line "print 'spins' while true do end"
    term:expect "\nspins$"
    term:type("", "C-c")
    term:expect "spins\n.*interrupted\nmacvm>$"
    term:line "'still ' .. 'here'"
    term:expect "\n\"still here\"\n"
    leave(term)
end)

t.case("a panic of a guest is shown above the line being typed", function()
    local term = start()
    term:line "web = macvm.vm 'web' web:start() web:wait 'ready'"
    term:line "function panic() web:sim_inject('panic', 'Kernel panic - not syncing: test') end"
    term:line "t = macvm.spawn(function() macvm.sleep(0.5) panic() end)"
    term:expect "macvm>$"
    term:type "typing"
    term:expect "\nweb: panic: [^\n]*Kernel panic %- not syncing: test[^\n]*\n.*macvm> typing$"
    term:type("", "C-u")
    leave(term)
end)

t.case("Ctrl-D stops a running machine and leaves", function()
    local term = start()
    term:line "web = macvm.vm 'web' web:start() web:wait 'ready'"
    term:expect "web: ready[^\n]*\nmacvm>$"
    leave(term)
    term:expect "stopping web.*\nweb: stopped\n"
end)

t.case("Ctrl-C while a machine stops kills it", function()
    local term = start(nil)
    term:line "web = macvm.vm { name = 'web', sim = { shutdown = 'ignore' } } web:start() web:wait 'ready'"
    term:expect "web: ready[^\n]*\nmacvm>$"
    term:type("", "C-d")
    term:expect "stopping web"
    local before = os.time()
    term:type("", "C-c")
    term:expect "left with 0$"
    t.ok(os.time() - before < 10, "it is not the guest's time to power off that was waited for")
end)

t.case("history: this session's, the last one's, for its owner only", function()
    local term = start()
    term:line "remembered = 'yes'"
    term:expect "macvm>$"
    term:type("", "Up", "Enter")
    term:expect "remembered = 'yes'\nmacvm> remembered = 'yes'\nmacvm>$"
    t.eq(command.read(term.dir .. "/state/macvm/history"):match "^[^\n]*", "remembered = 'yes'")
    t.eq(command.capture("stat -c %a " .. term.dir .. "/state/macvm/history"), "600\n")
    leave(term)
    term:again()
    term:expect "macvm>$"
    term:type("", "Up", "Enter")
    term:expect "macvm> remembered = 'yes'\nmacvm>$"
    leave(term)
end)

t.case("a lab first, with its globals", function()
    local term = start({ "lab.lua", "an argument" }, { ["lab.lua"] = [[
        web = macvm.vm { name = "web" }
        web:start()
        web:wait "ready"
        first = ...
    ]] })
    term:line "first, web.state"
    term:expect "\n\"an argument\"%s+\"running\"\n"
    leave(term)
end)

t.case("os.exit stops the machines and leaves with its status", function()
    local term = start()
    term:line "web = macvm.vm 'web' web:start()"
    term:line "os.exit(7)"
    term:expect "left with 7$"
    t.eq(#command.processes(term.dir), 0)
end)

local function start_with_machine()
    local term = start()
    term:line "web = macvm.vm 'web' web:start() web:wait 'ready'"
    term:expect "web: ready[^\n]*\nmacvm>$"
    local list = command.processes(term.dir)
    t.eq(#list, 1, "processes: " .. table.concat(list, "; "))
    return term, list[1]:match "^%d+"
end

t.case("SIGTERM stops the machines and leaves", function()
    local term, pid = start_with_machine()
    assert(os.execute("kill -TERM " .. pid))
    term:expect "stopping web.*web: stopped\nleft with 143$"
    t.eq(command.capture("find " .. term.dir .. "/run ! -type d"), "", "files left behind")
end)

t.case("a terminal that is closed ends the session", function()
    local term, pid = start_with_machine()
    term:tmux "kill-server"
    for _ = 1, DEADLINE / STEP do
        if command.read("/proc/" .. pid .. "/comm") == "" then break end
        os.execute("sleep " .. STEP)
    end
    t.eq(command.read("/proc/" .. pid .. "/comm"), "")
    t.eq(command.capture("find " .. term.dir .. "/run ! -type d"), "", "files left behind")
end)

t.case("a panic is shown by its first line, once", function()
    local term = start()
    term:line "vm = macvm.vm 'a' vm:start() vm:wait 'ready'"
    term:line "macvm.spawn(function() vm:sim_inject('panic', 'out of luck') end) vm:exec 'sleep 3600'"
    term:expect "\na: panic: Kernel panic %- not syncing: out of luck\nmacvm>$"
    term:line "vm:exec 'true'"
    term:expect "a: [^\n]*kernel panicked[^\n]*\nmacvm>$"
    leave(term)
end)

t.case("the terminal is as it was afterwards", function()
    local term = start()
    leave(term)
    local tty = term:tmux "display-message -p '#{pane_tty}'":match "%S+"
    local modes = command.capture("stty -a <" .. tty)
    for _, mode in ipairs { "icanon", "echo", "isig", "icrnl", "opost" } do
        t.match(modes, "%s" .. mode .. "%s")
    end
end)

-- ---- without a terminal ----------------------------------------------------------------------

local function piped(text, feed)
    local dir = t.tmpdir()
    command.write(dir .. "/in", text)
    local _, _, status = os.execute(("cd %s && HOME=%s %s%s repl --backend sim %s >out 2>err"):format(dir, dir,
        feed and "cat in | " or "", quote(command.MACVM), feed and "" or "<in"))
    return { status = status, stdout = command.read(dir .. "/out"), stderr = command.read(dir .. "/err"), dir = dir }
end

t.case("lines from a file: values, no prompt, no colours", function()
    local r = piped "1 + 1\nfunction f()\nreturn 'x'\nend\nf()\nprint('printed')\n"
    t.eq(r.stderr, "")
    t.eq(r.stdout, "2\n\"x\"\nprinted\n")
    t.eq(r.status, 0)
end)

t.case("lines from a pipe, with a machine that is stopped at the end", function()
    local r = piped("vm = macvm.vm 'a'\ns = vm:on('state', function(_, new) print(new) end)\n"
        .. "s = vm:start()\ns = vm:wait 'ready'\n", true)
    t.eq(r.stderr, "")
    t.has(r.stdout, "running\n")
    t.match(r.stdout, "stopped\n$")
    t.eq(r.status, 0)
end)

t.case("an error in piped lines goes to standard error and makes the status 1", function()
    local r = piped "error('oops')\n'goes on'\nfunction unfinished()"
    t.eq(r.stdout, "\"goes on\"\n")
    t.match(r.stderr, "^macvm: stdin:1: oops\nmacvm: stdin:1: 'end' expected near <eof>\n$")
    t.eq(r.status, 1)
end)

t.case("a reader that goes away ends a piped session quietly", function()
    local dir = t.tmpdir()
    command.write(dir .. "/in", "for i = 1, 1e5 do print(i) end\nprint 'unreachable'\n")
    os.execute(("cd %s && { HOME=%s %s repl --backend sim <in 2>err; echo $? >status; } | head -1 >out"):format(
        dir, dir, quote(command.MACVM)))
    t.eq(command.read(dir .. "/out"), "1\n")
    t.eq(command.read(dir .. "/err"), "")
    t.eq(command.read(dir .. "/status"), "141\n")
end)

t.case("a piped session keeps no history", function()
    local r = piped "1\n"
    t.eq(command.capture("find " .. r.dir .. " -name history"), "")
end)
