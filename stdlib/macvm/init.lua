-- SPDX-License-Identifier: MIT
--[[
The public table of macvm: `require "macvm"`, and the global `macvm` of the macvm command. The verbs
that touch a machine are in C (module macvm.core); what is policy is added here, to the same classes.
]]

local core = require "macvm.core"
local exec = require "macvm.exec"
local expect = require "macvm.expect"
local files = require "macvm.files"
local later = require "macvm.later"
local net = require "macvm.net"
local strict = require "macvm.strict"
local task = require "macvm.task"
local vsock = require "macvm.vsock"

local macvm = {}

--- macvm.version: string
--- The version of macvm, as "0.1.0".
macvm.version = core.version

macvm.timeline = require "macvm.timeline"

--- macvm.vm(spec: table|string) -> vm
--- Makes a machine from its whole description, or from its name, to be filled in step by step:
--- `db.cpus = 1; db:attach(macvm.net {})`. Nothing starts. Raises `config` that names the field, what is wrong and
--- what would be right.
function macvm.vm(spec)
    return core.vm(spec)
end

-- One constructor for every device there is a schema of.
for _, schema in ipairs(core.schemas()) do
    if schema.device then
        local kind = schema.kind
        macvm[kind] = function(fields)
            return core.device(kind, fields or {})
        end
    end
end

--- macvm.guest(name?: string, arch?: "x86_64"|"aarch64") -> {kernel: string, initrd: string}
--- One of macvm's own Linux guests, for `boot`: `boot = macvm.guest "6.12"`. Without a name the usual one, which a
--- machine without `boot` starts anyway. Raises `unsupported` with the command that builds it when it is not built.
function macvm.guest(name, arch)
    if name ~= nil and (type(name) ~= "string" or not name:match "^%w[%w._-]*$") then
        error(core.error {
            code = "config", message = ("a guest can't be called `%s`"):format(tostring(name)),
            hint = "`macvm guest list` shows what there is; a version, as \"6.12\", names a kernel of the backports",
        })
    elseif arch ~= nil and arch ~= "x86_64" and arch ~= "aarch64" then
        error(core.error {
            code = "config", message = ("there is no guest for the architecture `%s`"):format(tostring(arch)),
            hint = "x86_64 or aarch64",
        })
    end
    local kernel, initrd, found = core.guest_find(arch, name)
    if not found then
        local options = (name and " --name " .. name or "") .. (arch and " --arch " .. arch or "")
        error(core.error {
            code = "unsupported", hint = "run: macvm guest build" .. options,
            message = ("macvm's own guest%s is not built: no %s"):format(name and " " .. name or "", kernel),
        })
    end
    return { kernel = kernel, initrd = initrd }
end

--- macvm.spawn(fn: function, ...) -> task
--- Starts fn(...) as a task. It runs whenever the others wait. An error that nobody joins is
--- reported once and fails a script run.
macvm.spawn = core.spawn

--- macvm.sleep(seconds: number)
--- Blocks this task for so long.
macvm.sleep = core.sleep

--- macvm.now() -> number
--- Seconds on the clock of the loop, which never goes back. With sim's virtual time on, that of
--- the simulation.
macvm.now = core.now

macvm.timeout = task.timeout
macvm.all = task.all
macvm.any = task.any

--- macvm.host() -> {cpus: integer, memory: integer, arch: string, findings: {what: string, ok: boolean, detail: string, cure: string}[], abilities: {word: string, what: string, can: boolean, reason?: string, cure?: string}[]}
--- What this host has and what works on it, looked up afresh. Memory is in bytes. An ability is one of machines that
--- the host's own hypervisor runs, in the words of vm:can; where they can't, with the cause and the cure.
macvm.host = core.host

local LEVELS = { error = 0, warn = 1, info = 2, debug = 3 }

