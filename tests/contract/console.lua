-- SPDX-License-Identifier: MIT
-- The contract on the serial console: a root shell with the prompt "NAME:DIR# ".

local macvm = require "macvm"

return {
    {
        name = "it shows the shell's prompt",
        run = function(ctx)
            ctx.shared.console:send "\n"
            ctx.eq(ctx.shared.console:expect "(%w+):/%S*# ", ctx.shared.name)
        end,
    },
    {
        name = "what is typed runs",
        run = function(ctx)
            ctx.shared.console:send "echo he''llo 4''2\n"
            ctx.eq(ctx.shared.console:expect "(hello 42)\r?\n", "hello 42")
        end,
    },
    {
        name = "captures, and the whole match without any",
        run = function(ctx)
            local console = ctx.shared.console
            console:send "echo ke''y=va''lue\n"
            local key, value = console:expect "\n(%a+)=(%a+)\r?\n"
            ctx.eq(key, "key")
            ctx.eq(value, "value")
            console:send "echo wh''ole\n"
            ctx.eq(console:expect "whole", "whole")
        end,
    },
    {
        name = "a list of patterns says which came first",
        run = function(ctx)
            local console = ctx.shared.console
            console:send "echo ap''ple; echo pe''ar\n"
            local which, text = console:expect { "pear", "apple" }
            ctx.eq(which, 2)
            ctx.eq(text, "apple")
            ctx.eq(console:expect { "pear", "apple" }, 1)
        end,
    },
    {
        name = "what was matched is not matched again",
        run = function(ctx)
            local console = ctx.shared.console
            console:send "echo on''ce\n"
            console:expect "once\r?\n"
            ctx.within(5, ctx.raises, "timeout", console.expect, console, "once\r?\n", { timeout = 0.3 })
        end,
    },
    {
        name = "a timeout tells what was shown instead",
        run = function(ctx)
            local console = ctx.shared.console
            console:send "echo in''stead\n"
            local err = ctx.raises("timeout", console.expect, console, "never %d+ shown", { timeout = 0.5 })
            ctx.match(err.message, "never")
            ctx.match(err.text, "instead")
            ctx.eq(console:expect "instead\r?\n" :match "instead", "instead") -- nothing was used up
        end,
    },
    {
        name = "expect waits for what comes later",
        run = function(ctx)
            local console = ctx.shared.console
            local task = macvm.spawn(console.expect, console, "late (%w+)\r?\n")
            macvm.sleep(0)
            ctx.shared:must "echo late news > /dev/console"
            ctx.eq(task:join { timeout = 10 }, "news")
        end,
    },
    {
        name = "Ctrl-C ends a typed command",
        run = function(ctx)
            local console = ctx.shared.console
            -- Printed by the child, so it is in the terminal's foreground by then.
            console:send "sh -c \"echo be''gin; sleep 600\"\n"
            console:expect "begin\r?\n"
            console:send "\3"
            console:expect ":/%S*# " -- what is typed before the prompt is back, a terminal may drop
            console:send "echo aw''ake\n"
            console:expect "awake\r?\n"
        end,
    },
    {
        name = "a pattern that is none is refused",
        run = function(ctx)
            ctx.raises("config", ctx.shared.console.expect, ctx.shared.console, "[unclosed")
            ctx.raises("config", ctx.shared.console.expect, ctx.shared.console, {})
        end,
    },
    {
        name = "typing on a machine that is down",
        run = function(ctx)
            local console = ctx.vm().console
            ctx.raises("state", console.send, console, "x")
        end,
    },
    {
        name = "expect ends when the machine does",
        fresh = true,
        run = function(ctx)
            local vm = ctx.machine
            local task = macvm.spawn(pcall, vm.console.expect, vm.console, "never shown")
            macvm.sleep(0)
            vm:must "echo last words > /dev/console"
            ctx.until_true(function() return vm.console:text():find "last words" end)
            vm:kill()
            local ok, err = task:join { timeout = 5 }
            ctx.eq(ok, false)
            ctx.eq(err.code, "state")
            ctx.match(vm.console:text(), "last words") -- still there to be looked at
        end,
    },
}
