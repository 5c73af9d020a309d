-- SPDX-License-Identifier: MIT
-- What goes through a machine's vsock device, and through TCP on QEMU's user network of the same machine, in turns.
-- The host's end of TCP is the probe, a C program. Prints "NAME VALUE" lines: MB/s, seconds, connections a second.
-- usage: macvm run vsock.lua PEER PROBE
local macvm = require "macvm"
local peer, probe = arg[1], arg[2]
local BYTES, ROUNDS, TRIPS, OPENS = 64 << 20, 5, 300, 1000

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
        servers[#servers + 1] = process
        assert(process.stdout:read("l", { timeout = 10 }) == "listening")
    end
end

local function put(name, value) print(("%s %.6g"):format(name, value)) end

local ports = {}
for _, forward in ipairs(vm:forwards()) do ports[forward.guest_port] = forward.port end

-- The probe's figure for a verb against the guest's TCP port.
local function tcp(verb, port, count)
    local pipe = assert(io.popen(("%s tcp %s %d %d"):format(probe, verb, ports[port], count)))
    local value = assert(pipe:read "n", "the probe failed")
    pipe:close()
    return value
end

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

local function trips()
    local channel <close> = vm:connect(3)
    local message = ("y"):rep(64)
    local began = macvm.now()
    for _ = 1, TRIPS do
        channel:write(message)
        assert(#channel:read(64) == 64)
    end
    return (macvm.now() - began) / TRIPS
end

local function opens()
    local began = macvm.now()
    for _ = 1, OPENS do
        local channel <close> = vm:connect(3)
        channel:write "x"
        channel:read(1)
    end
    return OPENS / (macvm.now() - began)
end

for _ = 1, ROUNDS do
    put("vsock_receive", receive())
    put("tcp_receive", tcp("receive", 1, BYTES))
    put("vsock_send", send())
    put("tcp_send", tcp("send", 2, BYTES))
    put("vsock_trip", trips())
    put("tcp_trip", tcp("trips", 3, TRIPS))
    put("vsock_opens", opens())
    put("tcp_opens", tcp("opens", 3, OPENS))
end
vm:kill()
