-- SPDX-License-Identifier: MIT
-- macvm check LAB.lua: validates a lab and prints its plan; nothing is started.

local core = require "macvm.core"
local json = require "macvm.json"
local options = require "macvm.cli.options"
local report = require "macvm.cli.report"
local script = require "macvm.cli.script"

local schemas

local function fields_of(kind)
    if not schemas then
        schemas = {}
        for _, schema in ipairs(core.schemas()) do schemas[schema.kind] = schema end
    end
    return schemas[kind].fields
end

local function device_plan(device)
    local row = { kind = device.kind }
    for _, field in ipairs(fields_of(device.kind)) do
        local value = device[field.name]
        if type(value) == "table" or type(value) ~= "userdata" then row[field.name] = value end
    end
    return row
end

local function plan_of(vm)
    local row = { name = vm.name, devices = {} }
    for _, field in ipairs(fields_of "vm") do
        local value = vm[field.name]
        if field.name == "devices" then
            for i, device in ipairs(value or {}) do row.devices[i] = device_plan(device) end
        elseif field.name == "boot" then
            row.boot = value and {} or nil
            for _, f in ipairs(value and fields_of "boot" or {}) do row.boot[f.name] = value[f.name] end
        elseif value ~= nil then
            row[field.name] = value
        end
    end
    local ok, err = pcall(vm.check, vm)
    row.backend = vm.backend ~= "" and vm.backend or nil
    if not ok then row.error = report.line(err) end
    return row, not ok and err or nil
end

-- A field that is a table of names: "127.0.0.1:8080 -> 80".
local function show_map(map)
    local words = {}
    for key, value in pairs(map) do words[#words + 1] = ("%s -> %s"):format(key, tostring(value)) end
    table.sort(words)
    return table.concat(words, " ")
end

local function show_device(row)
    local parts = {}
    for _, field in ipairs(fields_of(row.kind)) do
        local value = row[field.name]
        if value ~= nil and tostring(value) ~= field.fallback then
            if field.type == "size" then value = core.format_size(value) end
            if type(value) == "table" then value = show_map(value) end
            parts[#parts + 1] = ("%s = %s"):format(field.name, tostring(value))
        end
    end
    return row.kind .. (parts[1] and "  " .. table.concat(parts, ", ") or "")
end

-- "macvm's own small Linux guest, cmdline = loglevel=6"
local function show_boot(row)
    local boot = row.boot or {}
    local parts
    if boot.kernel then
        parts = { "kernel = " .. boot.kernel, "initrd = " .. (boot.initrd or "none") }
    elseif row.guest == "efi" then
        parts = { "whatever the firmware finds on the first disk" }
        if boot.variables then parts[2] = "variables = " .. boot.variables end
    elseif row.guest == "macos" then
        parts = { "macOS" }
    else
        parts = { "macvm's own small Linux guest" }
    end
    if boot.cmdline then parts[#parts + 1] = "cmdline = " .. boot.cmdline end
    return table.concat(parts, ", ")
end

local function show(row)
    report.write(("%s: %s, %s, %d %s, %s of memory\n"):format(row.name, row.backend or "no hypervisor",
        row.arch or core.host().arch, row.cpus, row.cpus == 1 and "CPU" or "CPUs", core.format_size(row.memory)))
    report.write("  boot  ", show_boot(row), "\n")
    for _, device in ipairs(row.devices) do report.write("  ", show_device(device), "\n") end
    if row.error then report.write("  wrong: ", row.error, "\n") end
end

local function is_plan(err)
    return type(err) == "table" and rawget(err, "plan") == true
end

-- The plan of every machine, and the first thing that is wrong; those that `seen` has stay as they are.
local function plan_all(seen)
    for _, vm in ipairs(core.vms()) do
        if not seen[vm.name] then
            local row, err = plan_of(vm)
            seen[vm.name] = true
            seen.rows[#seen.rows + 1] = row
            seen.first = seen.first or err
        end
    end
    return seen
end

-- Evaluates the script with every verb that would start something turned off. Where it needs a running machine, the
-- plan is made at once: what its `<close>` variables put away, such as a file for a disk, is there still.
local function evaluate(chunk, args)
    local seen = { rows = {} }
    local function see(err)
        if is_plan(err) then plan_all(seen) end
        return err
    end
    core.check_mode(true)
    local failure
    local function note(err)
        if not is_plan(err) then failure = failure or { err } end
    end
    core.on_error(note)
    local main = core.spawn(function(...)
        local ok, err = xpcall(chunk, see, ...)
        if not ok then error(err, 0) end
    end, table.unpack(args))
    local ok, err = pcall(main.join, main)
    if not ok then note(err) end
    for _, task in ipairs(core.tasks()) do
        if task ~= core.current() then task:cancel() end
    end
    if failure then error(failure[1], 0) end
    return plan_all(seen)
end

return {
    name = "check",
    summary = "validate a lab and print its plan; nothing is started",
    usage = { "check [--backend NAME] [--json] LAB.lua [arguments]" },
    details = "Evaluates the script up to the first thing that needs a running machine, and checks every\n" ..
        "machine that it has made against this host: files, sizes, devices, the hypervisor.",
    options = {
        { name = "backend", arg = "NAME", choices = { "qemu", "vz", "sim" },
            help = "the hypervisor of machines that name none" },
        { name = "json", help = "print JSON" },
    },
    many = true,
    files = true,
    run = function(args, opts)
        if not args[1] then
            error(options.usage_error "`macvm check` needs the path of a Lua script", 0)
        end
        local rest = table.move(args, 2, #args, 1, {})
        if opts.backend then core.backend(opts.backend) end
        local chunk = script.load(args[1], rest)
        local found = evaluate(chunk, rest)
        local plan, first = found.rows, found.first
        if opts.json then
            report.write(json({ machines = plan, started = false, ok = first == nil }, true), "\n")
        else
            for _, row in ipairs(plan) do show(row) end
            report.write(#plan == 0 and "No machine is made. " or "", "Nothing was started.\n")
        end
        if first then error(first, 0) end
        return 0
    end,
}
