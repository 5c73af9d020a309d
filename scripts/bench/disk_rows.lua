-- SPDX-License-Identifier: MIT
-- Block writes in each `sync` mode: macvm's machine against QEMU without macvm, with the same kernel, initramfs,
-- accelerator and images, the device as one types it. Timed by the guest's own clock on both sides.

local bench = require "lib"
local median, verdict = bench.median, bench.verdict
local ROUNDS = 2

local MODES = { { "full", "writeback" }, { "fsync", "writeback" }, { "none", "unsafe" } }
local STREAM_MIB, FLUSHES = 64, 60
local TARGET = 0.95

-- For each disk, by its serial number: when a stream began, when the small writes did, and when all was over.
local SCRIPT = ([[
    now() { read -r up rest </proc/uptime; echo $up; }
    for round in 1 2 3; do for d in /sys/block/vd?; do
        dev=/dev/${d##*/}; i=0
        began=$(now)
        while [ $i -lt 4 ]; do
            dd if=/dev/zero of=$dev bs=64k count=%d oflag=direct conv=fsync 2>/dev/null; i=$((i+1))
        done
        between=$(now); i=0
        while [ $i -lt %d ]; do dd if=/dev/zero of=$dev bs=4k count=1 conv=fsync 2>/dev/null; i=$((i+1)); done
        echo disk $(cat $d/serial) $began $between $(now)
    done; done]]):format(STREAM_MIB * 16, FLUSHES)

local function parse(text, into)
  local n = 0
  for mode, began, between, ended in text:gmatch "disk (%w+) (%S+) (%S+) (%S+)" do
    table.insert(into[mode].stream, (tonumber(between) - tonumber(began)) / 4)
    table.insert(into[mode].flush, (tonumber(ended) - tonumber(between)) / FLUSHES)
    n = n + 1
  end
  assert(n == 3 * #MODES, "the guest printed: " .. text)
end

local function empty()
  local into = {}
  for _, mode in ipairs(MODES) do into[mode[1]] = { stream = {}, flush = {} } end
  return into
end

local disk = {}

function disk.measure()
  local found = { ours = empty(), raw = empty() }
  local lean = bench.raw_lean()
  local argv = { bench.probe, "guest", SCRIPT, "--" }
  table.move(lean, 1, #lean, #argv + 1, argv)
  for _, mode in ipairs(MODES) do
    bench.sh(("truncate -s %dM %s/%s.img"):format(STREAM_MIB, bench.scratch, mode[1]))
    table.move({ "-drive", ("if=none,id=%s,format=raw,discard=unmap,cache=%s,file=%s/%s.img"):format(mode[1], mode[2],
      bench.scratch, mode[1]), "-device", ("virtio-blk-pci,drive=%s,serial=%s"):format(mode[1], mode[1]) }, 1, 4,
      #argv + 1, argv)
  end
  for round = 1, ROUNDS do
    bench.say("disks %d of %d", round, ROUNDS)
    parse(bench.sh(bench.quoted { bench.macvm, "run", "scripts/bench/disk.lua", bench.scratch, SCRIPT }), found.ours)
    parse(bench.sh(bench.quoted(argv)), found.raw)
  end
  return found
end

function disk.rows(found, add)
  for _, mode in ipairs(MODES) do
    local ours, raw = found.ours[mode[1]], found.raw[mode[1]]
    local function rate(list) return STREAM_MIB * 1.048576 / median(list) end
    local stream = rate(ours.stream) / rate(raw.stream)
    local flush = median(raw.flush) / median(ours.flush)
    add("| write of %d MiB to a disk, `sync = \"%s\"` | %.0f MB/s | raw QEMU, cache=%s: %.0f MB/s | %.2f | >= %.2f "
      .. "| %s |", STREAM_MIB, mode[1], rate(ours.stream), mode[2], rate(raw.stream), stream, TARGET,
      verdict(stream >= TARGET))
    add("| ... 4 KiB and a flush, by a process each | %.2f ms | %.2f ms | %.2f | >= %.2f | %s |",
      median(ours.flush) * 1000, median(raw.flush) * 1000, flush, TARGET, verdict(flush >= TARGET))
  end
end

function disk.how(_, add)
  add("* Disk: %d rounds of 3 times 4 streams of %d MiB (`dd bs=64k oflag=direct conv=fsync`) and %d single blocks in",
      ROUNDS, STREAM_MIB, FLUSHES)
  add "  each mode, by both sides to the same image."
end

return disk
