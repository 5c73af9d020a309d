-- SPDX-License-Identifier: MIT
-- macvm completion SHELL: a completion script made from the verb tables.

local options = require "macvm.cli.options"
local report = require "macvm.cli.report"

-- A word inside single quotes of a shell.
local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function flags(verb)
    local words = {}
    for _, o in ipairs(options.of(verb)) do words[#words + 1] = "--" .. o.name end
    return words
end

-- A line of bash that offers `words`.
local function offer(words, indent)
    return (" "):rep(indent) .. "COMPREPLY=($(compgen -W " .. quote(table.concat(words, " ")) .. " -- \"$cur\"))"
end

local function bash(cli)
    local out = {
        "# bash completion of macvm: eval \"$(macvm completion bash)\"",
        "_macvm() {",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}",
        "    COMPREPLY=()",
        "    if [ \"$COMP_CWORD\" -eq 1 ]; then",
        offer(cli.VERBS, 8),
        "        return",
        "    fi",
        "    case \"$verb $prev\" in",
    }
    for _, name in ipairs(cli.VERBS) do
        for _, o in ipairs(cli.verb(name).options or {}) do
            if o.choices then
                out[#out + 1] = ("    '%s --%s')"):format(name, o.name)
                out[#out + 1] = offer(o.choices, 8)
                out[#out + 1] = "        return ;;"
            end
        end
    end
    out[#out + 1] = "    esac"
    out[#out + 1] = "    case \"$verb\" in"
    for _, name in ipairs(cli.VERBS) do
        local verb = cli.verb(name)
        out[#out + 1] = ("    %s)"):format(name)
        out[#out + 1] = "        if [ \"${cur#-}\" != \"$cur\" ]; then"
        out[#out + 1] = offer(flags(verb), 12)
        if verb.words then
            local words = verb.words == "verbs" and cli.VERBS or verb.words
            out[#out + 1] = "        else"
            out[#out + 1] = offer(words, 12)
        elseif verb.files then
            out[#out + 1] = "        else"
            out[#out + 1] = "            COMPREPLY=($(compgen -o plusdirs -f -X '!*.lua' -- \"$cur\"))"
        end
        out[#out + 1] = "        fi ;;"
    end
    out[#out + 1] = "    esac"
    out[#out + 1] = "}"
    out[#out + 1] = "complete -o filenames -F _macvm macvm"
    return table.concat(out, "\n") .. "\n"
end

local function zsh_option(o)
    local help = o.help:gsub("[%[%]:]", " ")
    local tail = ""
    if o.arg then
        tail = ":" .. o.arg:lower() .. ":" .. (o.choices and "(" .. table.concat(o.choices, " ") .. ")" or "")
    end
    return quote(("--%s[%s]%s"):format(o.name, help, tail))
end

local function zsh(cli)
    local out = {
        "#compdef macvm",
        "# zsh completion of macvm: macvm completion zsh > _macvm, in a directory of $fpath",
        "_macvm() {",
        "    local -a verbs",
        "    verbs=(",
    }
    for _, name in ipairs(cli.VERBS) do
        out[#out + 1] = "        " .. quote(name .. ":" .. cli.verb(name).summary:gsub(":", " "))
    end
    out[#out + 1] = "    )"
    out[#out + 1] = "    if (( CURRENT == 2 )); then _describe verb verbs; return; fi"
    out[#out + 1] = "    case $words[2] in"
    for _, name in ipairs(cli.VERBS) do
        local verb = cli.verb(name)
        local specs = {}
        for _, o in ipairs(options.of(verb)) do specs[#specs + 1] = zsh_option(o) end
        if verb.words then
            local words = verb.words == "verbs" and cli.VERBS or verb.words
            specs[#specs + 1] = quote("1:what:(" .. table.concat(words, " ") .. ")")
        elseif verb.files then
            specs[#specs + 1] = quote "1:script:_files -g \"*.lua\""
        end
        out[#out + 1] = ("    %s) shift words; (( CURRENT-- ))"):format(name)
        out[#out + 1] = ("        _arguments %s ;;"):format(table.concat(specs, " "))
    end
    out[#out + 1] = "    esac"
    out[#out + 1] = "}"
    out[#out + 1] = "if [ \"$funcstack[1]\" = _macvm ]; then _macvm \"$@\"; else compdef _macvm macvm; fi"
    return table.concat(out, "\n") .. "\n"
end

return {
    name = "completion",
    summary = "print a completion script for bash or zsh",
    usage = { "completion bash|zsh" },
    details = "In ~/.bashrc: eval \"$(macvm completion bash)\". For zsh: macvm completion zsh > _macvm, in a\n" ..
        "directory of $fpath.",
    words = { "bash", "zsh" },
    run = function(args)
        local make = ({ bash = bash, zsh = zsh })[args[1]]
        if not make or args[2] then
            error(options.usage_error "`macvm completion` needs the name of a shell: bash or zsh", 0)
        end
        report.write(make(require "macvm.cli"))
        return 0
    end,
}
