-- SPDX-License-Identifier: MIT
-- Sound: a tone that the guest plays is in the file. It takes a newer QEMU and a newer guest than Debian 12's, which
-- scripts/backports and `make guest-6.12` put beside them; without these, what macvm says of it.

local macvm = require "macvm"

local FREQUENCY, SECONDS = 440, 1.5

-- Samples of a WAV file's first channel, and their rate.
local function samples(ctx, path)
    local f <close> = assert(io.open(path, "rb"))
    local data = f:read "a"
    local riff, size, wave, _, _, _, channels, rate, _, block, bits = string.unpack("<c4I4c4c4I4I2I2I4I4I2I2", data)
    ctx.eq(riff .. wave, "RIFFWAVE")
    ctx.eq(size, #data - 8)
    ctx.eq(bits, 16)
    ctx.eq(block, 2 * channels)
    local list = {}
    for at = 45, #data - block + 1, block do list[#list + 1] = string.unpack("<i2", data, at) end
    return list, rate
end

-- How loud a frequency is in n samples from a place on (Goertzel): the amplitude of that sine.
local function loudness(list, first, n, frequency, rate)
    local k = 2 * math.cos(2 * math.pi * frequency / rate)
    local a, b = 0.0, 0.0
    for i = first, first + n - 1 do a, b = list[i] + k * a - b, a end
    return 2 * math.sqrt(a * a + b * b - k * a * b) / n
end

-- Where it is not silent any more.
local function onset(list)
    for i = 1, #list do
        if math.abs(list[i]) > 100 then return i end
    end
    return nil
end

local function spec(ctx, fields)
    fields.file = fields.file or ctx.host_path "out.wav"
    return { memory = "384M", boot = macvm.guest "6.12", devices = { macvm.sound(fields) } }
end

local function play(ctx, vm)
    vm:push(ctx.guest_program "tone", "/tmp/tone")
    vm:must { "/tmp/tone", tostring(FREQUENCY), tostring(SECONDS), timeout = 60 }
end

local function check_tone(ctx, path)
    local list, rate = samples(ctx, path)
    local first = ctx.ok(onset(list), "it is silent")
    local n = rate // 2 -- half a second: a window 2 Hz wide
    first = first + rate // 10
    ctx.ok(#list >= first + n, "the tone is too short")
    ctx.ok(loudness(list, first, n, FREQUENCY, rate) > 8000, "no 440 Hz")
    for _, other in ipairs { 220, FREQUENCY - 50, FREQUENCY + 51, 880 } do
        ctx.ok(loudness(list, first, n, other, rate) < 400, ("there is %d Hz in it"):format(other))
    end
end

return {
    {
        name = "an older QEMU says so, with the cure",
        run = function(ctx)
            local vm = ctx.vm { devices = { macvm.sound { file = ctx.host_path "out.wav" } } }
            local can, reason = vm:can "sound"
            if can then return end
            ctx.match(reason, "virtio%-sound.*8%.2")
            ctx.match(reason, "backports")
            ctx.eq(ctx.raises("unsupported", vm.check, vm).field, "devices[1]")
        end,
    },
    {
        name = "what is wrong is said",
        needs = "sound",
        run = function(ctx)
            local function check(code, field, fields)
                local vm = ctx.vm { devices = { macvm.sound(fields) } }
                ctx.eq(ctx.raises(code, vm.check, vm).field, "devices[1]." .. field)
            end
            check("config", "output", { output = false })
            check("unsupported", "output", { output = false, input = true })
            check("config", "input", { input = true, file = ctx.host_path "out.wav" })
            check("config", "file", { file = ctx.host_path "none/out.wav" })
            check("config", "file", { file = "/tmp" })
        end,
    },
    {
        name = "a tone that the guest plays is in the file, and nothing else",
        needs = "sound",
        timeout = 150,
        run = function(ctx)
            local path = ctx.host_path "tone.wav"
            local vm <close> = ctx.boot(spec(ctx, { file = path }))
            ctx.match(vm:must "cat /sys/bus/virtio/devices/*/device", "0x0019\n")
            ctx.eq(vm:must "ls /dev/snd", "controlC0\npcmC0D0p\ntimer\n") -- it plays and does not record
            play(ctx, vm)
            vm:stop()
            check_tone(ctx, path)
        end,
    },
    {
        name = "the file of a machine that was killed can be played",
        needs = "sound",
        timeout = 150,
        run = function(ctx)
            local path = ctx.host_path "killed.wav"
            local vm <close> = ctx.boot(spec(ctx, { file = path }))
            play(ctx, vm)
            vm:kill()
            check_tone(ctx, path)
        end,
    },
}
