-- The smallest lab: one machine, one command. Run it with: macvm run examples/hello.lua
local vm <close> = macvm.vm "hello"
vm:start()
print((vm:must "uname -sr; echo hello from $(hostname)"))
