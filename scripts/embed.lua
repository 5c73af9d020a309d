-- SPDX-License-Identifier: MIT
-- Turns the Lua files of the standard library into a C table.
-- usage: lua5.4 scripts/embed.lua OUT.c DIR
-- DIR/macvm/cli/run.lua becomes the module macvm.cli.run. DIR/meta, which only editors read, is left out.

local out_path, dir = arg[1], arg[2]
if not dir then
    io.stderr:write("usage: lua5.4 scripts/embed.lua OUT.c DIR\n")
    os.exit(2)
end

local function quoted(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function list(root)
    local paths = {}
    local pipe = assert(io.popen("cd " .. quoted(root) .. " && find . -name '*.lua'"))
    for path in pipe:lines() do
        path = path:gsub("^%./", "")
        if not path:find "^meta/" then paths[#paths + 1] = path end
    end
    assert(pipe:close(), "find failed")
    table.sort(paths)
    return paths
end

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read "a"
    file:close()
    assert(load(text, "@" .. path, "t")) -- a syntax error stops the build, not the user
    return text
end

-- Numbers are quick to compile and have no limit of length, which a literal has.
local function bytes(text)
    local lines = {}
    for at = 1, #text, 24 do
        lines[#lines + 1] = "    " .. table.concat({ text:byte(at, at + 23) }, ",") .. ","
    end
    return table.concat(lines, "\n")
end

local parts = { "/* Made by scripts/embed.lua. */", '#include "mvl.h"', "" }
local rows = {}
for i, path in ipairs(list(dir)) do
    local text = read(dir .. "/" .. path)
    local name = path:gsub("%.lua$", ""):gsub("/", ".")
    parts[#parts + 1] = ("static const unsigned char file_%d[] = { /* %s */"):format(i, path)
    parts[#parts + 1] = bytes(text)
    parts[#parts + 1] = "    0,\n};"
    rows[#rows + 1] = ('    { "%s", "%s", (const char *)file_%d, %d },'):format(name, path, i, #text)
end
parts[#parts + 1] = ""
parts[#parts + 1] = "const mvl_embedded_file mvl_embedded[] = {"
parts[#parts + 1] = table.concat(rows, "\n")
parts[#parts + 1] = "    { 0 },\n};\n"

local out = assert(io.open(out_path, "wb"))
assert(out:write(table.concat(parts, "\n")))
assert(out:close())
