-- SPDX-License-Identifier: MIT
-- console:expect on sim: captures, lists, the cursor, deadlines, and a machine that goes away.
local t = ...
local macvm = require "macvm"

local function machine()
    local vm = macvm.vm { backend = "sim" }
    vm:start()
    vm:wait "ready"
    t.after(function() vm:kill() end)
    local console = vm.console
    local function say(text)
        local before = console:position()
        vm:sim_inject("console", text)
        console:wait(before, { timeout = 10 })
    end
    console:expect ":/# $" -- the shell's prompt
    return vm, console, say
end

t.case("one pattern: the whole match, or its captures", function()
    local _, console, say = machine()
    say "Linux version 6.1.0-13 (gcc)\nboot ok\n"
    t.eq(console:expect "version [%d.]+", "version 6.1.0")
    say "key=value\n"
    t.same({ console:expect "(%w+)=(%w+)" }, { "key", "value" })
end)

t.case("each expect goes on after the last match", function()
    local _, console, say = machine()
    say "a1 a2 a3 "
    t.eq(console:expect "a(%d)", "1")
    t.eq(console:expect "a(%d)", "2")
    t.eq(console:expect "a(%d)", "3")
    t.raises("timeout", "did not show", console.expect, console, "a(%d)", { timeout = 0.01 })
    say "a4"
    t.eq(console:expect "a(%d)", "4")
end)

t.case("a list: which came first, then its captures", function()
    local _, console, say = machine()
    say "Password: "
    t.same({ console:expect { "login: ", "(%a+): " } }, { 2, "Password" })
    say "login: x Password: "
    t.same({ console:expect { "Password: ", "login: " } }, { 2, "login: " })
    t.same({ console:expect { "none", "Pass", "Password" } }, { 2, "Pass" })
end)

t.case("text that comes in pieces, and while it waits", function()
    local _, console, say = machine()
    local task = macvm.spawn(function() return console:expect("one (%w+) three", { timeout = 10 }) end)
    macvm.sleep(0)
    say "one t"
    macvm.sleep(0)
    say "wo three"
    t.eq(task:join(), "two")
end)

t.case("the error of a deadline names the pattern and the last line", function()
    local _, console, say = machine()
    say "starting\r\nKernel \27[31mpanic\r\n"
    local err = t.raises("timeout", 'did not show "login:" within 0.01 s; its last line is "Kernel .*panic"', function()
        console:expect("login:", { timeout = 0.01 })
    end)
    t.has(err.text, "starting")
    t.ok(not tostring(err):find "%c", "a control character in the message")
    t.match(err.where, "expect_test.lua")
end)

t.case("a machine that goes down ends the wait at once", function()
    local vm, console, say = machine()
    local task = macvm.spawn(function() return pcall(console.expect, console, "never", { timeout = 3600 }) end)
    macvm.sleep(0)
    say "last words\n"
    vm:kill()
    local ok, err = task:join()
    t.ok(not ok)
    t.eq(err.code, "state")
    t.has(err.message, "last words")
end)

t.case("what was printed before the end is still found", function()
    local vm, console, say = machine()
    say "the result is 42\n"
    vm:kill()
    t.eq(console:expect "result is (%d+)", "42")
end)

t.case("bad patterns and options", function()
    local _, console = machine()
    t.raises("config", "needs a pattern", console.expect, console, {})
    t.raises("config", "needs a pattern", console.expect, console, nil)
    t.raises("config", "must be a string, got number", console.expect, console, { "a", 5 })
    t.raises("config", "no Lua pattern", console.expect, console, "%")
    t.raises("config", "no Lua pattern", console.expect, console, { "ok", "[a" })
    t.raises("config", "did you mean `timeout`", console.expect, console, "x", { timout = 1 })
end)
