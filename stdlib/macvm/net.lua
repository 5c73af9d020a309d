-- SPDX-License-Identifier: MIT
-- The guest's side of its network devices, as its agent tells: addresses, and counters that no hypervisor has.

local core = require "macvm.core"
local exec = require "macvm.exec"
local strict = require "macvm.strict"

local net = {}

local ADDRESS_TIMEOUT = 30 -- seconds that a guest gets to have an address
local COUNT_TIMEOUT = 2 -- seconds that a guest gets to tell its counters
local PAUSE = 0.2 -- seconds between two looks: a guest does not tell when it gets an address

local ADDRESS_OPTIONS = { net = "userdata", family = "string", timeout = "number" }
local FAMILIES = { ipv4 = "-4", ipv6 = "-6" }
local FORMS = { ipv4 = "inet (%d+%.%d+%.%d+%.%d+)[/ ]", ipv6 = "inet6 (%x*:[%x:.]+)[/ ]" }
local TEXT_MAX = 45 -- bytes of an address

-- $1: the Ethernet address, $2: the family. Status 3: no such interface (yet).
local ADDRESS = [[
for d in /sys/class/net/*; do
    read -r mac <"$d/address" || continue
    [ "$mac" = "$1" ] && exec ip -o "$2" addr show dev "${d##*/}" scope global
done
exit 3]]

local COUNTERS = [[
for d in /sys/class/net/*; do
    read -r mac <"$d/address" && read -r a <"$d/statistics/rx_bytes" && read -r b <"$d/statistics/tx_bytes" &&
    read -r c <"$d/statistics/rx_packets" && read -r e <"$d/statistics/tx_packets" && echo "$mac $a $b $c $e"
done
exit 0]]

local function fail(vm, code, message, hint)
    error(core.error { code = code, vm = vm.name, message = message, hint = hint })
end

-- The name of one of the machine's nets in its figures: of `wanted`, or of the first.
local function name_of(vm, wanted)
    local nth = 0
    for _, device in ipairs(vm.devices) do
        if device.kind == "net" then
            nth = nth + 1
            if not wanted or device == wanted then return device.id or "net" .. nth end
        end
    end
    fail(vm, "config", wanted and "it has no such net" or "it has no net", "add macvm.net {} to its devices")
end

local function look(vm, mac, family, deadline)
    local result = vm:exec({ "sh", "-c", ADDRESS, "sh", mac, FAMILIES[family] },
        { timeout = math.max(0.1, deadline - core.now()) })
    if result.status ~= 0 and result.status ~= 3 then
        fail(vm, "guest", "can't ask for its addresses: " .. (result.stderr:match "[^\n]+" or "`ip` failed"))
    end
    local address = result.stdout:match(FORMS[family]) -- the guest's words: no more than looks like one
    return address and #address <= TEXT_MAX and address or nil
end

--- vm:address(opts?: {net?: device, family?: "ipv4"|"ipv6", timeout?: number}) -> string
--- The address that the guest has on a net (the first when left out), as its agent tells it. Waits until it has one
--- (30 s), also for a machine on its way up. On a bridged net the host's network reaches the guest there. On NAT it is
--- an address of the guest's private network (10.0.2.15 in every machine, 10.0.3.15 on its second net): neither the host
--- nor other machines reach it; `forward` and vm:forwards() are for that. Raises `config` without a net, `timeout`
--- when no address came in time, `state` when the machine is down.
function net.address(vm, opts)
    local o = strict.options(opts, ADDRESS_OPTIONS, "vm:address")
    local family, timeout = o.family or "ipv4", o.timeout or ADDRESS_TIMEOUT
    if not FAMILIES[family] then
        error(core.error { code = "config", field = "family", message = ("there is no family `%s`"):format(family),
            hint = "ipv4 or ipv6" })
    end
    local deadline = core.now() + timeout
    local name = name_of(vm, o.net)
    exec.when_ready(vm, deadline)
    local figures = (vm:stats().net or {})[name]
    if not figures then fail(vm, "unsupported", ("the back end %s has no networks"):format(vm.backend)) end
    while true do
        local ok, address = pcall(look, vm, figures.mac, family, deadline)
        if not ok and (type(address) ~= "table" or address.code ~= "timeout") then error(address, 0) end
        if ok and address then return address end
        if core.now() + PAUSE > deadline then
            fail(vm, "timeout", ("timed out after %g s waiting for an address of its %s"):format(timeout, name))
        end
        core.sleep(PAUSE)
    end
end

-- Where the host can't count, the guest's own counters, which say so. Not of one that does not answer now.
function net.count(vm, figures)
    local by_mac = {}
    for _, of in pairs(figures.net or {}) do
        if of.counted == nil then by_mac[of.mac] = of end
    end
    if not next(by_mac) or not vm.ready or vm.state ~= "running" then return figures end
    local ok, result = pcall(vm.exec, vm, { "sh", "-c", COUNTERS }, { timeout = COUNT_TIMEOUT })
    for mac, a, b, c, d in (ok and result.stdout or ""):gmatch "(%S+) (%d+) (%d+) (%d+) (%d+)\n" do
        local of = by_mac[mac]
        if of then
            of.rx_bytes, of.tx_bytes = math.tointeger(tonumber(a)), math.tointeger(tonumber(b))
            of.rx_packets, of.tx_packets = math.tointeger(tonumber(c)), math.tointeger(tonumber(d))
            of.counted = "guest"
        end
    end
    return figures
end

return net
