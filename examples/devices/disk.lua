-- SPDX-License-Identifier: MIT
-- Disks: one that keeps what is written, one whose writes are thrown away, one that comes while the machine runs.
local macvm = require "macvm"

local dir = os.getenv "TMPDIR" or "/tmp"
local data = macvm.disk { path = os.tmpname(), size = "16M", id = "data" }
local scratch = macvm.disk { path = data.path, size = "32M", id = "scratch", ephemeral = true }
local later = macvm.disk { path = ("%s/later-%d.qcow2"):format(dir, math.random(1 << 30)), size = "64M",
  format = "qcow2", create = true, id = "later" }
local _ <close> = setmetatable({}, { __close = function()
  os.remove(data.path)
  os.remove(later.path)
end })

-- The guest knows a disk by its serial number, which is our `id`.
local function find(vm, id)
  return vm:must(('for d in /sys/block/vd*; do [ "$(cat $d/serial)" = %s ] && echo -n /dev/${d##*/}; done; true')
    :format(id))
end

do
  local vm <close> = macvm.vm { name = "keeper", devices = { data } }
  vm:start()
  vm:wait "ready"
  vm:must("echo kept | dd conv=fsync of=" .. find(vm, "data"))
  vm:attach(later)
  vm:eventually("grep -q later /sys/block/vd*/serial", { timeout = 10 })
  print("attached", find(vm, "later"), vm:must("cat /sys/block/vdb/size"):match "%d+" .. " blocks")
  later:resize "96M"
  vm:eventually("grep -q 196608 /sys/block/vdb/size", { timeout = 10 })
  print("grown", "96 MiB in the guest")
  vm:detach(later)
end

do
  local vm <close> = macvm.vm { name = "player", devices = { scratch } }
  vm:start()
  vm:wait "ready"
  local disk = find(vm, "scratch")
  print("found", vm:must("head -c 4 " .. disk))
  vm:must("echo lost | dd conv=fsync of=" .. disk)
  print("written", vm:must("head -c 4 " .. disk))
end

local file <close> = assert(io.open(data.path, "rb"))
print("on the host", file:read(4))
