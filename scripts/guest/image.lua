-- SPDX-License-Identifier: MIT
-- The initramfs of the guest:
--   image.lua KERNEL_DIR BUSYBOX AGENT OUT_FILE
-- KERNEL_DIR is what kernel.lua made.

local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua"
local host = require "host"
local cpio = require "cpio"

local kernel, busybox, agent, out = arg[1], arg[2], arg[3], arg[4]
local EXEC, OPEN = tonumber("755", 8), tonumber("1777", 8)

-- Applets that would take the agent's place, or need a system that is not there.
local LEFT_OUT = { busybox = true, init = true, linuxrc = true, dpkg = true, ["dpkg-deb"] = true, rpm = true,
                   rpm2cpio = true }

local ETC = {
  passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
  group = "root:x:0:\ntty:x:5:\ndisk:x:6:\nnogroup:x:65534:\n",
  shells = "/bin/sh\n",
  profile = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
  ["nsswitch.conf"] = "hosts: files dns\n",
  -- What `mount` tries when it is given no type; most are modules, which the kernel loads then.
  filesystems = "ext4\next2\nvfat\niso9660\nsquashfs\n*\n",
  fstab = "# The agent mounts what the machine needs.\n",
}

local image = cpio.new()

for _, dir in ipairs { "bin", "dev", "etc", "lib", "mnt", "proc", "root", "run", "sys", "usr/local/bin",
                       "usr/local/sbin", "var/log" } do
  image:dir(dir)
end
image:dir("tmp", OPEN)
image:dir("var/tmp", OPEN)
image:link("sbin", "bin")
image:link("usr/bin", "../bin")
image:link("usr/sbin", "../bin")
image:link("var/run", "../run")
image:link("etc/mtab", "../proc/self/mounts")

local names = {}
for name in pairs(ETC) do
  names[#names + 1] = name
end
table.sort(names)
for _, name in ipairs(names) do
  image:file("etc/" .. name, ETC[name])
end
image:file("etc/os-release", ('NAME="macvm guest"\nID=macvm\nPRETTY_NAME="macvm guest (Linux %s)"\n'):format(
  host.read(kernel .. "/release"):gsub("%s+$", "")))

image:file("bin/busybox", host.read(busybox), EXEC)
local applets = host.lines(host.quote(busybox) .. " --list", busybox .. ": does not run on this host")
table.sort(applets)
for _, name in ipairs(applets) do
  if not LEFT_OUT[name] then
    image:link("bin/" .. name, "busybox")
  end
end
for path in host.read(kernel .. "/files"):gmatch("[^\n]+") do
  image:file(path, host.read(kernel .. "/" .. path))
end
image:file("init", host.read(agent), EXEC)
host.write(out, image:bytes())
