-- SPDX-License-Identifier: MIT
-- How the macvm command is used: verbs, options, help, completion, the manual page.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local VERBS = { "run", "repl", "check", "doctor", "guest", "completion", "help", "version" }

t.case("no arguments and no terminal: the usage on stderr, 2", function()
    local r = command.run(t, {})
    t.eq(r.status, 2)
    t.eq(r.stdout, "")
    t.match(r.stderr, "^usage: macvm VERB")
end)

t.case("help lists every verb, on stdout", function()
    for _, args in ipairs { { "help" }, { "--help" }, { "-h" } } do
        local r = command.run(t, args)
        t.eq(r.status, 0)
        t.eq(r.stderr, "")
        for _, verb in ipairs(VERBS) do t.match(r.stdout, "\n  " .. verb .. " ") end
    end
end)

t.case("help VERB and VERB --help are the same and name every option", function()
    for _, verb in ipairs(VERBS) do
        local a, b = command.run(t, { "help", verb }), command.run(t, { verb, "--help" })
        t.eq(a.status, 0, verb)
        t.eq(b.status, 0, verb)
        t.eq(a.stdout, b.stdout)
        t.match(a.stdout, "^usage: macvm " .. verb)
        t.match(a.stdout, "%-%-verbose")
        t.match(a.stdout, "%-%-help")
    end
end)

t.case("version", function()
    local r = command.run(t, { "version" })
    t.eq(r.status, 0)
    t.match(r.stdout, "^macvm %d+%.%d+%.%d+ %(Lua 5%.4%)\n$")
    t.eq(command.run(t, { "--version" }).stdout, r.stdout)
    t.match(command.run(t, { "version", "--json" }).stdout, '^{"arch":"[%w_]+","lua":"Lua 5.4","version":"%d')
end)

t.case("a verb that does not exist: did you mean", function()
    command.fails(t, command.run(t, { "rnu" }), 2, "no verb `rnu`", "did you mean `run`?")
    command.fails(t, command.run(t, { "xyzzy" }), 2, "no verb `xyzzy`", "macvm help")
    command.fails(t, command.run(t, { "lab.lua" }), 2, "macvm run lab.lua")
    command.fails(t, command.run(t, { "help", "docter" }), 2, "did you mean `doctor`?")
end)

t.case("-v may stand before the verb, other options may not", function()
    local files = { ["lab.lua"] = "error 'x'" }
    t.has(command.run(t, { "-v", "run", "lab.lua" }, { files = files }).stderr, "stack traceback")
    t.has(command.run(t, { "--verbose", "run", "lab.lua" }, { files = files }).stderr, "stack traceback")
    t.match(command.run(t, { "-v" }).stderr, "^usage: macvm VERB")
    command.fails(t, command.run(t, { "--json", "run", "lab.lua" }), 2, "--json", "options follow it")
end)

t.case("options that are wrong", function()
    command.fails(t, command.run(t, { "run", "--bakend", "sim", "x.lua" }), 2, "--bakend", "did you mean --backend?")
    command.fails(t, command.run(t, { "run", "-q", "x.lua" }), 2, "there is no option -q")
    command.fails(t, command.run(t, { "run", "--backend" }), 2, "--backend needs a value")
    command.fails(t, command.run(t, { "run", "--backend", "qemuu", "x.lua" }), 2,
        "`qemuu` is none of", "did you mean qemu?")
    command.fails(t, command.run(t, { "run", "--json=yes", "x.lua" }), 2, "--json takes no value")
    command.fails(t, command.run(t, { "run" }), 2, "needs the path of a Lua script")
    command.fails(t, command.run(t, { "check" }), 2, "needs the path of a Lua script")
    command.fails(t, command.run(t, { "guest", "bild" }), 2, "not `bild`")
    command.fails(t, command.run(t, { "doctor", "all" }), 2, "takes no arguments")
    command.fails(t, command.run(t, { "completion", "fish" }), 2, "bash or zsh")
end)

