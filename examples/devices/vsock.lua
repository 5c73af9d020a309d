-- Virtio sockets: host to guest, guest to host, and guest to guest, without a network.

local echo <close> = macvm.vm { name = "echo", devices = { macvm.vsock { cid = 100 } } }
local client <close> = macvm.vm { name = "client", devices = { macvm.vsock {} } }
macvm.all { function() echo:start() end, function() client:start() end }
echo:wait "ready"
client:wait "ready"

-- `vsock` is a command of macvm's own guest: it runs `cat` for each connection to port 7.
local server = echo:spawn "vsock listen 7 cat"

-- Host to guest. The guest may need a moment until it listens.
local channel
repeat
    local ok, result = pcall(echo.connect, echo, 7)
    channel = ok and result or macvm.sleep(0.1)
until channel
channel:write "hello over vsock\n"
print("host to guest:", channel:read "l")
channel:close()

-- Guest to host: CID 2 is the host.
client:listen(1234, function(incoming)
    incoming:write(("you said %q\n"):format(incoming:read "l"))
end)
io.write("guest to host:\t", client:must "echo good morning | vsock connect 2 1234")

-- Guest to guest, by CID.
io.write("guest to guest:\t", client:must "echo across the lab | vsock connect 100 7")
server:kill()
