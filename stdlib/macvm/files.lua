-- SPDX-License-Identifier: MIT
-- Whole files of the guest as Lua strings. Files too big for that go through vm:push and vm:pull.

local core = require "macvm.core"
local exec = require "macvm.exec"

local files = {}

local READ_LIMIT = 256 << 20
local TIMEOUT = 900

local function refuse(message)
    error(core.error { code = "config", message = message })
end

local function too_long(vm, path)
    return core.error {
        code = "guest", vm = vm.name,
        message = ("%s holds more than %d MiB"):format(path, READ_LIMIT >> 20),
        hint = "copy it to the host with vm:pull",
    }
end

local function check_path(path, what)
    if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then
        error(core.error {
            code = "config", message = what .. " needs the path of a file in the guest",
        })
    end
end

-- The transfer broke off: raises the guest's own reason, when there is one.
local function why_not(file)
    local ok, err = pcall(file.wait, file, { timeout = 1 })
    if not ok and type(err) == "table" and err.code == "guest" then error(err, 0) end
end

--- vm:read(path: string) -> string
--- The content of a file of the guest, byte for byte. Raises `guest` with the guest's
--- reason ("No such file or directory"), or when the file holds more than 256 MiB.
function files.read(vm, path)
    check_path(path, "vm:read")
    local deadline = core.now() + TIMEOUT
    exec.when_ready(vm, deadline)
    local file <close> = vm:open(path, "r")
    local ok, bytes = pcall(file.stream.read, file.stream, "a",
        { limit = READ_LIMIT, timeout = math.max(0, deadline - core.now()) })
    if not ok then
        if exec.is_limit(bytes) then error(too_long(vm, path)) end
        why_not(file)
        error(bytes, 0)
    end
    file:wait { timeout = math.max(0, deadline - core.now()) }
    return bytes
end

--- vm:write(path: string, bytes: string, perm?: integer) -> vm
--- Makes a file of the guest hold exactly `bytes`. The file is replaced only when all bytes have
--- arrived. `perm` are its mode bits (`tonumber("755", 8)`); left out, those of the file that is
--- there stay, and a new one gets 0644. Raises `guest` with the guest's reason ("No space left on device").
function files.write(vm, path, bytes, perm)
    check_path(path, "vm:write")
    if type(bytes) ~= "string" then
        refuse("vm:write needs the bytes as a string, got " .. type(bytes))
    elseif perm ~= nil and (math.type(perm) ~= "integer" or perm < 0 or perm > 4095) then
        refuse("vm:write: the mode bits must be an integer from 0 to 4095 (tonumber(\"7777\", 8))")
    end
    local deadline = core.now() + TIMEOUT
    exec.when_ready(vm, deadline)
    local file <close> = vm:open(path, "w", perm)
    local stream = file.stream
    local sent, err = pcall(stream.write, stream, bytes, { timeout = math.max(0, deadline - core.now()) })
    if not sent then
        why_not(file)
        error(err, 0)
    end
    stream:shutdown()
    file:wait { timeout = math.max(0, deadline - core.now()) }
    return vm
end

return files
