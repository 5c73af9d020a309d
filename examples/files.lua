-- Files in and out of a guest: byte for byte, with their mode bits, at any size.
local vm <close> = macvm.vm "files"
vm:start()

-- Small ones as strings.
vm:write("/tmp/greet.sh", "#!/bin/sh\necho hello, $1\n", tonumber("755", 8))
print((vm:must { "/tmp/greet.sh", "world" }))
assert(vm:read "/tmp/greet.sh":find "hello")

-- Big ones from disk to disk, without being held in memory.
local here, back = os.tmpname(), os.tmpname()
local file = assert(io.open(here, "wb"))
for i = 1, 1024 do file:write(string.char(i % 256):rep(4096)) end
file:close()
vm:push(here, "/tmp/big")
vm:pull("/tmp/big", back)
print("pushed and pulled " .. vm:must("wc -c < /tmp/big"):gsub("%s", "") .. " bytes")
os.remove(here)
os.remove(back)
