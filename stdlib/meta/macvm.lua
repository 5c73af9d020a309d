---@meta macvm

-- Made from the source by `make docs`; do not edit.
-- luacheck: ignore

---@class macvm.error
---@field code string
---@field message string
---@field field string?
---@field hint string?
---@field vm string?

--- A machine.
---@class macvm.vm.spec
---@field name? string Name of the machine, unique in its lab; left out: `vm1`, `vm2`, ...
---@field guest? "linux"|"macos"|"efi" What runs in it: a Linux kernel, macOS, or, with `efi`, what EFI firmware finds on its first disk.
---@field arch? "x86_64"|"aarch64" Processor architecture; left out: the host's.
---@field cpus? integer Virtual processors; at most the host's.
---@field memory? integer|string Size of its RAM.
---@field boot? macvm.boot.spec What it boots; left out: macvm's own small Linux guest, or its first disk with `guest = "efi"`.
---@field devices? macvm.device[] Its devices, in the order in which the guest sees them.
---@field backend? "qemu"|"vz"|"sim" The hypervisor; left out: the host's own. `sim` is never chosen by itself.
---@field sim? macvm.sim.spec How a simulated machine behaves (`sim` only).

--- What a machine boots.
---@class macvm.boot.spec
---@field kernel? string Linux kernel: a bzImage, or an uncompressed vmlinux, which starts quicker.
---@field initrd? string Initial RAM disk.
---@field cmdline? string Kernel command line. macvm's own guest: added to macvm's words. Your own kernel: used as it is, plus a console unless it names one, and words for macvm's agent.
---@field variables? string With `guest = "efi"`: the file that keeps the firmware's variables, made when it is not there; left out: they are forgotten when the machine stops.

--- A virtio block device.
---@class macvm.disk.spec
---@field path? string The image on the host. Required.
---@field size? integer|string Size of the disk when it is created; an image that is smaller is grown to it.
---@field format? "raw"|"qcow2" Format of the image; never guessed from its content, which the guest can write.
---@field readonly? boolean The guest can't write to it.
---@field id? string Serial number that the guest sees, at most 20 bytes; left out: `disk1`, `disk2`, ...
---@field create? boolean Create the image, of `size`, at start when it does not exist.
---@field ephemeral? boolean Writes go to an overlay that is thrown away when the machine stops; the image is only read.
---@field cache? "automatic"|"cached"|"uncached" Whether the host's page cache is between the guest and the image.
---@field sync? "full"|"fsync"|"none" What a flush of the guest does: `full` and `fsync` reach the storage, `none` is not waited for: quick, for data that may be lost.

--- A virtio network device.
---@class macvm.net.spec
---@field mode? "nat"|"bridged" `nat`: a private network whose gateway reaches what the host reaches. `bridged`: on a network of the host.
---@field id? string Its name in events and figures; left out: `net1`, `net2`, ...
---@field mac? string Ethernet address; left out: one made from the machine's name.
---@field forward? table<string, integer> Host addresses that lead into the guest: `["127.0.0.1:8080"] = 80`, `["udp:127.0.0.1:5353"] = 53`. Port 0: one that is free, told by `vm:forwards()`; then several guest ports are a list: `["127.0.0.1:0"] = { 80, 443 }`.
---@field interface? string With `bridged`: the host's bridge or network interface. Required there.

--- A directory of the host, shared by virtiofs or 9p.
---@class macvm.share.spec
---@field tag? string Its name in the guest, at most 36 bytes. Required.
---@field path? string The directory on the host. Required.
---@field readonly? boolean The guest can't change it, whatever it does; enforced on the host.
---@field mount? string Where the guest's agent mounts it before the machine is ready; left out: nowhere.
---@field driver? "auto"|"virtiofs"|"9p" How it reaches the guest; `auto`: virtiofs, or 9p where virtiofsd is missing.

--- A virtio socket device.
---@class macvm.vsock.spec
---@field cid? integer Context identifier of the guest; left out: one that no other machine of the lab has.
---@field unix? string Unix socket for other programs: `CONNECT port` and a newline lead to the guest's port; what the guest connects to arrives at `PATH_port`.
---@field kernel? boolean Use the host kernel's vhost-vsock instead of macvm's own device: its CIDs and ports are the whole host's, and there is no `unix`.

