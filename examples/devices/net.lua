-- SPDX-License-Identifier: MIT
-- A network with a port of the host that leads into the guest, and a plug that is pulled.

local vm <close> = macvm.vm {
    devices = { macvm.net { forward = { ["127.0.0.1:0"] = 80 } } }, -- 0: a port that is free
}

vm:on("network", function(_, id, what) print(id, what) end)
vm:start()
vm:wait "ready"
for _, f in ipairs(vm:forwards()) do
    print(("%s port %d of %s leads to port %d of the guest, which is %s"):format(f.protocol, f.port, f.host,
        f.guest_port, vm:address()))
end

local net = vm.devices[1]
vm:must "ping -c 1 -W 5 10.0.2.2"
net:link(false)
print("while the plug is out, ping ends with", vm:exec("ping -c 1 -W 1 10.0.2.2").status)
net:link(true)
vm:eventually "ping -c 1 -W 1 10.0.2.2"

local counters = vm:stats().net.net1
print("something came and went", counters.rx_packets > 0 and counters.tx_packets > 0)
