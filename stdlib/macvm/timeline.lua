-- SPDX-License-Identifier: MIT
--[[
Boot timelines as pictures: macvm.timeline.svg draws the boots of one or several VMs, and
macvm.timeline.text gives the same as lines for a terminal. Both work on `vm.timeline` alone, a list
of { name, at } in seconds since the start was asked for; a mark that is missing joins two phases,
and a mark that is not known here gets a phase of its own.
]]

local core = require "macvm.core"

local timeline = {}

-- ---- phases ----------------------------------------------------------------------

-- What happens before each mark, in the order of a boot.
local PHASES <const> = {
    { mark = "process", label = "set-up", class = "p1" },
    { mark = "qmp", label = "hypervisor starts", class = "p2" },
    { mark = "running", label = "devices", class = "p3" },
    { mark = "kernel", label = "firmware", class = "p4" },
    { mark = "init", label = "kernel", class = "p5" },
    { mark = "ready", label = "user space", class = "p6" },
}
local OTHERS <const> = 3 -- classes o1..o3 for marks that are not in the list

local RANK <const> = {}
for i, phase in ipairs(PHASES) do RANK[phase.mark] = i end

local function check(value, ...)
    if value then return value end
    -- Level 4: who called the public function that called list_of.
    error(core.error {
        code = "config", level = 4, message = ("macvm.timeline: " .. (...)):format(select(2, ...)),
    }, 0)
end

