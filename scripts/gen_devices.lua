-- SPDX-License-Identifier: MIT
-- The page docs/devices.md, for gen_docs.lua: what a guest sees of each device on each back end, from the table of
-- abilities and the schemas.

local core = require "macvm.core"
local lfs = require "lfs"

local RELEASES = { "12", "13", "14", "15", "26" } -- of macOS, as columns

-- Of each device: what drives it while its machine runs, where there is such a verb, and a line of use.
local DEVICE_VERBS = {
    disk = { "disk:resize" }, net = { "net:link", "vm:address", "vm:forwards" }, balloon = { "vm:balloon" },
    vsock = { "vm:connect", "vm:listen" }, display = { "vm:screenshot" }, keyboard = { "vm:type", "vm:key" },
    pointer = { "vm:click", "vm:move" },
}
local DEVICE_USE = {
    disk = 'macvm.disk { path = "data.qcow2", format = "qcow2", size = "4G", create = true, id = "data" }',
    net = 'macvm.net { forward = { ["127.0.0.1:8080"] = 80 } }',
    share = 'macvm.share { tag = "src", path = ".", readonly = true, mount = "/mnt/src" }',
    vsock = 'macvm.vsock { unix = "vm.sock" }',
    console = 'macvm.console { type = "hvc", log = "console.log" }',
    entropy = 'macvm.entropy { rate = "1M" }',
    balloon = "macvm.balloon {}",
    sound = 'macvm.sound { file = "played.wav" }',
    display = "macvm.display { width = 1280, height = 800 }",
    keyboard = "macvm.keyboard {}",
    pointer = "macvm.pointer {}",
    clipboard = "macvm.clipboard {}",
}

-- What a release added, "yes" when it has only what one before had, or "no". Releases are numbers.
local function release_cell(ability, i)
    local had, added = false, {}
    for _, step in ipairs(ability.vz.steps) do
        local came = tonumber(step.release)
        if came <= (tonumber(RELEASES[i - 1]) or 11) then
            had = true
        elseif came <= tonumber(RELEASES[i]) then
            added[#added + 1] = (step.release ~= RELEASES[i] and step.release .. ": " or "") .. step.what
        end
    end
    return added[1] and table.concat(added, "; ") or had and "yes" or "no"
end

local function releases_md(out, table_of_abilities, is_device)
    out[#out + 1] = "| | macOS " .. table.concat(RELEASES, " | macOS ") .. " |"
    out[#out + 1] = "|---|" .. ("---|"):rep(#RELEASES)
    for _, ability in ipairs(table_of_abilities) do
        if is_device(ability) and not ability.vz.none then
            local row = { "`" .. ability.word .. "`" }
            for i = 1, #RELEASES do row[#row + 1] = release_cell(ability, i) end
            out[#out + 1] = "| " .. table.concat(row, " | ") .. " |"
        end
    end
    out[#out + 1] = ""
end

local function sentence(text)
    return text:find "%.$" and text or text .. "."
end

-- Of a device, or of a part of one.
local function ability_md(out, ability)
    local qemu, vz = ability.qemu, ability.vz
    local function item(name, text)
        if text then out[#out + 1] = ("* **%s**: %s"):format(name, sentence(text)) end
    end
    if qemu.none then
        item("qemu", "not there: " .. qemu.none)
    else
        item("qemu", qemu.guest .. (qemu.since and (", with QEMU %s or later"):format(qemu.since) or ""))
        item("needs on the host", qemu.needs)
        item("where that is missing", qemu.cure)
    end
    if vz.none then
        item("vz", "not there: " .. vz.none)
    else
        local steps = {}
        for i, step in ipairs(vz.steps) do steps[i] = ("macOS %s: %s"):format(step.release, step.what) end
        item("vz", vz.guest .. ". " .. table.concat(steps, "; ") .. (vz.note and ". " .. vz.note or ""))
    end
end

local function device_md(out, schema, abilities, entries, schema_md)
    local ability = abilities[schema.kind]
    out[#out + 1] = ("## %s\n"):format(schema.kind)
    ability_md(out, ability)
    if not ability.qemu.none then
        out[#out + 1] = "* **plugged in and out while the machine runs** (qemu): " ..
            (ability.qemu.fixed and sentence("no: " .. ability.qemu.fixed) or "yes.")
    end
    for _, part in ipairs(core.ability_table()) do
        if part.word:match "^(.-)%." == schema.kind then
            out[#out + 1] = ("\n`%s`: %s.\n"):format(part.word, part.what)
            ability_md(out, part)
        end
    end
    out[#out + 1] = ""
    schema_md(out, schema)
    for _, key in ipairs(DEVICE_VERBS[schema.kind] or {}) do
        if entries[key] then out[#out + 1] = ("* `%s`"):format(entries[key].text) end
    end
    out[#out + 1] = ("\n```lua\n%s\n```\n"):format(DEVICE_USE[schema.kind] or "macvm." .. schema.kind .. " {}")
    local example = "examples/devices/" .. schema.kind .. ".lua"
    if lfs.attributes(example) then out[#out + 1] = ("A whole script: [%s](../%s).\n"):format(example, example) end
end

-- The text of the page. `entries`: every doc block by its key; `schema_md` appends the fields of a schema.
return function(entries, schema_md)
    local list, abilities, kinds = core.ability_table(), {}, {}
    for _, ability in ipairs(list) do abilities[ability.word] = ability end
    for _, schema in ipairs(core.schemas()) do kinds[schema.kind] = schema.device end
    local function is_device(ability) return kinds[ability.word:match "^[^.]+"] end
    local function is_power(ability) return not is_device(ability) end
    local out = {
        "# Devices\n",
        "What a guest sees of each device, on QEMU and, as Apple documents it, on Virtualization.framework\n" ..
            "(vz) by macOS release; what it needs; its fields and verbs. Made by `make docs` from the table that\n" ..
            "vm:can, `macvm doctor` and `macvm.host().abilities` answer from (core/vm/ability.c) and from the\n" ..
            "schemas; do not edit. `macvm doctor` says what of this there is on a host.\n",
        "Virtio devices are named by their number in the Virtio specification, and on QEMU, where they are on\n" ..
            "PCI, by their ids there.\n",
        "## By macOS release\n",
        "A cell says what came with that release; `yes`: as before. This version of macvm has no vz back end: the\n" ..
            "columns are what the framework offers.\n",
    }
    releases_md(out, list, is_device)
    for _, schema in ipairs(core.schemas()) do
        if schema.device and abilities[schema.kind] then device_md(out, schema, abilities, entries, schema_md) end
    end
    out[#out + 1] = "## What machines can besides\n"
    for _, ability in ipairs(list) do
        if is_power(ability) then
            out[#out + 1] = ("`%s`: %s.\n"):format(ability.word, ability.what)
            ability_md(out, ability)
            out[#out + 1] = ""
        end
    end
    return (table.concat(out, "\n"):gsub("\n\n\n+", "\n\n"):gsub("%s*$", "\n"))
end
