-- SPDX-License-Identifier: MIT
-- A display, a keyboard and a pointer: types a command at the console on the display, and keeps a picture of it.
local macvm = require "macvm"

local vm <close> = macvm.vm {
    name = "screen",
    devices = { macvm.display { width = 800, height = 600 }, macvm.keyboard {}, macvm.pointer {} },
}
vm:start():wait "ready"
vm:eventually("grep -q '# ' /dev/vcs1", { timeout = 20 }) -- the shell's prompt is on the display

vm:type "echo $((6 * 7)) >/tmp/answer\n"
vm:eventually "[ -s /tmp/answer ]"
print("typed, and the guest answered: " .. vm:read("/tmp/answer"):gsub("%s", ""))

vm:key "ctrl-l"
vm:click(400, 300)
print("clicked in the middle")

local picture = os.tmpname()
vm:screenshot(picture)
local file <close> = assert(io.open(picture, "rb"))
print(("the picture: %d x %d pixels"):format(string.unpack(">I4I4", file:read(24), 17)))
os.remove(picture)
