-- SPDX-License-Identifier: MIT
-- macvm run LAB.lua

local core = require "macvm.core"
local life = require "macvm.cli.life"
local options = require "macvm.cli.options"
local script = require "macvm.cli.script"

return {
    name = "run",
    summary = "run a lab",
    usage = { "run [-v] [--backend NAME] [--json] LAB.lua [arguments]" },
    details = "Runs the Lua script with `macvm` as a global, and the arguments in `...` and `arg`. The lab lives\n" ..
        "while one of its tasks runs or one of its machines is up; Ctrl-C ends it, a second Ctrl-C at once.",
    options = {
        { name = "backend", arg = "NAME", choices = { "qemu", "vz", "sim" },
            help = "the hypervisor of machines that name none" },
        { name = "json", help = "report errors as JSON, one object a line" },
    },
    many = true,
    files = true,
    run = function(args, opts)
        if not args[1] then
            error(options.usage_error "`macvm run` needs the path of a Lua script", 0)
        end
        local rest = table.move(args, 2, #args, 1, {})
        if opts.backend then core.backend(opts.backend) end
        return life.run(script.load(args[1], rest), rest, opts)
    end,
}
