-- SPDX-License-Identifier: MIT
-- Exit statuses and the one line on standard error, on the sim back end.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local SIM = { backend = "sim" }

local function lab(text, opts)
    return command.lab(t, text, setmetatable(opts or {}, { __index = SIM }))
end

t.case("a script that ends well: 0, and nothing on stderr", function()
    local r = lab "local vm <close> = macvm.vm 'x' vm:start() print(vm:must 'echo hi')"
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stderr, "")
    t.match(r.stdout, "^hi\n")
end)

t.case("error and assert: 1, with the place", function()
    command.fails(t, lab "\n\nerror('boom')", 1, "macvm: lab.lua:3: boom")
    command.fails(t, lab "assert(nil, 'no luck')", 1, "no luck")
    command.fails(t, lab "error(nil)", 1, "nil")
    command.fails(t, lab "error {}", 1, "the error object is a table value")
    command.fails(t, lab "local x = nil; x.y = 1", 1, "lab.lua:1:", "local 'x'")
    command.fails(t, lab "error('one\\ntwo\\27[31m')", 1, "one; two?[31m")
end)

t.case("-v adds the traceback", function()
    local r = command.run(t, { "run", "-v", "lab.lua" },
        { files = { ["lab.lua"] = "local function deep() error 'x' end deep()" } })
    t.eq(r.status, 1)
    t.has(r.stderr, "stack traceback")
    t.has(r.stderr, "deep")
end)

t.case("--json makes the error an object", function()
    local r = command.run(t, { "run", "--json", "lab.lua" },
        { files = { ["lab.lua"] = "macvm.vm { name = 'x', memroy = 1 }" } })
    t.eq(r.status, 2)
    t.eq(#r.lines, 1)
    t.match(r.lines[1], '^{"error":{"code":"config"')
    t.has(r.lines[1], "did you mean `memory`?")
    r = command.run(t, { "run", "--json", "lab.lua" }, { files = { ["lab.lua"] = "error 'plain'" } })
    t.eq(r.stderr, '{"error":{"code":"script","status":1,"text":"lab.lua:1: plain"}}\n')
end)

t.case("an error in a task that nobody joins is told once and fails the run", function()
    local r = lab "macvm.spawn(function() error 'lost' end) macvm.sleep(0) print 'went on'"
    command.fails(t, r, 1, "lost")
    t.eq(r.stdout, "went on\n")
    r = lab "local task = macvm.spawn(function() error 'found' end) print(pcall(task.join, task))"
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stderr, "")
end)

t.case("an error in a handler fails the run", function()
    local r = lab [[
        local vm <close> = macvm.vm 'x'
        vm:on('ready', function() error 'in handler' end)
        vm:start()
        vm:wait 'ready'
        vm:stop()
    ]]
    command.fails(t, r, 1, "in handler")
end)

t.case("an error puts the machines away", function()
    command.fails(t, lab "vm = macvm.vm 'x' vm:start() vm:wait 'ready' error 'boom'", 1, "boom")
    command.fails(t, lab "local vm <close> = macvm.vm 'x' vm:start() vm:wait 'ready' error 'boom'", 1, "boom")
end)

t.case("the lab lives on for its tasks and its machines", function()
    local r = lab "macvm.spawn(function() macvm.sleep(0) print 'later' end) print 'first'"
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stdout, "first\nlater\n")
    r = lab [[
        local vm = macvm.vm 'x'
        vm:on('ready', function() macvm.sleep(0) print 'ready' vm:stop() end)
        vm:on('state', function(_, new) if new == 'stopped' then print 'stopped' end end)
        vm:start()
        print 'end of script'
    ]]
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stdout, "end of script\nready\nstopped\n")
end)

t.case("os.exit ends the lab in order, with its status", function()
    local r = lab [[
        local guard <close> = setmetatable({}, { __close = function() print 'closed' end })
        local vm = macvm.vm 'x'
        vm:on('state', function(_, new) if new == 'stopped' then print 'stopped' end end)
        vm:start()
        vm:wait 'ready'
        os.exit(7)
    ]]
    t.eq(r.status, 7, r.stderr)
    t.eq(r.stderr, "")
    t.has(r.stdout, "closed")
    t.has(r.stdout, "stopped")
    t.eq(lab("os.exit()").status, 0)
    t.eq(lab("os.exit(false)").status, 1)
    t.eq(lab("macvm.spawn(function() os.exit(5) end) macvm.sleep(30)").status, 5)
end)

t.case("what the host can't do: 3", function()
    local r = lab "local vm = macvm.vm 'x' vm:sim_fail('start', 1, 'no such luck') vm:start()"
    command.fails(t, r, 3, "x: ", "no such luck")
end)

t.case("an error of a command has the script's line", function()
    local backend = command.capture "command -v qemu-system-x86_64" ~= "" and "qemu" or "sim"
    for _, what in ipairs { "vm:must { '/none' }", "vm:must('ls', { cwd = '/none' })" } do
        local words = command.lab(t, "local vm <close> = macvm.vm 'x'\nvm:start()\n" .. what, { backend = backend })
        command.fails(t, words, 1, "lab.lua:3: x: ", "/none")
    end
    local r = command.lab(t, "local vm <close> = macvm.vm 'x' vm:start() vm:wait 'ready'\n" ..
        "macvm.spawn(function() vm:sim_inject('die', 'gone') end)\nvm:exec 'sleep 3600'", { backend = "sim" })
    command.fails(t, r, 1, "lab.lua:3: x: ")
end)

t.case("output that can't be written is told", function()
    local r = command.lab(t, "for i = 1, 1e5 do print(i) end", { stdout = "/dev/full" })
    command.fails(t, r, 3, "No space left on device")
    command.fails(t, command.run(t, { "help" }, { stdout = "/dev/full" }), 3, "No space left on device")
end)

t.case("a closed pipe ends the command quietly", function()
    local dir = t.tmpdir()
    command.write(dir .. "/lab.lua", [[
        local vm <close> = macvm.vm { name = 'x', backend = 'sim' }
        vm:start()
        while true do print 'y' macvm.sleep(0) end
    ]])
    local out = command.capture(("cd %s; (XDG_RUNTIME_DIR=%s %s run lab.lua 2>err; echo $? >status) | head -n 2")
        :format(dir, dir, command.quote(command.MACVM)))
    t.eq(out, "y\ny\n")
    t.eq(command.read(dir .. "/err"), "")
    t.eq(command.read(dir .. "/status"), "141\n")
end)

t.case("reading the script: what is no script", function()
    command.fails(t, command.run(t, { "run", "none.lua" }), 2, "none.lua: No such file or directory")
    command.fails(t, command.run(t, { "run", "/" }), 2, "directory")
    command.fails(t, lab "local x = = 1", 2, "macvm: lab.lua:1: unexpected symbol near '='")
    command.fails(t, lab "\27Lua binary", 2, "lab.lua", "binary")
    command.fails(t, lab "print('a'\n\nprint 'b'", 2, "lab.lua:3:")
end)
