-- SPDX-License-Identifier: MIT
-- How the macvm command tells of an error: one line on standard error, and an exit status.

local json = require "macvm.json"

local report = {}

-- The exit statuses of every verb; docs/api.md and the manual page list them from here.
report.STATUSES = {
    { 0, "it worked" },
    { 1, "the script failed, or a task whose error nobody took" },
    { 2, "usage or bad input: an option, a missing script, a syntax error, a wrong configuration" },
    { 3, "the host or its hypervisor failed, or can't do what was asked" },
    { 129, "the terminal was closed (SIGHUP)" },
    { 130, "Ctrl-C (SIGINT)" },
    { 141, "nobody reads what is printed any more (closed pipe)" },
    { 143, "SIGTERM" },
}

local BY_CODE = { config = 2, unsupported = 3, backend = 3, io = 3 }

function report.status(err)
    return type(err) == "table" and BY_CODE[rawget(err, "code")] or 1
end

local function text_of(err)
    local meta = getmetatable(err)
    if type(err) == "string" or type(err) == "number" or type(meta) == "table" and meta.__tostring then
        return tostring(err)
    end
    return ("the error object is a %s value"):format(err == nil and "nil" or type(err))
end

-- The one line for an error. What a guest printed may be in it, so no control character gets through.
function report.line(err)
    return (text_of(err):gsub("%s*[\r\n]+%s*", "; "):gsub("%c", "?"))
end

local function as_json(err)
    local object = { code = "script", text = report.line(err), status = report.status(err) }
    if type(err) == "table" then
        for _, key in ipairs { "code", "message", "field", "hint", "vm" } do
            local value = rawget(err, key)
            if type(value) == "string" and value ~= "" then object[key] = value end
        end
    end
    return json { error = object }
end

-- Prints the error (and the traceback, when there is one and -v asks for it).
function report.print(err, opts, traceback)
    io.stderr:write(opts.json and as_json(err) or "macvm: " .. report.line(err), "\n")
    if traceback and opts.verbose then io.stderr:write(traceback, "\n") end
end

-- ---- standard output ---------------------------------------------------------------

local CLOSED = { __tostring = function() return "nobody reads the output any more" end }

-- Writes to standard output. A reader that has gone ends the command quietly.
function report.write(...)
    local ok, why, errno = io.stdout:write(...)
    if not ok then report.write_failed(why, errno) end
end

function report.flush()
    local ok, why, errno = io.stdout:flush()
    if not ok then report.write_failed(why, errno) end
end

function report.write_failed(why, errno)
    if errno == 32 then error(setmetatable({ closed = true }, CLOSED), 0) end
    error(setmetatable({ code = "io", message = "can't write the standard output: " .. tostring(why) },
        { __tostring = function(e) return e.message end }), 0)
end

function report.is_closed(err)
    return getmetatable(err) == CLOSED
end

return report