--- A console. Every machine has a serial one; the first of type `serial` configures it.
---@class macvm.console.spec
---@field type? "serial"|"hvc" `serial`: a serial port. `hvc`: a virtio console, quick, but QEMU drops what it is told faster than macvm takes it.
---@field id? string Its name in `vm.consoles`; left out: `serial`, `serial1`, or `hvc0`, `hvc1`, ...
---@field log? string File that everything printed on the console is appended to.

--- A virtio random number device, fed by the host's.
---@class macvm.entropy.spec
---@field rate? integer|string At most so many bytes a second; left out: no limit.

--- A virtio memory balloon.
---@class macvm.balloon.spec
---@field reporting? boolean The guest tells which of its pages are free, and the host takes them back.

--- A virtio sound device.
---@class macvm.sound.spec
---@field output? boolean The guest can play.
---@field input? boolean The guest can record.
---@field file? string WAV file that what the guest plays is written to, whole when the machine has stopped; left out: the host's audio.

--- A virtio graphics device with one display.
---@class macvm.display.spec
---@field width? integer Pixels.
---@field height? integer Pixels.
---@field vnc? string Private unix socket on which the display is served by VNC.
---@field window? boolean Show it in a window of the desktop, whose size the guest follows then.

--- A virtio keyboard.
---@class macvm.keyboard.spec

--- A virtio pointing device with absolute coordinates.
---@class macvm.pointer.spec

--- Text clipboard, shared with a guest that runs the Spice agent.
---@class macvm.clipboard.spec

--- Behaviour of a simulated machine.
---@class macvm.sim.spec
---@field seed? integer Seed of everything that varies.
---@field boot? number Seconds from start until the agent is ready.
---@field agent? boolean Whether an agent runs in it.
---@field latency? number Seconds that every command takes.
---@field shutdown? "ok"|"ignore" Whether it follows a request to power off.

---@class macvm.vm
---@field state "stopped"|"starting"|"running"|"pausing"|"paused"|"resuming"|"stopping"|"saving"|"restoring"|"error" Where it is in its life. Read only, as the following.
---@field up boolean Neither stopped nor in error.
---@field ready boolean Its agent answers.
---@field console macvm.console Its serial console, the first of vm.consoles.
---@field consoles table Every console, by its place and by its id: `vm.consoles.hvc0`. The serial one that each machine has comes first. A console keeps what it printed as long as there is the machine.
---@field clipboard string|nil The text clipboard of a machine with a `macvm.clipboard` whose guest runs the Spice agent: what a paste in the guest would give, as far as it is known. Set it to offer text to the guest (UTF-8, at most 1 MiB), also before its agent is up. The event "clipboard" tells of text that was copied in the guest.
---@field timeline {name: string, at: number}[] The points of its last boot that it has passed, in seconds since the start was asked for: "process", "qmp", "running", "kernel", "init", "ready".
---@field planned boolean In `macvm check`: whether its start was asked for.
---@field name string Name of the machine, unique in its lab; left out: `vm1`, `vm2`, ...
---@field guest "linux"|"macos"|"efi" What runs in it: a Linux kernel, macOS, or, with `efi`, what EFI firmware finds on its first disk.
---@field arch "x86_64"|"aarch64" Processor architecture; left out: the host's.
---@field cpus integer Virtual processors; at most the host's.
---@field memory integer|string Size of its RAM.
---@field boot macvm.boot.spec What it boots; left out: macvm's own small Linux guest, or its first disk with `guest = "efi"`.
---@field devices macvm.device[] Its devices, in the order in which the guest sees them.
---@field backend "qemu"|"vz"|"sim" The hypervisor; left out: the host's own. `sim` is never chosen by itself.
---@field sim macvm.sim.spec How a simulated machine behaves (`sim` only).
local vm = {}

--- Leaves the guest so much of its memory (`"256M"`); the rest is the host's until a larger size is
--- set. Waits until the guest has followed; of a machine that is paused, until the hypervisor knows.
--- Raises `timeout` (30 s) that says how far it has come: the target stands, and the guest may still
--- follow; a guest that runs out of memory takes some back. Raises `config` without a
--- `macvm.balloon` and beyond the limits, from 64M to the machine's memory; `state` when another
--- target is set meanwhile.
---@param size size
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:balloon(size, opts) end

