# Encke: build, test, install. `make help` lists what there is.
#
# The usual variables are respected: CC, CPPFLAGS, CFLAGS, LDFLAGS, LDLIBS, PREFIX, DESTDIR, V=1
# (show the commands), WERROR=1 (warnings are errors), B=DIR (build there instead of in build/).

VERSION := 0.1.0

B       ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
PKG_CONFIG ?= pkg-config
INSTALL ?= install
Q       := $(if $(V),,@)
SAY      = @$(if $(V),:,printf '  %-5s %s\n')

# ---- flags ----------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
        -Wpointer-arith -Wwrite-strings -Wcast-qual -Wformat=2 -Wvla -Wundef -Wnull-dereference \
        -Wimplicit-fallthrough -Wredundant-decls $(if $(WERROR),-Werror)

# Fortify needs an optimising build and does not go with the sanitizers, which see more. What the
# user's flags say of it counts; else it is the most that the compiler can do.
FORTIFY_LEVEL = $(shell printf '\043if __has_builtin(__builtin_dynamic_object_size)\n3\n\043else\n2\n\043endif\n' | \
                  $(CC) -E -P -xc - 2>/dev/null || echo 2)
FORTIFY := $(if $(or $(filter -O0,$(CFLAGS)),$(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS))),,\
             -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$(strip $(FORTIFY_LEVEL)))
HARDEN  := -fstack-protector-strong -fstack-clash-protection -fPIE
HARDEN_LD := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
ASAN    := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -U_FORTIFY_SOURCE -O1

# One library a time, so that a missing .pc file costs only its own fallback.
pc = $(shell $(PKG_CONFIG) $(1) $(2) 2>/dev/null || echo $(3))
# wslay has no .pc file in Debian.
LIB_CFLAGS := $(strip $(foreach l,fcgi libcurl sqlite3 jansson nettle libsodium libsystemd,$(call pc,--cflags,$l)))
LIBS := $(strip $(call pc,--libs,fcgi,-lfcgi) $(call pc,--libs,libcurl,-lcurl) \
          $(call pc,--libs,sqlite3,-lsqlite3) \
          $(call pc,--libs,jansson,-ljansson) -lwslay \
          $(call pc,--libs,nettle,-lnettle) $(call pc,--libs,libsodium,-lsodium) \
          $(call pc,--libs,libsystemd,-lsystemd)) -pthread

# `_GNU_SOURCE=` (empty), so that a file may define it too without a warning.
ALL_CPPFLAGS := -I. -D_GNU_SOURCE= -DENCKE_VERSION='"$(VERSION)"' $(LIB_CFLAGS) $(CPPFLAGS)
ALL_CFLAGS   := -std=gnu11 -pthread $(WARN) $(CFLAGS)
PLAIN        := $(HARDEN) $(FORTIFY)
COMPILE       = $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(EXTRA) -MMD -MP -c -o $@ $<
# cmocka's functions take a state that many need not; an argv of literals is harmless there.
TEST_WARN    := -Wno-unused-parameter -Wno-write-strings

# ---- sources --------------------------------------------------------------------------------

SRC  := $(sort $(wildcard store/*.c fcgi/*.c fcgi/*/*.c))
OBJ  := $(SRC:%.c=$(B)/%.o)
AOBJ := $(SRC:%.c=$(B)/asan/%.o)

