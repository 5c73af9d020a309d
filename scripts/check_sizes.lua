-- SPDX-License-Identifier: MIT
-- Sources stay small and marked: every C and Lua file has its SPDX line near the top (examples are
-- read from their first line on and need none) and at most 600 lines, a test file twice that.
-- usage: lua5.4 scripts/check_sizes.lua
local LIMIT = 600

local faults = 0
local function fault(...)
  faults = faults + 1
  print(string.format(...))
end

local seen = 0
local pipe <close> = assert(io.popen(
  "find core lua stdlib examples tests scripts -name '*.[chm]' -o -name '*.lua' | sort"))
for path in pipe:lines() do
  seen = seen + 1
  local lines, marked = 0, false
  for line in io.lines(path) do
    lines = lines + 1
    if lines <= 3 and line:find("SPDX-License-Identifier: MIT", 1, true) then marked = true end
  end
  local limit = path:find "^tests/" and 2 * LIMIT or LIMIT
  local made = path:find "^stdlib/meta/"
  if lines > limit and not made then
    fault("%s: %d lines; split it before %d", path, lines, limit)
  end
  if not marked and not made and not path:find "^examples/" then
    fault("%s: no SPDX line in its first three lines", path)
  end
end
if seen == 0 then fault "no source files here: run this in the project's directory" end
os.exit(faults == 0)
