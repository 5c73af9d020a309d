-- SPDX-License-Identifier: MIT
-- macvm doctor: what machines can on this host, and, of what they can't, the cause and the cure.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local DEVICES = { "disk", "net", "share", "vsock", "console", "entropy", "balloon", "sound", "display", "keyboard",
    "pointer", "clipboard" }

-- The rows of its table: word -> yes or no, and the lines below the row.
local function rows_of(text)
    local rows, last = {}, nil
    for line in text:gmatch "[^\n]+" do
        local can, word = line:match "^  (%l+) +(%S+)  +%S"
        if can == "yes" or can == "no" then
            last = { can = can, below = {} }
            rows[word] = last
        elseif last and line:find "^ %s+%S" then
            table.insert(last.below, line:match "^%s+(.*)")
        end
    end
    return rows
end

t.case("every device has a row, every no a cause", function()
    local r = command.run(t, { "doctor" })
    local rows = rows_of(r.stdout)
    for _, word in ipairs(DEVICES) do t.ok(rows[word], word) end
    for word, row in pairs(rows) do
        if row.can == "no" then t.ok(row.below[1], word .. " says why") end
    end
    t.eq(rows.rosetta.can, "no")
    t.has(rows.rosetta.below[1], "Apple silicon")
end)

t.case("where programs are missing, what to install", function()
    local r = command.run(t, { "doctor" }, { env = { PATH = "/nonexistent" } })
    t.eq(r.status, 3)
    local row = rows_of(r.stdout).disk
    t.eq(row.can, "no")
    t.has(row.below[1], "is not installed")
    t.has(row.below[2], "to cure it: apt-get install qemu-system")
end)

t.case("the same in JSON, in macvm.host() and by vm:can", function()
    local script = [[
        for _, a in ipairs(macvm.host().abilities) do
            local can, reason = macvm.vm { backend = "qemu" }:can(a.word)
            assert(can == a.can, a.word)
            assert(can or reason:find(a.reason, 1, true) and (not a.cure or reason:find(a.cure, 1, true)), reason)
            print(a.word, a.can)
        end
    ]]
    local r = command.run(t, { "run", "x.lua" }, { files = { ["x.lua"] = script } })
    t.eq(r.stderr, "")
    local json = command.run(t, { "doctor", "--json" }).stdout
    for word, can in r.stdout:gmatch "(%S+)\t(%l+)\n" do
        local entry = json:match('{[^{}]*"word": "' .. word:gsub("%p", "%%%0") .. '"[^{}]*}')
        t.has(entry, '"can": ' .. can, word)
    end
end)

t.case("plugging has an answer for each kind", function()
    local script = [[
        local vm = macvm.vm { backend = "qemu" }
        print("disk", vm:can "hotplug.disk")
        print("display", vm:can "hotplug.display")
        print("nothing", vm:can "hotplug.nothing")
    ]]
    local r = command.run(t, { "run", "x.lua" }, { files = { ["x.lua"] = script } })
    t.match(r.stdout, "disk\ttrue")
    t.match(r.stdout, "display\tfalse\t.*plugged in")
    t.match(r.stdout, "nothing\tfalse\tmacvm knows no such ability")
end)
