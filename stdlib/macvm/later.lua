-- SPDX-License-Identifier: MIT
--[[
Verbs and devices that are described for macvm and that this version does not have. Using one is an `unsupported`
error with the reason that vm:can gives, not a call of nil.
]]

local core = require "macvm.core"

-- The ability that each verb needs.
local VERBS = {
    snapshot = "snapshot", restore = "snapshot", snapshots = "snapshot",
    fork = "fork",
}

local DEVICES = { rosetta = true }

local later = {}

-- For the method table of machines: what a name that it does not have stands for.
function later.verb(_, name)
    local ability = VERBS[name]
    return ability and function(vm)
        local _, reason = vm:can(ability)
        error(core.error { code = "unsupported", vm = vm.name, message = ("can't %s: %s"):format(name, reason) })
    end
end

-- For the module: the constructor of a device.
function later.device(name)
    return DEVICES[name] and function()
        error(core.error { code = "unsupported", message = ("this version of macvm has no %s device"):format(name) })
    end
end

return later
