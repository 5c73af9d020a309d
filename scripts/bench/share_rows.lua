-- SPDX-License-Identifier: MIT
-- The sequential read of a share by virtiofs, against the same virtiofsd under a QEMU without macvm (share.lua).

local bench = require "lib"
local PAIRS, TARGET = 7, 0.9

local share = {}

function share.measure()
  bench.say "share"
  for _, line in ipairs(bench.run_lua("share.lua", tostring(PAIRS))) do
    local ours, raw, ratio = line.text:match "^median macvm=(%S+) raw=(%S+) ratio=(%S+)"
    if ours then return { ours = tonumber(ours), raw = tonumber(raw), ratio = tonumber(ratio) } end
  end
  error("share.lua did not come to its end", 0)
end

function share.rows(found, add)
  add("| sequential read of a share by virtiofs | %.0f MiB/s | the same virtiofsd under raw QEMU: %.0f MiB/s "
    .. "| %.2f | >= %.1f | %s |", found.ours, found.raw, found.ratio, TARGET, bench.verdict(found.ratio >= TARGET))
end

function share.how(_, add)
  add("* Share: 256 MiB in the host's page cache, the guest's dropped before each of %d reads.", PAIRS)
end

return share