--- Calls the handler for every such event from now on, one after the other, in a task of its own
--- (it may wait): `"state"` (vm, new, old), `"ready"`, `"console"` (vm, line), `"panic"` (vm,
--- text),
--- `"guest-shutdown"` (vm, reason), `"error"` (vm, error) and the others of core.events(); `"*"`
--- gets (vm, event, ...) of all. An error in a handler is reported (core.on_error).
--- Raises `config` for an event that does not exist.
---@param event string
---@param handler fun(vm: macvm.vm, ...)
---@return macvm.subscription
function vm:on(event, handler) end

--- Opens a file of the guest and returns at once; what the guest says of it comes from file:wait
--- and, for reading, with the first read. `"w"` creates or replaces the file, once it is complete;
--- `perm` are its mode bits (420 is rw-r--r--), left out: those of a file that exists.
---@param path string
---@param mode "r"|"w"
---@param perm? integer
---@return macvm.file
function vm:open(path, mode, perm) end

--- Copies one file of the host into the guest, mode bits kept; the target is replaced when all of
--- it has arrived. A target that is a directory gets a file of the same name. Raises `io` for the
--- host's side, `guest` for the guest's.
---@param host string
---@param guest string
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:push(host, guest, opts) end

--- Copies one file of the guest to the host, in the same way.
---@param guest string
---@param host string
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:pull(guest, host, opts) end

--- Starts the machine and waits until it runs (60 s when no timeout is given). Raises `config` for
--- what is wrong with it, `state` when it is up already, `backend` when the hypervisor fails,
--- `timeout`. Its agent may not be ready yet: see vm:wait.
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:start(opts) end

--- Stops its processors until vm:resume (10 s). Raises `state` unless it runs.
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:pause(opts) end

--- Lets a paused machine go on (10 s). Raises `state` unless it is paused.
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:resume(opts) end

--- Asks the guest to restart, or resets it when it has no agent, and waits until it is ready again
--- (60 s).
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:reboot(opts) end

--- Asks the guest to power off and waits until the machine is down (20 s). A guest that does not
--- follow runs on, and `timeout` is raised. A machine that is down already is fine.
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:stop(opts) end

--- Ends the machine as a power cut would (20 s). One that is down already is fine.
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:kill(opts) end

--- Waits until the agent answers (`"ready"`) or the machine is in a state (`"running"`,
--- `"stopped"`, ...), 60 s when no timeout is given. Raises `state` at once when that can't come
--- true any more, with the reason.
---@param what string
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:wait(what, opts) end

--- The addresses of the host that lead into the running guest, with the ports that were picked for
--- port 0. Raises `state` when the machine is not up.
---@return {protocol: "tcp"|"udp", host: string, port: integer, guest_port: integer, net: macvm.device}[]
function vm:forwards() end

--- Adds a device. While the machine is up it is plugged in: returns when the hypervisor has it (30
--- s); the guest finds it a moment later. Raises `unsupported` where devices can't be plugged in
--- (`vm:can "hotplug"`), `config` for what is wrong with the device.
---@param device macvm.device
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:attach(device, opts) end

--- Takes a device away. While the machine is up the guest is asked, and has to let go (30 s); the
--- disk that it booted from stays, and on aarch64 whatever was there from the start. Raises
--- `timeout` when it does not let go, and may be called again then; `guest` when it refuses;
--- `unsupported` for a device that stays.
---@param device macvm.device
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:detach(device, opts) end

--- Starts a process in the guest and returns at once; one that can't be started ends with a `guest`
--- error from process:wait. Options: `cwd`, `env = { NAME = "value" }`, and `stdin_null`, which
--- gives it no standard input. Raises `state` when the machine is down, `agent` when its agent is
--- not ready.
---@param argv string[]
---@param opts? table
---@return macvm.process
function vm:spawn_raw(argv, opts) end

--- Writes what the display shows to a PNG file (30 s) and returns its path. The file is complete or
--- not there; one that is there is replaced. Raises `config` without a display, `io` when the file
--- can't be written.
---@param path string
---@param opts? {timeout?: number}
---@return string
function vm:screenshot(path, opts) end

--- Types text on the keyboard, a US one: printable ASCII, newline (the return key) and tab. Returns
--- when all is sent; about a hundred characters a second. Raises `config` that names a character
--- which has no key.
---@param text string
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:type(text, opts) end

