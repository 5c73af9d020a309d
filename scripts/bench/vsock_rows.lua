-- SPDX-License-Identifier: MIT
-- vsock against a virtio console port of a QEMU without macvm, and against TCP through QEMU's user network.

local bench = require "lib"
local median, verdict = bench.median, bench.verdict
local PORT_BYTES = 64 << 20

local vsock = {}

-- MB/s of the guest's dd through its second port.
local function port(...)
  local seconds = bench.numbers(bench.quoted { bench.probe, ... })[1]
  return PORT_BYTES / 1e6 / seconds
end

function vsock.measure()
  local found, bytes = { port_send = {}, port_receive = {} }, tostring(PORT_BYTES)
  for round = 1, bench.rounds do
    bench.say("vsock %d of %d", round, bench.rounds)
    bench.collect(found, bench.run_lua("vsock.lua", bench.peer, bench.probe))
    local lean = bench.raw_lean()
    table.insert(found.port_send, port("push", bytes, "/dev/null", "--", table.unpack(lean)))
    table.insert(found.port_receive, port("pull", bytes, "--", table.unpack(lean)))
  end
  return found
end

function vsock.rows(found, add)
  local function figure(name) return median(found[name]) end
  for _, way in ipairs { { "receive", "guest to host" }, { "send", "host to guest" } } do
    local name = "vsock_" .. way[1]
    for _, other in ipairs { { "port", "a virtio console port of raw QEMU", 3 },
                             { "tcp", "TCP through user-mode NAT", 2 } } do
      local theirs = figure(other[1] .. "_" .. way[1])
      local ratio = figure(name) / theirs
      add("| vsock stream, %s | %.0f MB/s | %s: %.0f MB/s | %.2f | >= %d | %s |", way[2], figure(name), other[2],
          theirs, ratio, other[3], verdict(ratio >= other[3]))
    end
    local work = figure(name .. "_cpu_guest")
    add("| ... of which the guest's own work | %.2f ms of its processor a MB | | no more than %.0f MB/s | | |",
        work * 1000, 1 / work)
  end
  local ratio = figure "vsock_trip" / figure "tcp_trip"
  add("| vsock round trip of 64 bytes | %.0f us | such TCP: %.0f us | %.2f | <= 0.7 | %s |",
      figure "vsock_trip" * 1e6, figure "tcp_trip" * 1e6, ratio, verdict(ratio <= 0.7))
  add("| vsock connections set up, one after the other | %.0f a second | | | | |", figure "vsock_opens")
  local costs = {}
  for where, text in pairs { guest = "the guest's processor", qemu = "QEMU's main thread",
                             loop = "macvm's loop with Lua", device = "macvm's device thread" } do
    costs[#costs + 1] = { figure("vsock_opens_cpu_" .. where) * 1e6, text }
  end
  table.sort(costs, function(a, b) return a[1] > b[1] end)
  for i = 1, 3 do costs[i] = ("%s %.0f us"):format(costs[i][2], costs[i][1]) end
  add("| ... the three largest costs of one | %s | | | | |", table.concat(costs, ", ", 1, 3))
end

function vsock.how(_, add)
  add("* vsock: %d MiB by `tests/guest/vsock_peer.c` in the guest and a script at the host", PORT_BYTES >> 20)
  add "  (`scripts/bench/vsock.lua`); for TCP the same guest program through a forwarded port of the same machine, a C"
  add "  program at the host; for the port `dd bs=64k` (/dev/zero, /dev/null) in the guest of the same machine without"
  add "  macvm, a C program at the host. The guest's own work is the processor time of its vCPU: what its kernel and"
  add "  program need for a MB when they wait for nothing. Linux 6.1 gives the host receive buffers of 4 KiB alone, and"
  add "  has no more on the way than its socket's 256 KiB."
  add "* Round trips: the median of each run's 500. The costs of a connection are the processor time of threads."
end

return vsock
