-- SPDX-License-Identifier: MIT
-- From an unpacked kernel package to what the guest needs of it:
--   kernel.lua PACKAGE_DIR MODULES_LIST OUT_DIR
-- OUT_DIR gets vmlinux (bootable without a decompressor), release, files (a list of the initramfs' module files)
-- and lib/modules: the wanted modules with their dependencies, the agent's table, modprobe's lists.

local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua"
local host = require "host"
local elf = require "elf"

local package_dir, list_path, out = arg[1], arg[2], arg[3]

-- The kernel itself ---------------------------------------------------------------

local UNPACK = {
  { magic = "\xFD7zXZ\0", tool = "xz", command = "xz -dc --single-stream" },
  { magic = "\x28\xB5\x2F\xFD", tool = "zstd", command = "zstd -dcq" },
  { magic = "\x1F\x8B", tool = "gzip", command = "gzip -dc" },
  { magic = "\x02\x21\x4C\x18", tool = "lz4", command = "lz4 -dcq" },
}

-- Where the packed kernel is. A bzImage says it (boot protocol 2.08 and later; the last 4 bytes are its size), an EFI
-- image that unpacks itself too; arm64's may be packed as a whole, or not at all (nil).
local function payload_of(image)
  if image:sub(1, 2) == "MZ" and image:sub(5, 8) == "zimg" then
    local offset, length = string.unpack("<I4I4", image, 9)
    return image:sub(offset + 1, offset + length)
  elseif image:sub(1, 2) == "\x1F\x8B" then
    return image
  end
  if image:sub(0x203, 0x206) ~= "HdrS" or string.unpack("<I2", image, 0x207) < 0x208 then
    return nil
  end
  local setup = image:byte(0x1F2)
  local offset, length = string.unpack("<I4I4", image, 0x249)
  local at = ((setup == 0 and 4 or setup) + 1) * 512 + offset
  return image:sub(at + 1, at + length - 4)
end

local function unpack_kernel(image_path, target)
  local image = host.read(image_path)
  local payload = payload_of(image)
  if not payload then -- no bzImage: other machines boot the image as it is
    return host.write(target, image)
  end
  for _, kind in ipairs(UNPACK) do
    if payload:sub(1, #kind.magic) == kind.magic then
      local packed = target .. ".packed"
      host.write(packed, payload)
      host.run(("%s <%s >%s"):format(kind.command, host.quote(packed), host.quote(target)),
        ("the kernel can't be unpacked: apt-get install %s"):format(kind.tool == "xz" and "xz-utils" or kind.tool))
      os.remove(packed)
      return
    end
  end
  host.fail("%s: the kernel is packed in a way that is not known", image_path)
end

-- Modules ----------------------------------------------------------------------------

local function read_list(path)
  local wanted = {}
  for line in host.read(path):gmatch("[^\n]+") do
    local how, name, maybe = line:match("^(%l+)%s+([%w_]+)(%??)")
    if how then
      wanted[#wanted + 1] = { how = how, name = name, maybe = maybe == "?" }
    elseif not line:match("^%s*#") then
      host.fail("%s: not understood: %s", path, line)
    end
  end
  return wanted
end

local function builtin_modules(dir)
  local set = {}
  for name in host.read(dir .. "/modules.builtin"):gmatch("([^/\n]+)%.ko") do
    set[name:gsub("-", "_")] = true
  end
  return set
end

local function index_modules(dir)
  local index = {}
  for _, path in ipairs(host.lines(("cd %s && find kernel -name '*.ko*' | LC_ALL=C sort"):format(host.quote(dir)),
    dir .. ": can't be listed")) do
    index[path:match("([^/]+)%.ko"):gsub("-", "_")] = path
  end
  return index
end

local function read_module(path)
  local tool = path:match("%.xz$") and "xz -dc" or path:match("%.zst$") and "zstd -dcq"
  if not tool then
    return host.read(path)
  end
  local p = assert(io.popen(tool .. " " .. host.quote(path), "r"))
  local bytes = p:read("a")
  if not p:close() then
    host.fail("%s: can't be unpacked: apt-get install %s", path, tool:match("^xz") and "xz-utils" or "zstd")
  end
  return bytes
end

local release = host.lines("ls " .. host.quote(package_dir .. "/lib/modules"), "the package holds no modules")[1]
local source = ("%s/lib/modules/%s"):format(package_dir, release)
local index, builtin = index_modules(source), builtin_modules(source)
local modules, order = {}, {} -- by name; in an order in which every module follows those it depends on

local function add(name, by)
  if modules[name] then
    return modules[name]
  end
  if not index[name] then
    host.fail("the kernel has no module %s%s", name, by and " that " .. by .. " needs" or "")
  end
  local bytes = read_module(source .. "/" .. index[name])
  local info, why = elf.modinfo(bytes)
  if not info then
    host.fail("%s: %s", index[name], why)
  end
  local m = { name = name, path = index[name]:gsub("%.ko.*$", ".ko"), bytes = bytes, info = info, all = {} }
  modules[name] = m
  local have = {}
  for _, dep in ipairs(info.depends) do
    local d = add(dep, name)
    for _, below in ipairs(d.all) do
      if not have[below] then
        have[below] = true
        m.all[#m.all + 1] = below
      end
    end
    if not have[dep] then
      have[dep] = true
      m.all[#m.all + 1] = dep
    end
  end
  order[#order + 1] = m
  return m
end

-- What the lists say --------------------------------------------------------------------

local function backwards(list)
  local out_list = {}
  for i = #list, 1, -1 do
    out_list[#out_list + 1] = list[i]
  end
  return out_list
end

local root = out .. "/lib/modules"
local tree = root .. "/" .. release
local agent, dep, alias, files = {}, {}, {}, {}
local by_device = {}

for _, want in ipairs(read_list(list_path)) do
  if index[want.name] or not (want.maybe or builtin[want.name]) then
    add(want.name)
    if want.how == "boot" or want.how == "late" then
      agent[#agent + 1] = want.how .. " " .. want.name
    end
    by_device[want.name] = want.how ~= "demand"
  end
end

for _, m in ipairs(order) do
  local file = tree .. "/" .. m.path
  local needs = {}
  host.mkdir(file:match("^(.*)/"))
  host.write(file, m.bytes)
  files[#files + 1] = ("lib/modules/%s/%s"):format(release, m.path)
  agent[#agent + 1] = ("module %s /lib/modules/%s/%s %s"):format(m.name, release, m.path, table.concat(m.all, " "))
  for _, name in ipairs(backwards(m.all)) do
    needs[#needs + 1] = modules[name].path
  end
  dep[#dep + 1] = ("%s: %s"):format(m.path, table.concat(needs, " "))
  for _, pattern in ipairs(m.info.alias) do
    alias[#alias + 1] = ("alias %s %s"):format(pattern, m.name)
    if by_device[m.name] and pattern:match("^%l+:") then
      agent[#agent + 1] = ("alias %s %s"):format(pattern, m.name)
    end
  end
end

local function put(name, lines)
  host.write(root .. "/" .. name, table.concat(lines, "\n") .. "\n")
  files[#files + 1] = "lib/modules/" .. name
end

put("macvm.table", agent)
put(release .. "/modules.dep", dep)
put(release .. "/modules.alias", alias)
put(release .. "/modules.symbols", { "# modprobe looks for this file" })
host.write(tree .. "/modules.builtin", host.read(source .. "/modules.builtin"))
files[#files + 1] = ("lib/modules/%s/modules.builtin"):format(release)
host.write(out .. "/files", table.concat(files, "\n") .. "\n")
host.write(out .. "/release", release .. "\n")
unpack_kernel(("%s/boot/vmlinuz-%s"):format(package_dir, release), out .. "/vmlinux")