--- Presses keys together and lets go of them: `"enter"`, `"ctrl-alt-delete"`, `"shift-f5"`, `"alt-x"`.
--- Names: the characters of a US keyboard, ctrl alt altgr shift meta, enter esc tab backspace delete
--- insert home end pageup pagedown up down left right space, f1 to f12, capslock numlock scrolllock
--- print pause menu, kp0 to kp9 and kpenter; and usual other names of these.
---@param keys string
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:key(keys, opts) end

--- Moves the pointer to a pixel of the display, counted from 0 at the top left corner. Raises
--- `config` outside of it, `guest` while the guest has no driver for the pointer.
---@param x integer
---@param y integer
---@param opts? {timeout?: number}
---@return macvm.vm
function vm:move(x, y, opts) end

--- Moves the pointer there and clicks. `button`: left (default), middle, right, side, extra,
--- wheel-up or wheel-down.
---@param x integer
---@param y integer
---@param opts? {button?: string, double?: boolean, timeout?: number}
---@return macvm.vm
function vm:click(x, y, opts) end

--- Has a simulated machine ask `answer` for every command (`{"sh", "-c", text}` for a text). It
--- returns `{ status =, signal =, stdout =, stderr =, delay = }`, or the standard output alone, or
--- nil: the built-in commands answer. It can't wait. Raises `state` unless the machine is down and
--- simulated.
---@param answer (fun(argv: string[]): table|string|nil)|nil
---@return macvm.vm
function vm:sim_script(answer) end

--- Lets the next `count` runs (-1: all) of an operation of a simulated machine fail: `"start"`,
--- `"pause"`, `"resume"`, `"stop"`, `"kill"`, `"reset"`, `"stats"`, `"exec"`, `"open"`, `"agent"`.
---@param op string
---@param count integer
---@param message string
---@return macvm.vm
function vm:sim_fail(op, count, message) end

--- Puts a file into a simulated machine.
---@param path string
---@param bytes string
---@return macvm.vm
function vm:sim_file(path, bytes) end

--- Lets a simulated guest act by itself: `"panic"`, `"poweroff"`, `"die"` (the hypervisor is gone),
--- `"agent-exit"`, `"console"` (it prints the text), or any event with one text.
---@param what string
---@param text? string
---@return macvm.vm
function vm:sim_inject(what, text) end

--- Checks the whole configuration against this host: files, sizes, the other machines, the
--- hypervisor. Starts nothing. Raises what vm:start would raise.
---@return macvm.vm
function vm:check() end

--- Can this machine do that here (`"pause"`, `"save"`, `"agent"`, a kind of device, ...)? When it
--- can't, the second result says why.
---@param what string
---@return boolean
---@return string|nil
function vm:can(what) end

--- Figures of the running machine (10 s), nested by their names: `stats.memory.size`,
--- `stats.disk.data.read_bytes`, `stats.accel`. Of a net: `mac`, `link`, and `rx_bytes`,
--- `tx_bytes`, `rx_packets`, `tx_packets` as the guest sees them, with `counted` to say by whom: the
--- `"host"` on a bridge, else the `"guest"`, while its agent answers. With a balloon: `balloon.actual`,
--- `balloon.target`, and what the guest tells of its memory every 2 s: `memory.guest_free`,
--- `memory.guest_available`, `memory.guest_total`, `memory.guest_cache`. Raises `state` when it is
--- down.
---@param opts? {timeout?: number}
---@return table
function vm:stats(opts) end

--- A connection to a vsock port of the guest (10 s), both ways. A guest whose driver is not loaded
--- yet is waited for. Raises `guest` when nobody listens there, `config` when the machine has no
--- vsock device.
---@param port integer
---@param opts? {timeout?: number}
---@return macvm.stream
function vm:connect(port, opts) end

--- vm:listen without the closing of the channel when fn returns.
---@param port integer
---@param fn fun(channel: macvm.stream)
---@return macvm.listener
function vm:listen_raw(port, fn) end