-- One VM or a list of them -> a list.
local function list_of(vms)
    local kind = type(vms)
    check(kind == "table" or kind == "userdata", "expected a VM or a list of VMs, got %s", kind)
    if kind == "userdata" or vms.timeline then return { vms } end
    local list = {}
    for i = 1, #vms do
        check(type(vms[i]) == "userdata" or type(vms[i]) == "table" and vms[i].timeline,
            "item %d is no VM, it is a %s", i, type(vms[i]))
        list[i] = vms[i]
    end
    check(#list > 0, "there is no VM in the list")
    return list
end

local function marks_of(vm)
    local marks = {}
    for i, mark in ipairs(vm.timeline or {}) do
        local at = tonumber(mark.at)
        if at and at >= 0 and at < math.huge then
            marks[#marks + 1] = { name = tostring(mark.name), at = at, order = i }
        end
    end
    table.sort(marks, function(a, b)
        if a.at ~= b.at then return a.at < b.at end
        return a.order < b.order
    end)
    return marks
end

-- "firmware + kernel" when the marks between two that are there were never seen.
local function label_of(mark, before)
    local rank = RANK[mark]
    if not rank then return "to " .. mark end
    local first = rank
    while first > 1 and before < first - 1 do first = first - 1 end
    local parts = {}
    for i = first, rank do parts[#parts + 1] = PHASES[i].label end
    return table.concat(parts, " + ")
end

local function segments_of(vm)
    local segments, from, reached = {}, 0, 0
    for _, mark in ipairs(marks_of(vm)) do
        segments[#segments + 1] = {
            name = label_of(mark.name, reached), mark = mark.name, from = from, to = mark.at,
        }
        from = mark.at
        reached = math.max(reached, RANK[mark.name] or 0)
    end
    return segments, from
end

--- macvm.timeline.segments(vm: vm) -> {name: string, mark: string, from: number, to: number}[], number
--- The phases of a VM's last boot, in order, and its total in seconds. They join without a gap: the first
--- one begins at 0 and the last one ends at the total. A VM that has not been started has none.
function timeline.segments(vm)
    local list = list_of(vm)
    return segments_of(list[1])
end

-- ---- numbers ---------------------------------------------------------------------

local function seconds(t)
    if t >= 100 then return ("%.0f s"):format(t) end
    if t >= 10 then return ("%.1f s"):format(t) end
    if t >= 0.9995 then return ("%.2f s"):format(t) end
    if t >= 0.01 or t == 0 then return ("%.0f ms"):format(t * 1000) end
    return ("%.1f ms"):format(t * 1000)
end

-- Ticks 1, 2 or 5 times a power of ten apart, about `count` of them up to `total`, the last at or
-- after it. Returns the list and the distance.
local function ticks_for(total, count)
    local raw = total / count
    local unit = 10.0 ^ math.floor(math.log(raw, 10))
    local step = 10 * unit
    for _, factor in ipairs { 1, 2, 5 } do
        if raw <= factor * unit * (1 + 1e-9) then
            step = factor * unit
            break
        end
    end
    local ticks, i = {}, 0
    repeat
        ticks[#ticks + 1] = i * step
        i = i + 1
    until ticks[#ticks] >= total * (1 - 1e-9)
    return ticks, step
end

local function tick_text(at, step, last)
    local unit, factor = "s", 1
    if last < 1 then unit, factor = "ms", 1000 end
    local digits = math.max(0, -math.floor(math.log(step * factor, 10) + 1e-9))
    return ("%%.%df %s"):format(digits, unit):format(at * factor)
end

-- ---- text ------------------------------------------------------------------------

-- What a name may not do to a terminal or to XML: control characters and broken UTF-8.
local function clean(text)
    text = tostring(text)
    if not utf8.len(text) then text = text:gsub("[\x80-\xff]", "?") end
    text = text:gsub("%c", "?"):gsub("\xc2[\x80-\x9f]", "?")
    return (text:gsub("\u{FFFE}", "?"):gsub("\u{FFFF}", "?"))
end

local function cut(text, max)
    local length = utf8.len(text)
    if length <= max then return text end
    local head = (max - 1) // 2
    local tail = max - 1 - head
    return text:sub(1, utf8.offset(text, head + 1) - 1) .. "…" .. text:sub(utf8.offset(text, -tail))
end

local function ready_at(segments)
    for _, s in ipairs(segments) do
        if s.mark == "ready" then return s.to end
    end
end

local function verdict(segments, total)
    local last, ready = segments[#segments], ready_at(segments)
    if not last then return "not started" end
    if ready then return "ready in " .. seconds(ready) end
    return ("%s after %s, not ready"):format(clean(last.mark), seconds(total))
end

local function lines_for(list)
    local lines, width = {}, 0
    for _, vm in ipairs(list) do width = math.max(width, utf8.len(clean(vm.name))) end
    for i, vm in ipairs(list) do
        local name = clean(vm.name)
        local segments, total = segments_of(vm)
        local parts = {}
        for _, s in ipairs(segments) do
            parts[#parts + 1] = clean(s.name) .. " " .. seconds(s.to - s.from)
        end
        lines[i] = name .. (" "):rep(width - utf8.len(name)) .. "  " .. verdict(segments, total)
            .. (parts[1] and ": " .. table.concat(parts, ", ") or "")
    end
    return lines
end

--- macvm.timeline.text(vms: vm|vm[]) -> string
--- One line for each VM, without a newline at the end: its name, how long it took to `ready` (or how far it
--- came), and how long each phase of the boot was.
function timeline.text(vms)
    local list = list_of(vms)
    return table.concat(lines_for(list), "\n")
end

-- ---- drawing ---------------------------------------------------------------------

local ENTITIES <const> = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
local function escape(text)
    return (clean(text):gsub("[&<>\"']", ENTITIES))
end

local STYLE <const> = [[
text{font-family:Inter,"Helvetica Neue",Helvetica,Arial,"Liberation Sans","DejaVu Sans",sans-serif}
.bg{fill:#ffffff}.band{fill:#f4f6f9}.grid{stroke:#d5dbe3;stroke-width:1}.base{stroke:#98a4b3;stroke-width:1.25}
.title{fill:#17202c;font-size:26px;font-weight:700}.sub{fill:#5a6675;font-size:15px}
.name{fill:#17202c;font-size:15px;font-weight:600}.total{fill:#17202c;font-size:15px;font-weight:700}
.note{fill:#5a6675;font-size:13px}.tick{fill:#5a6675;font-size:13px}.key{fill:#3c4858;font-size:14px}
.in{font-size:13px;font-weight:600}.on-dark{fill:#ffffff}.on-light{fill:#17202c}
.p1{fill:#8593a5}.p2{fill:#4b57a6}.p3{fill:#3f8ae0}.p4{fill:#1b8a86}.p5{fill:#f2a431}.p6{fill:#d0507c}
.o1{fill:#9b6bd3}.o2{fill:#7a9a2e}.o3{fill:#a8744f}.gap{stroke:#ffffff;stroke-width:1.5}
@media (prefers-color-scheme:dark){
.bg{fill:#11161d}.band{fill:#19202a}.grid{stroke:#2b3542}.base{stroke:#5d6a7a}
.title,.name,.total{fill:#eef2f7}.sub,.note,.tick{fill:#9aa7b6}.key{fill:#c3ccd7}.gap{stroke:#11161d}
.p1{fill:#8b98a9}.p2{fill:#6470c4}.p3{fill:#4a94e8}.p4{fill:#22979a}.p5{fill:#f0a63a}.p6{fill:#dc5f8a}
}]]
local DARK_TEXT <const> = { p1 = true, p5 = true } -- bars that carry dark text

-- Text is placed by an estimate of its width: nothing can be measured here.
local function width_of(text, size)
    return utf8.len(text) * size * 0.58
end

-- The class of every mark of the picture, and the legend in the order of a boot.
local function classes_for(rows)
    local class, seen, legend, others = {}, {}, {}, 0
    for _, row in ipairs(rows) do
        for _, s in ipairs(row.segments) do seen[s.mark] = true end
    end
    for _, phase in ipairs(PHASES) do
        class[phase.mark] = phase.class
        if seen[phase.mark] then
            legend[#legend + 1] = { class = phase.class, label = phase.label }
        end
    end
    for _, row in ipairs(rows) do
        for _, s in ipairs(row.segments) do
            if not class[s.mark] then
                class[s.mark] = "o" .. others % OTHERS + 1
                others = others + 1
                legend[#legend + 1] = { class = class[s.mark], label = cut(clean(s.name), 30) }
            end
        end
    end
    return class, legend
end

local WIDTH <const>, MARGIN <const> = 1280, 40

local function put(out, ...)
    out[#out + 1] = (...):format(select(2, ...))
end

local function draw_legend(out, legend, y)
    local x = MARGIN
    for _, key in ipairs(legend) do
        local width = 22 + width_of(key.label, 14) * 0.93 + 22
        if x > MARGIN and x + width > WIDTH - MARGIN then
            x, y = MARGIN, y + 24
        end
        put(out, '<rect class="%s" x="%.1f" y="%.1f" width="14" height="14" rx="3"/>', key.class, x, y - 12)
        put(out, '<text class="key" x="%.1f" y="%.1f">%s</text>', x + 22, y, escape(key.label))
        x = x + width
    end
    return y
end

-- Square where the time begins, round where it ends.
local function bar_outline(x, y, w, h)
    local r = math.min(7, w)
    return ("M%.2f %.1fh%.2fa%.2f %.2f 0 0 1 %.2f %.2fv%.2fa%.2f %.2f 0 0 1 -%.2f %.2fh-%.2fz"):format(
        x, y, w - r, r, r, r, r, h - 2 * r, r, r, r, r, w - r)
end

local function draw_bar(out, row, y, plan, clip)
    local height, middle = plan.bar, y + plan.bar / 2 + 4.5
    put(out, '<clipPath id="%s"><path d="%s"/></clipPath>', clip,
        bar_outline(plan.left, y, math.max(row.total * plan.scale, 1.5), height))
    put(out, '<g clip-path="url(#%s)">', clip)
    local wide = false
    for _, s in ipairs(row.segments) do
        local x, w = plan.left + s.from * plan.scale, (s.to - s.from) * plan.scale
        local took, class = seconds(s.to - s.from), plan.class[s.mark]
        put(out, '<rect class="%s" x="%.2f" y="%.1f" width="%.2f" height="%d"><title>%s: %s (%s at %s)</title></rect>',
            class, x, y, w, height, escape(s.name), took, escape(s.mark), seconds(s.to))
        if wide and w > 4 then
            put(out, '<path class="gap" d="M%.2f %.1fv%d"/>', x, y, height)
        end
        wide = w > 4
        if w > width_of(took, 13) + 12 then
            put(out, '<text class="in %s" x="%.2f" y="%.1f" text-anchor="middle">%s</text>',
                DARK_TEXT[class] and "on-light" or "on-dark", x + w / 2, middle, took)
        end
    end
    put(out, "</g>")
end

local function draw_row(out, row, i, plan)
    local y = plan.top + (i - 1) * plan.row
    local text_y = y + plan.row / 2 + 5
    if i % 2 == 1 then
        put(out, '<rect class="band" x="%d" y="%.1f" width="%d" height="%d" rx="6"/>',
            MARGIN - 14, y, WIDTH - 2 * MARGIN + 28, plan.row)
    end
    put(row.over, '<text class="name" x="%d" y="%.1f">%s<title>%s</title></text>', MARGIN, text_y,
        escape(row.label), escape(row.name))
    if row.segments[1] then draw_bar(row.over, row, y + (plan.row - plan.bar) / 2, plan, "bar" .. i) end
    local x = plan.left + row.total * plan.scale + 10
    if row.sum ~= "" then
        put(row.over, '<text class="total" x="%.1f" y="%.1f">%s</text>', x, text_y, row.sum)
        x = x + width_of(row.sum, 15) * 1.15 + 8
    end
    if row.note ~= "" then
        put(row.over, '<text class="note" x="%.1f" y="%.1f">%s</text>', x, text_y, escape(row.note))
    end
end

local function draw_axis(out, ticks, step, bottom, plan)
    for i, at in ipairs(ticks) do
        local x = plan.left + at * plan.scale
        put(out, '<path class="%s" d="M%.1f %.1fV%.1f"/>', i == 1 and "base" or "grid", x, plan.top, bottom + 4)
        put(out, '<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>', x, bottom + 24,
            at == 0 and "0" or tick_text(at, step, ticks[#ticks]))
    end
end

local function row_for(vm)
    local segments, total = segments_of(vm)
    local name, last, ready = clean(vm.name), segments[#segments], ready_at(segments)
    local row = { name = name, label = cut(name, 30), segments = segments, total = total, ready = ready,
                  sum = last and seconds(total) or "", note = "", over = {} }
    if not last then
        row.note = "not started"
    elseif not ready then
        row.note = "at " .. cut(clean(last.mark), 20) .. ", not ready"
    elseif ready < total then
        row.note = "ready at " .. seconds(ready)
    end
    row.behind = 10 + width_of(row.sum, 15) * 1.15 + 8 + width_of(row.note, 13)
    return row
end

local function rows_for(list)
    local rows, ready, slowest = {}, 0, 0
    for i, vm in ipairs(list) do
        local row = row_for(vm)
        if row.ready then
            ready, slowest = ready + 1, math.max(slowest, row.ready)
        end
        rows[i] = row
    end
    return rows, ready, slowest
end

-- Where everything goes: few machines get thicker bars, and the longest one with what is written
-- behind it fills the width.
local function plan_for(rows, class, top)
    local few = #rows <= 4
    local plan = { class = class, top = top, row = few and 58 or 44, bar = few and 36 or 26 }
    local names, longest = 60, 1e-6
    for _, row in ipairs(rows) do
        names = math.max(names, width_of(row.label, 15) * 1.05)
        longest = math.max(longest, row.total)
    end
    plan.left = MARGIN + names + 16
    plan.longest = longest
    plan.scale = (WIDTH - MARGIN - plan.left) / longest
    for _, row in ipairs(rows) do
        if row.total > 0 then
            plan.scale = math.min(plan.scale, (WIDTH - MARGIN - plan.left - row.behind) / row.total)
        end
    end
    return plan
end

local function subtitle(count, ready, slowest)
    local machines = count == 1 and "1 machine" or count .. " machines"
    if ready == 0 then return machines .. ", none became ready" end
    if ready < count then
        return ("%s, %d of them ready, the last after %s"):format(machines, ready, seconds(slowest))
    end
    return ("%s, %sready after %s"):format(machines, count > 1 and "all " or "", seconds(slowest))
end

local function picture_of(list, opts)
    local rows, ready, slowest = rows_for(list)
    local class, legend = classes_for(rows)
    local title = opts and opts.title or "From start to ready"
    local out, head = {}, {}
    local legend_y = draw_legend(head, legend, 112)
    local plan = plan_for(rows, class, legend[1] and legend_y + 26 or 100)
    local ticks, step = ticks_for(plan.longest, 8)
    while plan.left + ticks[#ticks] * plan.scale > WIDTH - MARGIN do ticks[#ticks] = nil end
    local bottom = plan.top + #rows * plan.row
    local height = bottom + 56
    put(out, '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%.0f" viewBox="0 0 %d %.0f" role="img">',
        WIDTH, height, WIDTH, height)
    put(out, "<title>%s</title>", escape(title))
    put(out, "<desc>%s</desc>", escape(table.concat(lines_for(list), "; ")))
    out[#out + 1] = "<style>" .. STYLE .. "</style>"
    put(out, '<rect class="bg" width="100%%" height="100%%"/>')
    put(out, '<text class="title" x="%d" y="52">%s</text>', MARGIN, escape(title))
    put(out, '<text class="sub" x="%d" y="77">%s</text>', MARGIN, subtitle(#rows, ready, slowest))
    table.move(head, 1, #head, #out + 1, out)
    for i, row in ipairs(rows) do draw_row(out, row, i, plan) end
    draw_axis(out, ticks, step, bottom, plan)
    for _, row in ipairs(rows) do table.move(row.over, 1, #row.over, #out + 1, out) end
    out[#out + 1] = "</svg>\n"
    return table.concat(out, "\n")
end

--- macvm.timeline.render(vms: vm|vm[], opts?: {title?: string}) -> string
--- The picture that macvm.timeline.svg writes, as a string.
function timeline.render(vms, opts)
    local list = list_of(vms)
    return picture_of(list, opts)
end

-- Writes a file under another name and renames it, so that nobody ever sees half of it.
local function replace(path, bytes)
    -- The address of a fresh table tells the writers of one process apart, the clock those of two.
    local part = ("%s.%s-%x.part"):format(path, tostring({}):match "0x(%x+)" or "0", os.time())
    local file, why = io.open(part, "wb")
    if not file then return nil, why end
    local ok, closed, close_why
    ok, why = file:write(bytes)
    closed, close_why = file:close()
    if ok and not closed then ok, why = nil, close_why end
    if ok then ok, why = os.rename(part, path) end
    if not ok then os.remove(part) end
    return ok, why
end

--- macvm.timeline.svg(vms: vm|vm[], path: string, opts?: {title?: string})
--- Draws the boot of one VM, or of several below each other on one time axis, into an SVG file. The file holds
--- everything it needs and follows the reader's light or dark scheme. It is replaced only when it is complete;
--- raises `io` when it can't be written.
function timeline.svg(vms, path, opts)
    local list = list_of(vms)
    if type(path) ~= "string" or path == "" then
        error(core.error {
            code = "config", level = 2, message = "macvm.timeline.svg: the path of the picture must be a string",
        }, 0)
    end
    local ok, why = replace(path, picture_of(list, opts))
    if not ok then
        error(core.error {
            code = "io", level = 2, message = ("can't write %s: %s"):format(path, why:gsub("^.*: ", "")),
        }, 0)
    end
end

return timeline
