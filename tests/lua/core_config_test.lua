-- SPDX-License-Identifier: MIT
-- Tables to machines and devices: what is taken, what is refused, and how an error names its place.
local t = ...
local core = require "macvm.core"

local function refused(field, pattern, spec)
    local err = t.raises("config", pattern, core.vm, spec)
    t.eq(err.field, field)
    return err
end

t.case("a whole machine from a table, read back", function()
    local net = core.device("net", { forward = { ["127.0.0.1:8080"] = 80, ["udp:127.0.0.1:53"] = 53 } })
    local vm = core.vm {
        name = "all", cpus = 1, memory = "128M", backend = "sim", boot = { cmdline = "quiet" },
        sim = { boot = 0.5, agent = false }, devices = { core.device("entropy", {}), net },
    }
    t.eq(vm.name, "all")
    t.eq(vm.cpus, 1)
    t.eq(vm.memory, 128 << 20)
    t.eq(vm.boot.cmdline, "quiet")
    t.eq(vm.boot.kernel, nil)
    t.eq(vm.sim.boot, 0.5)
    t.eq(vm.sim.agent, false)
    t.eq(#vm.devices, 2)
    t.ok(rawequal(vm.devices[2], net))
    t.eq(vm.devices[1].kind, "entropy")
    t.same(net.forward, { ["127.0.0.1:8080"] = 80, ["udp:127.0.0.1:53"] = 53 })
    t.eq(vm.nothing, nil)
end)

t.case("step by step", function()
    local vm = core.vm "steps"
    t.eq(vm.boot, nil)
    vm.memory = 2.0 ^ 27
    t.eq(vm.memory, 128 << 20)
    vm.boot = { cmdline = "a" }
    vm.boot.cmdline = "b"
    t.eq(vm.boot.cmdline, "b")
    vm.backend = "sim"
    t.eq(vm.backend, "sim")
    t.eq(vm:attach(core.device("net", {})), vm)
    t.eq(vm.devices[1].mode, "nat")
    vm.memory = nil
    t.eq(vm.memory, 256 << 20)
    local disk = core.device("disk", { path = "/x.img" })
    disk.size = "1G"
    t.eq(disk.size, 1 << 30)
    t.match(tostring(disk), "^disk { path = /x.img, size = 1073741824 }$")
    t.eq(tostring(core.device("entropy", {})), "entropy {}")
end)

t.case("an error names the line, the field and what would be right", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local ok, err = pcall(function() core.vm { memroy = "1G" } end)
    t.ok(not ok)
    t.match(tostring(err), "core_config_test.lua:" .. line .. ": memroy: .*did you mean `memory`")
    t.match(err.where, ":" .. line .. "$")
    err = select(2, pcall(function() core.vm "x".memroy = 1 end))
    t.match(tostring(err), ":" .. line + 4 .. ": memroy: ")
    t.match("error: " .. err, "^error: .*memroy")
end)

t.case("every shape of mistake has its field", function()
    refused("memory", "\"512Q\" is not a size", { memory = "512Q" })
    refused("cpus", "small", { cpus = 0 })
    refused("cpus", "boolean", { cpus = true })
    refused("cpus", "can't be a table", { cpus = {} })
    refused("guest", "linux", { guest = "beos" })
    refused("boot.kernle", "did you mean `kernel`", { boot = { kernle = "x" } })
    refused("boot.cmdline", nil, { boot = { cmdline = 5 } })
    refused("boot", "expected a table", { boot = "x" })
    refused("devices", "list", { devices = "x" })
    refused("devices", "a list", { devices = { net = core.device("net", {}) } })
    refused("devices[2]", "a device", { devices = { core.device("net", {}), {} } })
    refused("devices[1]", "a device", { devices = { 3 } })
    refused("name", nil, { name = "no spaces" })
    t.raises("config", "named fields.*devices = ", core.vm, { core.device("net", {}) })
    t.raises("config", "a table or a name, got number", core.vm, 3)
    t.raises("config", "expected a string", core.vm, { name = 3 })
    t.raises("config", "made from a table, got string", core.device, "net", "x")
    t.raises("config", "no device `flux`", core.device, "flux", {})
    t.eq(t.raises("config", nil, core.device, "net", { forward = { [80] = 80 } }).field, "forward")
    t.match(t.raises("config", nil, core.device, "net", { forward = { ["127.0.0.1:1"] = "x" } }).field, "forward")
    t.eq(t.raises("config", nil, core.device, "disk", { size = 1, pth = 2 }).field, "size")
end)

t.case("several mistakes: always the same one is told", function()
    for _ = 1, 20 do
        refused("cpus", nil, { zzz = 1, cpus = 0, memory = "x", aaa = 1 })
        refused("aaa", nil, { zzz = 1, aaa = 1, mmm = 1 })
    end
end)

t.case("a refused assignment changes nothing; some can't be made", function()
    local vm = core.vm { name = "still", backend = "sim", memory = "64M" }
    t.after(function() vm:kill() end)
    pcall(function() vm.memory = "x" end)
    t.eq(vm.memory, 64 << 20)
    t.raises("config", "keeps its name", function() vm.name = "other" end)
    t.raises("config", "vm:attach", function() vm.devices = {} end)
    vm:start()
    t.raises("state", nil, function() vm.memory = "128M" end)
    t.raises("unsupported", nil, vm.attach, vm, core.device("display", {}))
end)

t.case("one machine is one object, with a line of its own", function()
    local vm = core.vm { name = "one", backend = "sim", memory = "64M" }
    t.ok(rawequal(core.vms()[#core.vms()], vm))
    t.eq(tostring(vm), "vm one: stopped, 1 cpu, 64M")
    t.eq(vm.ready, false)
    t.eq(vm.up, false)
    t.same(vm.timeline, {})
    t.eq(vm:can "agent" ~= nil, true)
    t.raises(nil, "vm expected", vm.start, {})
    t.raises(nil, "vm expected", vm.start)
end)

t.case("methods can be added to a class", function()
    core.class "vm".answer = function() return 42 end
    t.eq(core.vm "m":answer(), 42)
    core.class "vm".answer = nil
    t.raises(nil, "no class 'x'", core.class, "x")
end)

t.case("error objects: fields, one line, places", function()
    local err = core.error { code = "guest", message = "no", field = "a.b", hint = "yes", vm = "web" }
    t.match(tostring(err), "core_config_test.lua:%d+: web: a.b: no %(yes%)$")
    t.eq(tostring(core.error { code = "io", message = "m", level = 0 }), "m")
    t.eq(tostring(core.error { code = "io", message = "m", field = "", level = 0 }), "m")
    local function deep() return core.error { code = "io", message = "m", level = 2 } end
    t.match(deep().where, ":" .. debug.getinfo(1, "l").currentline .. "$")
    t.raises(nil, "'message' must be a string", core.error, { code = "io" })
    t.raises(nil, "'hint' must be a string", core.error, { code = "io", message = "x", hint = 3 })
end)

t.case("what the core knows of itself", function()
    local kinds = {}
    for _, schema in ipairs(core.schemas()) do
        kinds[schema.kind] = schema
        t.ok(#schema.doc > 0)
        for _, field in ipairs(schema.fields) do t.ok(#field.doc > 0 and #field.type > 0, field.name) end
    end
    t.eq(kinds.vm.device, false)
    t.eq(kinds.disk.device, true)
    t.eq(kinds.vm.fields[1].name, "name")
    t.eq(core.states()[1], "stopped")
    t.eq(core.codes()[1].code, "config")
    t.eq(core.events()[1].name, "state")
    t.ok(#core.abilities() > 5)
    t.eq(core.parse_size "2G", 2 << 30)
    t.eq(core.format_size(512 << 20), "512M")
    t.raises("config", "not a size", core.parse_size, "many")
    t.match(core.version, "^%d+%.%d+")
    local host = core.host()
    t.ok(host.cpus >= 1 and host.memory > 0 and #host.findings > 0)
    t.eq(type(core.guest_find()), "string")
    t.ok(core.columns() > 0)
    t.eq(core.isatty(99), false)
end)

t.case("private directories", function()
    local dir = t.tmpdir()
    t.eq(core.mkdir_private(dir .. "/a/b"), true)
    t.eq(core.mkdir_private(dir .. "/a/b"), true)
    local mode = io.popen("stat -c %a " .. dir .. "/a/b"):read "l"
    t.eq(mode, "700")
    io.open(dir .. "/file", "w"):close()
    local ok, why = core.mkdir_private(dir .. "/file")
    t.eq(ok, nil)
    t.match(why, "file: Not a directory")
end)
