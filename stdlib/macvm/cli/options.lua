-- SPDX-License-Identifier: MIT
--[[
Command line options, from the `options` list of a verb:

    { name = "backend", short = "b", arg = "NAME", help = "what it does", choices = { "qemu", "sim" } }

An option without `arg` is a flag; a flag counts how often it was given. `many = true` on the verb's table
means that what follows the first plain argument belongs to somebody else (the script).
]]

local nearest = require "macvm.nearest"

local options = {}

-- Every verb takes these.
options.common = {
    { name = "verbose", short = "v", help = "tell what is done; twice: everything" },
    { name = "help", short = "h", help = "show how the command is used" },
}

-- The options of a verb with the common ones, in the order of the help.
function options.of(verb)
    local list = {}
    for _, o in ipairs(verb.options or {}) do list[#list + 1] = o end
    for _, o in ipairs(options.common) do list[#list + 1] = o end
    return list
end

local function find(list, key, value)
    for _, o in ipairs(list) do
        if o[key] == value then return o end
    end
end

-- A mistake on the command line; the dispatcher prints it and exits 2.
local USAGE = { __tostring = function(e) return e.message end }

function options.usage_error(message)
    return setmetatable({ usage = true, code = "config", message = message }, USAGE)
end

local function unknown(list, word)
    local names = {}
    for i, o in ipairs(list) do names[i] = "--" .. o.name end
    local near = nearest(word, names)
    return options.usage_error(("there is no option %s%s"):format(word,
        near and (" (did you mean %s?)"):format(near) or ""))
end

local function set(result, option, value, word)
    if not option.arg then
        if value then error(options.usage_error(("%s takes no value"):format(word)), 0) end
        result[option.name] = (result[option.name] or 0) + 1
        return
    end
    local known = not option.choices
    for _, choice in ipairs(option.choices or {}) do known = known or choice == value end
    if not known then
        local near = nearest(value, option.choices)
        error(options.usage_error(("%s: `%s` is none of %s%s"):format(word, value,
            table.concat(option.choices, ", "), near and (" (did you mean %s?)"):format(near) or "")), 0)
    end
    result[option.name] = value
end

local function long(list, result, word, take)
    local name, value = word:match "^%-%-([^=]+)=(.*)$"
    name = name or word:sub(3)
    local option = find(list, "name", name)
    if not option then error(unknown(list, "--" .. name), 0) end
    if option.arg and not value then value = take("--" .. name, option) end
    set(result, option, value, "--" .. name)
end

local function shorts(list, result, word, take)
    local i = 2
    while i <= #word do
        local letter = word:sub(i, i)
        local option = find(list, "short", letter)
        if not option then error(unknown(list, "-" .. letter), 0) end
        local value
        if option.arg then
            value = i < #word and word:sub(i + 1) or take("-" .. letter, option)
            i = #word
        end
        set(result, option, value, "-" .. letter)
        i = i + 1
    end
end

-- parse(verb, words) -> plain arguments, { option name = count or value }. Raises a usage error.
function options.parse(verb, words)
    local list, plain, result = options.of(verb), {}, {}
    local i, only_plain = 1, false
    local function take(word, option)
        i = i + 1
        if not words[i] then
            error(options.usage_error(("%s needs a value (%s)"):format(word, option.arg)), 0)
        end
        return words[i]
    end
    while words[i] do
        local word = words[i]
        if only_plain or word == "-" or word:sub(1, 1) ~= "-" then
            plain[#plain + 1] = word
            only_plain = only_plain or verb.many or false
        elseif word == "--" then
            only_plain = true
        elseif word:sub(1, 2) == "--" then
            long(list, result, word, take)
        else
            shorts(list, result, word, take)
        end
        i = i + 1
    end
    return plain, result
end

return options
