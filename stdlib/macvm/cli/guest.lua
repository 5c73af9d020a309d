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
    local rows, guests = {}, {}
    for i, arch in ipairs(ARCHES) do guests[i] = { arch = arch } end
    for _, guest in ipairs(core.guests()) do guests[#guests + 1] = guest end
    for i, guest in ipairs(guests) do
        local kernel, initrd, found = core.guest_find(guest.arch, guest.name)
        rows[i] = {
            arch = guest.arch, name = guest.name, kernel = kernel, initrd = initrd, built = found,
            kernel_bytes = found and file_size(kernel) or nil, initrd_bytes = found and file_size(initrd) or nil,
        }
    end
    if opts.json then
        report.write(json({ guests = rows }, true), "\n")
        return 0
    end
    for _, row in ipairs(rows) do
        local what = row.arch .. (row.name and " " .. row.name or "")
        if row.built then
            report.write(("linux %-12s  kernel %s (%.1f MiB), initramfs %s (%.1f MiB)\n"):format(what, row.kernel,
                (row.kernel_bytes or 0) / 1048576, row.initrd, (row.initrd_bytes or 0) / 1048576))
        else
            local how = row.kernel == core.guest_find() and "" or " --arch " .. row.arch
            report.write(("linux %-12s  not built (`macvm guest build%s`)\n"):format(what, how))
        end
    end
    return 0
end

-- The directory of the running program, where the system tells.
local function program_dir()
    local found, lfs = pcall(require, "lfs")
    local path = found and lfs.symlinkattributes("/proc/self/exe", "target")
    return path and path:match "^(.*)/" or nil
end

-- The builder is a program of its own: where the environment says, where `make install` puts it, or in
-- the source tree that the program was built in.
local function builder()
    local places, here = {}, program_dir()
    local data = os.getenv "MACVM_DATA"
    if data then places[1] = data .. "/guest/build" end
    for _, tail in ipairs(here and { "/../share/macvm/guest/build", "/../scripts/guest/build",
        "/../../scripts/guest/build" } or {}) do
        places[#places + 1] = here .. tail
    end
    for _, path in ipairs(places) do
        if shell.exists(path) then return path end
    end
    local where = places[1] and " (looked for " .. table.concat(places, ", ") .. ")" or ""
    error(core.error {
        code = "unsupported", level = 0, message = "the guest's builder is not here" .. where,
        hint = "set MACVM_DATA to the directory that holds guest/build",
    }, 0)
end

local function build(opts)
    local words = { builder() }
    for _, option in ipairs { "arch", "name", "suite" } do
        if opts[option] then
            words[#words + 1] = "--" .. option
            words[#words + 1] = opts[option]
        end
    end
    local status = shell.run(words)
    if status == 0 or status == 3 or status > 128 then return status end -- 3: it said why
    error(core.error {
        code = "backend", level = 0, message = ("building the guest failed with status %d"):format(status),
    }, 0)
end

return {
    name = "guest",
    summary = "list macvm's own guests, or build them",
    usage = { "guest [list] [--json]", "guest build [--arch ARCH] [--name NAME [--suite SUITE]]" },
    details = "Machines whose `boot` is left out start macvm's own small Linux guest: a stock kernel, busybox\n" ..
        "and macvm's agent. Further ones have a name: `macvm guest build --name 6.12` builds one with the newest\n" ..
        "6.12 kernel of Debian's backports, and `boot = macvm.guest \"6.12\"` starts it.",
    options = {
        { name = "json", help = "print the list as JSON" },
        { name = "arch", arg = "ARCH", choices = ARCHES, help = "build for that processor; left out: this one" },
        { name = "name", arg = "NAME", help = "build a further guest; a version names a kernel" },
        { name = "suite", arg = "SUITE", help = "the Debian suite that its kernel comes from; left out: backports" },
    },
    words = { "list", "build" },
    run = function(args, opts)
        local what = args[1] or "list"
        if what ~= "list" and what ~= "build" or args[2] then
            error(options.usage_error(("`macvm guest` knows `list` and `build`, not `%s`"):format(args[2] or what)), 0)
        end
        if what == "build" then return build(opts) end
        return list(opts)
    end,
}
