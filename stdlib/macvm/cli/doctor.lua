-- SPDX-License-Identifier: MIT
-- macvm doctor

local core = require "macvm.core"
local json = require "macvm.json"
local report = require "macvm.cli.report"

local HYPERVISORS = { qemu = true, vz = true }

local function colour(code, text)
    return core.isatty(1) and ("\27[%sm%s\27[0m"):format(code, text) or text
end

local function width_of(rows, key)
    local width = 0
    for _, row in ipairs(rows) do width = math.max(width, #row[key]) end
    return width
end

local function show_findings(host)
    local width = width_of(host.findings, "what")
    for _, f in ipairs(host.findings) do
        report.write("  ", f.ok and colour("32", "ok") or colour("31", "no"), "  ",
            f.what, (" "):rep(width - #f.what), "  ", f.detail, "\n")
        if f.cure ~= "" then
            report.write((" "):rep(width + 8), f.ok and "quicker with: " or "to cure it: ", f.cure, "\n")
        end
    end
end

-- What machines can here: of what they can't, the cause and, where there is one, the cure.
local function show_abilities(host)
    local width, what = width_of(host.abilities, "word"), width_of(host.abilities, "what")
    report.write "\nWhat machines have here (the words are those of vm:can):\n"
    for _, a in ipairs(host.abilities) do
        local row = ("  %s  %-" .. width .. "s  %-" .. what .. "s"):format(
            a.can and colour("32", "yes") or colour("31", "no "), a.word, a.what)
        report.write((row:gsub("`", ""):gsub("%s+$", "")), "\n")
        if not a.can then report.write((" "):rep(width + 9), a.reason, "\n") end
        if a.cure then report.write((" "):rep(width + 9), "to cure it: ", a.cure, "\n") end
    end
end

local function show(host)
    report.write(("macvm %s on %s, %d CPUs, %d MiB of memory\n\n"):format(
        core.version, host.arch, host.cpus, host.memory >> 20))
    show_findings(host)
    show_abilities(host)
end

return {
    name = "doctor",
    summary = "say what works on this host, and what to install for the rest",
    usage = { "doctor [--json]" },
    details = "Exits 0 when a hypervisor works here, else 3.",
    options = { { name = "json", help = "print JSON" } },
    run = function(args, opts)
        if args[1] then
            error(require("macvm.cli.options").usage_error "`macvm doctor` takes no arguments", 0)
        end
        local host, works = core.host(), false
        for _, f in ipairs(host.findings) do
            works = works or HYPERVISORS[f.what] and f.ok
        end
        works = works or false
        if opts.json then
            report.write(json({
                version = core.version, arch = host.arch, cpus = host.cpus, memory = host.memory,
                findings = host.findings, abilities = host.abilities, works = works,
            }, true), "\n")
        else
            show(host)
            report.write("\n", works and "Machines can be run here.\n" or "No machine can be run here yet.\n")
        end
        return works and 0 or 3
    end,
}
