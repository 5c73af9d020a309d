-- SPDX-License-Identifier: MIT
-- Display, keyboard and pointer: what is typed arrives at a console on the display, what is clicked at evdev, and the
-- display can be seen, in a picture and over VNC.

local macvm = require "macvm"
local core = require "macvm.core"

local WIDTH, HEIGHT = 800, 600
local EV_SYN, EV_KEY, EV_REL, EV_ABS = 0, 1, 2, 3
local BTN_LEFT, BTN_RIGHT, REL_WHEEL = 0x110, 0x111, 8

local function slurp(path)
    local f <close> = assert(io.open(path, "rb"))
    return f:read "a"
end

-- A whole PNG file, and its size in pixels.
local function picture(ctx, path)
    local data = slurp(path)
    ctx.eq(data:sub(1, 8), "\137PNG\r\n\26\n")
    ctx.eq(data:sub(-8, -5), "IEND")
    return data, string.unpack(">I4I4", data, 17)
end

-- Waits until the console on the display shows that word so many times.
local function shows(vm, word, times)
    local count = ("tr -s ' ' '\\n' </dev/vcs1 | grep -cxF -e '%s'"):format(word)
    vm:eventually(("[ $(%s) -ge %d ]"):format(count, times or 1), { timeout = 20 })
end

