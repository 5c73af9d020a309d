-- SPDX-License-Identifier: MIT
-- What ends a run at once: core.exit, and signals for a script that computes without end and never waits.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

t.case("a loop without end", function()
    local p = command.start(t, { "run", "lab.lua" }, { files = { ["lab.lua"] = [[
        local vm <close> = macvm.vm { name = "web", backend = "sim" }
        vm:start()
        local _ <close> = setmetatable({}, { __close = function() print "closing" end })
        print "busy"
        while true do end
    ]] } })
    t.eq(p:line(), "busy")
    p:signal "INT"
    local r = p:wait()
    t.has(r.stdout, "closing")
    t.eq(r.status, 130)
end)

t.case("a loop without end in a coroutine of the script, that catches errors", function()
    local p = command.start(t, { "run", "lab.lua" }, { files = { ["lab.lua"] = [[
        print "busy"
        coroutine.wrap(function()
            print(pcall(function() while true do end end))
        end)()
        macvm.sleep(1000)
    ]] } })
    t.eq(p:line(), "busy")
    p:signal "INT"
    local r = p:wait()
    t.match(r.stdout, "false\t.*interrupted")
    t.eq(r.status, 130)
end)

local function busy(text)
    local p = command.start(t, { "run", "--backend", "sim", "lab.lua" }, { files = { ["lab.lua"] = text } })
    p:until_line "^busy$"
    return p
end

t.case("SIGTERM and SIGHUP end a loop without end as Ctrl-C does", function()
    for name, status in pairs { TERM = 143, HUP = 129 } do
        local p = busy [[
            local _ <close> = setmetatable({}, { __close = function() print "closing" end })
            print "busy"
            while true do end
        ]]
        p:signal(name)
        local r = p:wait()
        t.has(r.stdout, "closing")
        t.eq(r.status, status)
    end
end)

t.case("a second Ctrl-C ends a loop that catches errors", function()
    local p = busy [[
        pcall(function() print "busy" while true do end end)
        print "again"
        while true do pcall(function() while true do end end) end
    ]]
    p:signal "INT"
    p:until_line "^again$"
    p:signal "INT"
    t.eq(p:wait().status, 130)
end)

t.case("Ctrl-C, hit until it works, ends a C function that computes without end", function()
    local p = busy "print 'busy' local _ = (('a'):rep(200)):find(('.-'):rep(20) .. 'b')"
    -- Two that are sent with nothing between may arrive as one.
    local hits = ([[bash -c '
        for _ in {1..200}; do kill -INT -- -%d || { echo gone; exit; }; sleep 0.05; done' 2>/dev/null]]):format(p:pid())
    t.eq(command.capture(hits), "gone\n")
    t.eq(p:wait().status, 130)
end)

t.case("what a run leaves that its second signal ended, the next one removes", function()
    local dir = t.tmpdir()
    local opts = { env = { XDG_RUNTIME_DIR = dir }, files = { ["lab.lua"] = [[
        local core = require "macvm.core"
        print(core.gc_lab())
        if ... then return end
        pcall(function() print "busy" while true do end end)
        print "again"
        while true do pcall(function() while true do end end) end
    ]] } }
    local p = command.start(t, { "run", "lab.lua" }, opts)
    local left = p:line()
    p:until_line "^busy$"
    p:signal "INT"
    p:until_line "^again$"
    p:signal "INT"
    t.eq(p:wait().status, 130)
    t.eq(command.capture("ls -d " .. left), left .. "\n")
    t.eq(command.run(t, { "run", "lab.lua", "short" }, opts).status, 0)
    t.eq(command.capture(("find %s -name 'lab-*'"):format(dir)), "")
end)

t.case("core.exit ends the command, whatever still runs", function()
    local r = command.run(t, { "run", "lab.lua" }, { files = { ["lab.lua"] = [[
        local core = require "macvm.core"
        local vm = macvm.vm { name = "web", backend = "sim" }
        vm:start()
        macvm.spawn(function() macvm.sleep(1000) end)
        core.exit(7)
        macvm.sleep(1000)
    ]] } })
    t.eq(r.status, 7)
    t.eq(r.stderr, "")
end)