--- Runs a command in the guest and waits for its end. A string goes to the guest's
--- `sh -c`; a list is an argv, and may hold the options too: `vm:exec { "ls", "-l", cwd = "/etc" }`. A command that fails
--- is a result, not an error: `status` is 0..255, or 128 + `signal` when a signal ended it. A machine that is on its way up is
--- waited for. A command ends when it has exited and both outputs are closed, so a child in the background that holds one
--- open is waited for too: redirect its output. `timeout` is in seconds (900 when left out) and counts from the call, with at most 120 s of it for a machine on its way up: then
--- the command and its children are killed and `timeout` is raised; the error's fields `stdout` and `stderr` hold what was printed so far. Raises `state` when
--- the machine is down, `agent` when it or its agent dies meanwhile, `guest` when the command can't be started or
--- prints more than 64 MiB.
---@param command string|string[]
---@param opts? {cwd?: string, env?: table<string,string>, stdin?: string, timeout?: number}
---@return {status: integer, signal: integer?, stdout: string, stderr: string, elapsed: number}
function vm:exec(command, opts) end

--- Like vm:exec, for a command that has to succeed: returns what it printed on
--- standard output. Raises `guest` when its status is not 0; the error's fields `status`, `signal`, `stdout` and
--- `stderr` tell more.
---@param command string|string[]
---@param opts? {cwd?: string, env?: table<string,string>, stdin?: string, timeout?: number}
---@return string
function vm:must(command, opts) end

--- Runs the command again and again until its status is 0, and returns what that run printed on
--- standard output. Between tries it waits `interval` seconds, or, when left out, 0.05 s growing to 1 s. After `timeout`
--- seconds (30) raises `timeout` with the failure of the last try in its message. Other errors than a status are
--- raised at once.
---@param command string|string[]
---@param opts? {timeout?: number, interval?: number, cwd?: string, env?: table<string,string>, stdin?: string}
---@return string
function vm:eventually(command, opts) end

--- Starts a command in the guest and returns at once: its streams `stdin`, `stdout` and `stderr` are
--- live, process:wait() gives its end. The command is killed when the process is closed or collected. `timeout` is how many
--- seconds a machine on its way up gets to be ready (120). Raises `state` when the machine is down.
---@param command string|string[]
---@param opts? {cwd?: string, env?: table<string,string>, timeout?: number}
---@return macvm.process
function vm:spawn(command, opts) end

--- The content of a file of the guest, byte for byte. Raises `guest` with the guest's
--- reason ("No such file or directory"), or when the file holds more than 256 MiB.
---@param path string
---@return string
function vm:read(path) end

--- Makes a file of the guest hold exactly `bytes`. The file is replaced only when all bytes have
--- arrived. `perm` are its mode bits (`tonumber("755", 8)`); left out, those of the file that is
--- there stay, and a new one gets 0644. Raises `guest` with the guest's reason ("No space left on device").
---@param path string
---@param bytes string
---@param perm? integer
---@return macvm.vm
function vm:write(path, bytes, perm) end

--- Like vm:on, for the next such event only.
---@param event string
---@param fn function
---@return macvm.subscription
function vm:once(event, fn) end

--- The address that the guest has on a net (the first when left out), as its agent tells it. Waits until it has one
--- (30 s), also for a machine on its way up. On a bridged net the host's network reaches the guest there. On NAT it is
--- an address of the guest's private network (10.0.2.15 in every machine, 10.0.3.15 on its second net): neither the host
--- nor other machines reach it; `forward` and vm:forwards() are for that. Raises `config` without a net, `timeout`
--- when no address came in time, `state` when the machine is down.
---@param opts? {net?: macvm.device, family?: "ipv4"|"ipv6", timeout?: number}
---@return string
function vm:address(opts) end

--- Calls fn(channel), in a task of its own, for every connection that the guest opens to that port of the host
--- (CID 2), in this run of the machine and later ones, until listener:close(). The channel is closed when fn returns,
--- after what was written. Raises `config` when that port of this machine is taken.
---@param port integer
---@param fn fun(channel: macvm.stream)
---@return macvm.listener
function vm:listen(port, fn) end

---@class macvm.device
---@field id string Its name in vm.consoles: the `id` it was configured with, or "serial", "serial1", "hvc0", "hvc1", ...
---@field kind string What it is: "disk", "net", ... Its other fields are those of its constructor.
local device = {}

--- What the machine printed: all that is kept, the last MiB. With a position, only what came from
--- there on, and as the second result where the text begins: later than `from` when older text was
--- dropped.
---@param from? integer
---@return string
---@return integer|nil
function device:text(from) end

