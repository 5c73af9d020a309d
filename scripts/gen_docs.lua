-- SPDX-License-Identifier: MIT
--[[
Writes docs/api.md, docs/devices.md, stdlib/meta/macvm.lua and docs/macvm.1 from the source: the `///` blocks of
lua/*.c, the `---` blocks of stdlib/macvm/*.lua, the schemas and the table of abilities that the program itself knows,
and the verbs of its command.

    lua5.4 scripts/gen_docs.lua            writes them
    lua5.4 scripts/gen_docs.lua --check    fails when they are not up to date

Either way it fails when a function or method that scripts can call has no block. Needs build/macvm.so.
]]

package.cpath = (os.getenv "MACVM_BUILD" or "build") .. "/?.so;" .. package.cpath

local macvm = require "macvm"
local core = require "macvm.core"
local lfs = require "lfs"
local report = require "macvm.cli.report"

local devices_page = dofile "scripts/gen_devices.lua"

local CLASSES = { "vm", "device", "process", "stream", "file", "console", "subscription", "listener", "task" }

local GROUPS = {
    { "Machines", "`macvm.vm` makes a machine; everything else is asked of it.", "vm", "subscription", "listener" },
    { "Devices", nil },
    { "Processes", "What vm:spawn returns: a command that runs in the guest.", "process" },
    { "Streams", "The standard streams of a process and the bytes of a file. End of a stream is nil, not an error.",
        "stream" },
    { "Files", "What vm:open returns: an open file of the guest.", "file" },
    { "Console", "`vm.console`: what the machine prints on its serial line, and a way to type there.", "console" },
    { "Tasks", "Everything that waits blocks only its task.", "task" },
    { "The macvm table", nil, "macvm", "macvm.timeline" },
}

-- ---- reading the source ----------------------------------------------------------

local function read(path)
    local file, why = io.open(path, "rb")
    if not file then return nil, why end
    local text = file:read "a"
    file:close()
    return text
end

local function files_of(dir, ext)
    local list = {}
    for name in lfs.dir(dir) do
        if name:sub(-#ext) == ext then list[#list + 1] = dir .. "/" .. name end
    end
    table.sort(list)
    return list
end

-- Splits at commas that are in no bracket.
local function split(text)
    local parts, depth, from = {}, 0, 1
    for i = 1, #text do
        local c = text:sub(i, i)
        if c:find "[%(%[{<]" then
            depth = depth + 1
        elseif c:find "[%)%]}]" or c == ">" and text:sub(i - 1, i - 1) ~= "-" then
            depth = depth - 1
        elseif c == "," and depth == 0 then
            parts[#parts + 1] = text:sub(from, i - 1):match "^%s*(.-)%s*$"
            from = i + 1
        end
    end
    local last = text:sub(from):match "^%s*(.-)%s*$"
    if last ~= "" then parts[#parts + 1] = last end
    return parts
end

-- "vm:start(opts?: {timeout?: number}) -> vm" as a table; nil when it is no signature.
local function signature(line)
    local path, rest = line:match "^([%a_][%w_.]*:[%a_][%w_]*)(.*)$"
    if not path then path, rest = line:match "^([%a_][%w_.]*)(.*)$" end
    local owner, sep, name = (path or ""):match "^(.*)([.:])([%a_][%w_]*)$"
    if not owner then return nil end
    local entry = { owner = owner, sep = sep, name = name, text = line }
    local inside, tail = rest:match "^(%b())%s*(.*)$"
    if inside then
        entry.params = {}
        for i, part in ipairs(split(inside:sub(2, -2))) do
            local param, optional, kind = part:match "^([%w_.]+)(%??)%s*:%s*(.+)$"
            entry.params[i] = {
                name = param or part:gsub("%?$", ""), kind = kind or "any",
                optional = optional == "?" or part:sub(-1) == "?",
            }
        end
        local results = tail:match "^%->%s*(.+)$"
        if not results and tail ~= "" then return nil end
        entry.results = results and split(results) or {}
        return entry
    end
    local kind = rest:match "^:%s+(.+)$"
    if sep == "." and kind then
        entry.kind = kind
        return entry
    end
end

-- The runs of lines of a file that begin with the marker.
local function runs_of(path, marker)
    local runs, run = {}, nil
    for line in (assert(read(path)) .. "\n"):gmatch "([^\n]*)\n" do
        local text = line:match("^%s*" .. marker .. " ?(.*)$")
        if text and not text:find "^%-" then
            if not run then
                run = {}
                runs[#runs + 1] = run
            end
            run[#run + 1] = text
        else
            run = nil
        end
    end
    return runs
end

local function balanced(text)
    local _, open = text:gsub("[%(%[{]", "")
    local _, close = text:gsub("[%)%]}]", "")
    return open == close
end

-- A formatter may have broken the signature, and put the first words of the prose behind it.
local function take_signature(run)
    local text = table.remove(run, 1)
    while not balanced(text) and run[1] do text = text .. " " .. table.remove(run, 1) end
    local before, prose = text:match "^(.-%) %-> [^%s{(]+) (%u.*)$"
    if prose then table.insert(run, 1, prose) end
    return before or text
end

-- Every doc block of a file, in its order.
local function blocks_of(path, marker)
    local list = {}
    for _, run in ipairs(runs_of(path, marker)) do
        local text = take_signature(run)
        local block = signature(text)
        if not block then error(("%s: no signature: %s"):format(path, text), 0) end
        block.prose, block.path = run, path
        list[#list + 1] = block
    end
    return list
end

local function all_blocks()
    local entries, order = {}, {}
    local function add(path, marker)
        for _, block in ipairs(blocks_of(path, marker)) do
            local key = block.owner .. (block.kind and "." or block.sep) .. block.name
            if entries[key] then
                error(("%s is described twice, in %s and %s"):format(key, entries[key].path, block.path), 0)
            end
            entries[key] = block
            order[#order + 1] = block
        end
    end
    for _, path in ipairs(files_of("lua", ".c")) do add(path, "///") end
    for _, path in ipairs(files_of("stdlib/macvm", ".lua")) do add(path, "%-%-%-") end
    return entries, order
end

-- ---- is everything described? ------------------------------------------------------

local DEVICES = {}
for _, schema in ipairs(core.schemas()) do DEVICES[schema.kind] = schema.device end

-- A verb of devices is described under the kind that has it: `disk:resize`.
local function described(entries, owner, key)
    if entries[owner .. key] then return true end
    for kind in pairs(owner == "device" and DEVICES or {}) do
        if entries[kind .. key] then return true end
    end
    return false
end

local function undescribed(entries)
    local missing = {}
    local function need(owner, sep, name)
        if name:sub(1, 2) ~= "__" and not described(entries, owner, sep .. name) then
            missing[#missing + 1] = owner .. sep .. name
        end
    end
    for _, class in ipairs(CLASSES) do
        for name, value in pairs(core.class(class)) do
            if type(value) == "function" then need(class, ":", name) end
        end
    end
    for name, value in pairs(core) do
        if type(value) == "function" then need("core", ".", name) end
    end
    for name, value in pairs(macvm) do
        if type(value) == "table" then
            for key in pairs(value) do need("macvm." .. name, ".", key) end
        elseif not DEVICES[name] then
            need("macvm", ".", name)
        end
    end
    table.sort(missing)
    return missing
end

-- ---- docs/api.md -----------------------------------------------------------------

local function entry_md(out, entry)
    out[#out + 1] = ("### `%s`\n"):format(entry.text)
    if entry.prose[1] then out[#out + 1] = table.concat(entry.prose, "\n") .. "\n" end
end

local function range_text(field)
    local function show(n)
        if field.type ~= "size" then return tostring(math.tointeger(n) or n) end
        local units, i = { "", "K", "M", "G", "T" }, 1
        while i < #units and n ~= 0 and n % 1024 == 0 do n, i = n // 1024, i + 1 end
        return ("%d%s"):format(n, units[i])
    end
    if field.choices and field.type == "choice" then return "`" .. field.choices:gsub(" ", "`, `") .. "`" end
    if (field.min or 0) == 0 and (field.max or 0) == 0 then return "" end
    if field.max == math.maxinteger then return "at least " .. show(field.min) end
    return show(field.min) .. " to " .. show(field.max)
end

local function schema_md(out, schema)
    out[#out + 1] = schema.doc .. (schema.doc:find "%.$" and "" or ".") .. "\n"
    out[#out + 1] = "| field | type | default | values | meaning |\n|---|---|---|---|---|"
    for _, f in ipairs(schema.fields) do
        out[#out + 1] = ("| `%s` | %s | %s | %s | %s |"):format(f.name, f.type,
            f.fallback and "`" .. f.fallback .. "`" or "", range_text(f), f.doc)
    end
    out[#out + 1] = ""
end

local function schema_of(kind)
    for _, schema in ipairs(core.schemas()) do
        if schema.kind == kind then return schema end
    end
end

local function owned(order, owner)
    local list = {}
    for _, entry in ipairs(order) do
        if entry.owner == owner or (owner == "device" and DEVICES[entry.owner]) then list[#list + 1] = entry end
    end
    -- Fields first, then functions; each in the order of the source.
    local sorted = {}
    for _, entry in ipairs(list) do if entry.kind then sorted[#sorted + 1] = entry end end
    for _, entry in ipairs(list) do if not entry.kind then sorted[#sorted + 1] = entry end end
    return sorted
end

local function devices_md(out, order)
    for _, entry in ipairs(owned(order, "device")) do entry_md(out, entry) end
    for _, schema in ipairs(core.schemas()) do
        if schema.device then
            out[#out + 1] = ("### `macvm.%s(fields?: table) -> device`\n"):format(schema.kind)
            schema_md(out, schema)
        end
    end
end

local function machines_md(out, order)
    for _, entry in ipairs(order) do
        if entry.owner == "macvm" and entry.name == "vm" then entry_md(out, entry) end
    end
    out[#out + 1] = "### Fields of a machine\n"
    schema_md(out, schema_of "vm")
    for _, field in ipairs(schema_of("vm").fields) do
        if field.type == "record" then
            out[#out + 1] = ("### Fields of `%s`\n"):format(field.name)
            schema_md(out, schema_of(field.choices))
        end
    end
    out[#out + 1] = "### States, events, abilities\n"
    out[#out + 1] = "States: `" .. table.concat(core.states(), "` `") .. "`.\n"
    out[#out + 1] = "| event | what a handler gets after the machine |\n|---|---|"
    for _, event in ipairs(core.events()) do
        local name, args = event, ""
        if type(event) == "table" then name, args = event.name or event[1], event.args or event[2] or "" end
        out[#out + 1] = ("| `%s` | %s |"):format(name, args)
    end
    out[#out + 1] = "\nA handler of `*` gets the machine, the name of the event, and the same. "
        .. "Nothing raises `snapshot` yet.\n"
    out[#out + 1] = "vm:can knows: `" .. table.concat(core.abilities(), "` `") .. "`.\n"
end

local function errors_md(out)
    out[#out + 1] = "## Errors\n"
    out[#out + 1] = "A verb that fails raises an object with `code` and `message`, and where they apply `field`,\n" ..
        "`hint`, `vm` and `where` (file and line of the script); `tostring` gives one readable line.\n"
    out[#out + 1] = "| code | meaning |\n|---|---|"
    for _, code in ipairs(core.codes()) do
        local word, meaning = code, ""
        if type(code) == "table" then word, meaning = code.code or code[1], code.meaning or code[2] or "" end
        out[#out + 1] = ("| `%s` | %s |"):format(word, meaning)
    end
    out[#out + 1] = ""
end

local function statuses_md(out)
    out[#out + 1] = "## Exit statuses of the macvm command\n"
    out[#out + 1] = "| status | meaning |\n|---|---|"
    for _, row in ipairs(report.STATUSES) do out[#out + 1] = ("| %d | %s |"):format(row[1], row[2]) end
    out[#out + 1] = ""
end

local function api_md(order)
    local out = {
        "# The Lua API of macvm\n",
        "Made from the source by `make docs`; do not edit. Sizes are integers in bytes or `\"512M\"`, `\"2G\"` (powers",
        "of 1024). Times are seconds. Whatever waits blocks only its task; the option `timeout` is its deadline.\n",
    }
    for _, group in ipairs(GROUPS) do
        out[#out + 1] = "## " .. group[1] .. "\n"
        if group[2] then out[#out + 1] = group[2] .. "\n" end
        if group[1] == "Machines" then machines_md(out, order) end
        if group[1] == "Devices" then devices_md(out, order) end
        for i = 3, #group do
            for _, entry in ipairs(owned(order, group[i])) do
                if entry.owner ~= "macvm" or entry.name ~= "vm" then entry_md(out, entry) end
            end
        end
    end
    errors_md(out)
    statuses_md(out)
    out[#out + 1] = "## The raw module macvm.core\n"
    out[#out + 1] = "What the modules above are built on; scripts seldom need it.\n"
    for _, owner in ipairs { "core", "core.repl", "terminal" } do
        for _, entry in ipairs(owned(order, owner)) do entry_md(out, entry) end
    end
    return (table.concat(out, "\n"):gsub("\n\n\n+", "\n\n"):gsub("%s*$", "\n"))
end

-- ---- stdlib/meta/macvm.lua ------------------------------------------------------------

local IS_CLASS = {}
for _, class in ipairs(CLASSES) do IS_CLASS[class] = true end

-- A type of a signature as LuaLS writes it: our classes get their full names.
local function luals(kind)
    return (kind:gsub("()%f[%w_]([%a_][%w_]*)()", function(from, word, to)
        local before, after = kind:sub(from - 1, from - 1), kind:sub(to)
        if not IS_CLASS[word] or before:find "[.\"]" or after:find "^%??:" or after:find "^[.\"]" then return word end
        return "macvm." .. word
    end))
end

local SCHEMA_TYPES = {
    boolean = "boolean", integer = "integer", number = "number", string = "string", size = "integer|string",
    path = "string",
    mac = "string", name = "string", forward = "table<string, integer>", map = "table<string, string>",
    list = "macvm.device[]",
}

local function field_type(field)
    if field.type == "choice" then return '"' .. field.choices:gsub(" ", '"|"') .. '"' end
    if field.type == "record" then return "macvm." .. field.choices .. ".spec" end
    return assert(SCHEMA_TYPES[field.type], field.type)
end

local function function_meta(out, entry, owner)
    for _, line in ipairs(entry.prose) do out[#out + 1] = "--- " .. line end
    local names = {}
    for i, p in ipairs(entry.params) do
        names[i] = p.name
        out[#out + 1] = ("---@param %s%s %s"):format(p.name, p.optional and "?" or "", luals(p.kind))
    end
    for _, result in ipairs(entry.results) do out[#out + 1] = "---@return " .. luals(result) end
    out[#out + 1] = ("function %s%s%s(%s) end\n"):format(owner, entry.sep, entry.name, table.concat(names, ", "))
end

local function field_meta(entry)
    return ("---@field %s %s %s"):format(entry.name, luals(entry.kind), table.concat(entry.prose, " "))
end

local function class_meta(out, order, class)
    out[#out + 1] = "---@class macvm." .. class
    for _, entry in ipairs(owned(order, class)) do
        if entry.kind then
            out[#out + 1] = field_meta(entry)
        end
    end
    if class == "vm" then
        for _, f in ipairs(schema_of("vm").fields) do
            out[#out + 1] = ("---@field %s %s %s"):format(f.name, field_type(f), f.doc)
        end
    end
    out[#out + 1] = "local " .. class .. " = {}\n"
    for _, entry in ipairs(owned(order, class)) do
        if not entry.kind then function_meta(out, entry, class) end
    end
end

local function meta_lua(order)
    local out = {
        "---@meta macvm", "", "-- Made from the source by `make docs`; do not edit.", "-- luacheck: ignore", "",
        "---@class macvm.error", "---@field code string", "---@field message string", "---@field field string?",
        "---@field hint string?", "---@field vm string?", "",
    }
    for _, schema in ipairs(core.schemas()) do
        out[#out + 1] = ("--- %s\n---@class macvm.%s.spec"):format(schema.doc, schema.kind)
        for _, f in ipairs(schema.fields) do
            out[#out + 1] = ("---@field %s? %s %s"):format(f.name, field_type(f), f.doc)
        end
        out[#out + 1] = ""
    end
    for _, class in ipairs(CLASSES) do class_meta(out, order, class) end
    out[#out + 1] = "---@class macvm"
    for _, entry in ipairs(owned(order, "macvm")) do
        if entry.kind then
            out[#out + 1] = field_meta(entry)
        end
    end
    out[#out + 1] = "macvm = {}\n"
    for _, owner in ipairs { "macvm", "macvm.timeline" } do
        if owner ~= "macvm" then out[#out + 1] = owner .. " = {}\n" end
        for _, entry in ipairs(owned(order, owner)) do
            if not entry.kind then function_meta(out, entry, owner) end
        end
    end
    for _, schema in ipairs(core.schemas()) do
        if schema.device then
            out[#out + 1] = ("--- %s\n---@param fields? macvm.%s.spec\n---@return macvm.device"):format(
                schema.doc, schema.kind)
            out[#out + 1] = ("function macvm.%s(fields) end\n"):format(schema.kind)
        end
    end
    out[#out + 1] = "return macvm"
    return table.concat(out, "\n") .. "\n"
end

-- ---- main --------------------------------------------------------------------------------

local function main(args)
    local entries, order = all_blocks()
    local missing = undescribed(entries)
    if missing[1] then error("no doc block describes " .. table.concat(missing, ", "), 0) end
    local stale = {}
    local made = {
        ["docs/api.md"] = api_md(order),
        ["stdlib/meta/macvm.lua"] = meta_lua(order),
        ["docs/devices.md"] = devices_page(entries, schema_md),
        ["docs/macvm.1"] = require "macvm.cli.man"(require "macvm.cli"),
    }
    for path, text in pairs(made) do
        if read(path) ~= text then
            if args[1] == "--check" then
                stale[#stale + 1] = path
            else
                lfs.mkdir(path:match "^(.*)/")
                local file = assert(io.open(path, "wb"))
                assert(file:write(text))
                assert(file:close())
                print("wrote " .. path)
            end
        end
    end
    table.sort(stale)
    if stale[1] then error(table.concat(stale, ", ") .. ": not up to date with the source; run `make docs`", 0) end
end

local ok, why = pcall(main, arg)
if not ok then
    io.stderr:write("gen_docs: ", tostring(why), "\n")
    os.exit(1)
end
