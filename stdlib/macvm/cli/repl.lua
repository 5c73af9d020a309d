-- SPDX-License-Identifier: MIT
-- macvm repl [LAB.lua]

local core = require "macvm.core"
local repl = require "macvm.repl"
local report = require "macvm.cli.report"
local script = require "macvm.cli.script"

return {
    name = "repl",
    summary = "talk to live machines at a prompt",
    usage = { "repl [-v] [--backend NAME] [LAB.lua [arguments]]" },
    details = "Runs the lab first, when one is given, and keeps its globals. Then every line is run as Lua, and\n" ..
        "its values are shown. Tab completes, Ctrl-C interrupts what runs, the end of input (Ctrl-D) stops the\n" ..
        "machines and leaves. Without a terminal, lines are read from standard input, and the exit status\n" ..
        "is 1 when one of them failed.",
    options = {
        { name = "backend", arg = "NAME", choices = { "qemu", "vz", "sim" },
            help = "the hypervisor of machines that name none" },
    },
    many = true,
    files = true,
    run = function(args, opts)
        if opts.backend then core.backend(opts.backend) end
        local rest = table.move(args, 2, #args, 1, {})
        local lab = args[1] and script.load(args[1], rest)
        return repl.run { report = report, lab = lab, args = rest, verbose = opts.verbose }
    end,
}
