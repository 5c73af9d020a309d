-- SPDX-License-Identifier: MIT
-- Network devices on NAT and on bridges, from inside and from the host.

local macvm = require "macvm"

-- What the host gets from a forwarded port for a line that it sends there.
local function ask(forward, line)
    local pipe = io.popen(("timeout 20 bash -c 'exec 3<>/dev/%s/%s/%d; echo %s >&3; head -n 1 <&3'"):format(
        forward.protocol, forward.host, forward.port, line))
    local text = pipe:read "a"
    pipe:close()
    return text
end

local function carrier(vm, interface)
    return vm:must(("cat /sys/class/net/%s/carrier"):format(interface))
end

-- Datagrams for ports on which nobody listens.
local function unheard(vm)
    return tonumber(vm:must "awk '/^Udp:/ { n = $3 } END { print n }' /proc/net/snmp")
end

-- ---- bridges ----------------------------------------------------------------------------

-- A network namespace, in which macvm runs as a program of its own: a bridge br0 on which the host is 192.0.2.1, and
-- an interface `lone`, whose other end has 192.0.2.129. All of it goes with the shell.
local PLACE = [[
set -e
mount -t sysfs sysfs /sys
ip link set lo up
ip link add br0 type bridge
ip addr add 192.0.2.1/25 dev br0
ip link set br0 up
ip link add lone type veth peer name far
ip addr add 192.0.2.129/25 dev far
ip link set lone up
ip link set far up
taps() { ip -o link | grep -c -e mvm -e macvtap || true; }
]]

local function in_namespace(ctx, shell, lua)
    local function write(name, text)
        local file <close> = assert(io.open(ctx.host_path(name), "w"))
        file:write(text)
        return ctx.host_path(name)
    end
    local script, macvm_command = write("lab.lua", lua), os.getenv "MACVM" or "build/macvm"
    shell = shell:gsub("RUN", ("timeout -k 5 80 '%s' run '%s'"):format(macvm_command, script))
    local pipe = io.popen(("unshare --net --mount bash '%s' 2>&1"):format(write("place.sh", PLACE .. shell)))
    local text = pipe:read "a"
    if not pipe:close() then error("in the namespace: " .. text, 2) end
    return text
end

local function no_bridges()
    local can = os.execute "unshare --net --mount ip link add br0 type bridge 2>/dev/null"
    if not can then return "network namespaces with bridges need root and iproute2" end
    return not os.execute "test -c /dev/net/tun" and "there is no /dev/net/tun" or nil
end

