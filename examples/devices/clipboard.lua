-- SPDX-License-Identifier: MIT
-- The clipboard of a guest that runs the Spice agent (spice-vdagent, on most desktops). macvm's own small guest has
-- none, so here the text is only offered; a desktop would paste it.

local vm <close> = macvm.vm {
    name = "box",
    devices = { macvm.clipboard {} },
}
vm:on("clipboard", function(_, text) print("copied in the guest:", text) end)
vm:start()
vm:wait "ready"

vm.clipboard = "text from the host"
print("the guest would paste:", vm.clipboard)
print("its agent's port:", vm:must "grep -x com.redhat.spice.0 /sys/class/virtio-ports/*/name")
