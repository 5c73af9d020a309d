-- SPDX-License-Identifier: MIT
-- vm:listen: what the guest connects to over its vsock device.

local task = require "macvm.task"

local vsock = {}

--- vm:listen(port: integer, fn: fun(channel: stream)) -> listener
--- Calls fn(channel), in a task of its own, for every connection that the guest opens to that port of the host
--- (CID 2), in this run of the machine and later ones, until listener:close(). The channel is closed when fn returns,
--- after what was written. Raises `config` when that port of this machine is taken.
function vsock.listen(vm, port, fn)
    task.check_function(fn, "vm:listen")
    return vm:listen_raw(port, function(channel)
        local open <close> = channel
        fn(open)
    end)
end

return vsock
