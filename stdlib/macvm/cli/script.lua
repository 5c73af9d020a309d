-- SPDX-License-Identifier: MIT
-- Reads a lab: a Lua file named on the command line.

local options = require "macvm.cli.options"

local script = {}

local function readable(path)
    local file, why = io.open(path, "rb")
    if not file then
        error(options.usage_error("can't open " .. why), 0)
    end
    local ok, bad = file:read(0)
    if not ok and bad then
        file:close()
        error(options.usage_error(("can't read %s: %s"):format(path, bad)), 0)
    end
    file:close()
end

-- load(path, args) -> function: the script's main function. Sets the global `arg` as the stock lua does.
-- Raises a usage error when there is no such file, it can't be read, or it is no Lua.
function script.load(path, args)
    readable(path)
    local chunk, why = loadfile(path, "t")
    if not chunk then
        if not why:find(path, 1, true) then why = path .. ": " .. why end
        error(options.usage_error((why:gsub("^cannot ", "can't "))), 0)
    end
    local arg = { [0] = path }
    for i = 1, #args do arg[i] = args[i] end
    _G.arg = arg
    if _G.macvm == nil then _G.macvm = require "macvm" end
    return chunk
end

return script