t.case("what follows the script belongs to the script", function()
    local lab = [[
        assert(select("#", ...) == 3 and arg[0] == "lab.lua" and #arg == 3)
        print(..., arg[2], arg[3])
    ]]
    local r = command.lab(t, lab, nil, "-v", "--backend", "it's")
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stdout, "-v\t--backend\tit's\n")
    t.eq(command.run(t, { "run", "--", "lab.lua" }, { files = { ["lab.lua"] = "print(#arg)" } }).stdout, "0\n")
    t.eq(command.run(t, { "run", "-vv", "--backend=sim", "lab.lua" },
        { files = { ["lab.lua"] = "print(macvm.vm('x').state)" } }).stdout, "stopped\n")
end)

t.case("completion scripts are well-formed and complete verbs", function()
    local dir = t.tmpdir()
    local r = command.run(t, { "completion", "bash" })
    t.eq(r.status, 0)
    command.write(dir .. "/c.bash", r.stdout .. [[
        complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _macvm; echo "${COMPREPLY[@]}"; }
        complete_it macvm do
        complete_it macvm run --b
        complete_it macvm run --backend s
        complete_it macvm help ver
    ]])
    t.eq(command.capture("bash " .. dir .. "/c.bash 2>&1"), "doctor\n--backend\nsim\nversion\n")
    r = command.run(t, { "completion", "zsh" })
    t.eq(r.status, 0)
    t.match(r.stdout, "^#compdef macvm\n")
    for _, verb in ipairs(VERBS) do t.has(r.stdout, "'" .. verb .. ":") end
end)

t.case("the manual page names every verb and exit status", function()
    local r = command.run(t, { "help", "--man" })
    t.eq(r.status, 0)
    t.match(r.stdout, "^%.TH MACVM 1")
    for _, verb in ipairs(VERBS) do t.has(r.stdout, '.SS "macvm ' .. verb) end
    for _, status in ipairs { 0, 1, 2, 3, 130, 143 } do t.has(r.stdout, "\n.B " .. status .. "\n") end
    for line in r.stdout:gmatch "[^\n]+" do
        if line:sub(1, 1) == "." then t.match(line, "^%.[%a]+", "a line that roff would take for a request") end
    end
end)

t.case("doctor tells what works, and says so in its exit status", function()
    local r = command.run(t, { "doctor" })
    t.match(r.stdout, "qemu")
    if r.stdout:find "tcg" then t.match(r.stdout, "ok  accelerator +tcg .-\n +quicker with: ") end
    local json = command.run(t, { "doctor", "--json" })
    t.eq(json.status, r.status)
    t.has(json.stdout, '"works": ' .. tostring(r.status == 0))
    local none = command.run(t, { "doctor", "--json" }, { env = { PATH = "/nonexistent" } })
    t.eq(none.status, 3)
    t.has(none.stdout, '"works": false')
    t.has(none.stdout, "qemu-system")
end)

t.case("guest lists what is built", function()
    local r = command.run(t, { "guest" })
    t.eq(r.status, 0, r.stderr)
    t.match(r.stdout, "linux x86_64")
    t.match(command.run(t, { "guest", "list", "--json" }).stdout, '"arch": "x86_64"')
end)

t.case("guest build runs the builder of MACVM_DATA, and a missing or failing one is told", function()
    local dir = t.tmpdir() .. "/it's here"
    assert(os.execute("mkdir -p " .. command.quote(dir .. "/guest")))
    command.write(dir .. "/guest/build", "#!/bin/sh\necho built \"$@\"\n")
    assert(os.execute("chmod 755 " .. command.quote(dir .. "/guest/build")))
    local r = command.run(t, { "guest", "build", "--arch", "aarch64" }, { env = { MACVM_DATA = dir } })
    t.eq(r.status, 0, r.stderr)
    t.eq(r.stdout, "built --arch aarch64\n")
    command.fails(t, command.run(t, { "guest", "build", "all" }, { env = { MACVM_DATA = dir } }), 2, "not `all`")
    command.write(dir .. "/guest/build", "#!/bin/sh\nexit 7\n")
    command.fails(t, command.run(t, { "guest", "build" }, { env = { MACVM_DATA = dir } }), 3, "failed with status 7")
end)

