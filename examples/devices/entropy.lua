-- SPDX-License-Identifier: MIT
-- Random numbers for the guest, at most 64 KiB of them a second.

local vm <close> = macvm.vm { devices = { macvm.entropy { rate = "64K" } } }

vm:start()
vm:wait "ready"
print("from", (vm:must "cat /sys/class/misc/hw_random/rng_current":match "%S+"))
io.write("a few\t", vm:must "head -c 8 /dev/hwrng | od -An -tx1")
