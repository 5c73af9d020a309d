-- SPDX-License-Identifier: MIT
-- The contract on commands: words, environment, streams, ends, deadlines, many at once.

local macvm = require "macvm"

return {
    {
        name = "a string goes to sh -c",
        run = function(ctx)
            local r = ctx.shared:exec "echo one; echo two >&2; exit 3"
            ctx.eq(r.stdout, "one\n")
            ctx.eq(r.stderr, "two\n")
            ctx.eq(r.status, 3)
            ctx.eq(r.signal or 0, 0)
            ctx.ok(r.elapsed >= 0 and r.elapsed < 60)
        end,
    },
    {
        name = "a list is an argv: nothing in it is expanded",
        run = function(ctx)
            local word = "a  b $HOME ; echo 'x' \"y\" > z"
            ctx.eq(ctx.shared:must { "echo", word, "", "c" }, word .. "  c\n")
        end,
    },
    {
        name = "exit status 0 and 255",
        run = function(ctx)
            ctx.eq(ctx.shared:exec("true").status, 0)
            ctx.eq(ctx.shared:exec("exit 255").status, 255)
        end,
    },
    {
        name = "a signal is a signal, and 128 more as status",
        run = function(ctx)
            local r = ctx.shared:exec "echo last words; kill -9 $$"
            ctx.eq(r.signal, 9)
            ctx.eq(r.status, 137)
            ctx.eq(r.stdout, "last words\n")
        end,
    },
    {
        name = "working directory, in both places for options",
        run = function(ctx)
            ctx.eq(ctx.shared:must { "pwd", cwd = "/tmp" }, "/tmp\n")
            ctx.eq(ctx.shared:must("pwd", { cwd = "/etc" }), "/etc\n")
            ctx.eq(ctx.shared:must "pwd", "/\n")
        end,
    },
    {
        name = "a working directory that is not there is the guest's error",
        run = function(ctx)
            local err = ctx.raises("guest", ctx.shared.exec, ctx.shared, "pwd", { cwd = "/no/such/dir" })
            ctx.match(err.message, "No such file or directory")
        end,
    },
    {
        name = "environment is added, not replaced",
        run = function(ctx)
            local out = ctx.shared:must("echo \"$GREETING|$EMPTY|$PATH\"",
                { env = { GREETING = "hello = world", EMPTY = "" } })
            ctx.match(out, "^hello = world||/%S+\n$")
        end,
    },
    {
        name = "standard input, then its end",
        run = function(ctx)
            ctx.eq(ctx.shared:must("cat", { stdin = "fed\0bytes" }), "fed\0bytes")
            ctx.eq(ctx.shared:must("cat", { stdin = "" }), "")
        end,
    },
    {
        name = "without stdin it is empty, so nothing hangs",
        run = function(ctx)
            ctx.eq(ctx.shared:must "cat", "")
        end,
    },
    {
        name = "stdin that the command does not read is no error",
        run = function(ctx)
            ctx.eq(ctx.shared:exec("true", { stdin = ("x"):rep(1 << 20) }).status, 0)
        end,
    },
    {
        name = "binary output, every byte",
        run = function(ctx)
            local bytes = {}
            for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
            local all = table.concat(bytes)
            ctx.eq(ctx.shared:must("cat", { stdin = all }), all)
        end,
    },
    {
        name = "1 MiB of output",
        run = function(ctx)
            local out = ctx.shared:must "head -c 1048576 /dev/zero"
            ctx.eq(#out, 1 << 20)
            ctx.ok(not out:find "[^%z]", "only zeros")
        end,
    },
    {
        name = "both outputs full at once",
        run = function(ctx)
            local r = ctx.shared:exec "head -c 600000 /dev/zero; head -c 600000 /dev/zero >&2; echo end"
            ctx.eq(#r.stdout, 600004)
            ctx.eq(#r.stderr, 600000)
        end,
    },
    {
        name = "a deadline kills the command and keeps what it printed",
        run = function(ctx)
            local vm = ctx.shared
            local err = ctx.within(10, ctx.raises, "timeout", vm.exec, vm, "echo $$; sleep 600", { timeout = 0.5 })
            local pid = ctx.match(err.stdout, "^%d+\n$"):match "%d+"
            ctx.match(err.message, "0.5 s")
            vm:eventually("kill -0 " .. pid .. " 2>/dev/null && exit 1 || exit 0", { timeout = 5 })
        end,
    },
    {
        name = "a string command that is not there: status 127 and the shell's words",
        run = function(ctx)
            local r = ctx.shared:exec "no-such-command --at-all"
            ctx.eq(r.status, 127)
            ctx.match(r.stderr, "no%-such%-command: not found")
        end,
    },
    {
        name = "a list command that is not there: the guest's error",
        run = function(ctx)
            local err = ctx.raises("guest", ctx.shared.exec, ctx.shared, { "no-such-command", "--at-all" })
            ctx.match(err.message, "no%-such%-command")
            ctx.match(err.message, "No such file or directory")
            ctx.eq(err.vm, ctx.shared.name)
        end,
    },
    {
        name = "must returns the output, or raises with all there is to know",
        run = function(ctx)
            ctx.eq(ctx.shared:must "echo fine", "fine\n")
            local err = ctx.raises("guest", ctx.shared.must, ctx.shared, "echo out; echo oh dear >&2; exit 4")
            ctx.match(err.message, "oh dear")
            ctx.eq(err.status, 4)
            ctx.eq(err.stdout, "out\n")
            ctx.eq(err.stderr, "oh dear\n")
        end,
    },
    {
        name = "eventually tries until it succeeds",
        run = function(ctx)
            local vm = ctx.shared
            vm:exec "rm -f /tmp/eventually"
            local later = macvm.spawn(function()
                macvm.sleep(0.3)
                vm:must "echo there > /tmp/eventually"
            end)
            ctx.eq(vm:eventually("cat /tmp/eventually", { timeout = 20 }), "there\n")
            later:join()
        end,
    },
    {
        name = "eventually gives up with the last failure",
        run = function(ctx)
            local err = ctx.within(10, ctx.raises, "timeout", ctx.shared.eventually, ctx.shared,
                "echo not yet >&2; false", { timeout = 0.5 })
            ctx.match(err.message, "not yet")
        end,
    },
    {
        name = "64 commands at once, one of them printing without end",
        timeout = 90,
        run = function(ctx)
            local vm = ctx.shared
            local yes <close> = vm:spawn "yes"
            local reader = macvm.spawn(function()
                local total = 0
                while true do
                    local piece = yes.stdout:read(65536)
                    if not piece then return total end
                    total = total + #piece
                end
            end)
            local jobs = {}
            for i = 1, 63 do
                jobs[i] = function() return vm:must("echo job " .. i) end
            end
            local results = macvm.all(jobs)
            for i = 1, 63 do ctx.eq(results[i], "job " .. i .. "\n") end
            ctx.eq(yes.ended, false)
            yes:kill(9)
            local status, signal = yes:wait()
            ctx.eq(status, 137)
            ctx.eq(signal, 9)
            ctx.ok(reader:join() > 0, "yes printed")
        end,
    },
    {
        name = "wait ends though nobody reads the output",
        run = function(ctx)
            -- More than the 256 KiB that are on their way to us; the rest waits in the guest.
            local process <close> = ctx.shared:spawn "head -c 290000 /dev/zero; exit 3"
            ctx.eq(ctx.within(10, process.wait, process, { timeout = 10 }), 3)
            ctx.eq(process.ended, true)
        end,
    },
    {
        name = "output can be read after the end",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "head -c 290000 /dev/zero; echo end; echo err >&2"
            ctx.eq(process:wait { timeout = 10 }, 0)
            local out = process.stdout:read("a", { timeout = 10 })
            ctx.eq(#out, 290004)
            ctx.eq(out:sub(-4), "end\n")
            ctx.eq(process.stderr:read("a", { timeout = 10 }), "err\n")
            ctx.eq(process:wait(), 0)
        end,
    },
    {
        name = "1 MiB waits for its reader, and is all there",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "head -c 1048576 /dev/zero"
            ctx.within(5, ctx.raises, "timeout", process.wait, process, { timeout = 0.3 })
            ctx.eq(#process.stdout:read("a", { timeout = 20 }), 1 << 20)
            ctx.eq(process:wait { timeout = 10 }, 0)
        end,
    },
    {
        name = "wait ends though the output was closed: 1 MiB is dropped",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "head -c 1048576 /dev/zero"
            process.stdout:close()
            ctx.eq(process:wait { timeout = 20 }, 0)
        end,
    },
    {
        name = "kill of a command whose output nobody reads",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "head -c 1048576 /dev/zero; sleep 600"
            ctx.within(5, ctx.raises, "timeout", process.wait, process, { timeout = 0.3 })
            process:kill(9)
            local status, signal = ctx.within(10, process.wait, process, { timeout = 10 })
            ctx.eq(status, 137)
            ctx.eq(signal, 9)
            local out = process.stdout:read("a", { timeout = 10 }) -- what it had printed until then
            ctx.ok(#out >= 262144 and #out < 1 << 20, "a part of it")
        end,
    },
    {
        name = "spawn is live: output comes while the command runs",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "echo first; read line; echo got $line; sleep 600"
            ctx.eq(process.stdout:read "l", "first")
            process.stdin:write "hello\n"
            ctx.eq(process.stdout:read "l", "got hello")
            ctx.eq(process.ended, false)
            ctx.ok(process.pid > 0, "a pid")
        end,
    },
    {
        name = "kill with the default signal and with others",
        run = function(ctx)
            for _, signal in ipairs { 15, 9, 2 } do
                local process <close> = ctx.shared:spawn "echo up; sleep 600"
                ctx.eq(process.stdout:read "l", "up")
                process:kill(signal)
                local status, by = process:wait { timeout = 10 }
                ctx.eq(by, signal)
                ctx.eq(status, 128 + signal)
            end
            local process <close> = ctx.shared:spawn { "sleep", "600" }
            process:kill()
            local _, by = process:wait { timeout = 10 }
            ctx.eq(by, 15)
        end,
    },
    {
        name = "a signal after the end is no harm",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "true"
            ctx.eq(process:wait(), 0)
            ctx.eq(process:wait(), 0)
            ctx.eq(process.ended, true)
            pcall(process.kill, process, 9)
            ctx.eq(ctx.shared:must "echo fine", "fine\n")
        end,
    },
    {
        name = "closing a process kills it",
        run = function(ctx)
            local vm = ctx.shared
            local pid
            do
                local process <close> = vm:spawn "echo $$; sleep 600"
                pid = process.stdout:read "l"
            end
            vm:eventually("kill -0 " .. pid .. " 2>/dev/null && exit 1 || exit 0", { timeout = 5 })
        end,
    },
    {
        name = "a wait for a process has a deadline, and the process lives on",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "sleep 600"
            ctx.within(5, ctx.raises, "timeout", process.wait, process, { timeout = 0.2 })
            ctx.eq(process.ended, false)
        end,
    },
    {
        name = "a long argument and a long command line",
        run = function(ctx)
            local word = ("x"):rep(20000)
            ctx.eq(#ctx.shared:must { "echo", word }, 20001)
        end,
    },
    {
        name = "two hundred short commands, one after the other, leave nothing behind",
        timeout = 120,
        run = function(ctx)
            for i = 1, 200 do
                ctx.eq(ctx.shared:exec({ "true" }).status, 0, "command " .. i)
            end
        end,
    },
}
