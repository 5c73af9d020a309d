-- SPDX-License-Identifier: MIT
-- What the subjects of `make bench` share: running programs, medians, and the machines that macvm's is compared with.
-- One table; its `pairs` is how many turns the two sides of a comparison take,
-- `rounds` how many where a turn is many measurements.

local build = os.getenv "BUILD" or "build"
local bench = { pairs = tonumber(os.getenv "PAIRS" or 7) }
bench.rounds = math.max(1, bench.pairs // 2)

-- ---- programs --------------------------------------------------------------------

function bench.sh(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  local ok = pipe:close()
  if not ok then error("failed: " .. command .. "\n" .. text, 0) end
  return (text:gsub("%s+$", ""))
end
local sh = bench.sh

function bench.quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end
local quote = bench.quote

function bench.quoted(list)
  local out = {}
  for i, word in ipairs(list) do out[i] = quote(word) end
  return table.concat(out, " ")
end

function bench.numbers(command)
  local list = {}
  for word in sh(command):gmatch "%S+" do list[#list + 1] = assert(tonumber(word), word) end
  return list
end

function bench.say(...) io.stderr:write(string.format(...), "\n") end

local function absolute(path) return path:sub(1, 1) == "/" and path or sh "pwd" .. "/" .. path end
bench.probe, bench.macvm = absolute(build .. "/bench-probe"), absolute(build .. "/macvm")
bench.peer = absolute(build .. "/guest/vsock_peer")
bench.qemu = sh "command -v qemu-system-x86_64"
bench.scratch = sh "mktemp -d"
setmetatable(bench, { __close = function() os.execute("rm -rf " .. quote(bench.scratch)) end })

-- Lines of a script run by macvm: { { at = seconds since macvm's start, text = }, ... }
function bench.run_lua(script, ...)
  local list = {}
  local command = bench.quoted { bench.probe, "lines", "--", bench.macvm, "run", "scripts/bench/" .. script, ... }
  for line in sh(command):gmatch "[^\n]+" do
    local at, text = line:match "^(%S+) (.*)$"
    list[#list + 1] = { at = tonumber(at), text = text or "" }
  end
  return list
end

-- ---- figures ---------------------------------------------------------------------

function bench.median(list)
  assert(#list > 0, "nothing was measured")
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local half = #sorted // 2
  return #sorted % 2 == 1 and sorted[half + 1] or (sorted[half] + sorted[half + 1]) / 2
end

function bench.spread(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  return sorted[1], sorted[#sorted]
end

function bench.verdict(ok) return ok and "met" or "**missed**" end

-- "NAME VALUE" lines added to lists by name.
function bench.collect(found, lines)
  for _, line in ipairs(lines) do
    local name, value = line.text:match "^(%S+)%s+(%S+)"
    if tonumber(value) then
      found[name] = found[name] or {}
      table.insert(found[name], tonumber(value))
    end
  end
end

-- ---- the machines: the same kernel, initramfs and accelerator on both sides ----------------

-- One piece of Lua in macvm.
local function ask(code)
  local path = bench.scratch .. "/ask.lua"
  local file = assert(io.open(path, "w"))
  file:write("local macvm = require 'macvm'\n", code, "\n")
  file:close()
  return sh(quote(bench.macvm) .. " run " .. quote(path))
end

local kernel, initrd = ask [[
  local core = require "macvm.core"
  local kernel, initrd, found = core.guest_find(core.host().arch)
  assert(found, "the guest is not built: run make run")
  print(kernel .. "\n" .. initrd)]]:match "^(.-)\n(.*)$"
-- The packaged kernel that `kernel` was unpacked from: the cache keeps its package, the manifest names it.
local image = kernel:match "^(.*)/"
local bzimage = bench.scratch .. "/bzImage"
sh(("dpkg-deb --fsys-tarfile %s/../$(sed -n 's/^package=//p' %s/manifest)_*.deb | tar -xO --wildcards "
  .. "'./boot/vmlinuz-*' >%s"):format(quote(image), quote(image), quote(bzimage)))

-- How macvm runs QEMU here: the accelerator that it takes, and the command line of a running one.
local running = ask [[
  local vm <close> = macvm.vm { name = "bench", memory = "512M" }
  vm:start() vm:wait("ready", { timeout = 60 })
  print(vm:stats().accel)
  for _, child in ipairs { assert(io.open "/proc/thread-self/children"):read("n", "n") } do
    local words = assert(io.open("/proc/" .. child .. "/cmdline", "rb")):read "a"
    if words:find "qemu%-system" then print((words:gsub("%z", "\n"))) end
  end
  vm:kill()]]
bench.accel = running:match "^[^\n]*"
local accel = bench.accel:match "kvm" and "kvm" or "tcg"

local PORTS = {
  "-device", "virtio-serial-pci", "-chardev", "socket,id=agent,fd=@AGENT@",
  "-device", "virtserialport,chardev=agent,name=org.macvm.agent.0,nr=1",
}

-- QEMU as one types it: q35 with its default devices.
function bench.raw_defaults()
  local argv = { bench.qemu, "-machine", "q35", "-accel", accel, "-m", "256M", "-nographic",
                 "-kernel", bzimage, "-initrd", initrd, "-append", "console=ttyS0 quiet" }
  return table.move(PORTS, 1, #PORTS, #argv + 1, argv)
end

-- QEMU as macvm runs it, without macvm and with a second port that the probe has for itself.
function bench.raw_lean()
  local keep = { ["-machine"] = true, ["-accel"] = true, ["-cpu"] = true, ["-smp"] = true, ["-m"] = true,
                 ["-rtc"] = true, ["-bios"] = true, ["-kernel"] = true, ["-initrd"] = true, ["-append"] = true }
  local argv, option = { bench.qemu, "-nodefaults", "-no-user-config", "-display", "none" }, nil
  for word in running:gmatch "[^\n]+" do
    local memory = option == "-object" and word:find "^memory%-backend"
    if keep[option] or memory then table.move({ option, word }, 1, 2, #argv + 1, argv) end
    option = word
  end
  assert(#argv > 20, "macvm's QEMU was not found")
  table.move(PORTS, 1, #PORTS, #argv + 1, argv)
  for _, word in ipairs { "-chardev", "socket,id=port,fd=@PORT@", "-device",
                          "virtserialport,chardev=port,name=bench,nr=2" } do
    argv[#argv + 1] = word
  end
  return argv
end

return bench
