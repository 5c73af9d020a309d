-- SPDX-License-Identifier: MIT
-- Reads what a kernel module says of itself: the strings of its .modinfo section.

local elf = {}

local SIGNED = "~Module signature appended~\n"

-- The section `name` of a 64-bit little-endian ELF file; nil when it has none.
function elf.section(bytes, name)
  if bytes:sub(1, 6) ~= "\127ELF\2\1" then
    return nil, "not a 64-bit little-endian ELF file"
  end
  local table_at, entry, count, names = string.unpack("<I8", bytes, 41), string.unpack("<I2I2I2", bytes, 59)
  local function header(i)
    return string.unpack("<I4I4I8I8I8I8", bytes, table_at + i * entry + 1)
  end
  local _, _, _, _, names_at = header(names)
  for i = 0, count - 1 do
    local name_at, _, _, _, at, size = header(i)
    if string.unpack("z", bytes, names_at + name_at + 1) == name then
      return bytes:sub(at + 1, at + size)
    end
  end
  return nil
end

-- { depends = { names }, alias = { patterns }, name = "...", softdep = { lines } }
function elf.modinfo(bytes)
  local info = { depends = {}, alias = {}, softdep = {} }
  local section, why = elf.section(bytes, ".modinfo")
  if not section then
    return nil, why or "no .modinfo section"
  end
  for key, value in section:gmatch("([^=%z]+)=([^%z]*)") do
    if key == "depends" then
      for name in value:gmatch("[^,]+") do
        info.depends[#info.depends + 1] = (name:gsub("-", "_"))
      end
    elseif key == "alias" or key == "softdep" then
      table.insert(info[key], value)
    elseif key == "name" then
      info.name = value:gsub("-", "_")
    end
  end
  return info
end

-- The module without the signature that the kernel's builder appended. The caller decides whether
-- that is wanted: an unsigned module taints the kernel.
function elf.unsigned(bytes)
  if bytes:sub(-#SIGNED) ~= SIGNED then
    return bytes
  end
  local size = string.unpack(">I4", bytes, #bytes - #SIGNED - 3)
  return bytes:sub(1, #bytes - #SIGNED - 12 - size)
end

return elf
