-- The serial console as a dialogue: wait for what the machine prints, type an answer, wait again.
local vm <close> = macvm.vm { name = "talker", devices = { macvm.console { log = os.tmpname() } } }
vm:on("panic", function(_, text) print("the kernel panicked:", text) end)
vm:start()

-- Captures of the pattern come back; each expect goes on after the last match.
local version = vm.console:expect("Linux version (%S+)", { timeout = 60 })
print("the kernel says it is " .. version)

-- With the agent there is an easier way to run commands; here the console itself is the subject.
vm:wait("ready", { timeout = 60 })
vm:must "echo 'login: ' > /dev/console"
local which = vm.console:expect({ "password:", "login:" }, { timeout = 20 })
print("prompt number " .. which .. " came first")
print(("%d bytes on the console so far"):format(#vm.console:text()))