--- The number of bytes printed since the machine was made.
---@return integer
function device:position() end

--- Waits until something was printed past that position, without a deadline unless a timeout is
--- given. Raises `state` when the machine goes down first.
---@param position integer
---@param opts? {timeout?: number}
---@return macvm.console
function device:wait(position, opts) end

--- Types the bytes. Raises `state` when the machine is down.
---@param text string
---@return macvm.console
function device:send(text) end

--- Waits until the machine has taken all that was typed, without a deadline unless a timeout is
--- given. Raises `state` when it goes down first.
---@param opts? {timeout?: number}
---@return macvm.console
function device:flush(opts) end

--- Grows a disk. While its machine is up, the guest sees the new capacity at once (30 s). While it
--- is down, the image is grown; an `ephemeral` disk is larger from its next start on. Raises
--- `config` for a size that is not larger and for a disk that is `readonly`; `unsupported` for a
--- qcow2 image that has to be grown by its running machine.
---@param size size
---@param opts? {timeout?: number}
---@return macvm.device
function device:resize(size, opts) end

--- Pulls the plug of a network device (`false`), or puts it back in: the guest sees its carrier go
--- and come, and nothing gets through meanwhile. `network` events tell of it. Holds until the
--- machine stops. Raises `state` when its machine is not up.
---@param up boolean
---@param opts? {timeout?: number}
---@return macvm.device
function device:link(up, opts) end

--- Waits until the console shows text that matches a Lua pattern, searching from the end of the last
--- match on (at first: from the first byte the machine printed). For one pattern returns its captures, or the whole
--- match when it has none. For a list of patterns returns the place in the list of the one that matched first, and then
--- the same. After `timeout` seconds (30) raises `timeout`, and `state` when the machine goes down without it; the
--- error's field `text` is the end of what was shown instead.
---@param pattern string|string[]
---@param opts? {timeout?: number}
---@return ...
function device:expect(pattern, opts) end

---@class macvm.process
---@field stdin macvm.stream Its standard input, to be written.
---@field stdout macvm.stream Its standard output, to be read.
---@field stderr macvm.stream Its standard error, to be read.
---@field pid integer Its number in the guest, 0 until that is known.
---@field ended boolean Whether it has ended.
local process = {}

--- Waits until it has ended (without a deadline unless a timeout is given); its outputs may still be
--- read, and stay open while background children hold them. Returns its exit
--- status, or 128 + signal and the signal that killed it. Raises `guest` when it could not be
--- started, `agent` when the guest or its agent dies.
---@param opts? {timeout?: number}
---@return integer
---@return integer|nil
function process:wait(opts) end

--- Sends a signal to the process and its children, `"TERM"` when none is given. After its end it
--- goes to the children that still hold an output open, or to nobody.
---@param signal? string|integer
---@return macvm.process
function process:kill(signal) end

---@class macvm.stream
local stream = {}

--- A line without its newline (`"l"`, the default) or with it (`"L"`), everything up to the end
--- (`"a"`), or that many bytes, fewer only before the end, or what is there, at least one byte
--- (`"s"`). At the end: nil, and `""` for `"a"`.
--- Waits without a deadline unless a timeout is given: the stream ends when its process or machine
--- does, and with an `agent` error when the agent is lost. What a read that failed had taken is
--- there for the next one. More than `limit` bytes for one read, 16
--- MiB for a line and 1 GiB else when left out, are a `guest` error.
---@param format? string|integer
---@param opts? {timeout?: number, limit?: integer}
---@return string|nil
function stream:read(format, opts) end

--- An iterator over stream:read(format), for `for line in process.stdout:lines() do`.
---@param format? "l"|"L"|"a"|"s"|integer
---@return function
function stream:lines(format) end

--- Sends all of it, waiting while the other side does not take it. Raises `io` when the stream is
--- shut down or its reader went away, `agent` when the agent is lost.
---@param text string
---@param opts? {timeout?: number}
---@return macvm.stream
function stream:write(text, opts) end

--- The end of input for the other side, after what was written. Reading goes on.
---@return macvm.stream
function stream:shutdown() end

--- Closes it, both ways; a process's standard input ends after what was written. Closing twice is
--- fine.
function stream:close() end

