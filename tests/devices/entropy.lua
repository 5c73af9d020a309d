-- SPDX-License-Identifier: MIT
-- The random number device, seen from inside.

local macvm = require "macvm"

local CURRENT = "cat /sys/class/misc/hw_random/rng_current"

-- Seconds that the guest takes to read so many bytes, of which none is left over from before.
local function time_to_read(vm, bytes)
    local began = macvm.now()
    local text = vm:must(("dd if=/dev/hwrng bs=%d count=1 iflag=fullblock 2>/dev/null | wc -c"):format(bytes))
    assert(tonumber(text) == bytes, text)
    return macvm.now() - began
end

return {
    machine = function()
        return { devices = { macvm.entropy {} } }
    end,
    {
        name = "the guest has a virtio rng, and reads what is not the same twice",
        run = function(ctx)
            local vm = ctx.machine
            ctx.eq(vm:must "grep -lx 0x0004 /sys/bus/virtio/devices/*/device | wc -l", "1\n")
            ctx.match(vm:must(CURRENT), "^virtio_rng")
            local first = vm:must "head -c 32 /dev/hwrng"
            ctx.eq(#first, 32)
            ctx.ok(first ~= vm:must "head -c 32 /dev/hwrng", "other bytes")
        end,
    },
    {
        name = "a rate limit makes it slower",
        timeout = 90,
        run = function(ctx)
            local limited <close> = ctx.boot { devices = { macvm.entropy { rate = "1K" } } }
            ctx.match(limited:must(CURRENT), "^virtio_rng")
            time_to_read(limited, 1024) -- what it was given before
            local slow, quick = time_to_read(limited, 4096), time_to_read(ctx.machine, 4096)
            ctx.ok(slow > 3 * quick, ("limited %.2f s, unlimited %.2f s"):format(slow, quick))
        end,
    },
    {
        name = "a second one, and a rate that is none, are refused",
        run = function(ctx)
            local err = ctx.raises("config", ctx.machine.attach, ctx.machine, macvm.entropy {})
            ctx.match(err.message, "at most 1 entropy")
            local two = ctx.vm { devices = { macvm.entropy {}, macvm.entropy {} } }
            ctx.eq(ctx.raises("config", two.check, two).field, "devices[2]")
            ctx.raises("config", macvm.entropy, { rate = 0 })
            ctx.raises("config", macvm.entropy, { rate = "fast" })
        end,
    },
}
