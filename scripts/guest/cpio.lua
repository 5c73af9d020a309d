-- SPDX-License-Identifier: MIT
-- Writes an initramfs: a "newc" cpio archive, the same bytes for the same content. Owner root, time 0.

local cpio = {}
cpio.__index = cpio

local DIR, FILE, LINK = 0x4000, 0x8000, 0xA000

local function padded(text)
  return text .. ("\0"):rep(-#text % 4)
end

function cpio.new()
  return setmetatable({ parts = {}, seen = {}, inode = 0 }, cpio)
end

function cpio:entry(name, mode, content)
  self.inode = self.inode + 1
  local nlink = mode & 0xF000 == DIR and 2 or 1
  local head = ("070701" .. ("%08X"):rep(13)):format(self.inode, mode, 0, 0, nlink, 0, #content, 0, 0, 0, 0,
    #name + 1, 0)
  self.parts[#self.parts + 1] = padded(head .. name .. "\0")
  self.parts[#self.parts + 1] = padded(content)
end

-- A directory and those above it.
function cpio:dir(path, perm)
  if path == "" or self.seen[path] then
    return
  end
  self:dir(path:match("^(.*)/[^/]*$") or "")
  self.seen[path] = true
  self:entry(path, DIR | (perm or tonumber("755", 8)), "")
end

local function place(self, path)
  assert(not self.seen[path], path .. " is there twice")
  self:dir(path:match("^(.*)/[^/]*$") or "")
  self.seen[path] = true
end

function cpio:file(path, content, perm)
  place(self, path)
  self:entry(path, FILE | (perm or tonumber("644", 8)), content)
end

function cpio:link(path, target)
  place(self, path)
  self:entry(path, LINK | tonumber("777", 8), target)
end

function cpio:bytes()
  self:entry("TRAILER!!!", 0, "")
  local all = table.concat(self.parts)
  return all .. ("\0"):rep(-#all % 512)
end

return cpio