-- What the guest reads of its pointer while `act` runs, up to the event of that type, code and value: the raw
-- struct input_event.
local function events(vm, act, last)
    local device = vm:must("grep -l 'Virtio Tablet' /sys/class/input/event*/device/name"):match "event%d+"
    local reader, list = vm:spawn { "cat", "/dev/input/" .. device }, {}
    -- It has the device open.
    vm:eventually(("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q 'input/%s$'"):format(device), { timeout = 10 })
    local acting = macvm.spawn(act)
    repeat
        local _, _, type, code, value = string.unpack("<i8i8I2I2i4", reader.stdout:read(24))
        list[#list + 1] = { type = type, code = code, value = value }
    until type == last[1] and code == last[2] and value == last[3]
    acting:join()
    reader:kill()
    return list
end

-- The values of the events of one type and code, in order.
local function values(list, type, code)
    local found = {}
    for _, event in ipairs(list) do
        if event.type == type and event.code == code then found[#found + 1] = event.value end
    end
    return found
end

-- The pixel that an absolute position stands for.
local function pixel(value, size) return value * size // 0x8000 end

return {
    machine = function(ctx)
        return {
            devices = {
                macvm.display { width = WIDTH, height = HEIGHT, vnc = ctx.host_path "screen.sock" }, macvm.keyboard {},
                macvm.pointer {},
            },
        }
    end,
    {
        name = "the guest has them: one gpu and two input devices, by their virtio ids",
        run = function(ctx)
            local ids = ctx.machine:must "cat /sys/bus/virtio/devices/*/device"
            ctx.eq(select(2, ids:gsub("0x0010\n", "")), 1)
            ctx.eq(select(2, ids:gsub("0x0012\n", "")), 2)
            ctx.match(ctx.machine:must "cat /proc/fb", "virtio_gpu")
            ctx.eq(ctx.machine:must "cat /sys/class/graphics/fb0/virtual_size", ("%d,%d\n"):format(WIDTH, HEIGHT))
        end,
    },
    {
        name = "a line that is typed at the console on the display runs, and is seen",
        run = function(ctx)
            local vm, before, after = ctx.machine, ctx.host_path "before.png", ctx.host_path "after.png"
            vm:eventually("grep -q '# ' /dev/vcs1", { timeout = 20 }) -- the shell's prompt
            ctx.eq(vm:screenshot(before), before)
            ctx.eq(vm:type "echo Typed $((6*7)) >/tmp/typed; clear; cat /tmp/typed\n", vm)
            shows(vm, "42")
            ctx.eq(vm:read "/tmp/typed", "Typed 42\n")
            vm:screenshot(after)
            local first, width, height = picture(ctx, before)
            ctx.eq(width, WIDTH)
            ctx.eq(height, HEIGHT)
            ctx.ok(first ~= picture(ctx, after), "the picture has not changed")
        end,
    },
    {
        name = "every character of a US keyboard, and a text longer than the guest's queue",
        run = function(ctx)
            local vm, all = ctx.machine, {}
            for c = 32, 126 do all[#all + 1] = string.char(c) end
            local line = table.concat(all)
            local text = (line .. "\n\tindented\n"):rep(3)
            vm:type "clear; cat >/tmp/all; echo do''ne\n"
            vm:eventually("pidof cat && [ -e /tmp/all ]", { timeout = 10 })
            vm:type(text):key "ctrl-d"
            shows(vm, "done")
            ctx.eq(vm:read "/tmp/all", text)
        end,
    },
    {
        name = "chords: ctrl-c ends what runs on the console",
        run = function(ctx)
            local vm = ctx.machine
            vm:type "clear; sleep 1000\n"
            vm:eventually("pidof sleep", { timeout = 10 })
            vm:key "ctrl-c"
            vm:eventually("! pidof sleep", { timeout = 10 })
            vm:type "abd":key "left":key "Backspace":type "xy":key "home":type "echo ":key "shift+enter"
            shows(vm, "axyd", 2) -- the command and what it prints
        end,
    },
    {
        name = "a click reaches evdev at its coordinates",
        run = function(ctx)
            local vm = ctx.machine
            for _, at in ipairs { { 123, 456 }, { 0, 0 }, { WIDTH - 1, HEIGHT - 1 } } do
                local list = events(vm, function() vm:click(at[1], at[2]) end, { EV_KEY, BTN_LEFT, 0 })
                ctx.eq(pixel(values(list, EV_ABS, 0)[1], WIDTH), at[1])
                ctx.eq(pixel(values(list, EV_ABS, 1)[1], HEIGHT), at[2])
                ctx.eq(table.concat(values(list, EV_KEY, BTN_LEFT), " "), "1 0")
                ctx.eq(list[#list - 1].type, EV_SYN) -- each event is a report of its own
            end
            local twice = function() vm:click(10, 10, { button = "right", double = true }):move(20, 20) end
            local list = events(vm, twice, { EV_ABS, 1, (2 * 20 + 1) * 0x8000 // (2 * HEIGHT) })
            ctx.eq(table.concat(values(list, EV_KEY, BTN_RIGHT), " "), "1 0 1 0")
            local wheel = function() vm:click(30, 30, { button = "wheel-down" }) end
            ctx.eq(values(events(vm, wheel, { EV_REL, REL_WHEEL, -1 }), EV_REL, REL_WHEEL)[1], -1)
        end,
    },
    {
        name = "what is wrong is said",
        run = function(ctx)
            local vm = ctx.machine
            ctx.match(ctx.raises("config", vm.type, vm, "caf\u{e9}").message, "no key for \"\u{e9}\"")
            ctx.match(ctx.raises("config", vm.key, vm, "ctrl-delte").hint, "delete")
            ctx.match(ctx.raises("config", vm.click, vm, WIDTH, 0).hint, "0 to 799")
            ctx.raises("config", vm.click, vm, -1, 0)
            ctx.raises("config", vm.click, vm, 1, 1, { button = "lft" })
            ctx.raises("config", vm.key, vm, "a\0b")
            ctx.raises("config", vm.screenshot, vm, ctx.host_path "a.png" .. "\0b")
            ctx.raises("config", vm.screenshot, vm)
            ctx.raises("io", vm.screenshot, vm, ctx.host_path "none/a.png")
            ctx.match(ctx.raises("io", vm.screenshot, vm, "/").message, "it is a directory")
            ctx.raises("unsupported", vm.attach, vm, macvm.display {})
            local taken = ctx.host_path "taken"
            assert(assert(io.open(taken, "w")):close())
            local other = ctx.vm { devices = { macvm.entropy {}, macvm.display { vnc = taken } } }
            ctx.eq(ctx.raises("config", other.start, other).field, "devices[2].vnc")
            assert(os.remove(taken))
        end,
    },
    {
        name = "paused, it is seen but takes no input",
        run = function(ctx)
            local vm, path = ctx.machine, ctx.host_path "paused.png"
            vm:pause()
            local ok, err = pcall(function()
                picture(ctx, vm:screenshot(path))
                ctx.raises("state", vm.type, vm, "x")
            end)
            vm:resume()
            if not ok then error(err, 0) end
        end,
    },
    {
        name = "VNC is served on a private socket, and on no other",
        run = function(ctx)
            local path = ctx.host_path "screen.sock"
            local mode <close> = assert(io.popen(("stat -c '%%a %%F' '%s'"):format(path)))
            ctx.eq(mode:read "l", "600 socket")
            local client <close> = core.dial(path)
            ctx.eq(client:read(12), "RFB 003.008\n")
            client:write "RFB 003.008\n"
            local kinds = client:read(client:read(1):byte())
            ctx.eq(kinds, "\1") -- no password: the socket's rights are the lock
            client:write "\1"
            ctx.eq(client:read(4), "\0\0\0\0")
            client:write "\1"
            local width, height = string.unpack(">I2I2", client:read(24))
            ctx.eq(width, WIDTH)
            ctx.eq(height, HEIGHT)
        end,
    },
    {
        name = "a keyboard comes and goes while the machine runs",
        run = function(ctx)
            local vm <close> = ctx.boot { devices = { macvm.display {} } }
            local keyboard = macvm.keyboard {}
            ctx.match(ctx.raises("config", vm.type, vm, "x").hint, "macvm.keyboard")
            vm:attach(keyboard)
            vm:eventually("grep -q 'Virtio Keyboard' /proc/bus/input/devices", { timeout = 20 })
            vm:eventually("grep -q '# ' /dev/vcs1", { timeout = 20 })
            vm:type "echo plug''ged\n"
            shows(vm, "plugged")
            local typing = macvm.spawn(function() return ctx.raises("state", vm.type, vm, ("x"):rep(5000)) end)
            macvm.spawn(vm.detach, vm, keyboard):join()
            ctx.match(typing:join().message, "detached")
            ctx.raises("config", vm.click, vm, 1, 1)
        end,
    },
    {
        name = "a guest that has no driver for the pointer gets no click",
        run = function(ctx)
            local vm <close> = ctx.boot { devices = { macvm.display {}, macvm.pointer {} } }
            vm:must "rmmod virtio_input"
            ctx.match(ctx.raises("guest", vm.click, vm, 1, 1).hint, "virtio_input")
        end,
    },
}
