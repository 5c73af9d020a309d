-- SPDX-License-Identifier: MIT
-- Bad input of shares: each mistake gets one line that says where, what, and what would be right.
local t = ...
local command = dofile((debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "command.lua")

local HAS_QEMU = command.capture "command -v qemu-system-x86_64" ~= ""

-- A lab with these shares (Lua text of each), started: it must fail like that.
local function refused(shares, status, ...)
    if not HAS_QEMU then t.skip "no QEMU here" end
    local text = ("macvm.vm { name = 'x', devices = { %s } }:start()"):format(table.concat(shares, ", "))
    command.fails(t, command.lab(t, text, { backend = "qemu" }), status, "lab.lua:1: ", ...)
end

local function share(fields) return "macvm.share { " .. fields .. " }" end

t.case("no path, no tag", function()
    refused({ share "tag = 'src'" }, 2, "devices[1].path", "a share needs a path")
    refused({ share "path = '/tmp'" }, 2, "devices[1].tag", "a share needs a tag")
    refused({ share "tag = '', path = '/tmp'" }, 2, "devices[1].tag", "a share needs a tag")
end)

t.case("a directory that is not there, and a file", function()
    refused({ share "tag = 'src', path = '/nonexistent/dir'" }, 2, "devices[1].path", "/nonexistent/dir",
        "No such file or directory")
    refused({ share "tag = 'src', path = '/etc/passwd'" }, 2, "devices[1].path", "/etc/passwd is not a directory",
        "share the directory that holds it")
end)

t.case("a directory without rights", function()
    if not HAS_QEMU then t.skip "no QEMU here" end
    local dir = t.tmpdir() .. "/closed"
    assert(os.execute("mkdir -m 000 " .. dir))
    -- Root may enter anything, so somebody else asks.
    local root = command.capture "id -u" == "0\n"
    local as = root and "setpriv --reuid=65534 --regid=65534 --clear-groups" or ""
    local lab = t.tmpdir()
    command.write(lab .. "/lab.lua", ("macvm.vm { backend = 'qemu', devices = { macvm.share { tag = 'src', "
        .. "path = '%s' } } }:start()"):format(dir))
    assert(os.execute(("chmod 755 %s %s/.. && mkdir -m 777 %s/run"):format(lab, dir, lab)))
    local out = command.capture(("cd %s && XDG_RUNTIME_DIR=%s/run %s %s run lab.lua 2>&1"):format(lab, lab, as,
        command.quote(command.MACVM)))
    t.match(out, "devices%[1%]%.path: .*/closed: Permission denied")
    t.match(out, "a directory that you may read and enter")
end)

t.case("tags", function()
    refused({ share(("tag = '%s', path = '/tmp'"):format(("x"):rep(37))) }, 2, "devices[1].tag", "longer than 36 bytes")
    refused({ share "tag = 'a,b', path = '/tmp'" }, 2, "devices[1].tag", "comma")
    refused({ share "tag = 'a/b', path = '/tmp'" }, 2, "devices[1].tag", "slash")
    refused({ share "tag = 'a\\nb', path = '/tmp'" }, 2, "devices[1].tag", "control character")
    refused({ share "tag = 'a\\0b', path = '/tmp'" }, 2, "tag: ", "NUL")
    refused({ share "tag = 'src', path = '/tmp'", share "tag = 'src', path = '/var'" }, 2, "devices[2].tag",
        "another share of this machine is called \"src\"")
end)

t.case("places in the guest", function()
    refused({ share "tag = 'src', path = '/tmp', mount = ''" }, 2, "devices[1].mount", "it is empty")
    refused({ share "tag = 'src', path = '/tmp', mount = 'mnt/src'" }, 2, "devices[1].mount", "mnt/src",
        "is not an absolute path")
    for _, path in ipairs { "/", "//", "/mnt/../etc", "/mnt/." } do
        refused({ share("tag = 'src', path = '/tmp', mount = '" .. path .. "'") }, 2, "devices[1].mount",
            "can't be mounted on")
    end
    refused({ share "tag = 'a', path = '/tmp', mount = '/mnt/x'",
              share "tag = 'b', path = '/var', mount = '/mnt//x/'" }, 2,
        "devices[2].mount", "the share \"a\" is mounted at /mnt//x/ already")
end)

t.case("a driver that there is not", function()
    refused({ share "tag = 'src', path = '/tmp', driver = 'nfs'" }, 2, "nfs", "virtiofs")
end)

t.case("a tag that is too long for 9p alone", function()
    refused({ share(("tag = '%s', path = '/tmp', driver = '9p'"):format(("x"):rep(32))) }, 2, "devices[1].tag",
        "31 bytes of 9p")
end)