# The folders: each reaches only itself and those before it (tests/lint/structure.py checks it).
FOLDERS := store fcgi/io fcgi/wire fcgi/conn fcgi/readers fcgi/relay fcgi/endpoints fcgi
# REACH_fcgi/conn and so on: the objects that a folder may reach, but for main().
$(foreach f,$(FOLDERS),$(eval REACHED += $(patsubst %.c,%.o,$(sort $(wildcard $f/*.c))))\
                       $(eval REACH_$f := $(filter-out fcgi/main.o,$(REACHED))))

# tests/unit/test_*.c: one program each; every other file there is for those that need it.
UNIT_SRC    := $(sort $(wildcard tests/unit/test_*.c))
UNIT_SHARED := $(sort $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c)))
UNIT_BYTES  := tests/unit/fcgi_bytes.c tests/unit/reference.c
UNIT        := $(UNIT_SRC:%.c=$(B)/%)
UNIT_ASAN   := $(UNIT_SRC:%.c=$(B)/asan/%)
# A unit test is of the last folder from which it includes a header, or of store. It is linked with
# what that folder may reach and nothing else: so it links only if that needs nothing else.
UNIT_INCLUDES := $(sort $(shell awk -F'"' '/^.include "(store|fcgi)\// { sub(/\/[^\/]*$$/, "", $$2); \
                   print FILENAME ":" $$2 }' $(UNIT_SRC)))
unit_folder = $(lastword store $(foreach f,$(FOLDERS),$(if $(filter $(1).c:$f,$(UNIT_INCLUDES)),$f)))
unit_reach  = $(addprefix $(1)/,$(REACH_$(call unit_folder,$(2))))
# An allocation of what is linked so may fail: tests/unit/support_memory.h.
UNIT_WRAP   := $(foreach f,malloc calloc realloc strdup,-Wl,--wrap=$f)
# The requests of polls are made up there.
$(B)/tests/unit/test_uplink $(B)/asan/tests/unit/test_uplink: \
    UNIT_WRAP += -Wl,--wrap=fetch_start -Wl,--wrap=fetch_cancel
# Blocks of keys may not be mapped there.
$(B)/tests/unit/test_keys $(B)/asan/tests/unit/test_keys: UNIT_WRAP += -Wl,--wrap=mmap
# tests/e2e/*.c: libraries to preload into the daemon (a full disk, a failing fsync, …).
SHIMS       := $(patsubst tests/e2e/%.c,$(B)/tests/%.so,$(sort $(wildcard tests/e2e/*.c)))
# tests/fuzz/fuzz_*.c: a fuzz target each; what else is there is shared, replay.c is the main() of
# those that are built without a fuzzer.
FUZZ_SRC    := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SHARED := $(sort $(filter-out $(FUZZ_SRC) tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c))) \
               $(UNIT_BYTES)
FUZZ        := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$(B)/fuzz/%)
REPLAY      := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$(B)/asan/tests/fuzz/replay_%)
BENCH       := $(patsubst tests/bench/%.c,$(B)/bench/%,$(sort $(wildcard tests/bench/*.c)))

C_FILES     := $(sort $(wildcard store/*.[ch] fcgi/*.[ch] fcgi/*/*.[ch] tests/*/*.[ch]))
SH_FILES    := $(sort $(wildcard .ci/run deploy/demo deploy/packages deploy/site tests/fuzz/run \
                 tests/mount/sandbox tests/mount/debian tests/mount/shims/sudo tests/mount/shims/apt-get))
PY_FILES    := $(sort $(wildcard tests/bench/run tests/bench/pair tests/*/*.py tests/bench/peers/*.py))

# ---- building -------------------------------------------------------------------------------

.PHONY: all asan unit unit-asan shims benches demo check check-unit check-fuzz check-e2e check-mount fuzz fuzz-keep bench bench-quick lint lint-format \
        lint-structure lint-cppcheck lint-tidy lint-shell lint-python lint-js lint-man lint-werror install uninstall clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/encke $(B)/encke.8 ## build the daemon, build/encke, and its manual page
asan: $(B)/asan/encke      ## the same with address and undefined-behaviour sanitizers
unit: $(UNIT)              ## build the unit tests, build/tests/unit/*
unit-asan: $(UNIT_ASAN) $(REPLAY) ## the unit tests with sanitizers, build/asan/tests/unit/*
shims: $(SHIMS)
benches: $(BENCH)          ## build the bench programs, build/bench/*

$(B)/encke: $(OBJ)
	$(SAY) LD $@
	$(Q)$(CC) $(CFLAGS) $(HARDEN_LD) $(LDFLAGS) -o $@ $(OBJ) $(LIBS) $(LDLIBS)

$(B)/asan/encke: $(AOBJ)
	$(SAY) LD $@
	$(Q)$(CC) $(CFLAGS) $(ASAN) $(LDFLAGS) -o $@ $(AOBJ) $(LIBS) $(LDLIBS)

$(B)/%.o: %.c $(B)/flags
	$(SAY) CC $@
	$(Q)mkdir -p $(@D) && $(COMPILE) $(PLAIN)

$(B)/asan/%.o: %.c $(B)/flags
	$(SAY) CC $@
	$(Q)mkdir -p $(@D) && $(COMPILE) $(ASAN)

$(B)/tests/unit/%.o $(B)/asan/tests/unit/%.o: EXTRA = $(TEST_WARN)

# The list of options in the manual page is the daemon's own.
$(B)/encke.8: deploy/encke.8.in $(B)/encke
	$(SAY) MAN $@
	$(Q)env -i $(B)/encke --help=man >$(B)/options.mdoc
	$(Q)sed -e '/^@OPTIONS@$$/{r $(B)/options.mdoc' -e 'd}' deploy/encke.8.in >$@

# What unit tests share: the linker takes what a test needs of it.
$(B)/tests/unit/support.a: $(UNIT_SHARED:%.c=$(B)/%.o)
$(B)/asan/tests/unit/support.a: $(UNIT_SHARED:%.c=$(B)/asan/%.o)
$(B)/tests/unit/support.a $(B)/asan/tests/unit/support.a:
	$(SAY) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

.SECONDEXPANSION:
$(UNIT): $(B)/%: $(B)/%.o $$(call unit_reach,$(B),$$*) $(B)/tests/unit/support.a
	$(SAY) LD $@
	$(Q)$(CC) $(CFLAGS) $(HARDEN_LD) $(LDFLAGS) $(UNIT_WRAP) -o $@ $^ $(LIBS) -lcmocka $(LDLIBS)

$(UNIT_ASAN): $(B)/asan/%: $(B)/asan/%.o $$(call unit_reach,$(B)/asan,$$*) \
        $(B)/asan/tests/unit/support.a
	$(SAY) LD $@
	$(Q)$(CC) $(CFLAGS) $(ASAN) $(LDFLAGS) $(UNIT_WRAP) -o $@ $^ $(LIBS) -lcmocka $(LDLIBS)

# The fuzz targets, as they run what is kept (any compiler), and as they look for more (clang).
$(B)/asan/tests/fuzz/replay_%: $(B)/asan/tests/fuzz/fuzz_%.o $(B)/asan/tests/fuzz/replay.o \
        $(FUZZ_SHARED:%.c=$(B)/asan/%.o) $(filter-out %/fcgi/main.o,$(AOBJ))
	$(SAY) LD $@
	$(Q)$(CC) $(CFLAGS) $(ASAN) $(LDFLAGS) -o $@ $^ $(LIBS) $(LDLIBS)

FUZZ_CC ?= clang
$(B)/fuzz/obj/%.o: %.c $(B)/flags
	$(SAY) CC $@
	$(Q)mkdir -p $(@D) && $(FUZZ_CC) $(ALL_CPPFLAGS) -std=gnu11 -pthread $(CFLAGS) $(ASAN) \
	    -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(FUZZ): $(B)/fuzz/%: $(B)/fuzz/obj/tests/fuzz/fuzz_%.o $(FUZZ_SHARED:%.c=$(B)/fuzz/obj/%.o) \
        $(patsubst %.c,$(B)/fuzz/obj/%.o,$(filter-out fcgi/main.c,$(SRC)))
	$(SAY) LD $@
	$(Q)$(FUZZ_CC) $(CFLAGS) $(ASAN) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LIBS) $(LDLIBS)

$(B)/tests/%.so: tests/e2e/%.c $(B)/flags
	$(SAY) SO $@
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(TEST_WARN) -MMD -MP -fPIC -shared \
	    $(LDFLAGS) -o $@ $< -ldl -pthread

$(B)/bench/%: tests/bench/%.c $(B)/flags
	$(SAY) LD $@
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(TEST_WARN) $(PLAIN) $(EXTRA) -MMD -MP \
	    $(HARDEN_LD) $(LDFLAGS) -o $@ $< -lfcgi -lsqlite3 -pthread $(BENCH_LIBS) $(LDLIBS)

# The client libraries of the stores that it measures.
$(B)/bench/appends: BENCH_LIBS = $(foreach l,hiredis libpq libnats,$(call pc,--libs,$l,-l$(l:lib%=%)))
$(B)/bench/appends: EXTRA = $(call pc,--cflags,libpq,-I/usr/include/postgresql)

# Everything is built again when the flags (or the version) change, and not otherwise.
BUILT_WITH := $(filter-out -Werror,$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(PLAIN) $(ASAN))
$(B)/flags: FORCE
	@mkdir -p $(@D); echo '$(subst ','\'',$(BUILT_WITH))' | cmp -s - $@ || \
	    echo '$(subst ','\'',$(BUILT_WITH))' >$@

-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d $(B)/*/*/*/*.d)

# ---- running --------------------------------------------------------------------------------

# For those who build without having said -j: all cores.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

SERVER ?= lighttpd
PORT   ?= 8080

demo:   ## the page on http://127.0.0.1:8080/ (SERVER=nginx, PORT=, DIR= to keep the log)
	@deploy/packages demo $(SERVER)
	@$(MAKE) --no-print-directory $(PARALLEL) all
	@exec deploy/demo "$(SERVER)" "$(PORT)" "$(DIR)"

# ---- testing --------------------------------------------------------------------------------

# Which daemon the end-to-end tests run: BUILD=asan (the default), BUILD=plain, or ENCKE_BIN=PATH.
BUILD     ?= asan
ENCKE_BIN ?= $(abspath $(B))/$(if $(filter asan,$(BUILD)),asan/)encke
E2E_TESTS  = $(notdir $(sort $(wildcard tests/e2e/*.test.js tests/e2e/*.test.mjs)))

check:  ## install what is missing, build, run all tests
	@deploy/packages check
	@$(MAKE) --no-print-directory $(PARALLEL) all asan unit-asan shims
	@unit=0 fuzz=0 e2e=0; \
	$(MAKE) --no-print-directory check-unit || unit=1; \
	$(MAKE) --no-print-directory check-fuzz || fuzz=1; \
	$(MAKE) --no-print-directory check-e2e || e2e=1; \
	[ $$unit$$fuzz$$e2e = 000 ]

check-unit: $(UNIT_ASAN)   ## unit tests (cmocka), with sanitizers
	@bad=; for t in $^; do \
	    echo "== $$t"; timeout 300 $$t </dev/null 2>&1 || bad="$$bad $$t"; \
	done; \
	if [ -n "$$bad" ]; then echo "check-unit: failed:$$bad"; exit 1; fi; echo "check-unit: all passed"

check-fuzz: $(REPLAY)      ## what fuzzing has found, once more, with sanitizers
	@bad=; for t in $^; do \
	    kept=tests/fuzz/corpus/$${t##*/replay_}; \
	    timeout 300 $$t $$kept </dev/null >$(B)/replay.log 2>&1 && tail -n 1 $(B)/replay.log || \
	        { tail -n 60 $(B)/replay.log; bad="$$bad $$kept"; }; \
	done; \
	if [ -n "$$bad" ]; then echo "check-fuzz: failed:$$bad"; exit 1; fi; echo "check-fuzz: all passed"

# The tests find the daemon in ENCKE_BIN, and in ENCKE_PLAIN_BIN the one without sanitizers, for
# those that preload a library of build/tests (ENCKE_SHIMS) into it.
check-e2e: all asan shims tests/e2e/node_modules/.package-lock.json ## end-to-end tests (node --test)
	@cd tests/e2e && ENCKE_BIN="$(ENCKE_BIN)" \
	    ENCKE_PLAIN_BIN="$(abspath $(B))/encke" ENCKE_SHIMS="$(abspath $(B))/tests" \
	    node --test --test-concurrency=2 --test-reporter=spec $(E2E_TESTS) </dev/null

# README's "Mount it" in whole Debians, made by debootstrap and kept in /var/tmp/encke-mount.
check-mount: tests/e2e/node_modules/.package-lock.json ## mount it in a bare Debian 12 and 13 (root; DISTS=, MIRROR=)
	@node --test --test-reporter=spec tests/mount/check.mjs </dev/null

tests/%/node_modules/.package-lock.json: tests/%/package-lock.json
	cd tests/$* && npm ci --no-audit --no-fund
	@touch $@

SECONDS ?= 60
TARGETS ?= $(notdir $(FUZZ))
fuzz:                      ## look for inputs that break something (SECONDS=60 each, TARGETS='gate ...')
	@deploy/packages fuzz
	@$(MAKE) --no-print-directory $(PARALLEL) $(TARGETS:%=$(B)/fuzz/%)
	@tests/fuzz/run $(B)/fuzz $(SECONDS) $(TARGETS)

fuzz-keep:                 ## add to tests/fuzz/corpus what reached more of the code
	@tests/fuzz/run $(B)/fuzz keep $(TARGETS)

.PHONY: torture
torture: $(B)/tests/unit/test_torture $(B)/tests/unit/test_migrate $(B)/tests/unit/test_model_once ## a failing disk, restarts, every power cut: some minutes
	@ENCKE_TORTURE=all $<
	@ENCKE_MIGRATE=1000000 $(B)/tests/unit/test_migrate
	@ENCKE_MODEL=100000 $(B)/tests/unit/test_model_once

# FLAGS= what tests/bench/run --help lists.
bench:                     ## the benchmark against peers (35 minutes; FLAGS='--svg FILE ...')
	@deploy/packages bench
	@$(MAKE) --no-print-directory $(PARALLEL) all benches shims
	@tests/bench/run $(QUICK) $(FLAGS)

bench-quick:               ## a minute of it, to see what a change did
	@$(MAKE) --no-print-directory bench QUICK=--quick

lint:                      ## install what is missing; formatting, structure and static checks
	@deploy/packages lint
	@$(MAKE) --no-print-directory lint-format lint-werror lint-structure lint-cppcheck lint-tidy \
	    lint-shell lint-python lint-js lint-man
	@echo "lint: clean"

lint-format:
	$(SAY) LINT clang-format
	$(Q)clang-format --dry-run -Werror $(C_FILES)

lint-werror:
	$(SAY) LINT 'warnings are errors'
	$(Q)$(MAKE) --no-print-directory B=$(B)/werror WERROR=1 all unit shims benches

# Which file reaches which: no circles, nothing upward, no two functions of one name.
lint-structure: $(OBJ)     ## which file uses which, and that names are unique
	$(SAY) LINT structure
	$(Q)CC='$(CC)' python3 -B tests/lint/test_structure.py 2>$(B)/structure.log || { cat $(B)/structure.log; exit 1; }
	$(Q)FOLDERS='$(FOLDERS)' python3 -B tests/lint/structure.py $(B)

# cppcheck does not look into system headers, but must know these macros to read the code at all.
lint-cppcheck:
	$(SAY) LINT cppcheck
	$(Q)mkdir -p $(B)/cppcheck && cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
	    --enable=warning,performance,portability --suppress=missingIncludeSystem \
	    $$(printf '#include <sys/queue.h>\n#include <uthash.h>\n' | $(CC) -E -M -xc - | \
	        grep -oE '/[^ ]*(sys/queue|uthash)\.h' | sed 's/^/--include=/') \
	    --cppcheck-build-dir=$(B)/cppcheck -j2 -I. -DENCKE_VERSION='""' store fcgi

# .clang-tidy has the checks. One file at a time: clang-tidy 14 mixes up va_lists when it is given several.
lint-tidy:
	$(SAY) LINT clang-tidy
	$(Q)printf '%s\n' $(SRC) | xargs -P2 -I{} clang-tidy --quiet --warnings-as-errors='*' \
	    {} -- $(ALL_CPPFLAGS) -std=gnu11 2>$(B)/tidy.log || { cat $(B)/tidy.log; exit 1; }

lint-shell:
	$(SAY) LINT shellcheck
	$(Q)if command -v shellcheck >/dev/null; then shellcheck -S warning -e SC1007,SC2154 $(SH_FILES); \
	    else echo "lint: shellcheck is not installed, scripts not checked"; fi

lint-python:
	$(SAY) LINT pyflakes
	$(Q)if command -v pyflakes3 >/dev/null; then pyflakes3 $(PY_FILES); \
	    else echo "lint: pyflakes3 is not installed, Python not checked"; fi

lint-js: tests/lint/node_modules/.package-lock.json
	$(SAY) LINT eslint
	$(Q)tests/lint/node_modules/.bin/eslint --config tests/lint/eslint.config.mjs --max-warnings 0 www tests

lint-man: $(B)/encke.8
	$(SAY) LINT 'manual page'
	$(Q)if command -v mandoc >/dev/null; then mandoc -T lint -W warning $<; \
	    elif command -v groff >/dev/null; then said=$$(groff -ww -z -mandoc -Tutf8 $< 2>&1); \
	        [ -z "$$said" ] || { echo "$$said"; exit 1; }; \
	    else echo "lint: neither mandoc nor groff is installed, the manual page not checked"; fi

# ---- installing -----------------------------------------------------------------------------

BINDIR  = $(DESTDIR)$(PREFIX)/bin
SHARE   = $(DESTDIR)$(PREFIX)/share/encke
UNITDIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
MANDIR  = $(DESTDIR)$(PREFIX)/share/man/man8
# These two lie as they are to lie in /etc.
SITES    := $(addprefix nginx/,conf.d/encke.conf snippets/encke.conf sites-available/encke) \
            $(addprefix lighttpd/conf-available/,50-encke.conf 51-encke-page.conf)
EXAMPLES := encke.cgi relay.conf $(SITES)
UNITS    := encke.service encke.socket
# The examples and units name /usr/local; what is installed names the real PREFIX.
named = sed 's|/usr/local|$(PREFIX)|g' $(1) >$(2) && chmod $(3) $(2)
put   = $(call named,deploy/$(1),$(2)/$(1),$(3))

# Only copies what `make` has built, since root should not compile.
install:                   ## install what is built below PREFIX (/usr/local), DESTDIR for packagers
	@[ -x $(B)/encke ] && [ -e $(B)/encke.8 ] || { echo "install: $(B)/encke is not there: first run 'make', as yourself" >&2; exit 1; }
	$(INSTALL) -d $(BINDIR) $(SHARE)/www $(addprefix $(SHARE)/examples/,$(dir $(EXAMPLES))) $(UNITDIR) $(MANDIR)
	$(INSTALL) -m 755 $(B)/encke $(BINDIR)/encke
	$(INSTALL) -m 644 $(filter-out %.md,$(wildcard www/*.*)) $(SHARE)/www
	$(foreach f,$(EXAMPLES),$(call put,$f,$(SHARE)/examples,$(if $(filter %.cgi,$f),755,644)) &&) :
	$(foreach f,$(UNITS),$(call put,$f,$(UNITDIR),644) &&) :
	$(call named,$(B)/encke.8,$(MANDIR)/encke.8,644)

uninstall:                 ## remove what install put there (the log stays)
	rm -f $(BINDIR)/encke $(MANDIR)/encke.8 $(addprefix $(UNITDIR)/,$(notdir $(UNITS)))
	rm -rf $(SHARE)

clean:                     ## remove build/
	rm -rf $(B)

help:                      ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14
