-- SPDX-License-Identifier: MIT
-- Values as readable Lua text: what the REPL prints and what messages quote. Pure.

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
    return then true until while]]):gmatch "%a+" do
    KEYWORDS[word] = true
end

local function quote(s)
    return '"' .. s:gsub('[%c"\\\127]', function(c)
        local named = ({ ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ['"'] = '\\"', ["\\"] = "\\\\" })[c]
        return named or ("\\x%02x"):format(c:byte())
    end) .. '"'
end

local function order(a, b)
    local ta, tb = type(a), type(b)
    if ta == tb and (ta == "string" or ta == "number") then return a < b end
    if ta == tb then return tostring(a) < tostring(b) end
    return ta < tb
end

local function key_text(k)
    if type(k) == "string" and k:find "^[%a_][%w_]*$" and not KEYWORDS[k] then return k end
    return "[" .. (type(k) == "string" and quote(k) or tostring(k)) .. "]"
end

local render

local function items_of(t, depth, limits, seen)
    local items, n = {}, math.min(#t, limits.items)
    for i = 1, n do items[i] = render(t[i], depth + 1, limits, seen) end
    local keys = {}
    for k in pairs(t) do
        if not (math.type(k) == "integer" and k >= 1 and k <= #t) then keys[#keys + 1] = k end
    end
    table.sort(keys, order)
    if n < #t then
        items[n + 1] = ("... %d more"):format(#t - n + #keys)
        return items
    end
    for i, k in ipairs(keys) do
        if #items >= limits.items then
            items[#items + 1] = ("... %d more"):format(#keys - i + 1)
            break
        end
        items[#items + 1] = key_text(k) .. " = " .. render(t[k], depth + 1, limits, seen)
    end
    return items
end

local function render_table(t, depth, limits, seen)
    local meta = getmetatable(t)
    if type(meta) == "table" and rawget(meta, "__tostring") then return tostring(t) end
    if seen[t] then return "<above>" end
    if next(t) == nil then return "{}" end
    if depth >= limits.depth then return "{...}" end
    seen[t] = true
    local items = items_of(t, depth, limits, seen)
    seen[t] = nil
    local line = "{ " .. table.concat(items, ", ") .. " }"
    if not line:find("\n", 1, true) and #line + 2 * depth <= limits.width then return line end
    local pad = ("  "):rep(depth + 1)
    return "{\n" .. pad .. table.concat(items, ",\n" .. pad) .. "\n" .. ("  "):rep(depth) .. "}"
end

function render(value, depth, limits, seen)
    if type(value) == "string" then
        return quote(value)
    elseif type(value) == "table" then
        return render_table(value, depth, limits, seen)
    end
    return tostring(value)
end

-- inspect(value [, { width =, depth =, items = }]) -> string: on one line when it fits `width`
-- (80) columns; tables deeper than `depth` (6) are "{...}", of each at most `items` (200) entries.
return function(value, opts)
    opts = opts or {}
    return render(value, 0, {
        width = opts.width or 80, depth = opts.depth or 6, items = opts.items or 200,
    }, {})
end
