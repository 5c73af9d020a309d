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

-- What udhcpc calls: the second network adds to the first and takes nothing from it.
local DHCP = [[
#!/bin/sh
case $1 in
deconfig)
    ip addr flush dev "$interface"
    ip link set "$interface" up
    ;;
bound | renew)
    ip addr add "$ip/${mask:-24}" dev "$interface" 2>/dev/null
    metric=$((100 + $(cat "/sys/class/net/$interface/ifindex")))
    gateway=${router%% *}
    [ -z "$gateway" ] || ip route add default via "$gateway" dev "$interface" metric $metric 2>/dev/null
    [ -s /etc/resolv.conf ] || for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
    ;;
esac
]]

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

-- The applets of a busybox, which tells them where it runs; that of another architecture has their names in one row.
local function applets_of(path)
  local p = io.popen(host.quote(path) .. " --list 2>/dev/null", "r")
  local list = {}
  for name in p:lines() do
    list[#list + 1] = name
  end
  if p:close() and #list > 0 then
    return list
  end
  local row = host.read(path):match("%z(%[%z%[%[%z[%w%z_.-]+)%z%z") or ""
  for name in row:gmatch("%Z+") do
    list[#list + 1] = name
  end
  if #list < 100 then
    host.fail("%s: which applets it has can't be told", path)
  end
  return list
end

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

image:file("usr/share/udhcpc/default.script", DHCP, EXEC)
image:file("bin/busybox", host.read(busybox), EXEC)
local applets = applets_of(busybox)
table.sort(applets)
for _, name in ipairs(applets) do
  if not LEFT_OUT[name] then
    image:link("bin/" .. name, "busybox")
  end
end
for path in host.read(kernel .. "/files"):gmatch("[^\n]+") do
  image:file(path, host.read(kernel .. "/" .. path))
end
image:link("bin/vsock", "../init")
image:file("init", host.read(agent), EXEC)
host.write(out, image:bytes())
