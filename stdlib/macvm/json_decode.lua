-- SPDX-License-Identifier: MIT
-- Reads JSON into plain Lua values: json_decode(text, limit) -> value, or nil and what is wrong. Bounded, because the
-- text is somebody else's: at most `limit` bytes (64 KiB), 16 levels deep. null is nil, so it leaves no trace in a table.

local SIZE_MAX, DEPTH_MAX = 65536, 16

local ESCAPES = {
    ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}
local WORDS = { ["true"] = true, ["false"] = false }

local function fail(at, what)
    error({ json = ("%s at byte %d"):format(what, at) }, 0)
end

local function skip(text, at)
    return text:find("[^ \t\r\n]", at) or #text + 1
end

-- The character of \uXXXX at `at`, of two of them for a surrogate pair, and where it ends.
local function read_unicode(text, at)
    local code = tonumber(text:match("^%x%x%x%x", at) or fail(at, "four hexadecimal digits are expected"), 16)
    if code < 0xD800 or code > 0xDFFF then return utf8.char(code), at + 4 end
    local low = tonumber(text:match("^\\u(%x%x%x%x)", at + 4) or "0", 16)
    if code > 0xDBFF or low < 0xDC00 or low > 0xDFFF then fail(at, "half a surrogate pair") end
    return utf8.char(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00), at + 10
end

-- The string whose opening quote is at `at`, and the place after it.
local function read_string(text, at)
    local parts, from = {}, at + 1
    while true do
        local stop = text:find('["\\%c]', from) or fail(at, "a string without its end")
        local char = text:sub(stop, stop)
        parts[#parts + 1] = text:sub(from, stop - 1)
        if char == '"' then
            local whole = table.concat(parts)
            if not utf8.len(whole) then fail(at, "a string that is no UTF-8") end
            return whole, stop + 1
        elseif char ~= "\\" and char ~= "\127" then
            fail(stop, "a control character in a string")
        end
        local escape = char == "\\" and text:sub(stop + 1, stop + 1)
        if escape == "u" then
            parts[#parts + 1], from = read_unicode(text, stop + 2)
        elseif escape then
            parts[#parts + 1] = ESCAPES[escape] or fail(stop, "no such escape")
            from = stop + 2
        else
            parts[#parts + 1], from = char, stop + 1
        end
    end
end

local function read_number(text, at)
    local word = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
    local value = word and not word:find "^-?0%d" and not word:find "%.$" and not word:find "%.[eE]" and tonumber(word)
    if not value then fail(at, "a value is expected") end
    return value, at + #word
end

local read_value

-- Reads the items of a list or an object up to `close`; item(at) returns the place after it.
local function read_items(text, at, close, item)
    at = skip(text, at + 1)
    if text:sub(at, at) == close then return at + 1 end
    while true do
        at = skip(text, item(at))
        local char = text:sub(at, at)
        if char == close then return at + 1 end
        if char ~= "," then fail(at, ("`,` or `%s` is expected"):format(close)) end
        at = skip(text, at + 1)
    end
end

local function read_list(text, at, depth)
    local list, n = {}, 0
    return list, read_items(text, at, "]", function(from)
        local value, after = read_value(text, from, depth)
        n = n + 1
        list[n] = value
        return after
    end)
end

local function read_object(text, at, depth)
    local object = {}
    return object, read_items(text, at, "}", function(from)
        if text:sub(from, from) ~= '"' then fail(from, "a name is expected") end
        local name, after = read_string(text, from)
        after = skip(text, after)
        if text:sub(after, after) ~= ":" then fail(after, "`:` is expected") end
        object[name], after = read_value(text, skip(text, after + 1), depth)
        return after
    end)
end

function read_value(text, at, depth)
    local char = text:sub(at, at)
    if char == '"' then return read_string(text, at) end
    if char == "{" or char == "[" then
        if depth == DEPTH_MAX then fail(at, ("more than %d levels"):format(DEPTH_MAX)) end
        return (char == "{" and read_object or read_list)(text, at, depth + 1)
    end
    local word = text:match("^%l+", at)
    if word == "null" then return nil, at + 4 end
    if WORDS[word] ~= nil then return WORDS[word], at + #word end
    return read_number(text, at)
end

return function(text, limit)
    limit = limit or SIZE_MAX
    if #text > limit then return nil, ("more than %d bytes"):format(limit) end
    local ok, value, after = pcall(read_value, text, skip(text, 1), 0)
    if ok then
        after = skip(text, after)
        if after <= #text then ok, value = false, { json = ("more than one value at byte %d"):format(after) } end
    end
    if ok then return value end
    if type(value) ~= "table" or not value.json then error(value, 0) end
    return nil, value.json
end
