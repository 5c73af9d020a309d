-- SPDX-License-Identifier: MIT
-- Writes plain Lua values as JSON, with sorted keys so that the same value gives the same text.

local ESCAPES = {
    ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
    ["\b"] = "\\b", ["\f"] = "\\f",
}

local function escape(c)
    return ESCAPES[c] or ("\\u%04x"):format(c:byte())
end

-- Bytes that are no UTF-8 (a guest may print any) become U+FFFD, so that a strict reader takes the text.
local function clean(s)
    if utf8.len(s) then return s end
    local out, pos = {}, 1
    while pos <= #s do
        local _, bad = utf8.len(s, pos)
        out[#out + 1] = s:sub(pos, (bad or #s + 1) - 1)
        if not bad then break end
        out[#out + 1] = "\u{FFFD}"
        pos = bad + 1
    end
    return table.concat(out)
end

local encode

local function is_list(t)
    local n = #t
    if n == 0 then return next(t) == nil end
    for k in pairs(t) do
        if math.type(k) ~= "integer" or k < 1 or k > n then return false end
    end
    return true
end

local function encode_table(t, indent, out, seen)
    if seen[t] then error("a table that holds itself has no JSON form", 0) end
    seen[t] = true
    local list, keys = is_list(t), {}
    for k in pairs(t) do
        if not list then keys[#keys + 1] = tostring(k) end
    end
    table.sort(keys)
    local inner = indent and indent .. "  "
    local break_line = indent and "\n" .. inner or ""
    out[#out + 1] = list and "[" or "{"
    for i = 1, list and #t or #keys do
        out[#out + 1] = (i > 1 and "," or "") .. break_line
        if list then
            encode(t[i], inner, out, seen)
        else
            out[#out + 1] = '"' .. clean(keys[i]):gsub('[%c"\\\127]', escape) .. '":' .. (indent and " " or "")
            local value = t[keys[i]]
            if value == nil then value = t[tonumber(keys[i])] end
            encode(value, inner, out, seen)
        end
    end
    if indent and (list and #t or #keys) > 0 then out[#out + 1] = "\n" .. indent end
    out[#out + 1] = list and "]" or "}"
    seen[t] = nil
end

function encode(value, indent, out, seen)
    local kind = type(value)
    if kind == "table" then
        encode_table(value, indent, out, seen)
    elseif kind == "string" then
        out[#out + 1] = '"' .. clean(value):gsub('[%c"\\\127]', escape) .. '"'
    elseif math.type(value) == "integer" then
        out[#out + 1] = ("%d"):format(value)
    elseif kind == "number" then
        out[#out + 1] = (value == value and math.abs(value) ~= math.huge)
            and ("%.14g"):format(value) or "null"
    elseif kind == "boolean" then
        out[#out + 1] = tostring(value)
    else
        out[#out + 1] = "null"
    end
end

-- json(value [, pretty]) -> string
return function(value, pretty)
    local out = {}
    encode(value, pretty and "" or nil, out, {})
    return table.concat(out)
end
