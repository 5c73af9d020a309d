-- SPDX-License-Identifier: MIT
-- Checks that every #include and require goes downwards (docs/architecture.md, "The layers").
-- usage: lua5.4 scripts/check_layers.lua [--self-test]
-- A file may use its own directory and lower layers. Prints one line per violation; exit 1 if any.

-- Lowest first. `system`: headers of other projects, as patterns.
local JANSSON, UV, LIBEDIT = "^jansson%.h$", "^uv%.h$", "^histedit%.h$"
local LAYERS = {
  { dir = "core/base/", rank = 0, system = {} },
  { dir = "core/wire/", rank = 1, system = { JANSSON } },
  { dir = "core/io/", rank = 2, system = { UV, LIBEDIT } },
  { dir = "core/device/", rank = 3, system = { UV, JANSSON } },
  { dir = "core/vm/", rank = 4, system = { UV, JANSSON } },
  { dir = "core/backend/", rank = 5, system = { UV, JANSSON } },
}

-- The public header of a noun belongs to the layer that implements it.
local PUBLIC = { status = 0, log = 0, record = 0, loop = 2, wait = 2, stream = 2, tty = 2, sock = 2,
                 term = 2 }
local PUBLIC_RANK = 4 -- all others: vm, lab, process, file, console, host, sim, backend

-- Any of these is somebody else's library; everything not listed is libc or the kernel's.
local LIBRARIES = { JANSSON, UV, "^uv/", "^lua%.h", "^lauxlib%.h", "^lualib%.h", "^luaconf%.h",
                    LIBEDIT, "^editline/", "^readline/", "^cmocka%.h" }

local function matches(name, patterns)
  for _, pattern in ipairs(patterns) do
    if name:find(pattern) then return true end
  end
  return false
end