local function no_macvtap()
    local can = os.execute [[unshare --net --mount sh -c 'ip link add lone type veth peer name far &&
        ip link add link lone name tap type macvtap' 2>/dev/null]]
    return not can and (no_bridges() or "the host's kernel has no macvtap") or nil
end

local LAB = [[
local vm <close> = macvm.vm { name = "b", devices = { NETS } }
vm:start()
vm:wait "ready"
local function join(interface, address, peer)
    vm:must(("ip link set %s up && ip addr add %s/25 dev %s"):format(interface, address, interface))
    print((vm:eventually { "ping", "-c", "1", "-W", "1", peer }:match "%d+ packets received"))
end
]]

-- What a connection of the host to the guest brings.
local GREETING = [[
local server = vm:spawn "while true; do echo hello | nc -l -p 80 >/dev/null; done"
vm:eventually "netstat -ltn | grep -q :80"
local function greeting(address)
    local pipe = io.popen(("timeout 3 bash -c 'head -n 1 </dev/tcp/%s/80' 2>/dev/null"):format(address))
    return pipe:read "l"
end
]]

local function lab(nets, rest)
    return LAB:gsub("NETS", nets) .. GREETING .. rest
end

return {
    machine = function()
        return {
            name = "nets",
            devices = {
                macvm.net { id = "front", forward = {
                    ["127.0.0.1:0"] = { 80, 443 }, ["udp:127.0.0.1:0"] = 53, ["tcp:0.0.0.0:0"] = 80,
                } },
                macvm.net { mac = "52:54:00:AA:00:01" },
            },
        }
    end,
    {
        name = "the guest has virtio nets, with their addresses",
        run = function(ctx)
            local vm = ctx.machine
            ctx.eq(vm:must "grep -lx 0x0001 /sys/bus/virtio/devices/*/device | wc -l", "2\n")
            ctx.eq(vm:must "cat /sys/class/net/eth1/address", "52:54:00:aa:00:01\n")
            ctx.eq(vm:address(), "10.0.2.15")
            ctx.eq(vm:address { net = vm.devices[2] }, "10.0.3.15")
            ctx.eq(vm:must "hostname", "nets\n")
            local forward = vm.devices[1].forward
            ctx.eq(table.concat(forward["127.0.0.1:0"], " "), "80 443")
            ctx.eq(forward["udp:127.0.0.1:0"], 53)
            ctx.raises("config", vm.address, vm, { net = macvm.net {} })
            ctx.raises("config", vm.address, vm, { family = "ipx" })
            ctx.match(ctx.raises("timeout", vm.address, vm, { family = "ipv6", timeout = 0.3 }).message, "front")
        end,
    },
    {
        name = "what the guest says is its address is no more than that",
        run = function(ctx)
            local vm = ctx.machine
            local liar = [[#!/bin/busybox sh
                case "$2" in
                *"scope global"*) echo 'inet %s/24' ;;
                *) exec /bin/busybox sh "$@" ;;
                esac]]
            for _, text in ipairs { "1.2.3.4.5", ("1"):rep(200) .. ".1.1.1", "cafe", "$(id)" } do
                vm:must("cat >/bin/liar && chmod 755 /bin/liar && ln -sf liar /bin/sh", { stdin = liar:format(text) })
                local ok, err = pcall(vm.address, vm, { timeout = 0.3 })
                vm:must "ln -sf busybox /bin/sh && rm /bin/liar"
                ctx.eq(ok, false)
                ctx.eq(err.code, "timeout")
            end
            ctx.eq(vm:address(), "10.0.2.15")
        end,
    },
    {
        name = "the gateway is there, and names are looked up",
        run = function(ctx)
            local vm = ctx.machine
            vm:must "ping -c 1 -W 5 10.0.2.2"
            ctx.match(vm:must "cat /etc/resolv.conf", "10%.0%.2%.3")
            -- The host's resolver answers, if only with an error: no answer at all would be a timeout.
            ctx.match(vm:must "nslookup localhost 2>&1 || true", "10%.0%.2%.3")
            ctx.ok(not vm:must("nslookup localhost 2>&1 || true"):find "timed out", "an answer of the name server")
        end,
    },
    {
        name = "picked ports of the host lead into the guest, TCP and UDP",
        run = function(ctx)
            local vm = ctx.machine
            local forwards, by = vm:forwards(), {}
            ctx.eq(#forwards, 4)
            for _, f in ipairs(forwards) do
                ctx.ok(f.port > 0 and f.port < 65536, "a port")
                ctx.eq(f.net, vm.devices[1])
                by[f.protocol .. f.host .. ":" .. f.guest_port] = f
            end
            local first, second = by["tcp127.0.0.1:80"], by["tcp0.0.0.0:80"]
            ctx.ok(first.port ~= second.port and first.port ~= by["tcp127.0.0.1:443"].port, "three ports")
            ctx.match(io.open "/proc/net/tcp":read "a", (" 0100007F:%04X "):format(first.port))
            local _ <close> = vm:spawn "while true; do echo web | nc -l -p 80 >/dev/null; done"
            vm:eventually "netstat -ltn | grep -q :80"
            ctx.eq(ask(first, "x"), "web\n")
            vm:eventually "netstat -ltn | grep -q :80"
            ctx.eq(ask({ protocol = "tcp", host = "127.0.0.1", port = second.port }, "x"), "web\n")
            -- Nobody listens on that UDP port: the guest's kernel counts what arrives.
            ctx.eq(unheard(vm), 0)
            local udp = by["udp127.0.0.1:53"]
            os.execute(("bash -c 'echo x >/dev/udp/%s/%d'"):format(udp.host, udp.port))
            ctx.until_true(function() return unheard(vm) == 1 end)
        end,
    },
    {
        name = "the link goes down and up",
        run = function(ctx)
            local vm, seen = ctx.machine, {}
            local _ <close> = vm:on("network", function(_, id, what) seen[#seen + 1] = id .. " " .. what end)
            local net = vm.devices[1]
            ctx.eq(vm:stats().net.front.link, "up")
            net:link(false)
            vm:eventually "grep -qx 0 /sys/class/net/eth0/carrier"
            ctx.eq(vm:stats().net.front.link, "down")
            ctx.eq(vm:exec("ping -c 1 -W 1 10.0.2.2").status, 1)
            ctx.eq(carrier(vm, "eth1"), "1\n")
            net:link(false)
            net:link(true)
            vm:eventually "grep -qx 1 /sys/class/net/eth0/carrier"
            vm:eventually "ping -c 1 -W 1 10.0.2.2"
            ctx.eq(table.concat(seen, ","), "front down,front up")
            ctx.raises("config", net.link, net)
            ctx.raises("config", net.link, net, "down")
            ctx.match(ctx.raises("config", net.link, macvm.entropy {}, true).message, "entropy has no link")
            ctx.raises("state", net.link, macvm.net {}, true)
        end,
    },
    {
        name = "counters, as the guest sees them",
        run = function(ctx)
            local vm = ctx.machine
            local before = vm:stats().net.front
            ctx.eq(before.counted, "guest")
            vm:must "ping -c 3 -i 0.2 -s 1000 10.0.2.2"
            local after = vm:stats().net.front
            ctx.ok(after.rx_bytes - before.rx_bytes >= 3000 and after.tx_bytes - before.tx_bytes >= 3000, "bytes")
            ctx.ok(after.rx_packets - before.rx_packets >= 3 and after.tx_packets > before.tx_packets, "packets")
            vm:pause()
            ctx.eq(vm:stats().net.front.rx_bytes, nil)
            vm:resume()
        end,
    },
    {
        name = "one that is plugged in gets an address, and its forwards; its place is free again",
        run = function(ctx)
            local vm = ctx.machine
            for _ = 1, 2 do
                local net = macvm.net { id = "hot", forward = { ["127.0.0.1:0"] = 22 } }
                vm:attach(net)
                ctx.eq(#vm:forwards(), 5)
                ctx.eq(vm:address { net = net }, "10.0.4.15")
                ctx.ok(vm:stats().net.hot.mac ~= vm:stats().net.front.mac, "an address of its own")
                vm:detach(net)
                ctx.eq(#vm:forwards(), 4)
                vm:eventually "! ip link show | grep -q eth2"
            end
        end,
    },
    {
        name = "a port that is in use: which, and by whom",
        run = function(ctx)
            local taken = ctx.machine:forwards()
            local one, udp = taken[1], nil
            for _, f in ipairs(taken) do udp = f.protocol == "udp" and f or udp end
            local vm = ctx.vm { devices = { macvm.net { forward = { ["127.0.0.1:" .. one.port] = 80 } } } }
            local err = ctx.raises("config", vm.start, vm)
            ctx.match(err.message, ("TCP port %d of 127.0.0.1 is in use by the machine \"nets\""):format(one.port))
            ctx.match(err.field, "^devices%[1%]%.forward")
            ctx.eq(vm.state, "stopped")
            vm = ctx.vm { devices = { macvm.net { forward = { ["udp:127.0.0.1:" .. udp.port] = 80 } } } }
            ctx.match(ctx.raises("config", vm.check, vm).message, "UDP port")
            local net = macvm.net { forward = { ["127.0.0.1:" .. one.port] = 80 } }
            ctx.raises("config", ctx.machine.attach, ctx.machine, net)
            ctx.raises("state", vm.forwards, vm)
        end,
    },
    {
        name = "onto a bridge: traffic both ways, an address, the host's counters; plugged in and out",
        skip = no_bridges,
        timeout = 100,
        run = function(ctx)
            local text = in_namespace(ctx, "RUN; taps", lab('macvm.net { mode = "bridged", interface = "br0" }', [[
                join("eth0", "192.0.2.2", "192.0.2.1")
                print(vm:address(), greeting "192.0.2.2")
                local of = vm:stats().net.net1
                print(of.counted, of.rx_bytes > 0 and of.tx_bytes > 0, of.interface)
                vm.devices[1]:link(false)
                print(greeting "192.0.2.2")
                vm.devices[1]:link(true)
                local hot = macvm.net { mode = "bridged", interface = "br0" }
                vm:attach(hot)
                vm:eventually "test -e /sys/class/net/eth1"
                join("eth1", "192.0.2.66", "192.0.2.1")
                os.execute "ip -o link | grep -c 'mvm.*master br0'"
                local twin = macvm.vm { name = "twin", devices = {
                    macvm.net { mode = "bridged", interface = "br0", mac = vm:stats().net.net1.mac } } }
                print(select(2, pcall(twin.start, twin)).code)
                vm:detach(hot)
                os.execute "ip -o link | grep -c 'mvm.*master br0'"
            ]]))
            ctx.eq(text, "1 packets received\n192.0.2.2\thello\nhost\ttrue\tmvm0\nnil\n1 packets received\n"
                .. "2\nconfig\n1\n0\n")
        end,
    },
    {
        name = "onto an interface that is no bridge",
        skip = no_macvtap,
        timeout = 100,
        run = function(ctx)
            local text = in_namespace(ctx, "RUN; taps", lab('macvm.net { mode = "bridged", interface = "lone" }', [[
                join("eth0", "192.0.2.130", "192.0.2.129")
                print(vm:address())
                os.execute "ip -d -o link | grep -c macvtap"
            ]]))
            ctx.eq(text, "1 packets received\n192.0.2.130\n0\n0\n")
        end,
    },
    {
        name = "a tap goes with macvm, also by kill -9",
        skip = no_bridges,
        timeout = 100,
        run = function(ctx)
            local text = in_namespace(ctx, [[
                exec 3< <(RUN & echo $!; wait)
                read -r -u 3 pid
                read -r -u 3 word
                taps
                kill -9 $(pgrep -P $pid)
                for i in $(seq 100); do [ "$(taps)" = 0 ] && break; sleep 0.1; done
                taps]], [[
                local vm = macvm.vm { devices = { macvm.net { mode = "bridged", interface = "br0" } } }
                vm:start()
                print "up"
                io.stdout:flush()
            ]])
            ctx.eq(text, "1\n0\n")
        end,
    },
    {
        name = "without the rights: what would give them",
        skip = no_bridges,
        run = function(ctx)
            local text = in_namespace(ctx, "setpriv --bounding-set=-net_admin --inh-caps=-net_admin RUN", [[
                for _, interface in ipairs { "br0", "lone" } do
                    local vm = macvm.vm { devices = { macvm.net { mode = "bridged", interface = interface } } }
                    local _, err = pcall(vm.start, vm)
                    print(err.code, err.field, err.hint:match "run macvm as root")
                end
            ]])
            ctx.eq(text, ("unsupported\tdevices[1].interface\trun macvm as root\n"):rep(2))
        end,
    },
    {
        name = "bridged: what is missing",
        run = function(ctx)
            local function refused(fields, field, pattern)
                local vm = ctx.vm { devices = { macvm.net(fields) } }
                local err = ctx.raises("config", vm.check, vm)
                ctx.eq(err.field, "devices[1]." .. field)
                return ctx.match(err.message, pattern) and err
            end
            refused({ mode = "bridged" }, "interface", "needs an interface")
            local err = refused({ mode = "bridged", interface = "nosuch0" }, "interface", "no network interface")
            ctx.match(err.hint, "^this host has")
            refused({ mode = "bridged", interface = "lo", forward = { ["127.0.0.1:0"] = 80 } }, "forward",
                "forwards nothing")
            refused({ interface = "lo" }, "interface", "only a bridged net")
            local mac = "52:54:00:00:00:01"
            local two = ctx.vm { devices = { macvm.net { mac = mac }, macvm.net { mac = mac } } }
            ctx.eq(ctx.raises("config", two.check, two).field, "devices[2].mac")
            local twice = ctx.vm { devices = { macvm.net { forward = { ["127.0.0.1:29999"] = 1 } },
                macvm.net { forward = { ["tcp:127.0.0.1:29999"] = 2 } } } }
            ctx.match(ctx.raises("config", twice.check, twice).message, "forwarded twice")
            local all = { ["127.0.0.1:29999"] = 1, ["0.0.0.0:29999"] = 2 }
            local part = ctx.vm { devices = { macvm.net { forward = all } } }
            ctx.match(ctx.raises("config", part.check, part).message, "forwarded twice")
            local apart = { ["127.0.0.1:29999"] = 1, ["127.0.0.2:29999"] = 2, ["udp:0.0.0.0:29999"] = 3 }
            ctx.vm { devices = { macvm.net { forward = apart } } }:check()
        end,
    },
}
