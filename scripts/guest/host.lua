-- SPDX-License-Identifier: MIT
-- What the guest's build scripts need of the host: whole files, shell words, one-line failures.

local host = {}

function host.fail(...)
  io.stderr:write("guest: ", string.format(...), "\n")
  os.exit(3)
end

function host.read(path)
  local f, why = io.open(path, "rb")
  local bytes = f and f:read("a")
  if not bytes then
    host.fail("%s", why or path .. ": can't be read")
  end
  f:close()
  return bytes
end

function host.write(path, bytes)
  local f, why = io.open(path, "wb")
  if f then
    local done
    done, why = f:write(bytes)
    local closed, late = f:close()
    if done and closed then
      return
    end
    why = why or late
  end
  host.fail("%s", why or path .. ": can't be written")
end

function host.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs a shell command; its output as a list of lines. `cure` says what to do when it fails.
function host.lines(command, cure)
  local lines = {}
  local p = assert(io.popen(command, "r"))
  for line in p:lines() do
    lines[#lines + 1] = line
  end
  if not p:close() then
    host.fail("%s", cure)
  end
  return lines
end

function host.run(command, cure)
  if not os.execute(command) then
    host.fail("%s", cure)
  end
end

function host.mkdir(path)
  host.run("mkdir -p " .. host.quote(path), path .. ": can't be made")
end

return host
