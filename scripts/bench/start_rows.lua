-- SPDX-License-Identifier: MIT
-- What each kind of device adds to a machine's start, and all of them together.

local bench = require "lib"
local KINDS = { "disk", "share", "net", "vsock", "console", "entropy", "balloon", "display", "keyboard", "pointer",
                "clipboard", "sound" }

local start = {}

local function boot(...)
  for _, line in ipairs(bench.run_lua("boot.lua", ...)) do
    if line.text == "ready" then return line.at end
    local missing = line.text:match "^can't: (.*)"
    if missing then return nil, missing end
  end
  error("a machine did not come to be ready", 0)
end

function start.measure()
  local found = { none = {}, all = {}, missing = {} }
  for _, kind in ipairs(KINDS) do found[kind] = {} end
  for round = 1, bench.rounds do
    bench.say("start-up with each device %d of %d", round, bench.rounds)
    found.none[round] = boot()
    local able = {}
    for _, kind in ipairs(KINDS) do
      if not found.missing[kind] then
        found[kind][round], found.missing[kind] = boot(bench.scratch, kind)
        able[#able + 1] = found[kind][round] and kind
      end
    end
    found.all[round] = boot(bench.scratch, table.unpack(able))
  end
  return found
end

-- The median of what a round's machine took longer than the same round's without devices.
local function added(found, kind)
  local list = {}
  for round, seconds in ipairs(found[kind]) do list[round] = (seconds - found.none[round]) * 1000 end
  return bench.median(list)
end

function start.rows(found, add)
  local none = bench.median(found.none)
  local low, high = bench.spread(found.none)
  add("| cold start without a device | %.2f s (%.2f to %.2f) | | | | |", none, low, high)
  local function row(what, kind)
    if found.missing[kind] then
      add("| %s | this host can't: %s | | | | |", what, found.missing[kind])
      return
    end
    local more = added(found, kind)
    add("| %s | %.2f s | without: %.2f s | %+.0f ms, %+.1f %% | | |", what, bench.median(found[kind]), none, more,
        more / none / 10)
  end
  for _, kind in ipairs(KINDS) do row("... with `macvm." .. kind .. "`", kind) end
  row("... with all of them", "all")
end

function start.how(found, add)
  add("* Start with a device: as the cold start above, in %d rounds through all rows; the difference is the median of",
      #found.none)
  add "  the rounds'. A machine has the devices that it is given and no others: without one it pays for none."
end

return start
