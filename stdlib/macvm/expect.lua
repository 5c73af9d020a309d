-- SPDX-License-Identifier: MIT
-- console:expect, the answer to "wait until the machine prints this". Every console has one cursor, which
-- each match moves on, so that a script reads the console like a dialogue.

local core = require "macvm.core"
local strict = require "macvm.strict"

local expect = {}

local TIMEOUT = 30
local OPTIONS = { timeout = "number" }

local cursors = setmetatable({}, { __mode = "k" })

local function refuse(message)
    error(core.error { code = "config", message = message })
end

local function check_patterns(patterns)
    local list = type(patterns) == "table" and patterns or { patterns }
    if #list == 0 then refuse "console:expect needs a pattern, or a list of patterns" end
    for i, pattern in ipairs(list) do
        if type(pattern) ~= "string" then
            refuse(("console:expect: pattern %d must be a string, got %s"):format(i, type(pattern)))
        end
        local ok, why = pcall(string.find, "", pattern)
        if not ok then refuse(("console:expect: %q is no Lua pattern: %s"):format(pattern, why)) end
    end
    return list
end

-- The match that begins first in `text`; of several that begin there, the one first in the list.
local function find(text, patterns)
    local best, which
    for i, pattern in ipairs(patterns) do
        local found = table.pack(pcall(string.find, text, pattern))
        if not found[1] then
            error(core.error {
                code = "config",
                message = ("console:expect: %q is no Lua pattern: %s"):format(pattern, found[2]),
            })
        end
        if found[2] and (not best or found[2] < best[2]) then best, which = found, i end
    end
    return which, best
end

local function unmatched(code, message, patterns, text)
    local names = {}
    for i, pattern in ipairs(patterns) do names[i] = ("%q"):format(pattern):gsub("\\\n", "\\n") end
    local last = text:match "([^\r\n]*[^%s%c][^\r\n]*)[%s%c]*$"
    local err = core.error {
        code = code,
        message = ("the console did not show %s %s; %s"):format(table.concat(names, " or "), message,
            last and ('its last line is "%s"'):format(last:gsub("%c", " "):sub(-120)) or "it showed nothing new"),
    }
    err.text = text:sub(-4096)
    return err
end

--- console:expect(pattern: string|string[], opts?: {timeout?: number}) -> ...
--- Waits until the console shows text that matches a Lua pattern, searching from the end of the last
--- match on (at first: from the first byte the machine printed). For one pattern returns its captures, or the whole
--- match when it has none. For a list of patterns returns the place in the list of the one that matched first, and then
--- the same. After `timeout` seconds (30) raises `timeout`, and `state` when the machine goes down without it; the
--- error's field `text` is the end of what was shown instead.
function expect.expect(console, patterns, opts)
    local list = check_patterns(patterns)
    local timeout = strict.options(opts, OPTIONS, "console:expect").timeout or TIMEOUT
    local deadline, down = core.now() + timeout, nil
    while true do
        local from = cursors[console] or 0
        local text, begin = console:text(from) -- it may begin later: older text is dropped
        local which, found = find(text, list)
        if which then
            cursors[console] = begin + found[3]
            local first = 4
            if found.n < 4 then
                found[4], found.n = text:sub(found[2], found[3]), 4
            end
            if type(patterns) == "table" then return which, table.unpack(found, first, found.n) end
            return table.unpack(found, first, found.n)
        end
        if down then
            local err = unmatched(down.code, "before it ended", list, text)
            err.hint, err.vm = down.message, down.vm
            error(err)
        end
        local ok, err = pcall(console.wait, console, begin + #text, { timeout = math.max(0, deadline - core.now()) })
        if not ok then
            if type(err) ~= "table" or (err.code ~= "timeout" and err.code ~= "state") then error(err, 0) end
            if err.code == "timeout" then
                error(unmatched("timeout", ("within %g s"):format(timeout), list, (console:text(from))))
            end
            down = err
        end
    end
end

return expect