---@class macvm.file
---@field stream macvm.stream Its bytes.
---@field perm integer|nil Mode bits of the guest's file, once they are known.
local file = {}

--- After `file.stream:shutdown()` of a file that is written: until the guest has stored every byte
--- (`"r"`: until all was sent). Without a deadline unless a timeout is given. Raises `guest` with
--- the guest's reason.
---@param opts? {timeout?: number}
---@return macvm.file
function file:wait(opts) end

--- Lets go of it. What was written and not waited for is dropped: the old file stays.
function file:close() end

---@class macvm.console
---@field id string Its name in vm.consoles: the `id` it was configured with, or "serial", "serial1", "hvc0", "hvc1", ...
local console = {}

--- What the machine printed: all that is kept, the last MiB. With a position, only what came from
--- there on, and as the second result where the text begins: later than `from` when older text was
--- dropped.
---@param from? integer
---@return string
---@return integer|nil
function console:text(from) end

--- The number of bytes printed since the machine was made.
---@return integer
function console:position() end

--- Waits until something was printed past that position, without a deadline unless a timeout is
--- given. Raises `state` when the machine goes down first.
---@param position integer
---@param opts? {timeout?: number}
---@return macvm.console
function console:wait(position, opts) end

--- Types the bytes. Raises `state` when the machine is down.
---@param text string
---@return macvm.console
function console:send(text) end

--- Waits until the machine has taken all that was typed, without a deadline unless a timeout is
--- given. Raises `state` when it goes down first.
---@param opts? {timeout?: number}
---@return macvm.console
function console:flush(opts) end

--- Waits until the console shows text that matches a Lua pattern, searching from the end of the last
--- match on (at first: from the first byte the machine printed). For one pattern returns its captures, or the whole
--- match when it has none. For a list of patterns returns the place in the list of the one that matched first, and then
--- the same. After `timeout` seconds (30) raises `timeout`, and `state` when the machine goes down without it; the
--- error's field `text` is the end of what was shown instead.
---@param pattern string|string[]
---@param opts? {timeout?: number}
---@return ...
function console:expect(pattern, opts) end

---@class macvm.subscription
local subscription = {}

--- No further event is handed to the handler; those that wait for it are dropped.
function subscription:cancel() end

---@class macvm.listener
local listener = {}

--- Listens no more; connections live on.
function listener:close() end

---@class macvm.task
---@field done boolean Whether it has ended, in whatever way.
---@field state "new"|"ready"|"running"|"waiting"|"idle"|"done"|"failed"|"cancelled" What it does, or how it ended.
---@field traceback string|nil After an error that was a string: the calls that led to it.
local task = {}

--- Waits until the task has ended (without a deadline unless a timeout is given) and returns its
--- results, or raises its error; `cancelled` when it was cancelled.
---@param opts? {timeout?: number}
---@return ...
function task:join(opts) end

--- Ends what the task waits for with a `cancelled` error, or its next wait; once. Its `<close>`
--- variables are closed and may wait. A task that has ended is left alone.
---@return macvm.task
function task:cancel() end

---@class macvm
---@field version string The version of macvm, as "0.1.0".
macvm = {}

--- Makes a machine from its whole description, or from its name, to be filled in step by step:
--- `db.cpus = 1; db:attach(macvm.net {})`. Nothing starts. Raises `config` that names the field, what is wrong and
--- what would be right.
---@param spec table|string
---@return macvm.vm
function macvm.vm(spec) end

--- One of macvm's own Linux guests, for `boot`: `boot = macvm.guest "6.12"`. Without a name the usual one, which a
--- machine without `boot` starts anyway. Raises `unsupported` with the command that builds it when it is not built.
---@param name? string
---@param arch? "x86_64"|"aarch64"
---@return {kernel: string, initrd: string}
function macvm.guest(name, arch) end

--- Starts fn(...) as a task. It runs whenever the others wait. An error that nobody joins is
--- reported once and fails a script run.
---@param fn function
---@param ... any
---@return macvm.task
function macvm.spawn(fn, ...) end

--- Blocks this task for so long.
---@param seconds number
function macvm.sleep(seconds) end

--- Seconds on the clock of the loop, which never goes back. With sim's virtual time on, that of
--- the simulation.
---@return number
function macvm.now() end

