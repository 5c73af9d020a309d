-- SPDX-License-Identifier: MIT
--[[
Completion of Lua at a prompt: keywords, globals, fields of tables, fields and methods of macvm's
objects. It looks, and never calls: tables are read raw, of metatables only an __index that is a table is
followed, and of an object only those fields are read that its class is known to have.
]]

local core = require "macvm.core"

local complete = {}

local KEYWORDS <const> = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
    return then true until while]]):gmatch "%a+" do
    KEYWORDS[#KEYWORDS + 1] = word
end

-- What objects have beside their methods and the fields of their schemas.
local FIELDS <const> = {
    vm = { "name", "state", "up", "ready", "console", "consoles", "clipboard", "timeline", "backend" },
    device = { "kind" },
    record = { "kind" },
    process = { "stdin", "stdout", "stderr", "pid", "ended" },
    file = { "stream", "perm" },
    task = { "done", "state", "traceback" },
}

-- ---- names of a value ----------------------------------------------------------------

local function class_of(object)
    local meta = debug.getmetatable(object)
    local name = type(meta) == "table" and rawget(meta, "__name")
    return type(name) == "string" and name:match "^macvm%.(%w+)$" or nil
end

local function methods_of(class)
    local ok, methods = pcall(core.class, class)
    return ok and methods or {}
end

local function schema_fields(object, class)
    local kind = class == "vm" and "vm" or (class == "device" or class == "record") and object.kind
    for _, schema in ipairs(kind and core.schemas() or {}) do
        if schema.kind == kind then return schema.fields end
    end
    return {}
end

-- add(name, is_function) for every field that the object has, methods apart.
local function object_fields(object, class, add)
    for _, name in ipairs(FIELDS[class] or {}) do add(name, false) end
    for _, field in ipairs(schema_fields(object, class)) do add(field.name, false) end
end

local function table_fields(value, add)
    for _ = 1, 10 do -- a chain of metatables may be a ring
        for k, v in next, value do
            if type(k) == "string" then add(k, type(v) == "function") end
        end
        local meta = debug.getmetatable(value)
        local index = type(meta) == "table" and rawget(meta, "__index")
        if type(index) ~= "table" then return end
        value = index
    end
end

local function each_name(value, add)
    if type(value) == "table" then
        table_fields(value, add)
    elseif type(value) == "string" then
        table_fields(string, add)
    elseif type(value) == "userdata" then
        local class = class_of(value)
        if class then
            object_fields(value, class, add)
            for name in next, methods_of(class) do add(name, true) end
        else
            local meta = debug.getmetatable(value)
            local index = type(meta) == "table" and rawget(meta, "__index")
            if type(index) == "table" then table_fields(index, add) end
        end
    end
end

-- value[key], looked up as described above; nil when that can't be told.
local function step(value, key)
    if type(value) == "table" then
        for _ = 1, 10 do
            local found = rawget(value, key)
            if found ~= nil then return found end
            local meta = debug.getmetatable(value)
            value = type(meta) == "table" and rawget(meta, "__index")
            if type(value) ~= "table" then return nil end
        end
    elseif type(value) == "userdata" and type(key) == "string" then
        local class = class_of(value)
        if not class then return nil end
        local known = rawget(methods_of(class), key)
        if known ~= nil then return known end
        object_fields(value, class, function(name) known = known or name == key end)
        if not known then return nil end
        local ok, found = pcall(function() return value[key] end)
        return ok and found or nil
    end
end

-- ---- the text before the cursor --------------------------------------------------------

-- Is the end of the line inside a string or a comment?
local function inside_text(line)
    local quote, i = nil, 1
    while i <= #line do
        local c = line:sub(i, i)
        if quote then
            if c == "\\" then
                i = i + 1
            elseif c == quote then
                quote = nil
            end
        elseif c == '"' or c == "'" then
            quote = c
        elseif line:find("^%-%-", i) then
            return true
        elseif line:find("^%[=*%[", i) and not line:find("^%[%[.-%]%]", i) then
            return true
        end
        i = i + 1
    end
    return quote ~= nil
end

-- "vms[1].con" -> {"vms", 1}, ".", "con"; nil where nothing can be completed.
local function parse(line)
    local at, tail = line:match "()([%a_][%w_%.:%[%]\"']*)$"
    if not at then
        if line:find "[%w_%.:%)%]}\"']$" then return nil end
        return {}, "", ""
    end
    local concat = tail:match "^.*%.%.()"
    if concat then
        at, tail = at + concat - 1, tail:sub(concat)
        if not tail:find "^[%a_]" then return tail == "" and {} or nil, "", "" end
    end
    local before = line:sub(1, at - 1)
    if before:find "[%w_%.:%)%]}\"']$" and not before:find "%.%.$" and not concat then return nil end
    local chain, kind, i = {}, "", 1
    while true do
        local name, after = tail:match("^([%a_][%w_]*)()", i)
        if not name and i <= #tail then return nil end
        local rest = after and tail:sub(after) or ""
        if rest == "" then return chain, kind, name or "" end
        chain[#chain + 1], i = name, after
        while tail:find("^%[", i) do
            local key, stop = tail:match("^%[(%d+)%]()", i)
            key = math.tointeger(tonumber(key))
            if not key then key, stop = tail:match("^%[[\"']([^\"'%]]*)[\"']%]()", i) end
            if not key then return nil end
            chain[#chain + 1], i = key, stop
        end
        kind = tail:match("^[.:]", i)
        if not kind then return nil end
        i = i + 1
    end
end

-- complete.names(line, globals) -> names, part
-- The names that may stand where `line` ends, in order, and what is typed of them already.
function complete.names(line, globals)
    if inside_text(line) then return {}, "" end
    local chain, kind, part = parse(line)
    if not chain then return {}, "" end
    local names, seen = {}, {}
    local function add(name, is_function)
        if seen[name] or name:sub(1, #part) ~= part or kind == ":" and not is_function
            or not name:find "^[%a_][%w_]*$" or part == "" and name:find "^_" then
            return
        end
        seen[name] = true
        names[#names + 1] = name
    end
    if #chain == 0 then
        if part ~= "" then
            for _, word in ipairs(KEYWORDS) do add(word, false) end
        end
        table_fields(globals, add)
    else
        local value = globals
        for _, key in ipairs(chain) do value = step(value, key) end
        -- Behind a dot an object's fields are meant, unless only methods fit.
        local fields_first = kind == "." and type(value) == "userdata"
        each_name(value, function(name, is_function)
            if not (fields_first and is_function) then add(name, is_function) end
        end)
        if #names == 0 then each_name(value, add) end
    end
    table.sort(names)
    return names, part
end

-- The names in columns, `width` wide.
function complete.columns(names, width)
    local longest = 1
    for _, name in ipairs(names) do longest = math.max(longest, #name + 2) end
    local per_row = math.max(1, width // longest)
    local rows = (#names + per_row - 1) // per_row
    local lines = {}
    for r = 1, rows do
        local line = {}
        for i = r, #names, rows do
            line[#line + 1] = names[i] .. (" "):rep(i + rows <= #names and longest - #names[i] or 0)
        end
        lines[r] = table.concat(line)
    end
    return table.concat(lines, "\n")
end

-- complete.at(line, globals, width) -> insert|nil, show|nil
-- What Tab does behind `line`: the text to insert there, and what to show when that is not unique.
function complete.at(line, globals, width)
    if not line:find "%S" then return "    " end
    local names, part = complete.names(line, globals)
    if #names == 0 then return nil end
    local common = names[1]
    for _, name in ipairs(names) do
        while name:sub(1, #common) ~= common do common = common:sub(1, -2) end
    end
    if #common > #part then return common:sub(#part + 1) end
    if #names > 1 then return nil, complete.columns(names, width) end
end

return complete
