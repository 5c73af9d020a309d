-- SPDX-License-Identifier: MIT
-- A directory of the host in the guest: one to read and write, one to read only, one that comes later.
local macvm = require "macvm"

local dir = os.tmpname()
os.remove(dir)
assert(os.execute("mkdir -m 700 " .. dir))
local _ <close> = setmetatable({}, { __close = function() os.execute("rm -rf " .. dir) end })

local vm <close> = macvm.vm {
    devices = {
        macvm.share { tag = "work", path = dir, mount = "/mnt/shared" },
        macvm.share { tag = "docs", path = dir, mount = "/mnt/docs", readonly = true },
    },
}
vm:start()
vm:wait("ready", { timeout = 60 })
print("served by", vm:stats().share.work.driver)

vm:must "uname -r >/mnt/shared/kernel"
for line in io.lines(dir .. "/kernel") do print("the guest's kernel", line) end
print("writing where it is readonly", vm:exec("touch /mnt/docs/file").stderr:match ": ([^:]*)\n$")

local more = macvm.share { tag = "more", path = dir, mount = "/mnt/more" }
if vm:stats().share.work.driver == "virtiofs" then
    vm:attach(more)
    print("plugged in", (vm:must "ls /mnt/more"):match "%S+")
    vm:detach(more)
end
