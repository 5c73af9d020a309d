-- SPDX-License-Identifier: MIT
-- macvm.timeline: its sums, its texts and that the picture is well-formed XML whatever the names are.
local t = ...

local timeline = require "macvm.timeline"

local function vm(name, ...)
    local marks = {}
    for i, pair in ipairs { ... } do marks[i] = { name = pair[1], at = pair[2] } end
    return { name = name, timeline = marks }
end

local function web()
    return vm("web", { "process", 0.012 }, { "qmp", 0.083 }, { "running", 0.131 }, { "kernel", 0.62 },
        { "init", 1.33 }, { "ready", 1.742 })
end

local function known_entity(name)
    return name == "amp" or name == "lt" or name == "gt" or name == "quot" or name:find "^#%d+$"
end

local function check_text(text)
    t.ok(not text:find "[<>]", "a bare < or > in " .. text)
    for name in text:gmatch "&([^;]*);?" do
        t.ok(known_entity(name), "a bare & in " .. text)
    end
end

-- A small strict reader: elements nest, attributes are quoted and appear once, text holds only
-- known entities. Returns the list of elements { name, attrs, text }.
local function parse(xml)
    t.ok(utf8.len(xml), "the file is UTF-8")
    t.ok(not xml:find "[%z\1-\8\11\12\14-\31\127]", "no control character")
    local stack, elements, at = {}, {}, 1
    while true do
        local open, close = xml:find("<[^>]*>", at)
        local text = xml:sub(at, (open or #xml + 1) - 1)
        check_text(text:gsub("^<.*", "<"))
        local top = stack[#stack]
        if top then
            top.text = top.text .. text
        else
            t.eq(text:find "%S", nil, "text outside of the root element")
        end
        if not open then break end
        local tag = xml:sub(open + 1, close - 1)
        if tag:sub(1, 1) == "/" then
            t.eq(tag:sub(2), top and top.name, "end tag")
            stack[#stack] = nil
        else
            local element = { name = tag:match "^[%a]+", attrs = {}, text = "" }
            t.ok(element.name, "element name in " .. tag)
            local rest = tag:sub(#element.name + 1):gsub('%s+([%w%-:]+)="([^"<]*)"', function(key, value)
                t.eq(element.attrs[key], nil, "attribute " .. key .. " appears once")
                check_text(value)
                element.attrs[key] = value
                return ""
            end)
            t.ok(rest == "" or rest == "/", "attributes of " .. tag)
            if not stack[1] then t.eq(#elements, 0, "one root element") end
            elements[#elements + 1] = element
            if rest ~= "/" then stack[#stack + 1] = element end
        end
        at = close + 1
    end
    t.eq(#stack, 0, "elements left open")
    return elements
end

local function find(elements, name, class)
    local found = {}
    for _, e in ipairs(elements) do
        if e.name == name and (not class or e.attrs.class == class) then found[#found + 1] = e end
    end
    return found
end

t.case("the segments join without a gap and sum to the total", function()
    local segments, total = timeline.segments(web())
    t.eq(#segments, 6)
    t.near(total, 1.742, 1e-9)
    local at, sum = 0, 0
    for _, s in ipairs(segments) do
        t.eq(s.from, at, s.name .. " begins where the one before ended")
        t.ok(s.to >= s.from, s.name .. " is not negative")
        at, sum = s.to, sum + (s.to - s.from)
    end
    t.eq(at, total)
    t.near(sum, total, 1e-9)
    t.same({ segments[1].name, segments[4].name, segments[6].name }, { "set-up", "firmware", "user space" })
end)

t.case("a mark that is missing joins two phases", function()
    local segments = timeline.segments(vm("a", { "running", 0.1 }, { "init", 1 }, { "ready", 2 }))
    t.eq(segments[1].name, "set-up + hypervisor starts + devices")
    t.eq(segments[2].name, "firmware + kernel")
    t.eq(segments[3].name, "user space")
end)

t.case("marks that are unknown, out of order or no numbers do not break the sums", function()
    local segments, total = timeline.segments(vm("a", { "ready", 2 }, { "process", 0.1 }, { "mounted", 3 },
        { "bad", 0 / 0 }, { "worse", -1 }, { "endless", math.huge }))
    t.same({ segments[1].mark, segments[2].mark, segments[3].mark, segments[4] }, { "process", "ready", "mounted" })
    t.eq(segments[3].name, "to mounted")
    t.eq(total, 3)
end)

t.case("one line of text for each VM", function()
    t.eq(timeline.text(web()), "web  ready in 1.74 s: set-up 12 ms, hypervisor starts 71 ms, devices 48 ms, "
        .. "firmware 489 ms, kernel 710 ms, user space 412 ms")
    local text = timeline.text { web(), vm("half", { "process", 0.01 }, { "kernel", 0.7 }), vm "never" }
    local lines = {}
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
    t.eq(#lines, 3)
    t.match(lines[1], "^web    ready in 1%.74 s: ")
    t.match(lines[2], "^half   kernel after 700 ms, not ready: ")
    t.eq(lines[3], "never  not started")
end)

t.case("text does not pass control characters on to a terminal", function()
    local text = timeline.text(vm("a\27[31m\n", { "x\7", 1 }))
    t.eq(text:find "%c", nil)
end)

t.case("the picture is well-formed and shows every phase once", function()
    local elements = parse(timeline.render(web()))
    t.eq(elements[1].name, "svg")
    t.eq(elements[1].attrs.xmlns, "http://www.w3.org/2000/svg")
    for i = 1, 6 do -- one bar and one key of the legend
        t.eq(#find(elements, "rect", "p" .. i), 2, "phase " .. i)
    end
    t.same({ find(elements, "text", "total")[1].text, find(elements, "text", "sub")[1].text },
        { "1.74 s", "1 machine, ready after 1.74 s" })
end)

t.case("the bars add up to the length of the longest boot", function()
    local sum, first, last = 0, math.huge, 0
    for _, e in ipairs(parse(timeline.render(web()))) do
        local class = e.name == "rect" and e.attrs.class or ""
        if class:find "^p%d$" and e.attrs.width ~= "14" then
            sum = sum + tonumber(e.attrs.width)
            first = math.min(first, tonumber(e.attrs.x))
            last = math.max(last, e.attrs.x + e.attrs.width)
        end
    end
    t.near(sum, last - first, 0.05)
    t.ok(last < 1240 and last > 1000, "the longest bar fills the width, ends at " .. last)
end)

t.case("every name is escaped", function()
    local evil = [[<b>&"'</text><script>]]
    local picture = timeline.render({ vm(evil, { evil, 1 }, { "ready", 2 }), vm(evil, { "process", 1 }) },
        { title = evil })
    local elements = parse(picture)
    t.eq(#find(elements, "script"), 0)
    t.eq(#find(elements, "b"), 0)
    t.eq(find(elements, "text", "title")[1].text, "&lt;b&gt;&amp;&quot;&#39;&lt;/text&gt;&lt;script&gt;")
    parse(timeline.render(vm("bad \xff\xfe utf-8 \0\1\27 \u{FFFE}", { "\xc3(", 1 })))
end)

t.case("nothing is loaded from elsewhere", function()
    local picture = timeline.render(web()):gsub('xmlns="http://www.w3.org/2000/svg"', "")
    for _, word in ipairs { "http", "href", "@import", "<image", "<script", "src=" } do
        t.eq(picture:find(word, 1, true), nil, word)
    end
    t.has(picture, "url(#bar1)")
    t.has(picture, "prefers-color-scheme:dark")
end)

t.case("no VM, none started, all at zero and very unequal ones are drawn too", function()
    t.eq(find(parse(timeline.render(vm "never")), "text", "note")[1].text, "not started")
    parse(timeline.render(vm("zero", { "process", 0 }, { "ready", 0 })))
    local many = { vm("slow", { "ready", 3600 }) }
    for i = 2, 12 do many[i] = vm(("node%d"):format(i):rep(16), { "process", 1e-5 }, { "ready", 1e-4 * i }) end
    local elements = parse(timeline.render(many))
    t.eq(#find(elements, "text", "name"), 12)
    for _, e in ipairs(find(elements, "text", "name")) do
        t.ok(utf8.len(e.text:match "^[^<]*") <= 200)
    end
    for _, e in ipairs(elements) do
        for _, key in ipairs { "x", "y", "width", "height" } do
            local value = e.attrs[key]
            t.ok(not value or value == "100%" or tonumber(value) and tonumber(value) >= 0, key)
        end
    end
end)

t.case("the time axis has from two to twelve round ticks", function()
    for _, total in ipairs { 3e-5, 0.002, 0.07, 0.999, 1, 1.742, 9.99, 19.8, 61, 1000, 90000 } do
        local ticks = find(parse(timeline.render(vm("a", { "ready", total }))), "text", "tick")
        t.ok(#ticks >= 2 and #ticks <= 12, ("%d ticks for %g s"):format(#ticks, total))
        local seen = {}
        for _, tick in ipairs(ticks) do
            t.eq(seen[tick.text], nil, "tick " .. tick.text .. " of " .. total .. " appears once")
            seen[tick.text] = true
        end
    end
end)

t.case("svg writes the file and leaves nothing else behind", function()
    local dir = t.tmpdir()
    local path = dir .. "/boot.svg"
    timeline.svg({ web(), vm("db", { "ready", 1 }) }, path)
    local file <close> = assert(io.open(path, "rb"))
    parse(file:read "a")
    local list <close> = assert(io.popen("ls -A " .. dir))
    t.eq(list:read "a", "boot.svg\n")
end)

t.case("svg raises io and keeps the old picture when it can't write", function()
    t.raises("io", "can't write /nonexistent/dir/boot.svg: No such file or directory", timeline.svg, web(),
        "/nonexistent/dir/boot.svg")
    local dir = t.tmpdir()
    os.execute("mkdir " .. dir .. "/boot.svg")
    t.raises("io", "can't write ", timeline.svg, web(), dir .. "/boot.svg")
    local list <close> = assert(io.popen("ls -A " .. dir))
    t.eq(list:read "a", "boot.svg\n")
end)

t.case("what is no VM is refused", function()
    t.raises("config", "expected a VM or a list of VMs, got string", timeline.text, "web")
    t.raises("config", "item 2 is no VM, it is a number", timeline.render, { web(), 7 })
    t.raises("config", "there is no VM in the list", timeline.svg, {}, "/tmp/never.svg")
    t.raises("config", "path", timeline.svg, web(), nil)
end)