--- What this host has and what works on it, looked up afresh. Memory is in bytes. An ability is one of machines that
--- the host's own hypervisor runs, in the words of vm:can; where they can't, with the cause and the cure.
---@return {cpus: integer, memory: integer, arch: string, findings: {what: string, ok: boolean, detail: string, cure: string}[], abilities: {word: string, what: string, can: boolean, reason?: string, cure?: string}[]}
function macvm.host() end

--- Writes a line to the log on standard error. Errors and warnings show always, `info` with
--- `macvm -v`, `debug` with `-vv`.
---@param level "error"|"warn"|"info"|"debug"
---@param text string
function macvm.log(level, text) end

--- Calls fn(...) with a deadline and returns its results. When the deadline passes first, fn is
--- cancelled, its `<close>` variables run, and then `timeout` is raised. An error of fn is raised as it is.
---@param seconds number
---@param fn function
---@param ... any
---@return ...
function macvm.timeout(seconds, fn, ...) end

--- Runs every function in a task of its own and waits for all. Returns the list of their results, one of
--- each function in the order given (its first, or nil; their number is `n`). The first error cancels the others, waits for
--- their end and is raised.
---@param functions function[]
---@return any[]
function macvm.all(functions) end

--- Runs every function in a task of its own until one succeeds. Returns its (first) result and its
--- place in the list; the others are cancelled and have ended by then. When all fail, raises an error with the code of
--- the first function's error, whose message names every failure and whose field `errors` lists them.
---@param functions function[]
---@return any
---@return integer
function macvm.any(functions) end

macvm.timeline = {}

--- The phases of a VM's last boot, in order, and its total in seconds. They join without a gap: the first
--- one begins at 0 and the last one ends at the total. A VM that has not been started has none.
---@param vm macvm.vm
---@return {name: string, mark: string, from: number, to: number}[]
---@return number
function macvm.timeline.segments(vm) end

--- One line for each VM, without a newline at the end: its name, how long it took to `ready` (or how far it
--- came), and how long each phase of the boot was.
---@param vms macvm.vm|macvm.vm[]
---@return string
function macvm.timeline.text(vms) end

--- The picture that macvm.timeline.svg writes, as a string.
---@param vms macvm.vm|macvm.vm[]
---@param opts? {title?: string}
---@return string
function macvm.timeline.render(vms, opts) end

--- Draws the boot of one VM, or of several below each other on one time axis, into an SVG file. The file holds
--- everything it needs and follows the reader's light or dark scheme. It is replaced only when it is complete;
--- raises `io` when it can't be written.
---@param vms macvm.vm|macvm.vm[]
---@param path string
---@param opts? {title?: string}
function macvm.timeline.svg(vms, path, opts) end

--- A virtio block device.
---@param fields? macvm.disk.spec
---@return macvm.device
function macvm.disk(fields) end

--- A virtio network device.
---@param fields? macvm.net.spec
---@return macvm.device
function macvm.net(fields) end

--- A directory of the host, shared by virtiofs or 9p.
---@param fields? macvm.share.spec
---@return macvm.device
function macvm.share(fields) end

--- A virtio socket device.
---@param fields? macvm.vsock.spec
---@return macvm.device
function macvm.vsock(fields) end

--- A console. Every machine has a serial one; the first of type `serial` configures it.
---@param fields? macvm.console.spec
---@return macvm.device
function macvm.console(fields) end

--- A virtio random number device, fed by the host's.
---@param fields? macvm.entropy.spec
---@return macvm.device
function macvm.entropy(fields) end

--- A virtio memory balloon.
---@param fields? macvm.balloon.spec
---@return macvm.device
function macvm.balloon(fields) end

--- A virtio sound device.
---@param fields? macvm.sound.spec
---@return macvm.device
function macvm.sound(fields) end

--- A virtio graphics device with one display.
---@param fields? macvm.display.spec
---@return macvm.device
function macvm.display(fields) end

--- A virtio keyboard.
---@param fields? macvm.keyboard.spec
---@return macvm.device
function macvm.keyboard(fields) end

--- A virtio pointing device with absolute coordinates.
---@param fields? macvm.pointer.spec
---@return macvm.device
function macvm.pointer(fields) end

--- Text clipboard, shared with a guest that runs the Spice agent.
---@param fields? macvm.clipboard.spec
---@return macvm.device
function macvm.clipboard(fields) end

return macvm
