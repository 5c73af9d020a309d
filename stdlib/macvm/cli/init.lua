-- SPDX-License-Identifier: MIT
--[[
The macvm command: finds the verb, reads its options, runs it, turns errors into one line and an exit
status. A verb is a file of this directory that returns

    { name, summary, usage = { lines }, options = { see options.lua }, details = "text of the help",
      run = function(args, opts) -> exit status }

Help, completion and the manual page are made from these tables.
]]

local core = require "macvm.core"
local options = require "macvm.cli.options"
local report = require "macvm.cli.report"
local nearest = require "macvm.nearest"

local cli = {}

-- The verbs, in the order of the help.
cli.VERBS = { "run", "repl", "check", "doctor", "guest", "console", "completion", "help", "version" }

function cli.verb(name)
    for _, known in ipairs(cli.VERBS) do
        if known == name then return require("macvm.cli." .. name) end
    end
end

-- ---- help ----------------------------------------------------------------------------

local function pad(text, width)
    return text .. (" "):rep(width - utf8.len(text))
end

local function option_text(o)
    local text = (o.short and "-" .. o.short .. ", " or "    ") .. "--" .. o.name
    return o.arg and text .. " " .. o.arg or text
end

-- How one verb is used, as text.
function cli.help_of(verb)
    local lines = {}
    for i, usage in ipairs(verb.usage) do
        lines[#lines + 1] = (i == 1 and "usage: " or "       ") .. "macvm " .. usage
    end
    lines[#lines + 1] = ""
    lines[#lines + 1] = verb.summary:sub(1, 1):upper() .. verb.summary:sub(2) .. "."
    if verb.details then
        lines[#lines + 1] = ""
        lines[#lines + 1] = verb.details
    end
    lines[#lines + 1] = ""
    local width = 0
    for _, o in ipairs(options.of(verb)) do width = math.max(width, #option_text(o)) end
    for _, o in ipairs(options.of(verb)) do
        local choices = o.choices and " (" .. table.concat(o.choices, ", ") .. ")" or ""
        lines[#lines + 1] = "  " .. pad(option_text(o), width) .. "  " .. o.help .. choices
    end
    return table.concat(lines, "\n") .. "\n"
end

-- The overview of all verbs, as text.
function cli.overview()
    local lines = {
        "usage: macvm VERB [options] [arguments]",
        "",
        "Scripts virtual machines in Lua. Without a verb, on a terminal: a prompt (macvm repl).",
        "",
    }
    for _, name in ipairs(cli.VERBS) do
        lines[#lines + 1] = "  " .. pad(name, 12) .. cli.verb(name).summary
    end
    lines[#lines + 1] = ""
    lines[#lines + 1] = "`macvm help VERB` tells more of one; `macvm help --man` prints the manual page."
    return table.concat(lines, "\n") .. "\n"
end

-- ---- dispatch ------------------------------------------------------------------------

-- The verb's name and the words for it. -v may stand before the verb too.
local function pick(args)
    local rest, at = {}, 1
    while args[at] and (args[at] == "--verbose" or args[at]:find "^%-v+$") do
        rest[at], at = args[at], at + 1
    end
    table.move(args, at + 1, #args, at, rest)
    local first = args[at]
    if first == nil then
        if core.isatty(0) and core.isatty(1) then return "repl", rest end
        io.stderr:write(cli.overview())
        return nil
    end
    if first == "--help" or first == "-h" then return "help", rest end
    if first == "--version" or first == "-V" then return "version", rest end
    return first, rest
end

local function no_such_verb(name)
    if name:find "^%-" then
        return options.usage_error(("%s stands before the verb: options follow it (`macvm run %s`)"):format(name, name))
    end
    local near = nearest(name, cli.VERBS)
    if not near and (name:find "%.lua$" or name:find "/") then
        return options.usage_error(("there is no verb `%s` (did you mean `macvm run %s`?)"):format(name, name))
    end
    return options.usage_error(("there is no verb `%s` (%s)"):format(name,
        near and ("did you mean `%s`?"):format(near) or "`macvm help` lists them"))
end

local function dispatch(args, opts)
    local name, rest = pick(args)
    if not name then return 2 end
    local verb = cli.verb(name)
    if not verb then error(no_such_verb(name), 0) end
    opts.verb = name
    local plain, given = options.parse(verb, rest)
    for k, v in pairs(given) do opts[k] = v end
    if opts.help then
        report.write(cli.help_of(verb))
        return 0
    end
    if opts.verbose then core.log_level(math.min(1 + opts.verbose, 3)) end
    return verb.run(plain, opts) or 0
end

-- main(args) -> exit status: the whole command, `args` being the words after "macvm".
function cli.main(args)
    local opts = {}
    local ok, status = xpcall(function()
        local result = dispatch(args, opts)
        report.flush()
        return result
    end, function(err)
        if type(err) == "string" then opts.traceback = debug.traceback(nil, 2) end
        return err
    end)
    if ok then return status end
    if report.is_closed(status) then return 141 end
    report.print(status, opts, opts.traceback)
    return report.status(status)
end

return cli
