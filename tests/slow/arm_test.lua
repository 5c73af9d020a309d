-- SPDX-License-Identifier: MIT
-- Every case of the back ends' contract, by machines with processors of another architecture.
local t = ...
local macvm = require "macvm"

t.case("the contract on aarch64", function()
    assert(os.execute "make --no-print-directory guest-aarch64 >&2") -- which installs what it takes
    local can, reason = macvm.vm({ backend = "qemu" }):can "aarch64"
    t.ok(can, reason)
    local pipe = assert(io.popen(("MACVM_TEST_ARCH=aarch64 %s run tests/contract/run.lua qemu 2>&1"):format(
        os.getenv "MACVM"), "r"))
    local text = pipe:read "a"
    local ok = pipe:close()
    if not ok then io.stderr:write(text) end
    t.ok(ok, "the contract")
    t.match(text, "\n%d+ passed, 0 failed")
end)
