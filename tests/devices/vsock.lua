-- SPDX-License-Identifier: MIT
-- The socket device: connections both ways, between machines and with other programs, seen from inside the guest.

local macvm = require "macvm"
local core = require "macvm.core"

local BLOCK = ("0123456789abcdef"):rep(4096) -- 64 KiB

-- A peer in the guest that serves a port until it is closed.
local function serve(ctx, vm, ...)
    if vm:exec("test -x /tmp/peer").status ~= 0 then vm:push(ctx.guest_program "vsock_peer", "/tmp/peer") end
    local process = vm:spawn { "/tmp/peer", ... }
    ctx.eq(process.stdout:read("l", { timeout = 10 }), "listening")
    return setmetatable({}, { __close = function()
        if process.ended or not vm.ready then return end -- a reboot took it along
        process:kill(9)
        process:wait { timeout = 10 }
    end })
end

local function program(ctx, vm, ...)
    if vm:exec("test -x /tmp/peer").status ~= 0 then vm:push(ctx.guest_program "vsock_peer", "/tmp/peer") end
    return vm:spawn { "/tmp/peer", ... }
end

return {
    machine = function(ctx)
        return { devices = { macvm.vsock { unix = ctx.host_path "vm.sock" } } }
    end,
    {
        name = "the guest has one, by its Virtio id, with the CID that macvm tells",
        run = function(ctx)
            ctx.machine:must "grep -lx 0x0013 /sys/bus/virtio/devices/*/device"
            ctx.machine:push(ctx.guest_program "vsock_peer", "/tmp/peer")
            ctx.eq(tonumber(ctx.machine:must "/tmp/peer cid"), ctx.machine:stats().vsock.cid)
        end,
    },
    {
        name = "host to guest and back, until both have ended",
        run = function(ctx)
            local _ <close> = serve(ctx, ctx.machine, "echo", "1000")
            local channel <close> = ctx.machine:connect(1000)
            channel:write "hello\n"
            ctx.eq(channel:read "l", "hello")
            local writer = macvm.spawn(function()
                for _ = 1, 64 do channel:write(BLOCK) end
                channel:shutdown()
            end)
            local got = channel:read "a"
            writer:join()
            ctx.eq(#got, 64 * #BLOCK)
            ctx.ok(got == BLOCK:rep(64), "what came back differs")
        end,
    },
    {
        name = "a port where nobody listens is an error at once",
        run = function(ctx)
            local err = ctx.within(5, ctx.raises, "guest", ctx.machine.connect, ctx.machine, 4321)
            ctx.match(err.message, "4321")
            ctx.raises("config", ctx.machine.connect, ctx.machine, -1)
            local plain = ctx.vm { devices = {} }
            ctx.raises("state", plain.connect, plain, 1)
        end,
    },
    {
        name = "guest to host",
        run = function(ctx)
            local listener <close> = ctx.machine:listen(2000, function(channel)
                for line in channel:lines() do channel:write(line:upper() .. "\n") end
            end)
            ctx.raises("config", ctx.machine.listen, ctx.machine, 2000, print)
            local peer = program(ctx, ctx.machine, "connect", "2", "2000")
            peer.stdin:write "one\ntwo\n"
            ctx.eq(peer.stdout:read("l", { timeout = 10 }), "ONE")
            peer.stdin:close()
            ctx.eq(peer.stdout:read("a", { timeout = 10 }), "TWO\n")
            ctx.eq(peer:wait { timeout = 10 }, 0)
            listener:close()
            ctx.eq(program(ctx, ctx.machine, "connect", "2", "2000"):wait { timeout = 10 }, 1)
        end,
    },
    {
        name = "what a handler wrote arrives though it returns at once; a guest that resets is told apart",
        run = function(ctx)
            local outcome
            local _ <close> = ctx.machine:listen(2001, function(channel) channel:write(BLOCK) end)
            local _ <close> = ctx.machine:listen(2002, function(channel)
                outcome = { pcall(function() return channel:read "a" end) }
            end)
            local peer = program(ctx, ctx.machine, "connect", "2", "2001")
            ctx.eq(#peer.stdout:read("a", { timeout = 10 }), #BLOCK)
            peer:wait { timeout = 10 }
            program(ctx, ctx.machine, "reset", "2", "2002"):wait { timeout = 10 }
            ctx.until_true(function() return outcome end)
            ctx.ok(outcome[1] == false or outcome[2] == "x", "neither an error nor the byte")
        end,
    },
    {
        name = "flow control: who does not read stops who writes, not us",
        run = function(ctx)
            local _ <close> = serve(ctx, ctx.machine, "source", "1001", tostring(64 << 20))
            local channel <close> = ctx.machine:connect(1001)
            ctx.eq(#channel:read(10), 10)
            macvm.sleep(0.3)
            local before = ctx.machine:stats().vsock.from_guest_bytes
            ctx.ok(before < 8 << 20, "so much came without being read: " .. before)
            local n = 10
            repeat
                local piece = channel:read(1 << 20)
                n = n + #(piece or "")
            until not piece
            ctx.eq(n, 64 << 20)
        end,
        timeout = 120,
    },
    {
        name = "1000 connections at once",
        run = function(ctx)
            local _ <close> = serve(ctx, ctx.machine, "echo", "1002")
            local channels = {}
            for i = 1, 1000 do
                channels[i] = ctx.machine:connect(1002)
                channels[i]:write(i .. "\n")
            end
            ctx.eq(ctx.machine:stats().vsock.connections, 1000)
            for i = 1000, 1, -1 do ctx.eq(channels[i]:read "l", tostring(i)) end
            for i = 1, 1000 do channels[i]:close() end
            ctx.until_true(function() return ctx.machine:stats().vsock.connections == 0 end)
        end,
        timeout = 120,
    },
    {
        name = "machine to machine by CID",
        run = function(ctx)
            local other <close> = ctx.boot { devices = { macvm.vsock { cid = 77 } } }
            local _ <close> = serve(ctx, other, "echo", "3000")
            ctx.eq(other:stats().vsock.cid, 77)
            local peer = program(ctx, ctx.machine, "connect", "77", "3000")
            peer.stdin:write "across\n"
            ctx.eq(peer.stdout:read("l", { timeout = 10 }), "across")
            peer.stdin:write(BLOCK:rep(4))
            peer.stdin:close()
            ctx.eq(#peer.stdout:read("a", { timeout = 20 }), 4 * #BLOCK)
            ctx.eq(program(ctx, ctx.machine, "connect", "77", "3001"):wait { timeout = 20 }, 1)
            ctx.eq(program(ctx, ctx.machine, "connect", "78", "3000"):wait { timeout = 20 }, 1)
            local third = ctx.vm { devices = { macvm.vsock { cid = 77 } } }
            ctx.match(ctx.raises("config", third.check, third).message, "77")
        end,
        timeout = 120,
    },
    {
        name = "other programs: CONNECT port on a unix socket, and PATH_port for what the guest connects to",
        run = function(ctx)
            local path = ctx.host_path "vm.sock"
            local _ <close> = serve(ctx, ctx.machine, "echo", "1003")
            local program_end <close> = core.dial(path)
            program_end:write "CONNECT 1003\n"
            ctx.match(program_end:read "l", "^OK %d+$")
            program_end:write "through\n"
            ctx.eq(program_end:read "l", "through")
            for _, wrong in ipairs { "CONNECT 1999\n", "CONNECT x\n", ("x"):rep(100), "CONNECT 4294967295\n" } do
                local refused <close> = core.dial(path)
                refused:write(wrong)
                ctx.eq(refused:read("l", { timeout = 10 }), nil)
            end
            local got
            local _ <close> = core.listen(path .. "_2010", function(stream)
                got = stream:read "l"
                stream:write "answer\n"
                stream:shutdown()
            end)
            local peer = program(ctx, ctx.machine, "connect", "2", "2010")
            peer.stdin:write "question\n"
            ctx.eq(peer.stdout:read("l", { timeout = 10 }), "answer")
            ctx.eq(got, "question")
            peer:kill(9)
        end,
    },
    {
        name = "a machine that does not answer is not waited for longer than was asked",
        run = function(ctx)
            local _ <close> = serve(ctx, ctx.machine, "echo", "1007")
            ctx.machine:pause()
            local err = ctx.within(5, ctx.raises, "timeout", ctx.machine.connect, ctx.machine, 1007, { timeout = 0.3 })
            ctx.match(err.message, "1007")
            ctx.machine:resume()
            local channel <close> = ctx.machine:connect(1007)
            channel:write "x\n"
            ctx.eq(channel:read "l", "x")
        end,
    },
    {
        name = "sockets of a kernel, as `kernel = true` uses the host's: all of theirs over the guest's loop-back",
        run = function(ctx)
            local vm = ctx.machine
            vm:push(ctx.guest_program "vsock_kernel", "/tmp/kernel")
            vm:must "modprobe vsock_loopback"
            local checked = vm:exec({ "/tmp/kernel" }, { timeout = 50 })
            ctx.match(checked.stdout, "\nall well\n$")
            ctx.eq(checked.status, 0)
            local _ <close> = vm:listen(2020, function(channel) channel:write("heard " .. channel:read "a") end)
            ctx.eq(vm:must { "/tmp/kernel", "dial", "2", "2020", "10" }, "heard hello\n")
            ctx.match(vm:must { "/tmp/kernel", "dial", "2", "2021", "10" }, "nobody listens on .* 2021")
            ctx.match(vm:must { "/tmp/kernel", "dial", "78", "2020", "10" }, "nobody listens on")
        end,
    },
    {
        name = "a reboot resets the connections, and the device goes on",
        run = function(ctx)
            local vm <close> = ctx.boot { devices = { macvm.vsock {} } }
            local _ <close> = serve(ctx, vm, "echo", "1004")
            local channel = vm:connect(1004)
            channel:write "x\n"
            ctx.eq(channel:read "l", "x")
            local reader = macvm.spawn(pcall, channel.read, channel, "l")
            vm:reboot()
            local ok, value = reader:join()
            ctx.ok(not ok or value == nil, "a connection outlived its guest")
            local _ <close> = serve(ctx, vm, "echo", "1005")
            local fresh <close> = vm:connect(1005)
            fresh:write "y\n"
            ctx.eq(fresh:read "l", "y")
        end,
        timeout = 120,
    },
    {
        name = "a machine that is stopped or killed loses no device: there is no error event",
        run = function(ctx)
            local vm <close> = ctx.boot { devices = { macvm.vsock {} } }
            local errors = {}
            vm:on("error", function(_, err) errors[#errors + 1] = tostring(err) end)
            vm:stop()
            vm:start()
            vm:wait "ready"
            vm:kill()
            macvm.sleep(0) -- the handlers have their turn
            ctx.eq(table.concat(errors, "\n"), "")
        end,
        timeout = 120,
    },
    {
        name = "plugged in while the machine runs, and out again",
        run = function(ctx)
            local vm <close> = ctx.boot {}
            local device = macvm.vsock {}
            vm:attach(device)
            local _ <close> = serve(ctx, vm, "echo", "1006")
            local channel = vm:connect(1006)
            channel:write "late\n"
            ctx.eq(channel:read "l", "late")
            vm:detach(device)
            ctx.ok(not pcall(function()
                channel:write "x"
                return assert(channel:read "l")
            end), "a connection outlived its device")
            ctx.raises("config", vm.connect, vm, 1006)
        end,
        timeout = 120,
    },
}
