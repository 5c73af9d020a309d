-- SPDX-License-Identifier: MIT
-- The contract on errors: one line, a code, the machine, a hint; for mistakes that everybody makes.

local macvm = require "macvm"

return {
    {
        name = "a command on a stopped machine",
        run = function(ctx)
            local vm = ctx.vm()
            for _, verb in ipairs { "exec", "must", "spawn", "eventually" } do
                local err = ctx.raises("state", vm[verb], vm, "true")
                ctx.match(err.message, "stopped", verb)
                ctx.eq(err.vm, vm.name, verb)
                ctx.match(tostring(err), vm.name, verb)
            end
        end,
    },
    {
        name = "a wait that is too short",
        run = function(ctx)
            local err = ctx.within(5, ctx.raises, "timeout", ctx.shared.wait, ctx.shared, "paused", { timeout = 0.2 })
            ctx.eq(err.vm or ctx.shared.name, ctx.shared.name)
            ctx.match(tostring(err), "0.2 s")
            ctx.match(tostring(err), "paused")
            ctx.match(tostring(err), ctx.shared.name)
        end,
    },
    {
        name = "a misspelt state",
        run = function(ctx)
            local err = ctx.raises("config", ctx.shared.wait, ctx.shared, "runing")
            ctx.match(err.hint, "running")
        end,
    },
    {
        name = "a misspelt field",
        run = function(ctx)
            local err = ctx.raises("config", function()
                local vm = macvm.vm { backend = ctx.backend, memroy = "256M" }
                return vm
            end)
            ctx.eq(err.field, "memroy")
            ctx.match(err.hint, "memory")
            ctx.match(tostring(err), "errors.lua:%d+:")
        end,
    },
    {
        name = "values that make no sense name their field",
        run = function(ctx)
            ctx.eq(ctx.raises("config", ctx.vm, { memory = "512Q" }).field, "memory")
            ctx.eq(ctx.raises("config", ctx.vm, { cpus = 0 }).field, "cpus")
            ctx.eq(ctx.raises("config", ctx.vm, { cpus = "two" }).field, "cpus")
            ctx.eq(ctx.raises("config", ctx.vm, { name = "../etc" }).field, "name")
            ctx.eq(ctx.raises("config", ctx.vm, { guest = "linus" }).field, "guest")
        end,
    },
    {
        name = "two machines of one name",
        run = function(ctx)
            local err = ctx.raises("config", ctx.vm, { name = ctx.shared.name })
            ctx.eq(err.field, "name")
            ctx.match(err.message, ctx.shared.name)
        end,
    },
    {
        name = "a kernel that is not there",
        run = function(ctx)
            local vm = ctx.vm { boot = { kernel = "/no/such/kernel" } }
            local err = ctx.raises("config", vm.start, vm)
            ctx.match(err.field, "kernel")
            ctx.match(err.message, "/no/such/kernel")
            ctx.eq(vm.state, "stopped")
        end,
    },
    {
        name = "a disk that is not there, and one image used twice",
        run = function(ctx)
            local vm = ctx.vm { devices = { macvm.disk { path = "/no/such/disk.img" } } }
            ctx.match(ctx.raises("config", vm.check, vm).message, "/no/such/disk.img")
            local path = ctx.host_path "disk.img"
            assert(io.open(path, "w")):write(("\0"):rep(4096)):close()
            local both = ctx.vm { devices = { macvm.disk { path = path }, macvm.disk { path = path } } }
            local err = ctx.raises("config", both.check, both)
            ctx.match(err.field, "devices%[2%]")
        end,
    },
    {
        name = "a command that is no command",
        run = function(ctx)
            ctx.raises("config", ctx.shared.exec, ctx.shared, {})
            ctx.raises("config", ctx.shared.exec, ctx.shared, 42)
            ctx.raises("config", ctx.shared.exec, ctx.shared, "true", { timout = 5 })
            ctx.raises("config", ctx.shared.exec, ctx.shared, { "echo", "a\0b" })
        end,
    },
    {
        name = "an error is one line that names the machine",
        run = function(ctx)
            local err = ctx.raises("guest", ctx.shared.must, ctx.shared, "printf 'two\\nlines\\n' >&2; exit 1")
            ctx.match(tostring(err), ctx.shared.name)
            ctx.match(tostring(err), "status 1")
        end,
    },
}
