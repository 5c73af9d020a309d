-- SPDX-License-Identifier: MIT
-- macvm help [VERB]

local options = require "macvm.cli.options"
local report = require "macvm.cli.report"
local nearest = require "macvm.nearest"

return {
    name = "help",
    summary = "explain a verb, or list them all",
    usage = { "help [VERB]", "help --man" },
    options = { { name = "man", help = "print the manual page, as roff" } },
    words = "verbs",
    run = function(args, opts)
        local cli = require "macvm.cli"
        if opts.man then
            report.write(require("macvm.cli.man")(cli))
        elseif args[1] then
            local verb = cli.verb(args[1])
            if not verb then
                local near = nearest(args[1], cli.VERBS)
                error(options.usage_error(("there is no verb `%s`%s"):format(args[1],
                    near and (" (did you mean `%s`?)"):format(near) or "")), 0)
            end
            report.write(cli.help_of(verb))
        else
            report.write(cli.overview())
        end
        return 0
    end,
}
