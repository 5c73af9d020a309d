-- SPDX-License-Identifier: MIT
-- macvm version

local core = require "macvm.core"
local json = require "macvm.json"
local report = require "macvm.cli.report"

return {
    name = "version",
    summary = "print the version",
    usage = { "version [--json]" },
    options = { { name = "json", help = "print JSON" } },
    run = function(_, opts)
        if opts.json then
            report.write(json { version = core.version, lua = _VERSION, arch = core.host().arch }, "\n")
        else
            report.write("macvm ", core.version, " (", _VERSION, ")\n")
        end
        return 0
    end,
}
