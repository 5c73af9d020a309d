# macvm: a scripting host for virtual machines. `make help` lists what there is.
#
# Switches (all have the form `make V=1 ...`):
#   V=1       print the whole commands
#   WERROR=0  let warnings be warnings
#   CC=clang  another compiler: give it a BUILD of its own
#   SAN=1     AddressSanitizer and UBSan, in build/asan
#   FUZZ=1    the same with libFuzzer's instrumentation (clang), in build/fuzz
#   BUILD=dir where everything that is made goes; nothing is written elsewhere
#
# Sources are found by wildcard: a new file in a directory named below is built, and a new
# tests/core/test_NAME.c is a test. Only `run`, `test*`, `bench` and `check-*` install packages
# (scripts/bootstrap); everything that asks pkg-config is therefore evaluated on first use.

PREFIX  ?= /usr/local
DESTDIR ?=
V       ?= 0
WERROR  ?= 1
CC      := $(if $(filter default,$(origin CC)),$(if $(FUZZ),clang,gcc),$(CC))
BUILD   ?= $(if $(FUZZ),build/fuzz,$(if $(SAN),build/asan,build))
Q       := $(if $(filter 1,$(V)),,@)
say      = $(if $(filter 1,$(V)),:,printf '  %-7s %s\n')

# As many jobs as processors, unless the caller says otherwise.
ifeq ($(filter -j%,$(MAKEFLAGS))$(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

# ---- flags -------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla
WARNINGS += $(if $(filter 0,$(WERROR)),,-Werror)
SANITIZE :=
ifneq ($(SAN)$(FUZZ),)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SANITIZE += $(if $(FUZZ),-fsanitize=fuzzer-no-link)
endif
OPTIMISE ?= $(if $(SAN)$(FUZZ),-O1,-O2) -g
STANDARD := -std=c11 -D_GNU_SOURCE -fPIC

PACKAGES := lua5.4 libuv jansson libedit
# Asked once, when the first recipe needs it; a machine without the packages gets one clear line.
pkg-config = $(or $(shell pkg-config $(1) 2>/dev/null && echo ' '),$(error packages are missing: \
               run scripts/bootstrap))
PKG_CFLAGS = $(eval PKG_CFLAGS := $(call pkg-config,--cflags $(PACKAGES)))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $(call pkg-config,--libs $(PACKAGES)))$(PKG_LIBS)
MOCKA_LIBS = $(eval MOCKA_LIBS := $(call pkg-config,--libs cmocka))$(MOCKA_LIBS)

COMPILE   = $(CC) $(STANDARD) $(WARNINGS) $(OPTIMISE) $(SANITIZE) $(CPPFLAGS) $(CFLAGS) -MD -MP
LINK      = $(CC) $(OPTIMISE) $(SANITIZE) $(LDFLAGS)
CORE_INC := -Icore -Icore/include
LUA_INC  := -Icore/include -Ilua
TEST_INC := $(CORE_INC) -Ilua -Itests -Itests/support

# ---- sources -----------------------------------------------------------------

CORE_DIRS := core/base core/wire core/io core/device core/vm core/backend \
             core/backend/qemu core/backend/sim
CORE_SRC  := $(wildcard $(addsuffix /*.c,$(CORE_DIRS)))
LUA_SRC   := $(filter-out lua/main.c lua/repl.c lua/macvm_so.c,$(wildcard lua/*.c))
MAIN_SRC  := $(wildcard lua/main.c lua/repl.c)
SO_SRC    := lua/macvm_so.c
AGENT_SRC := $(wildcard core/guest/*.c) core/wire/agent_wire.c
STDLIB    := $(shell find stdlib -name '*.lua' 2>/dev/null)
TEST_SRC  := $(wildcard tests/core/test_*.c)
HELP_SRC  := $(wildcard tests/support/*.c)
PEER_SRC  := $(wildcard tests/guest/*.c)
FUZZ_SRC  := $(wildcard tests/fuzz/fuzz_*.c)
OWN_C     := $(wildcard core/*/*.[ch] core/*/*/*.[ch] lua/*.[ch] tests/*/*.[ch] scripts/*/*.[ch])

objects    = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
CORE_OBJ  := $(call objects,$(CORE_SRC))
LUA_OBJ   := $(call objects,$(LUA_SRC)) $(BUILD)/obj/gen/stdlib.o
MAIN_OBJ  := $(call objects,$(MAIN_SRC))
SO_OBJ    := $(call objects,$(SO_SRC))
AGENT_OBJ := $(patsubst %.c,$(BUILD)/agent/%.o,$(AGENT_SRC))
TESTS     := $(patsubst tests/core/%.c,$(BUILD)/tests/%,$(TEST_SRC))
PEERS     := $(patsubst tests/%.c,$(BUILD)/%,$(PEER_SRC))
FUZZERS   := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(FUZZ_SRC))
# The guest always gets the plain static agent; a sanitised one is for the tests that run it here.
AGENT     := $(if $(SAN)$(FUZZ),build/macvm-agent,$(BUILD)/macvm-agent)
AGENTS    := $(sort $(AGENT) $(BUILD)/macvm-agent)

.PHONY: all tests run test test-slow bench install uninstall clean fmt fmt-check lint check-asan \
        check-layers fuzzers fuzz-smoke docs docs-check help guest-aarch64 guest-x86_64 guest-6.12
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/macvm $(BUILD)/macvm.so $(BUILD)/libmacvm.a $(AGENTS)
tests: all $(TESTS) $(PEERS)

# ---- what is built --------------------------------------------------------------

# Rewritten only when the flags change; everything compiled depends on it.
$(shell mkdir -p $(BUILD))
FLAGS := $(CC) $(STANDARD) $(WARNINGS) $(OPTIMISE) $(SANITIZE) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)
ifneq ($(file <$(BUILD)/.flags),$(FLAGS))
$(file >$(BUILD)/.flags,$(FLAGS))
endif

$(BUILD)/macvm: $(MAIN_OBJ) $(LUA_OBJ) $(BUILD)/libmacvm.a
	@$(say) LINK $@
	$(Q)$(LINK) -o $@ $^ $(PKG_LIBS) -lpthread -lm

# A module for a stock lua5.4, which has the Lua symbols itself: only luaopen_macvm is exported.
$(BUILD)/macvm.so: $(SO_OBJ) $(LUA_OBJ) $(BUILD)/libmacvm.a $(BUILD)/gen/macvm.map
	@$(say) LINK $@
	$(Q)$(LINK) -shared -Wl,--version-script=$(BUILD)/gen/macvm.map -o $@ \
	    $(filter-out %.map,$^) $(filter-out -llua%,$(PKG_LIBS)) -lpthread

$(BUILD)/gen/macvm.map: Makefile
	@mkdir -p $(@D)
	@printf '{ global: luaopen_macvm*; local: *; };\n' >$@

# `ar` adds to an archive that is there: begin anew, so that no deleted file lives on in it.
$(BUILD)/libmacvm.a: $(CORE_OBJ)
	@$(say) AR $@
	$(Q)rm -f $@ && ar rcsD $@ $^

$(BUILD)/gen/stdlib.c: scripts/embed.lua $(STDLIB)
	@$(say) EMBED $@
	@mkdir -p $(@D)
	$(Q)lua5.4 scripts/embed.lua $@ stdlib

$(BUILD)/obj/gen/stdlib.o: $(BUILD)/gen/stdlib.c $(BUILD)/.flags
	@$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(LUA_INC) $(PKG_CFLAGS) -c -o $@ $<

$(BUILD)/obj/core/%.o: core/%.c $(BUILD)/.flags
	@$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(CORE_INC) $(PKG_CFLAGS) -c -o $@ $<

# lua/ sees the public headers only: the boundary is physical.
$(BUILD)/obj/lua/%.o: lua/%.c $(BUILD)/.flags
	@$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(LUA_INC) $(PKG_CFLAGS) -c -o $@ $<

$(BUILD)/obj/tests/%.o: tests/%.c $(BUILD)/.flags
	@$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(TEST_INC) $(PKG_CFLAGS) -c -o $@ $<

# The agent runs in the guest as a static program without any library but libc.
AGENT_FLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -ffunction-sections -fdata-sections -MD -MP \
              $(if $(SAN)$(FUZZ),$(OPTIMISE) $(SANITIZE),-Os) $(CORE_INC)
$(BUILD)/agent/%.o: %.c $(BUILD)/.flags
	@$(say) CC "$< (agent)"
	@mkdir -p $(@D)
	$(Q)$(CC) $(AGENT_FLAGS) -c -o $@ $<

$(BUILD)/macvm-agent: $(AGENT_OBJ)
	@$(say) LINK $@
	$(Q)$(CC) $(if $(SAN)$(FUZZ),$(SANITIZE),-static -s) -Wl,--gc-sections -o $@ $^

# The same for a guest of another architecture, by Debian's cross compiler (scripts/bootstrap ARCH).
define cross_agent
$(BUILD)/agent-$(1)/%.o: %.c $(BUILD)/.flags
	@$(say) CC "$$< (agent, $(1))"
	@mkdir -p $$(@D)
	$(Q)$(1)-linux-gnu-gcc $(AGENT_FLAGS) -c -o $$@ $$<

$(BUILD)/macvm-agent-$(1): $(patsubst %.c,$(BUILD)/agent-$(1)/%.o,$(AGENT_SRC))
	@$(say) LINK $$@
	$(Q)$(1)-linux-gnu-gcc -static -s -Wl,--gc-sections -o $$@ $$^
endef
$(foreach arch,aarch64 x86_64,$(eval $(call cross_agent,$(arch))))

ifneq ($(AGENT),$(BUILD)/macvm-agent)
$(AGENT): $(AGENT_SRC) $(wildcard core/guest/*.h core/wire/agent_wire.h)
	$(Q)$(MAKE) --no-print-directory SAN= FUZZ= BUILD=build CC=gcc $@
endif

# Each test is a program of its own; it may look into the core and the Lua layer. Support files
# are an archive, so a test links only what it calls.
$(BUILD)/libsupport.a: $(call objects,$(HELP_SRC))
	$(Q)rm -f $@ && ar rcsD $@ $^

$(BUILD)/liblayer.a: $(LUA_OBJ)
	$(Q)rm -f $@ && ar rcsD $@ $^

TEST_LIBS := $(BUILD)/libsupport.a $(BUILD)/liblayer.a $(BUILD)/libmacvm.a
$(BUILD)/tests/%: $(BUILD)/obj/tests/core/%.o $(TEST_LIBS)
	@$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -o $@ $^ $(MOCKA_LIBS) $(PKG_LIBS) -lpthread -lm

# What tests run inside guests: static, and never sanitised. GUEST_WITH: files of the core that one
# of them is made with, and what those need.
$(BUILD)/guest/%: tests/guest/%.c $(BUILD)/.flags
	@$(say) CC "$< (guest)"
	@mkdir -p $(@D)
	$(Q)$(CC) $(STANDARD) $(WARNINGS) -O2 -static -s -o $@ $< $(GUEST_WITH) -lm

VSOCK_WITH := $(wildcard core/base/*.c) $(patsubst %,core/io/%.c,loop sock stream vsock_sock wait)
$(BUILD)/guest/vsock_kernel: $(VSOCK_WITH) $(wildcard core/io/*.h)
$(BUILD)/guest/vsock_kernel: GUEST_WITH := $(CORE_INC) $(VSOCK_WITH) -l:libuv_a.a -lpthread -Wl,--no-warnings

$(BUILD)/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(TEST_LIBS)
	@$(say) LINK $@
	$(Q)$(LINK) -fsanitize=fuzzer -o $@ $^ $(PKG_LIBS) -lpthread -lm

-include $(shell find $(BUILD)/obj $(BUILD)/agent $(BUILD)/agent-* -name '*.d' 2>/dev/null)

# ---- what is run -----------------------------------------------------------------

# Several of these in one call come one after the other; the makes that they start build with all
# jobs (`+` hands those down).
ifneq ($(filter run test test-slow bench lint check-asan fuzz-smoke guest-%,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
submake = $(MAKE) --no-print-directory

run:
	@scripts/bootstrap run
	+@$(submake) all
	@scripts/guest/build --agent $(AGENT)
	@$(BUILD)/macvm run examples/lab.lua

test:
	@scripts/bootstrap run test
	+@$(submake) tests
	@scripts/guest/build --agent $(AGENT)
	@BUILD=$(BUILD) scripts/test $(T)

test-slow:
	@scripts/bootstrap run test
	+@$(submake) tests
	@scripts/guest/build --agent $(AGENT)
	@BUILD=$(BUILD) scripts/test --slow $(T)

check-asan:
	@scripts/bootstrap run test
	+@$(submake) SAN=1 tests
	@scripts/guest/build --agent $(AGENT)
	@BUILD=build/asan scripts/test $(T)

fuzz-smoke:
	@scripts/bootstrap run test
	+@$(submake) FUZZ=1 fuzzers
	@scripts/fuzz $(or $(SECONDS),10)

fuzzers: $(FUZZERS)

bench:
	@scripts/bootstrap run
	+@$(submake) all $(BUILD)/bench-probe
	@scripts/guest/build --agent $(AGENT)
	@BUILD=$(BUILD) scripts/bench/run

$(BUILD)/bench-probe: scripts/bench/probe.c $(BUILD)/libmacvm.a
	@$(say) CC $<
	$(Q)$(COMPILE) $(CORE_INC) -o $@ $^

# Guests that only some tests and labs need: for another architecture, with another kernel.
guest-aarch64 guest-x86_64: guest-%:
	@scripts/bootstrap run $*
	+@$(submake) SAN= FUZZ= BUILD=build CC=gcc build/macvm-agent-$*
	@scripts/guest/build --arch $* --agent build/macvm-agent-$*

guest-6.12: guest-%:
	@scripts/bootstrap run
	+@$(submake) $(AGENT)
	@scripts/guest/build --name $* --agent $(AGENT)

lint:
	@scripts/bootstrap run test
	@scripts/lint

fmt:
	clang-format -i $(OWN_C)

fmt-check:
	@clang-format --dry-run -Werror $(OWN_C)

check-layers:
	@lua5.4 scripts/check_layers.lua --self-test
	@lua5.4 scripts/check_layers.lua

# Made from the sources and from what the built program knows of itself.
docs: all
	@MACVM_BUILD=$(BUILD) lua5.4 scripts/gen_docs.lua

docs-check: all
	@MACVM_BUILD=$(BUILD) lua5.4 scripts/gen_docs.lua --check

# For editors; the checks of `make lint` don't need it.
compile_commands.json: Makefile
	@{ printf '['; first=1; for f in $(CORE_SRC) $(AGENT_SRC) $(LUA_SRC) $(MAIN_SRC) $(SO_SRC) \
	    $(TEST_SRC) $(HELP_SRC); do \
	  case $$f in core/*) inc='$(CORE_INC)';; lua/*) inc='$(LUA_INC)';; *) inc='$(TEST_INC)';; esac; \
	  [ $$first ] || printf ','; first=; \
	  printf '\n{"directory":"%s","file":"%s","command":"%s"}' '$(CURDIR)' $$f \
	    "$(CC) $(STANDARD) $(WARNINGS) $$inc $(PKG_CFLAGS) -c $$f"; \
	done; printf '\n]\n'; } >$@

tags: $(OWN_C)
	ctags $(OWN_C)

install: all
	@BUILD=$(BUILD) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install

uninstall:
	@PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install --remove

clean:
	rm -rf build compile_commands.json tags

help:
	@printf '%s\n' \
	'make              build/macvm, build/macvm.so, build/libmacvm.a, build/macvm-agent' \
	'make run          install what is missing, build, make the guest, run examples/lab.lua' \
	'make test         the same, then every test (T=NAME: suites whose name contains NAME)' \
	'make test-slow    the tests that take minutes' \
	'make bench        measure against raw QEMU and write docs/performance.md' \
	'make install      PREFIX=/usr/local DESTDIR=; `make uninstall` takes it away again' \
	'make fmt          format the C sources; fmt-check only looks' \
	'make guest-aarch64  the small guest for arm64 machines; guest-6.12: with the kernel of backports' \
	'make lint         both compilers, formatting, static analysis, layers, documents' \
	'make check-asan   every test under AddressSanitizer, LeakSanitizer and UBSan' \
	'make fuzz-smoke   every fuzzer for a moment (SECONDS=10)' \
	'make docs         the manual, man page and LuaLS files; docs-check: are they up to date?' \
	'make clean        remove what was built (the guest stays in its cache)' \
	'make tags compile_commands.json   for editors' \
	'Switches: V=1 WERROR=0 SAN=1 CC=clang BUILD=dir, explained at the top of the Makefile.'
