-- SPDX-License-Identifier: MIT
-- Sound: what the guest plays goes into a WAV file. QEMU has virtio-sound since 8.2; an older one says so.
local macvm = require "macvm"

local wav = os.tmpname()
local vm <close> = macvm.vm { name = "player", devices = { macvm.sound { file = wav } } }

local can, reason = vm:can "sound"
if not can then
    print("no sound here: " .. reason)
    os.remove(wav)
    return
end
vm:start():wait "ready"
print(vm:must "grep -l 0x0019 /sys/bus/virtio/devices/*/device >/dev/null && echo the guest has a sound device")
vm:stop()

local file <close> = assert(io.open(wav, "rb"))
print(("the file is %s, %d bytes"):format(file:read(4) == "RIFF" and "a WAV file" or "empty", file:seek "end"))
os.remove(wav)
