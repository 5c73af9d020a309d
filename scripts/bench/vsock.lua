-- SPDX-License-Identifier: MIT
-- What goes through a machine's vsock device, and through TCP on QEMU's user network of the same machine, in turns.
-- The host's end of TCP is the probe, a C program. Prints "NAME VALUE" lines: MB/s, seconds, connections a second, and
-- for NAME_cpu_WHERE the seconds that one of the threads in its way worked for it.
-- usage: macvm run vsock.lua PEER PROBE
local macvm = require "macvm"
local peer, probe = arg[1], arg[2]
local BYTES, ROUNDS, TRIPS, OPENS = 64 << 20, 2, 500, 500

local vm <close> = macvm.vm {
    name = "bench", memory = "512M",
    devices = { macvm.vsock {}, macvm.net { forward = { ["127.0.0.1:0"] = { 1, 2, 3 } } } },
}
vm:start { timeout = 60 }
vm:wait("ready", { timeout = 60 })
vm:push(peer, "/tmp/peer")
local servers = {} -- a process that nobody holds is ended

for _, env in ipairs { {}, { TCP = "1" } } do
    for _, words in ipairs { { "source", "1", tostring(BYTES) }, { "sink", "2" }, { "echo", "3" } } do
        local process = vm:spawn { "/tmp/peer", words[1], words[2], words[3], env = env }
        assert(process.stdout:read("l", { timeout = 10 }) == "listening")
        servers[process] = true
    end
end

local ports = {}
for _, forward in ipairs(vm:forwards()) do ports[forward.guest_port] = forward.port end

-- ---- who works for it ---------------------------------------------------------------------

local qemu = assert(io.open "/proc/thread-self/children"):read "n"

-- Seconds of each thread of a process.
local function threads(pid)
    local list = {}
    local pipe <close> = assert(io.popen(("cd /proc/%s/task && grep -H . */schedstat"):format(pid)))
    for tid, ns in pipe:read("a"):gmatch "(%d+)/schedstat:(%d+)" do list[tonumber(tid)] = tonumber(ns) / 1e9 end
    return list
end

local function grown(before, after, skip)
    local most = 0
    for tid, seconds in pairs(after) do
        if tid ~= skip then most = math.max(most, seconds - (before[tid] or 0)) end
    end
    return most
end

local self = assert(io.open "/proc/self/stat"):read "n"

-- A vCPU is the thread of QEMU that works most beside its main one; the device is ours beside the loop's.
local function watched(name, per, fn)
    local ours, theirs = threads(self), threads(qemu)
    local figure = fn()
    local ours_now, theirs_now = threads(self), threads(qemu)
    print(("%s %.6g"):format(name, figure))
    local function cpu(where, seconds) print(("%s_cpu_%s %.6g"):format(name, where, seconds / per)) end
    cpu("guest", grown(theirs, theirs_now, qemu))
    cpu("qemu", theirs_now[qemu] - theirs[qemu])
    cpu("loop", ours_now[self] - ours[self])
    cpu("device", grown(ours, ours_now, self))
end

-- ---- vsock, with this script as the host's end -------------------------------------------------

local block = ("x"):rep(1 << 20)

local function receive()
    local channel <close> = vm:connect(1)
    local began, n = macvm.now(), 0
    repeat
        local piece = channel:read(1 << 20)
        n = n + #(piece or "")
    until not piece
    assert(n == BYTES)
    return BYTES / 1e6 / (macvm.now() - began)
end

local function send()
    local channel <close> = vm:connect(2)
    local began = macvm.now()
    for _ = 1, BYTES // #block do channel:write(block) end
    channel:shutdown()
    assert(tonumber(channel:read "l") == BYTES)
    return BYTES / 1e6 / (macvm.now() - began)
end

-- The median: one trip in which the host had something else to do is not the connection's.
local function trips()
    local channel <close> = vm:connect(3)
    local message, list = ("y"):rep(64), {}
    for i = 1, TRIPS do
        local began = macvm.now()
        channel:write(message)
        assert(#channel:read(64) == 64)
        list[i] = macvm.now() - began
    end
    table.sort(list)
    return list[TRIPS // 2]
end

-- Set up when the guest has answered; each is closed at once.
local function opens()
    local began = macvm.now()
    for _ = 1, OPENS do vm:connect(3):close() end
    return OPENS / (macvm.now() - began)
end

-- ---- TCP ------------------------------------------------------------------------------------

local function tcp(name, verb, port, count)
    local pipe <close> = assert(io.popen(("%s tcp %s %d %d"):format(probe, verb, ports[port], count)))
    print(("%s %.6g"):format(name, assert(pipe:read "n", "the probe failed")))
end

for _ = 1, ROUNDS do
    watched("vsock_receive", BYTES / 1e6, receive)
    tcp("tcp_receive", "receive", 1, BYTES)
    watched("vsock_send", BYTES / 1e6, send)
    tcp("tcp_send", "send", 2, BYTES)
    watched("vsock_trip", TRIPS, trips)
    tcp("tcp_trip", "trips", 3, TRIPS)
    watched("vsock_opens", OPENS, opens)
end
assert(next(servers))
vm:kill()
