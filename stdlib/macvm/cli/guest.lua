-- SPDX-License-Identifier: MIT
-- macvm guest: macvm's own small Linux guest, listed or built.

local core = require "macvm.core"
local json = require "macvm.json"
local options = require "macvm.cli.options"
local report = require "macvm.cli.report"
local shell = require "macvm.cli.shell"

local ARCHES = { "x86_64", "aarch64" }

local function file_size(path)
    local file = io.open(path, "rb")
    if not file then return nil end
    local size = file:seek "end"
    file:close()
    return size
end

local function list(opts)
    local rows = {}
    for i, arch in ipairs(ARCHES) do
        local kernel, initrd, found = core.guest_find(arch)
        rows[i] = {
            arch = arch, kernel = kernel, initrd = initrd, built = found,
            kernel_bytes = found and file_size(kernel) or nil, initrd_bytes = found and file_size(initrd) or nil,
        }
    end
    if opts.json then
        report.write(json({ guests = rows }, true), "\n")
        return 0
    end
    for _, row in ipairs(rows) do
        if row.built then
            report.write(("linux %-8s  kernel %s (%.1f MiB), initramfs %s (%.1f MiB)\n"):format(row.arch, row.kernel,
                (row.kernel_bytes or 0) / 1048576, row.initrd, (row.initrd_bytes or 0) / 1048576))
        else
            report.write(("linux %-8s  not built (`macvm guest build`)\n"):format(row.arch))
        end
    end
    return 0
end

-- The builder: a program beside macvm's data, in the place of its installation or its source.
local function builder()
    local tried = {}
    for _, dir in ipairs { os.getenv "MACVM_DATA" or false, core.datadir and core.datadir() or false } do
        for _, tail in ipairs(dir and { "/guest/build", "/scripts/guest/build" } or {}) do
            tried[#tried + 1] = dir .. tail
            if shell.exists(dir .. tail) then return dir .. tail end
        end
    end
    local where = tried[1] and " (looked for " .. table.concat(tried, ", ") .. ")" or ""
    error(core.error {
        code = "unsupported", level = 0, message = "the guest's builder is not here" .. where,
        hint = "set MACVM_DATA to the directory that holds guest/build",
    }, 0)
end

local function build(args, opts)
    local words = { builder() }
    if opts.verbose then words[#words + 1] = "-v" end
    for i = 2, #args do words[#words + 1] = args[i] end
    local status = shell.run(words)
    if status == 0 then return 0 end
    if status == 130 or status == 143 then return status end
    error(core.error {
        code = "backend", level = 0, message = ("building the guest failed with status %d"):format(status),
    }, 0)
end

return {
    name = "guest",
    summary = "list macvm's own guests, or build them",
    usage = { "guest [list] [--json]", "guest build" },
    details = "Machines whose `boot` is left out start macvm's own small Linux guest: a stock kernel, busybox\n" ..
        "and macvm's agent.",
    options = { { name = "json", help = "print JSON" } },
    words = { "list", "build" },
    run = function(args, opts)
        local what = args[1] or "list"
        if what == "build" then return build(args, opts) end
        if what ~= "list" or args[2] then
            error(options.usage_error(("`macvm guest` knows `list` and `build`, not `%s`"):format(args[2] or what)), 0)
        end
        return list(opts)
    end,
}
