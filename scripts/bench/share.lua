-- SPDX-License-Identifier: MIT
--[[
The sequential read of a share by virtiofs: macvm's machine and a raw QEMU, which has the same guest and a virtiofsd
with the same options, read the same file in turns.

    macvm run scripts/bench/share.lua [PAIRS]

Prints a line a pair, "macvm=MIB_PER_S raw=MIB_PER_S", then the medians and the ratio macvm/raw.
]]
local macvm = require "macvm"

local PAIRS = tonumber(...) or 7
local MIB = 256
local READ = "echo 3 >/proc/sys/vm/drop_caches; read a x </proc/uptime; cat /mnt/file >/dev/null; "
    .. "read b x </proc/uptime; awk \"BEGIN { print \\\"copied,\\\", $b - $a }\""

local dir = os.tmpname()
os.remove(dir)
assert(os.execute("mkdir -m 700 " .. dir .. " " .. dir .. "/share && mkfifo " .. dir .. "/in " .. dir .. "/out"))
local started = {} -- processes that would outlive this script
local _ <close> = setmetatable({}, { __close = function()
    for _, pid in ipairs(started) do os.execute("kill " .. pid .. " 2>/dev/null") end
    os.execute("rm -rf " .. dir)
end })
assert(os.execute(("head -c %dM /dev/urandom >%s/share/file"):format(MIB, dir)))

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function rate(text)
    local seconds = assert(text:match "copied, ([%d.]+)", text)
    return MIB / tonumber(seconds)
end

-- ---- macvm's ------------------------------------------------------------------------------

local vm <close> = macvm.vm {
    name = "bench", memory = "512M",
    devices = { macvm.share { tag = "src", path = dir .. "/share", mount = "/mnt", driver = "virtiofs" } },
}
vm:start()
vm:wait("ready", { timeout = 60 })

-- ---- a raw one ----------------------------------------------------------------------------

-- The command lines of what macvm started, by a word in each.
local function child(name)
    for pid in assert(io.open "/proc/thread-self/children"):read("a"):gmatch "%d+" do
        local line = assert(io.open("/proc/" .. pid .. "/cmdline", "rb")):read "a"
        local words = {}
        for word in line:gmatch "[^%z]+" do words[#words + 1] = word end
        if words[1]:find(name, 1, true) then return words end
    end
    error("macvm runs no " .. name)
end

local server = child "virtiofsd"
for i, word in ipairs(server) do
    server[i] = quote(word == "--fd=3" and "--socket-path=" .. dir .. "/fs.sock" or word)
end
local function start(command)
    local pipe <close> = assert(io.popen(command .. " & echo $!"))
    started[#started + 1] = assert(pipe:read "n")
end
start(table.concat(server, " ") .. " </dev/null >/dev/null 2>&1")
assert(os.execute(("for i in $(seq 100); do [ -S %s/fs.sock ] && exit 0; sleep 0.05; done; exit 1"):format(dir)))

local KEEP = { ["-machine"] = true, ["-accel"] = true, ["-cpu"] = true, ["-smp"] = true, ["-m"] = true, ["-rtc"] = true,
               ["-bios"] = true, ["-kernel"] = true, ["-initrd"] = true, ["-append"] = true }
local qemu, option = child "qemu-system", nil
local raw = { "timeout 900", quote(qemu[1]), "-nodefaults -no-user-config -display none" }
for _, word in ipairs(qemu) do
    local memory = option == "-object" and word:find "^memory%-backend"
    if KEEP[option] or memory then raw[#raw + 1] = option .. " " .. quote(word) end
    option = word
end
raw[#raw + 1] = "-serial stdio -chardev socket,id=fs,path=" .. dir .. "/fs.sock"
raw[#raw + 1] = "-device vhost-user-fs-pci,chardev=fs,tag=src,queue-size=1024"
start(("exec %s <%s/in >%s/out 2>&1"):format(table.concat(raw, " "), dir, dir))
local keys <close> = assert(io.open(dir .. "/in", "w"))
local screen <close> = assert(io.open(dir .. "/out", "r"))
keys:setvbuf "no"

-- The words that are waited for are typed in two halves, so that their echo is not taken for them.
local marks = 0
local function type_and_wait(command)
    marks = marks + 1
    keys:write(command, "; echo do\"\"ne ", marks, "\n")
    local text = {}
    for line in screen:lines() do
        if line:find("done " .. marks, 1, true) == 1 then return table.concat(text, "\n") end
        text[#text + 1] = line
    end
    error("the raw QEMU ended: " .. table.concat(text, "\n"))
end

-- Its shell is there when it has asked for something.
local seen = ""
while not seen:find "/# " do seen = seen .. assert(screen:read(1), "the raw QEMU ended: " .. seen) end
type_and_wait "modprobe virtiofs; mount -t virtiofs src /mnt"

-- ---- in turns -----------------------------------------------------------------------------

local ours, theirs = {}, {}
local function median(list)
    table.sort(list)
    local half = #list // 2
    return #list % 2 == 1 and list[half + 1] or (list[half] + list[half + 1]) / 2
end

vm:must(READ) -- the host's page cache is warm for all that count
for i = 1, PAIRS do
    ours[i] = rate(vm:must(READ))
    theirs[i] = rate(type_and_wait(READ))
    print(("macvm=%.1f raw=%.1f"):format(ours[i], theirs[i]))
end
print(("median macvm=%.1f raw=%.1f ratio=%.3f"):format(median(ours), median(theirs), median(ours) / median(theirs)))