--- macvm.log(level: "error"|"warn"|"info"|"debug", text: string)
--- Writes a line to the log on standard error. Errors and warnings show always, `info` with
--- `macvm -v`, `debug` with `-vv`.
function macvm.log(level, text)
    if not LEVELS[level] then
        error(core.error {
            code = "config", message = ("there is no log level `%s`"):format(tostring(level)),
            hint = "error, warn, info or debug",
        })
    end
    core.log(LEVELS[level], tostring(text))
end

-- ---- what the classes of the C layer get on top --------------------------------------

local vm = core.class "vm"

vm.exec, vm.must, vm.eventually, vm.spawn = exec.exec, exec.must, exec.eventually, exec.spawn
vm.read, vm.write = files.read, files.write
vm.address = net.address
vm.listen = vsock.listen

-- Copies wait for a machine that is on its way up, as commands do.
for _, name in ipairs { "push", "pull" } do
    local copy = vm[name]
    vm[name] = function(self, from, to, opts)
        exec.when_ready(self, macvm.now() + (type(opts) == "table" and tonumber(opts.timeout) or math.huge))
        return copy(self, from, to, opts)
    end
end

local stats = vm.stats
function vm.stats(self, opts)
    return net.count(self, stats(self, opts))
end

--- vm:once(event: string, fn: function) -> subscription
--- Like vm:on, for the next such event only.
function vm:once(event, fn)
    task.check_function(fn, "vm:once")
    local subscription, fired
    subscription = self:on(event, function(...)
        if fired then return end
        fired = true
        subscription:cancel()
        fn(...)
    end)
    return subscription
end

setmetatable(vm, { __index = later.verb })

core.class("console").expect = expect.expect

-- ---- fields of the classes, as the manual tells them ----------------------------------

--- vm.state: "stopped"|"starting"|"running"|"pausing"|"paused"|"resuming"|"stopping"|"saving"|"restoring"|"error"
--- Where it is in its life. Read only, as the following.

--- vm.up: boolean
--- Neither stopped nor in error.

--- vm.ready: boolean
--- Its agent answers.

--- vm.console: console
--- Its serial console, the first of vm.consoles.

--- vm.consoles: table
--- Every console, by its place and by its id: `vm.consoles.hvc0`. The serial one that each machine has comes
--- first. A console keeps what it printed as long as there is the machine.

--- vm.clipboard: string|nil
--- The text clipboard of a machine with a `macvm.clipboard` whose guest runs the Spice agent: what a paste in the
--- guest would give, as far as it is known. Set it to offer text to the guest (UTF-8, at most 1 MiB), also before its
--- agent is up. The event "clipboard" tells of text that was copied in the guest.

--- console.id: string
--- Its name in vm.consoles: the `id` it was configured with, or "serial", "serial1", "hvc0", "hvc1", ...

--- vm.timeline: {name: string, at: number}[]
--- The points of its last boot that it has passed, in seconds since the start was asked for:
--- "process", "qmp", "running", "kernel", "init", "ready".

--- vm.planned: boolean
--- In `macvm check`: whether its start was asked for.

--- device.kind: string
--- What it is: "disk", "net", ... Its other fields are those of its constructor.

--- process.stdin: stream
--- Its standard input, to be written.

--- process.stdout: stream
--- Its standard output, to be read.

--- process.stderr: stream
--- Its standard error, to be read.

--- process.pid: integer
--- Its number in the guest, 0 until that is known.

--- process.ended: boolean
--- Whether it has ended.

--- file.stream: stream
--- Its bytes.

--- file.perm: integer|nil
--- Mode bits of the guest's file, once they are known.

--- task.done: boolean
--- Whether it has ended, in whatever way.

--- task.state: "new"|"ready"|"running"|"waiting"|"idle"|"done"|"failed"|"cancelled"
--- What it does, or how it ended.

--- task.traceback: string|nil
--- After an error that was a string: the calls that led to it.

return strict.fields(macvm, "macvm", later.device)
