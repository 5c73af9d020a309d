-- SPDX-License-Identifier: MIT
-- The contract on channels, shown on the streams of processes: reading, flow control, half-close.

local macvm = require "macvm"

return {
    {
        name = "read by line, with and without its end",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "printf 'one\\ntwo\\n\\nlast'"
            local out = process.stdout
            ctx.eq(out:read "l", "one")
            ctx.eq(out:read "L", "two\n")
            ctx.eq(out:read "l", "")
            ctx.eq(out:read "l", "last")
            ctx.eq(out:read "l", nil)
            ctx.eq(out:read "l", nil)
        end,
    },
    {
        name = "read by number gives that many bytes, fewer only at the end",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "printf abc; sleep 0.1; printf defgh"
            ctx.eq(process.stdout:read(4), "abcd")
            ctx.eq(process.stdout:read(3), "efg")
            ctx.eq(process.stdout:read(3), "h")
            ctx.eq(process.stdout:read(3), nil)
        end,
    },
    {
        name = "read all is never nil",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "printf 'a\\nb'"
            ctx.eq(process.stdout:read "a", "a\nb")
            ctx.eq(process.stdout:read "a", "")
            ctx.eq(process.stderr:read "a", "")
        end,
    },
    {
        name = "lines",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "seq 1000"
            local n = 0
            for line in process.stdout:lines() do
                n = n + 1
                ctx.eq(line, tostring(n))
            end
            ctx.eq(n, 1000)
        end,
    },
    {
        name = "write returns the stream, and half-close ends the reader's input",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "cat"
            ctx.eq(process.stdin:write "one " :write "two", process.stdin)
            process.stdin:shutdown()
            ctx.eq(process.stdout:read "a", "one two")
            ctx.eq(process:wait(), 0)
        end,
    },
    {
        name = "writing after half-close is an io error, after close a state error",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "cat"
            process.stdin:shutdown()
            ctx.raises("io", process.stdin.write, process.stdin, "late")
            local other <close> = ctx.shared:spawn "cat"
            other.stdin:close()
            other.stdin:close()
            ctx.raises("state", other.stdin.write, other.stdin, "late")
        end,
    },
    {
        name = "reading a closed stream is a state error",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "echo x; sleep 600"
            process.stdout:close()
            ctx.raises("state", process.stdout.read, process.stdout, "l")
            process.stdout:close()
        end,
    },
    {
        name = "closing stdin ends cat",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "cat"
            process.stdin:write "x"
            process.stdin:close()
            ctx.eq(process:wait { timeout = 10 }, 0)
        end,
    },
    {
        name = "a read has a deadline",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "sleep 600"
            ctx.within(5, ctx.raises, "timeout", process.stdout.read, process.stdout, "l", { timeout = 0.2 })
        end,
    },
    {
        name = "a reader that does not read holds up the writer",
        timeout = 90,
        run = function(ctx)
            local process <close> = ctx.shared:spawn "cat"
            local size, sent = 4 << 20, 0
            local chunk = ("0123456789abcdef"):rep(4096)
            local writer = macvm.spawn(function()
                while sent < size do
                    process.stdin:write(chunk)
                    sent = sent + #chunk
                end
                process.stdin:shutdown()
            end)
            macvm.sleep(0.5)
            ctx.ok(sent < size, "the writer waits")
            local got = process.stdout:read "a"
            writer:join()
            ctx.eq(#got, size)
            ctx.ok(got == chunk:rep(size // #chunk), "the same bytes")
        end,
    },
    {
        name = "a command with unread output can be killed; closing the output lets it end",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "yes"
            ctx.eq(process.stdout:read "l", "y")
            process:kill(9)
            process.stdout:close()
            local status, signal = process:wait { timeout = 10 }
            ctx.eq(status, 137)
            ctx.eq(signal, 9)
        end,
    },
    {
        name = "what was printed before the end can be read after it",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "echo kept; echo also >&2"
            process:wait()
            ctx.eq(process.stdout:read "a", "kept\n")
            ctx.eq(process.stderr:read "a", "also\n")
        end,
    },
    {
        name = "two readers at once are refused",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "sleep 600"
            local first = macvm.spawn(pcall, process.stdout.read, process.stdout, "l", { timeout = 0.3 })
            local second = macvm.spawn(pcall, process.stdout.read, process.stdout, "l", { timeout = 0.3 })
            local _, one = first:join()
            local _, two = second:join()
            ctx.eq(one.code, "timeout")
            ctx.eq(two.code, "state")
        end,
    },
    {
        name = "a stream is closed at the end of its scope",
        run = function(ctx)
            local process <close> = ctx.shared:spawn "cat"
            do
                local stdin <close> = process.stdin
                stdin:write "bye"
            end
            ctx.eq(process:wait { timeout = 10 }, 0)
        end,
    },
}
