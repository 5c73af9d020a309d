-- SPDX-License-Identifier: MIT
-- Tables that answer a name they don't have with an error that says what was meant.

local core = require "macvm.core"
local nearest = require "macvm.nearest"

local strict = {}

local function sorted_names(t)
    local names = {}
    for name in pairs(t) do
        if type(name) == "string" then names[#names + 1] = name end
    end
    table.sort(names)
    return names
end

local function did_you_mean(word, words)
    local near = nearest(word, words)
    return near and ("did you mean `%s`?"):format(near) or nil
end

-- Reading a field that `t` does not have raises, unless other(name) has an answer. `what` is how the message
-- calls the table.
function strict.fields(t, what, other)
    return setmetatable(t, {
        __index = function(_, name)
            local answer = other and other(name)
            if answer then return answer end
            error(core.error {
                code = "config",
                message = ("%s has no `%s`"):format(what, tostring(name)),
                hint = did_you_mean(name, sorted_names(t)),
            })
        end,
    })
end

-- Checks the named options of a call: `known` maps each name to the type it must have. A number is a time.
function strict.options(opts, known, what)
    if opts == nil then return {} end
    local function refuse(field, message, hint)
        error(core.error { code = "config", field = field, message = message, hint = hint })
    end
    if type(opts) ~= "table" then
        refuse(nil, ("%s takes its options as a table, got %s"):format(what, type(opts)))
    end
    for name, value in pairs(opts) do
        if type(name) == "string" then
            local want = known[name]
            if not want then
                refuse(name, ("%s has no such option"):format(what),
                    did_you_mean(name, sorted_names(known)))
            elseif type(value) ~= want then
                refuse(name, ("must be a %s, got %s"):format(want, type(value)))
            elseif want == "number" and (value < 0 or value ~= value) then
                refuse(name, "is not a time to wait", "seconds, such as 2.5; math.huge: none")
            end
        end
    end
    return opts
end

-- The names of a table in order, for help texts and messages.
strict.sorted_names = sorted_names
strict.did_you_mean = did_you_mean

return strict