t.case("check prints the plan and starts nothing", function()
    local lab = [[
        local web <close> = macvm.vm { name = "web", backend = "sim", cpus = 1, memory = "512M",
            devices = { macvm.net { forward = { ["127.0.0.1:8080"] = 80 } }, macvm.entropy {} } }
        web:start()
        web:must "echo this never runs"
        print "never printed"
    ]]
    local r = command.run(t, { "check", "lab.lua" }, { files = { ["lab.lua"] = lab } })
    t.eq(r.status, 0, r.stderr)
    t.match(r.stdout, "web: sim")
    t.has(r.stdout, "512M of memory")
    t.has(r.stdout, "net")
    t.has(r.stdout, "Nothing was started.")
    t.ok(not r.stdout:find "never printed")
    local json = command.run(t, { "check", "--json", "lab.lua" }, { files = { ["lab.lua"] = lab } })
    t.eq(json.status, 0, json.stderr)
    t.has(json.stdout, '"name": "web"')
    t.has(json.stdout, '"ok": true')
end)

t.case("check tells what a machine boots", function()
    local function boots(spec, ...)
        local r = command.run(t, { "check", "lab.lua" },
            { files = { k = "", ["lab.lua"] = "macvm.vm { backend = 'sim', " .. spec .. " }" } })
        for _, words in ipairs { ... } do t.has(r.stdout, words) end
    end
    boots("", "\n  boot  macvm's own small Linux guest\n")
    boots("boot = { cmdline = 'loglevel=6' }", "\n  boot  macvm's own small Linux guest, cmdline = loglevel=6\n")
    boots("boot = { kernel = 'k', cmdline = 'ro' }", "\n  boot  kernel = ", "/k, initrd = none, cmdline = ro\n")
    boots("guest = 'efi'", "\n  boot  whatever the firmware finds")
end)

t.case("check looks at files that the lab itself makes and puts away", function()
    local lab = [[
        local path = ...
        local _ <close> = setmetatable({}, { __close = function() os.remove(path) end })
        assert(io.open(path, "wb")):write(("x"):rep(512)):close()
        local vm <close> = macvm.vm { name = "x", backend = "sim", devices = { macvm.disk { path = path } } }
        vm:start()
        vm:must "true"
    ]]
    local r = command.run(t, { "check", "lab.lua", t.tmpdir() .. "/disk.img" }, { files = { ["lab.lua"] = lab } })
    t.eq(r.status, 0, r.stderr)
    t.has(r.stdout, "disk.img")
end)

t.case("check finds what start would find", function()
    local r = command.run(t, { "check", "--backend", "sim", "lab.lua" }, { files = { ["lab.lua"] =
        [[ macvm.vm { name = "x", devices = { macvm.disk { path = "/nonexistent/disk.img" } } }:start() ]] } })
    command.fails(t, r, 2, "/nonexistent/disk.img")
end)

t.case("check: what a plan can't know is no error, in any task; other errors are", function()
    local quiet = "local vm = macvm.vm { name = 'x', backend = 'sim' } " ..
        "macvm.spawn(function() vm:must 'x' end) vm:start() vm:wait 'ready' macvm.all { function() vm:read '/x' end }"
    t.eq(command.run(t, { "check", "lab.lua" }, { files = { ["lab.lua"] = quiet } }).status, 0)
    local loud = "macvm.all { function() error 'boom' end }"
    command.fails(t, command.run(t, { "check", "lab.lua" }, { files = { ["lab.lua"] = loud } }), 1, "boom")
end)
