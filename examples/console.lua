-- The serial console as a dialogue: wait for what the machine prints, type an answer, wait again.
local vm <close> = macvm.vm {
    name = "talker",
    boot = { cmdline = "loglevel=6" }, -- added to the words of macvm's own guest, which is quiet
}
vm:on("panic", function(_, text) print("the kernel panicked:", text) end)
vm:start()

-- Captures of the pattern come back; each expect goes on after the last match.
local version = vm.console:expect("Linux version (%S+)", { timeout = 60 })
print("the kernel says it is " .. version)

-- A list of patterns tells which one came first.
local which = vm.console:expect({ "login: ", "/# " }, { timeout = 60 })
print(which == 1 and "it wants a login" or "it gives us a shell")

vm.console:send "echo $((6 * 7)) is the answer\n"
print("it says " .. vm.console:expect("(%d+) is the answer", { timeout = 20 }))
print(("%d bytes on the console so far"):format(vm.console:position()))
