-- SPDX-License-Identifier: MIT
-- Running a host program of macvm's own from the command. Only fixed paths and words of the command line come
-- here, each as one quoted word; nothing from a script or a guest does.

local shell = {}

-- One word for sh that means exactly `text`. A NUL byte has no place in an argument.
function shell.quote(text)
    assert(not text:find("\0", 1, true), "a NUL byte in an argument")
    if text:find "^[%w_/.:=@%%+,-]+$" then return text end
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs a program with the standard streams of this process and waits. Returns its exit status, or
-- 128 + signal.
function shell.run(words)
    local quoted = {}
    for i, word in ipairs(words) do quoted[i] = shell.quote(word) end
    io.stdout:flush()
    local _, how, code = os.execute(table.concat(quoted, " "))
    return how == "signal" and 128 + code or code
end

function shell.exists(path)
    local file = io.open(path, "rb")
    if file then file:close() end
    return file ~= nil
end

return shell
