-- SPDX-License-Identifier: MIT
-- Start-up, the agent's port, memory and simulated events: what every machine of macvm has.

local bench = require "lib"
local sh, quote, quoted, median = bench.sh, bench.quote, bench.quoted, bench.median
local verdict = bench.verdict
local PUSH_MIB = 100

-- ---- the measurements --------------------------------------------------------------------

local function cold_start()
  local raw, ours, added_after = {}, {}, {}
  for i = 1, bench.pairs do
    bench.say("cold start %d of %d", i, bench.pairs)
    raw[i] = bench.numbers(quoted { bench.probe, "boot", "--", table.unpack(bench.raw_defaults()) })[1]
    for _, line in ipairs(bench.run_lua "boot.lua") do
      if line.text == "ready" then ours[i] = line.at end
      local lua, ready = line.text:match "^lua=(%S+).*ready=(%S+)"
      if lua then added_after[i] = tonumber(lua) - tonumber(ready) end
    end
  end
  return { raw = raw, ours = ours, added_after = added_after }
end

-- From macvm's start to the first instruction of QEMU: a stand-in for QEMU writes down the time.
local function before_exec()
  bench.say "start to exec"
  local bin, mark = bench.scratch .. "/bin", bench.scratch .. "/mark"
  sh(("mkdir -p %s && ln -s %s %s/qemu-system-x86_64"):format(quote(bin), quote(bench.probe), quote(bin)))
  local list = {}
  for i = 1, 3 * bench.pairs do
    os.remove(mark)
    local command = ("PATH=%s:$PATH PROBE_MARK=%s PROBE_QEMU=%s %s 2>/dev/null || :"):format(
      quote(bin), quote(mark), quote(bench.qemu),
      quoted { bench.probe, "lines", "--", bench.macvm, "run", "scripts/bench/boot.lua" })
    local began = sh(command):match "(%S+) began"
    local file = assert(io.open(mark), "macvm did not come to start QEMU")
    list[i] = file:read "n" - tonumber(began)
    file:close()
  end
  return list
end

local function agent_port()
  local blob = bench.scratch .. "/blob"
  sh(("head -c %d /dev/urandom >%s"):format(PUSH_MIB << 20, quote(blob)))
  local found = { echo = {}, dd_null = {}, dd_file = {} }
  for round = 1, bench.rounds do
    bench.say("agent's port %d of %d", round, bench.rounds)
    bench.collect(found, bench.run_lua("agent.lua", blob))
    local lean = bench.raw_lean()
    for _, seconds in ipairs(bench.numbers(quoted { bench.probe, "echo", "200", "--", table.unpack(lean) })) do
      table.insert(found.echo, seconds)
    end
    for name, file in pairs { dd_null = "/dev/null", dd_file = "/tmp/blob" } do
      table.insert(found[name], bench.numbers(quoted { bench.probe, "push", tostring(PUSH_MIB << 20), file, "--",
                                                       table.unpack(lean) })[1])
    end
  end
  return found
end

local function sim_events()
  bench.say "sim events"
  local list = {}
  for i = 1, 5 do
    for _, line in ipairs(bench.run_lua "events.lua") do
      local count, seconds = line.text:match "^events%s+(%d+)%s+(%S+)"
      if count then
        assert(tonumber(count) == 100000, "events were lost: " .. count)
        list[i] = tonumber(seconds)
      end
    end
  end
  return list
end

-- ---- the report ---------------------------------------------------------------------------

local function ms(list) return ("%.1f ms"):format(median(list) * 1000) end
local function seconds(list) return ("%.2f s (%.2f to %.2f)"):format(median(list), bench.spread(list)) end
local function fine_ms(list) return ("%.2f ms"):format(median(list) * 1000) end
local function rate(list) return ("%.0f MB/s"):format((PUSH_MIB << 20) / 1e6 / median(list)) end

local core = {}

function core.measure()
  return { cold = cold_start(), before = before_exec(), port = agent_port(), events = sim_events() }
end

function core.rows(found, add)
  local cold, port = found.cold, found.port
  local ratio_cold = median(cold.ours) / median(cold.raw)
  local added = (median(found.before) + median(cold.added_after)) * 1000
  local ratio_exec = median(port.exec) / (median(port.echo) + median(port.fork))
  local ratio_push = median(port.dd_file) / median(port.push)
  local _, peak = bench.spread(port.rss_peak)
  add("| cold start of a one-VM lab to \"ready\" | %s | raw QEMU, q35 and its defaults, bzImage: %s | %.2f "
    .. "| <= 0.85 | %s |", seconds(cold.ours), seconds(cold.raw), ratio_cold, verdict(ratio_cold <= 0.85))
  add("| macvm's own share: its start to QEMU's exec | %s | | | | |", ms(found.before))
  add("| ... and the agent's ready mark to the next Lua statement | %s | | %.1f ms | <= 30 ms | %s |",
      ms(cold.added_after), added, verdict(added <= 30))
  add("| memory with one VM (peak resident) | %.1f MB | | | <= 12 MB | %s |", peak / 1024, verdict(peak <= 12 * 1024))
  add("| `vm:exec \"true\"` | %s | bare echo over the port %s + the guest's fork and exec %s | %.2f | <= 1.5 | %s |",
      fine_ms(port.exec), fine_ms(port.echo), fine_ms(port.fork), ratio_exec, verdict(ratio_exec <= 1.5))
  add("| push of %d MiB to a file | %s, %s | raw `dd` through such a port: %s (to /dev/null %s) | %.2f | >= 0.6 | %s |",
      PUSH_MIB, seconds(port.push), rate(port.push), rate(port.dd_file), rate(port.dd_null),
      ratio_push, verdict(ratio_push >= 0.6))
  add("| 100,000 sim events through a Lua handler | %.2f s of CPU | | | <= 1 s | %s |", median(found.events),
      verdict(median(found.events) <= 1))
end

function core.how(found, add)
  add("* Cold start, %d pairs: from the fork of `macvm run scripts/bench/boot.lua` to its line \"ready\", against the",
      #found.cold.ours)
  add "  fork of `qemu-system-x86_64 -machine q35 -m 256M -nographic -kernel bzImage -initrd ...` to the first byte of"
  add "  the agent's port. Same kernel package, same initramfs, same accelerator; macvm boots the unpacked vmlinux."
  add "* Own share: a stand-in for QEMU writes down when it was started; the ready mark is the `ready` entry of"
  add "  `vm.timeline`."
  add("* `exec`: %d round trips, string form (the guest's `sh -c`). The bare echo is one byte through a second port of",
      #found.port.exec)
  add "  the same machine without macvm, whose guest runs `cat` on it; the guest's fork and exec is a shell loop over"
  add("  `/bin/true` in the same guest. One byte through a `cat` behind the agent takes %s.", fine_ms(found.port.cat))
  add("* Push: %d MiB of random bytes to the guest's tmpfs; `dd bs=64k` in the guest of the same", PUSH_MIB)
  add "  machine without macvm reads as many from its second port."
  add "* Memory: VmHWM of macvm after all of that. Sim events: `os.clock()` around sending and handling."
end

return core
