-- SPDX-License-Identifier: MIT
-- The manual page macvm(1) as roff, made from the verb tables. Pure.

local options = require "macvm.cli.options"
local report = require "macvm.cli.report"

local function roff(text)
    text = text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("`([^`]*)`", "\\fB%1\\fR")
    return (text:gsub("\n([.'])", "\n\\&%1"):gsub("^([.'])", "\\&%1"))
end

local function option_item(o)
    local names = (o.short and "\\fB\\-" .. o.short .. "\\fR, " or "") .. "\\fB\\-\\-" .. roff(o.name) .. "\\fR"
    local choices = o.choices and " (" .. table.concat(o.choices, ", ") .. ")" or ""
    local value = o.arg and " \\fI" .. o.arg .. "\\fR" or ""
    return ".TP\n" .. names .. value .. "\n" .. roff(o.help .. choices) .. "."
end

local function verb_section(out, verb)
    out[#out + 1] = ".SS \"macvm " .. roff(verb.usage[1]) .. "\""
    for i = 2, #verb.usage do out[#out + 1] = "\\fBmacvm " .. roff(verb.usage[i]) .. "\\fR\n.br" end
    out[#out + 1] = roff(verb.summary:sub(1, 1):upper() .. verb.summary:sub(2)) .. "."
    if verb.details then out[#out + 1] = ".PP\n" .. roff(verb.details) end
    for _, o in ipairs(verb.options or {}) do out[#out + 1] = option_item(o) end
end

return function(cli)
    local out = {
        '.TH MACVM 1 "" "macvm ' .. require("macvm.core").version .. '" "User Commands"',
        ".SH NAME",
        "macvm \\- script virtual machines in Lua",
        ".SH SYNOPSIS",
        ".B macvm",
        "\\fIVERB\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]",
        ".SH DESCRIPTION",
        roff("macvm runs Lua 5.4 scripts in which virtual machines are values: described by a table, started, " ..
            "talked to, watched and put away. Without a verb, on a terminal, it is a prompt."),
        ".SH OPTIONS OF EVERY VERB",
    }
    for _, o in ipairs(options.common) do out[#out + 1] = option_item(o) end
    out[#out + 1] = ".SH VERBS"
    for _, name in ipairs(cli.VERBS) do verb_section(out, cli.verb(name)) end
    out[#out + 1] = ".SH EXIT STATUS"
    for _, row in ipairs(report.STATUSES) do
        out[#out + 1] = (".TP\n.B %d\n%s."):format(row[1], roff(row[2]:sub(1, 1):upper() .. row[2]:sub(2)))
    end
    out[#out + 1] = ".SH ENVIRONMENT"
    for _, row in ipairs {
        { "MACVM_DATA", "the directory of macvm's own guest and its builder" },
        { "MACVM_STDLIB", "a directory to read macvm's Lua modules from, in place of those in the program" },
        { "XDG_RUNTIME_DIR", "where the private directory of a running lab is made; else /tmp/macvm-UID" },
    } do
        out[#out + 1] = (".TP\n.B %s\n%s."):format(row[1], roff(row[2]:sub(1, 1):upper() .. row[2]:sub(2)))
    end
    out[#out + 1] = ".SH SEE ALSO\n.BR lua (1),\n.BR qemu (1)"
    return table.concat(out, "\n") .. "\n"
end
