-- SPDX-License-Identifier: MIT
-- What ends a run at once: core.exit, and Ctrl-C for a script that computes without end and never waits.
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
