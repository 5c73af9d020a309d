-- SPDX-License-Identifier: MIT
-- The small helpers of the stdlib: json, inspect, nearest, strict, and those of the command.
local t = ...
local inspect = require "macvm.inspect"
local json = require "macvm.json"
local macvm = require "macvm"
local nearest = require "macvm.nearest"
local options = require "macvm.cli.options"
local report = require "macvm.cli.report"
local shell = require "macvm.cli.shell"
local strict = require "macvm.strict"

t.case("json", function()
    t.eq(json { b = 1, a = { 1, 2.5, "x", true }, c = {} }, '{"a":[1,2.5,"x",true],"b":1,"c":[]}')
    t.eq(json 'q" \\ \n \1 \127 é', [["q\" \\ \n \u0001 \u007f é"]])
    t.eq(json "\xff\xfeok\xc3", '"\u{FFFD}\u{FFFD}ok\u{FFFD}"')
    t.eq(json { 0 / 0, math.huge, math.maxinteger }, "[null,null,9223372036854775807]")
    t.eq(json({ a = { 1 } }, true), '{\n  "a": [\n    1\n  ]\n}')
    t.eq(json { [3] = "x" }, '{"3":"x"}')
    local loop = {}
    loop[1] = loop
    t.raises(nil, "holds itself", json, loop)
end)

t.case("inspect", function()
    t.eq(inspect "a\n\27", [["a\n\x1b"]])
    t.eq(inspect { 1, "x", { y = 2 } }, '{ 1, "x", { y = 2 } }')
    t.eq(inspect { ["end"] = 1, ["a b"] = 2, [10] = 3, z = nil }, '{ [10] = 3, ["a b"] = 2, ["end"] = 1 }')
    t.eq(inspect(setmetatable({}, { __tostring = function() return "me" end })), "me")
    local loop = {}
    loop.self = loop
    t.eq(inspect(loop), "{ self = <above> }")
    t.match(inspect({ ("x"):rep(60), ("y"):rep(60) }), "^{\n  \"x+\",\n  \"y+\"\n}$")
    t.eq(inspect({ { { {} } } }, { depth = 2 }), "{ { {...} } }")
    t.match(inspect({ 1, 2, 3, 4, 5, a = 1, b = 2 }, { items = 3 }), "^{ 1, 2, 3, %.%.%. 4 more }$")
end)

t.case("nearest", function()
    local words = { "memory", "cpus", "name", "devices" }
    t.eq(nearest("memroy", words), "memory")
    t.eq(nearest("cpu", words), "cpus")
    t.eq(nearest("NAME", words), "name")
    t.eq(nearest("zebra", words), nil)
    t.eq(nearest("", words), nil)
    t.eq(nearest(("x"):rep(10000), words), nil)
end)

t.case("strict tables and options", function()
    t.raises("config", "macvm has no `dsk` %(did you mean `disk`%?%)", function() return macvm.dsk end)
    t.eq(rawget(macvm, "dsk"), nil)
    local known = { timeout = "number", what = "table" }
    t.same(strict.options(nil, known, "f"), {})
    t.same(strict.options({ timeout = 1, what = {} }, known, "f"), { timeout = 1, what = {} })
    t.raises("config", "timeout: must be a number, got string", strict.options, { timeout = "x" }, known, "f")
    t.raises("config", "what: must be a table, got boolean", strict.options, { what = true }, known, "f")
    for _, time in ipairs { -1, 0 / 0 } do
        t.raises("config", "timeout: is not a time to wait", strict.options, { timeout = time }, known, "f")
    end
    t.raises("config", "tiemout: f has no such option %(did you mean `timeout`%?%)", strict.options, { tiemout = 1 },
        known, "f")
    t.raises("config", "f takes its options as a table, got number", strict.options, 5, known, "f")
end)

t.case("words for a shell mean exactly what they say", function()
    local nasty = { "plain", "a b", "it's", "$(id)", "`id`", "a\nb", "", "-n", "*", "\\", "a;b", "é", "~", "!x", "#" }
    for _, word in ipairs(nasty) do
        local pipe <close> = assert(io.popen("printf '%s|' " .. shell.quote(word)))
        t.eq(pipe:read "a", word .. "|")
    end
    t.eq(shell.quote "/usr/bin/x-1.2", "/usr/bin/x-1.2")
    t.raises(nil, "NUL", shell.quote, "a\0b")
    t.eq(shell.run { "sh", "-c", "exit 7" }, 7)
    t.eq(shell.run { "sh", "-c", "kill -9 $$" }, 137)
end)

t.case("command line options", function()
    local verb = { options = {
        { name = "json", help = "" },
        { name = "backend", short = "b", arg = "NAME", help = "" },
    } }
    local function parse(...) return options.parse(verb, { ... }) end
    local plain, opts = parse("-vv", "a", "--json", "-bsim", "--", "-x")
    t.same(plain, { "a", "-x" })
    t.same(opts, { verbose = 2, json = 1, backend = "sim" })
    t.same({ parse("--backend=x=y", "-") }, { { "-" }, { backend = "x=y" } })
    t.same({ parse("-vb", "q") }, { {}, { verbose = 1, backend = "q" } })
    t.raises("config", "no option %-%-jsno %(did you mean %-%-json%?%)", parse, "--jsno")
    t.raises("config", "%-b needs a value %(NAME%)", parse, "-b")
    verb.many = true
    t.same({ parse("lab.lua", "--json", "-x") }, { { "lab.lua", "--json", "-x" }, {} })
end)

t.case("errors as one line and a status", function()
    local core = require "macvm.core"
    t.eq(report.line "a\n  b\r\nc\27", "a; b; c?")
    t.eq(report.line(nil), "the error object is a nil value")
    t.eq(report.line {}, "the error object is a table value")
    t.eq(report.status "x", 1)
    for code, status in pairs { config = 2, state = 1, timeout = 1, unsupported = 3, agent = 1, guest = 1, backend = 3,
        io = 3, cancelled = 1 } do
        t.eq(report.status(core.error { code = code, message = "m" }), status, code)
    end
end)
