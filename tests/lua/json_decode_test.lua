-- SPDX-License-Identifier: MIT
-- The JSON that others send: what is understood, and what is refused with a reason.
local t = ...
local decode = require "macvm.json_decode"
local encode = require "macvm.json"

t.case("values, and what the encoder writes comes back", function()
    local value = decode ' { "a" : [1, 2.5, -3e2, true, false], "b":{}, "c":"x\\u00fc\\ud83d\\ude00\\n\\/", "d":null } '
    t.eq(value.a[1], 1)
    t.eq(math.type(value.a[1]), "integer")
    t.eq(value.a[2], 2.5)
    t.eq(value.a[3], -300.0)
    t.eq(value.a[4], true)
    t.eq(value.a[5], false)
    t.eq(next(value.b), nil)
    t.eq(value.c, "x\u{fc}\u{1F600}\n/")
    t.eq(value.d, nil)
    local text = encode { list = { 1, "two", { three = 3 } }, text = "a\"b\\c\127\1" }
    t.eq(encode(decode(text)), text)
    t.eq(decode '"just a text"', "just a text")
    t.eq(#decode "[]", 0)
end)

t.case("what is no JSON", function()
    for text, why in pairs {
        [""] = "a value is expected at byte 1", ["01"] = "a value is expected", ["1."] = "a value", ["1e"] = "a value",
        ["-"] = "a value", ["+1"] = "a value", ["tru"] = "a value", ["[1,]"] = "a value is expected at byte 4",
        ["[1 2]"] = "`,` or `]`", ['{"a"}'] = "`:` is expected", ['{"a":1,}'] = "a name is expected",
        ["{1:2}"] = "a name is expected", ['"abc'] = "without its end", ['"\\x"'] = "no such escape",
        ['"\\u12"'] = "four hexadecimal digits", ['"\\ud800"'] = "half a surrogate pair",
        ['"\\udc00\\ud800"'] = "half a surrogate pair", ['"\1"'] = "a control character",
        ["1 2"] = "more than one value",
        ['"\xff"'] = "no UTF-8", ["[" ] = "a value", ["{"] = "a name",
    } do
        local value, err = decode(text)
        t.eq(value, nil)
        t.has(err or "nothing", why)
    end
end)

t.case("bounds", function()
    t.eq(type(decode(("["):rep(16) .. ("]"):rep(16))), "table")
    local value, err = decode(("["):rep(17) .. ("]"):rep(17))
    t.eq(value, nil)
    t.has(err, "more than 16 levels")
    t.eq(#decode('"' .. ("x"):rep(65534) .. '"'), 65534)
    value, err = decode('"' .. ("x"):rep(65535) .. '"')
    t.eq(value, nil)
    t.has(err, "more than 65536 bytes")
    t.eq(#decode('"' .. ("x"):rep(65535) .. '"', 65537), 65535)
    t.has(select(2, decode("[  ]", 3)), "more than 3 bytes")
end)
