-- SPDX-License-Identifier: MIT
-- macvm doctor

local core = require "macvm.core"
local json = require "macvm.json"
local report = require "macvm.cli.report"

local HYPERVISORS = { qemu = true, vz = true }

local function colour(code, text)
    return core.isatty(1) and ("\27[%sm%s\27[0m"):format(code, text) or text
end

local function show(host)
    local width = 0
    for _, f in ipairs(host.findings) do width = math.max(width, #f.what) end
    report.write(("macvm %s on %s, %d CPUs, %d MiB of memory\n\n"):format(
        core.version, host.arch, host.cpus, host.memory >> 20))
    for _, f in ipairs(host.findings) do
        report.write("  ", f.ok and colour("32", "ok") or colour("31", "no"), "  ",
            f.what, (" "):rep(width - #f.what), "  ", f.detail, "\n")
        if f.cure ~= "" then
            report.write((" "):rep(width + 8), f.ok and "quicker with: " or "to cure it: ", f.cure, "\n")
        end
    end
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
                findings = host.findings, works = works,
            }, true), "\n")
        else
            show(host)
            report.write("\n", works and "Machines can be run here.\n" or "No machine can be run here yet.\n")
        end
        return works and 0 or 3
    end,
}
