-- SPDX-License-Identifier: MIT
--[[
The clipboard, shared with the real Spice agent in the guest: the host's own spice-vdagentd, spice-vdagent, Xvfb and
xclip run there, from a share of the host's root.
]]

local macvm = require "macvm"

local HOST, DISPLAY = "/mnt/host", "DISPLAY=:7 "

local desktop -- the programs that run in the guest

local function spawn(vm, text)
    desktop[#desktop + 1] = vm:spawn(text) -- who lets go of a process ends it
end

-- Brings up an X server with the agent, once for a machine.
local function start_desktop(ctx)
    local vm = ctx.machine
    if desktop and desktop.vm == vm then return vm end
    desktop = { vm = vm, texts = {} }
    vm:on("clipboard", function(_, text) desktop.texts[#desktop.texts + 1] = text end)
    vm:on("error", function(_, err) desktop.err = err end)
    vm:must(([[
        cd %s || exit
        for d in dev proc sys; do mount --bind /$d $d || exit; done
        for d in tmp run var/lib; do mount -t tmpfs none $d || exit; done
        name=$(grep -lx com.redhat.spice.0 /sys/class/virtio-ports/*/name) || exit
        echo /dev/$(basename $(dirname $name)) >/tmp/port]]):format(HOST))
    local chroot = "exec chroot " .. HOST .. " "
    spawn(vm, chroot .. "Xvfb :7 -screen 0 320x240x8 -nolisten tcp >/tmp/x.log 2>&1")
    vm:eventually("test -S " .. HOST .. "/tmp/.X11-unix/X7", { timeout = 60 })
    spawn(vm, chroot .. "/usr/sbin/spice-vdagentd -x -X -f -u /dev/null -s $(cat /tmp/port) -S /tmp/agent " ..
        ">/tmp/d.log 2>&1")
    vm:eventually("test -S " .. HOST .. "/tmp/agent", { timeout = 60 })
    spawn(vm, DISPLAY .. chroot .. "spice-vdagent -x -s $(cat /tmp/port) -S /tmp/agent >/tmp/a.log 2>&1")
    vm:eventually("grep -q opening /tmp/d.log", { timeout = 60 })
    return vm
end

-- What a program of the guest's desktop does: copy, and paste.
local function copy(vm, text)
    vm:write(HOST .. "/tmp/text", text)
    vm:must(DISPLAY .. "chroot " .. HOST .. " xclip -selection clipboard -i /tmp/text >/dev/null 2>&1")
end

local function pastes(vm, text)
    vm:write(HOST .. "/tmp/want", text)
    vm:eventually(DISPLAY .. "chroot " .. HOST .. " timeout 10 xclip -selection clipboard -o >/tmp/got && " ..
        "cmp /tmp/got " .. HOST .. "/tmp/want", { timeout = 30 })
end

-- Copies in the guest and waits for the event.
local function copied(ctx, vm, text)
    local before = #desktop.texts
    copy(vm, text)
    ctx.until_true(function() return #desktop.texts > before end)
    ctx.eq(desktop.texts[#desktop.texts], text)
    ctx.eq(vm.clipboard, text)
end

local LONG = ("A line of the text that is long, with an umlaut: \u{fc}.\n"):rep(4000)

return {
    machine = function()
        return {
            memory = "512M",
            devices = {
                macvm.clipboard {},
                macvm.share { tag = "host", path = "/", readonly = true, mount = HOST },
            },
        }
    end,
    {
        name = "the guest has the port, by its Virtio id and name",
        run = function(ctx)
            ctx.machine:must "grep -lx 0x0003 /sys/bus/virtio/devices/*/device"
            ctx.machine:must "grep -lx com.redhat.spice.0 /sys/class/virtio-ports/*/name"
            ctx.eq(ctx.machine.clipboard, nil)
        end,
    },
    {
        name = "what was set before the agent came is offered to it",
        timeout = 180,
        run = function(ctx)
            ctx.machine.clipboard = "early"
            ctx.eq(ctx.machine.clipboard, "early")
            pastes(start_desktop(ctx), "early")
        end,
    },
    {
        name = "text copied in the guest comes with an event, and the property has it",
        timeout = 120,
        run = function(ctx)
            local vm = start_desktop(ctx)
            copied(ctx, vm, "from the guest: gr\u{fc}\u{df} dich\n")
            copied(ctx, vm, LONG)
        end,
    },
    {
        name = "text that is set is what the guest pastes",
        timeout = 120,
        run = function(ctx)
            local vm = start_desktop(ctx)
            local before = #desktop.texts
            for _, text in ipairs { "from the host: gr\u{fc}\u{df} dich\n", "again", LONG } do
                vm.clipboard = text
                pastes(vm, text)
                ctx.eq(vm.clipboard, text)
            end
            ctx.eq(#desktop.texts, before) -- our own text is no news
        end,
    },
    {
        name = "what can't be set",
        run = function(ctx)
            local vm = ctx.machine
            ctx.raises("config", function() vm.clipboard = "\xff" end)
            ctx.raises("config", function() vm.clipboard = ("x"):rep(1024 * 1024 + 1) end)
            ctx.raises("config", function() vm.clipboard = {} end)
            local without = ctx.vm {}
            ctx.raises("config", function() return without.clipboard end)
            ctx.raises("config", function() without.clipboard = "x" end)
            ctx.raises("config", function()
                ctx.vm { devices = { macvm.clipboard {}, macvm.clipboard {} } }:check()
            end)
        end,
    },
    {
        name = "a guest that breaks the protocol loses its clipboard, and nothing else",
        timeout = 120,
        run = function(ctx)
            local vm = start_desktop(ctx)
            for i = #desktop, 2, -1 do
                desktop[i]:kill "TERM"
                desktop[i]:wait { timeout = 20 }
            end
            vm:must "head -c 5000 /dev/urandom >$(cat /tmp/port)"
            ctx.until_true(function() return desktop.err end)
            ctx.eq(desktop.err.code, "guest")
            ctx.match(tostring(desktop.err), "the clipboard is lost")
            ctx.raises("guest", function() vm.clipboard = "x" end)
            ctx.eq(vm.clipboard, nil)
            ctx.match(vm:must "echo alive", "^alive")
        end,
    },
}