local function layer_of(path)
  for _, layer in ipairs(LAYERS) do
    if path:sub(1, #layer.dir) == layer.dir then return layer end
  end
end

local function rank_of(path)
  local noun = path:match "^core/include/mvm/(.-)%.h$"
  if noun then return PUBLIC[noun] or PUBLIC_RANK end
  local layer = layer_of(path)
  return layer and layer.rank
end

-- Where #include "name" in `path` leads; nil when there is no such file.
local function resolve(path, name, exists)
  local own = path:match "^(.*/)"
  local roots = { own, "core/", "core/include/", "lua/" }
  for _, root in ipairs(roots) do
    if exists(root .. name) then return root .. name end
  end
end

-- nil when `path` may include `name` (system: in angle brackets), else why not.
local function include_fault(path, name, system, exists)
  if path:find "^tests/" or path:find "^scripts/" then return nil end
  local from = layer_of(path)

  if system then
    if not matches(name, LIBRARIES) then return nil end
    if path:find "^lua/" then
      if matches(name, { UV, "^uv/", JANSSON, LIBEDIT, "^cmocka%.h" }) then
        return "lua/ uses Lua and the public headers only"
      end
      return nil
    end
    if from and matches(name, from.system) then return nil end
    return "this layer does not use that library"
  end

  local target = resolve(path, name, exists)
  if not target then return "there is no such header" end
  local backend = target:match "^core/backend/(%w+)/"

  if path:find "^core/include/" then
    if target:find "^core/include/" then return nil end
    return "a public header includes public headers only"
  elseif path:find "^lua/" then
    if target:find "^core/include/" or target:find "^lua/" then return nil end
    return "lua/ uses the public headers only"
  elseif path:find "^core/guest/" then
    if target:find "^core/guest/" or target:find "^core/wire/agent_wire%.h"
       or target == "core/base/base.h" or target == "core/base/list.h" then
      return nil
    end
    return "the agent uses core/wire/agent_wire.h and code-free headers of core/base only"
  elseif backend and path ~= "core/backend/registry.c"
         and not path:find("^core/backend/" .. backend .. "/") then
    return "a back end is included by core/backend/registry.c only"
  elseif not from then
    return "this directory is in no layer: name it in scripts/check_layers.lua"
  end
  local rank = rank_of(target)
  if not rank then return "that directory is in no layer" end
  if rank > from.rank then return "goes upwards" end
end

-- nil when the Lua file `path` may require `name`, else why not.
local function require_fault(path, name)
  if path:find "^stdlib/" then
    local cli = path:find "^stdlib/macvm/cli/" or path == "stdlib/macvm/cli.lua"
    if name:find "^macvm%.cli" and not cli then return "only the command line requires macvm.cli" end
    if name == "lfs" or name == "macvm" or name:find "^macvm%." then return nil end
    return "the standard library requires macvm.* and lfs only"
  elseif path:find "^examples/" then
    if name == "lfs" or name == "macvm" or name == "macvm.core" then return nil end
    return "an example uses what a user has: macvm and lfs"
  end
end

-- Calls found(line number, name, is it <system>) for each include of C source `text`.
local function each_include(text, found)
  local number = 0
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    local open, name = line:match '^%s*#%s*include%s*([<"])([^>"]+)[>"]'
    if name then found(number, name, open == "<") end
  end
end

local function each_require(text, found)
  local number = 0
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    local code = line:gsub("%-%-.*", "")
    for name in code:gmatch "require%s*%(?%s*[\"']([%w_.%-]+)[\"']" do found(number, name) end
  end
end

local function check(path, text, exists, report)
  if path:find "%.lua$" then
    each_require(text, function(number, name)
      local fault = require_fault(path, name)
      if fault then report(path, number, name, fault) end
    end)
  else
    each_include(text, function(number, name, system)
      local fault = include_fault(path, name, system, exists)
      if fault then report(path, number, name, fault) end
    end)
  end
end

-- Each line is a file, what it says, and whether that is allowed.
local CASES = {
  { "core/wire/a.c", '#include "base/buf.h"', true },
  { "core/wire/a.c", '#include <jansson.h>', true },
  { "core/wire/a.c", '#include <uv.h>', false },
  { "core/wire/a.c", '#include "io/loop.h"', false },
  { "core/wire/a.c", '#include "mvm/vm.h"', false },
  { "core/wire/a.c", '#include "mvm/status.h"', true },
  { "core/base/a.c", '  #  include "wire/agent_wire.h"', false },
  { "core/io/a.c", '#include <uv.h>', true },
  { "core/io/a.c", '#include <lua.h>', false },
  { "core/vm/a.c", '#include "backend/qemu/qemu.h"', false },
  { "core/vm/a.c", '#include "agent.h"', true },
  { "core/backend/sim/a.c", '#include "backend/qemu/qemu.h"', false },
  { "core/backend/qemu/a.c", '#include "backend/qemu/qemu.h"', true },
  { "core/backend/registry.c", '#include "backend/qemu/qemu.h"', true },
  { "core/backend/qemu/a.c", '#include "vm/agent.h"', true },
  { "core/guest/a.c", '#include "wire/agent_wire.h"', true },
  { "core/guest/a.c", '#include "io/loop.h"', false },
  { "core/guest/a.c", '#include "base/buf.h"', false },
  { "core/include/mvm/x.h", '#include "mvm/vm.h"', true },
  { "core/include/mvm/x.h", '#include <uv.h>', false },
  { "core/include/mvm/x.h", '#include "base/buf.h"', false },
  { "core/vm/a.c", '#include "vm/gone.h"', false },
  { "lua/a.c", '#include "mvm/vm.h"', true },
  { "lua/a.c", '#include <lua.h>', true },
  { "lua/a.c", '#include "base/buf.h"', false },
  { "lua/a.c", '#include <uv.h>', false },
  { "tests/core/a.c", '#include "io/loop.h"', true },
  { "stdlib/macvm/a.lua", 'local c = require "macvm.core"', true },
  { "stdlib/macvm/a.lua", 'local c = require("macvm.cli.run")', false },
  { "stdlib/macvm/cli/a.lua", "local c = require 'macvm.cli.run'", true },
  { "stdlib/macvm/a.lua", 'require "socket"', false },
  { "stdlib/macvm/a.lua", '-- require "socket"', true },
  { "examples/a.lua", 'local m = require "macvm"', true },
  { "examples/a.lua", 'local m = require "macvm.cli"', false },
}

local function self_test()
  local there = { ["core/base/buf.h"] = true, ["core/wire/agent_wire.h"] = true,
                  ["core/io/loop.h"] = true, ["core/vm/agent.h"] = true,
                  ["core/backend/qemu/qemu.h"] = true, ["core/include/mvm/vm.h"] = true,
                  ["core/include/mvm/status.h"] = true }
  local wrong = 0
  for _, case in ipairs(CASES) do
    local faults = 0
    check(case[1], case[2], function(path) return there[path] end,
          function() faults = faults + 1 end)
    if (faults == 0) ~= case[3] then
      wrong = wrong + 1
      print(("self-test: %s: %s: %s"):format(case[1], case[2],
            case[3] and "is allowed and was reported" or "is forbidden and was not noticed"))
    end
  end
  return wrong == 0
end

local function slurp(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

local function list()
  local files = {}
  local pipe <close> = assert(io.popen(
    "find core lua stdlib examples -name '*.[chm]' -o -name '*.lua' 2>/dev/null | sort"))
  for path in pipe:lines() do files[#files + 1] = path end
  return files
end

if arg[1] == "--self-test" then os.exit(self_test()) end

local known, files = {}, list()
for _, path in ipairs(files) do known[path] = true end
local faults = 0
for _, path in ipairs(files) do
  check(path, assert(slurp(path), path), function(name) return known[name] end,
        function(where, number, name, why)
          faults = faults + 1
          print(("%s:%d: %s: %s"):format(where, number, name, why))
        end)
end
if faults == 0 and #files == 0 then
  print "no source files here: run this in the project's directory"
  os.exit(false)
end
os.exit(faults == 0)
