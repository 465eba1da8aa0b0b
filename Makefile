# SPDX-License-Identifier: LGPL-2.1-or-later
#
# One Makefile for the whole tree. Every .c of a folder of src/ goes into that folder's archive, a program is its main.c and the
# archives that it may use, and each tests/unit/test-*.c, tests/tools/*.c and tests/fuzz/fuzz-*.c is a program of its own.
#
#   make                the programs, the token plugin, the manual pages (build/)
#   make deps           install every Debian package needed here, only when one is missing
#   make install        DESTDIR, prefix (default /usr: dracut and libcryptsetup look nowhere else)
#   make demo           watch a machine enroll, reboot and open its disk with both halves
#   make check          everything on the host and the core VM scenarios; check-unit, check-asan, check-vm [SHARD=i/n]: parts
#   make fuzz           SECONDS=n for each target, TARGET=name for one
#   make bench lint format clean
#   V=1 shows the commands.

CC ?= gcc
FUZZ_CC ?= clang
prefix ?= /usr
bindir ?= $(prefix)/bin
mandir ?= $(prefix)/share/man
docdir ?= $(prefix)/share/doc/tallyboot
completiondir ?= $(prefix)/share/bash-completion/completions
unitdir ?= $(prefix)/lib/systemd/system
dracutdir ?= $(prefix)/lib/dracut/modules.d
tokendir ?= $(prefix)/lib/$(shell $(CC) -print-multiarch)/cryptsetup

V ?=
SECONDS ?= 60
TARGET ?=
SHARD ?=
JOBS ?= 2

VERSION := 0.1.0
# say NAME: a line for each file made, or with V=1 the command itself.
say = $(if $(V),,@printf '%-5s %s\n' $(1) $@;)
# where p11-kit's headers are, on Debian and Fedora
P11_KIT_CPPFLAGS ?= -isystem /usr/include/p11-kit-1
CPPFLAGS += -D_GNU_SOURCE -DTALLYBOOT_VERSION='"$(VERSION)"' -Isrc $(P11_KIT_CPPFLAGS)
WARNINGS := -Wall -Wextra -Wformat=2 -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wno-missing-field-initializers
CFLAGS ?= -O2 -g
BASE_CFLAGS := -std=gnu11 -fPIC -ffunction-sections -fdata-sections -MMD -MP $(WARNINGS)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

release_CFLAGS = $(BASE_CFLAGS) $(CFLAGS) -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fno-plt
asan_CFLAGS = $(BASE_CFLAGS) -O1 -g $(SANITIZE)
fuzz_CFLAGS = $(BASE_CFLAGS) -O1 -g $(SANITIZE) -fsanitize=fuzzer-no-link
BASE_LDFLAGS := -Wl,--gc-sections -Wl,--as-needed -Wl,-z,relro -Wl,-z,now
release_LDFLAGS = $(BASE_LDFLAGS) -pie $(LDFLAGS)
asan_LDFLAGS = $(BASE_LDFLAGS) -pie $(SANITIZE)
fuzz_LDFLAGS = $(BASE_LDFLAGS) $(SANITIZE) -fsanitize=fuzzer

# What each program may use: the folders of src/ and the libraries.
MODULES := $(patsubst src/%/,%,$(sort $(dir $(wildcard src/*/*.c))))
NODE := boot enroll luks tpm pkcs11 http evidence wire crypto base
SERVICE := service http wire evidence policy audit store keystore tpm pkcs11 crypto base
LIBS_crypto := -lcrypto -ltss2-mu
LIBS_keys := -ltss2-esys -ltss2-rc -ltss2-tctildr -lp11-kit
LIBS_service := -levent_core -levent_openssl -levent_pthreads -lhttp_parser -ljansson -lsqlite3 -lssl $(LIBS_crypto) \
	-lsystemd -lpthread -ldl $(LIBS_keys)
LIBS_node := -ljansson -lcryptsetup -lssl $(LIBS_crypto) -lsystemd -lpthread -ldl $(LIBS_keys)
LIBS_all := $(LIBS_service) $(LIBS_node)

tallyboot_MAIN := boot
tallyboot_USES := $(NODE)
# The one symbol that a library of a library looks for in the program: see src/boot/main.c.
tallyboot_LIBS := $(LIBS_node) -Wl,--export-dynamic-symbol=_gnutls_global_init_skip
tallyboot-registrar_MAIN := registrar
tallyboot-registrar_USES := registrar $(SERVICE)
tallyboot-registrar_LIBS := $(LIBS_service)
tallyboot-tenant_MAIN := tenant
tallyboot-tenant_USES := tenant $(SERVICE)
tallyboot-tenant_LIBS := $(LIBS_service)
tallyboot-verifier_MAIN := verifier
tallyboot-verifier_USES := verifier $(SERVICE)
tallyboot-verifier_LIBS := $(LIBS_service)
tallyctl_MAIN := ctl
tallyctl_USES := ctl http wire evidence policy audit keystore store tpm pkcs11 crypto base
tallyctl_LIBS := $(LIBS_service)

PROGRAMS := tallyboot tallyboot-registrar tallyboot-tenant tallyboot-verifier tallyctl
MAINS := $(foreach p,$(PROGRAMS),src/$($(p)_MAIN)/main.c)
PLUGIN := build/libcryptsetup-token-tallyboot.so
MANUALS := $(patsubst docs/man/%.scd,build/man/%,$(wildcard docs/man/*.scd))
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test-*.c))
UNIT_SHARED := $(filter-out tests/unit/test-%,$(wildcard tests/unit/*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,%,$(wildcard tests/tools/*.c))
TEST_MODULES := $(patsubst tests/modules/%.c,build/tests/modules/%.so,$(wildcard tests/modules/*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz-*.c))

.PHONY: all install deps deps-check demo check check-unit check-asan check-vm fuzz lint bench clean tests asan fuzzers format
.DELETE_ON_ERROR:
.SECONDARY:

all: $(PROGRAMS:%=build/%) $(PLUGIN) $(MANUALS)

# $(1): release, asan or fuzz; $(2): its folder; $(3): its compiler
define variant
$(2)/obj/%.o: src/%.c
	@mkdir -p $$(@D)
	$$(call say,CC) $(3) $$(CPPFLAGS) $$($(1)_CFLAGS) -c -o $$@ $$<
$(2)/obj/tests/%.o: tests/%.c
	@mkdir -p $$(@D)
	$$(call say,CC) $(3) $$(CPPFLAGS) -Itests/unit $$($(1)_CFLAGS) -Wno-missing-prototypes -Wno-unused-parameter -c -o $$@ $$<
$(foreach m,$(MODULES),$(call archive,$(2),$(m),$(filter-out $(MAINS),$(wildcard src/$(m)/*.c))))
$(2)/lib/unit-shared.a: $(UNIT_SHARED:%.c=$(2)/obj/%.o)
	@mkdir -p $$(@D)
	$$(call say,AR) rm -f $$@ && $$(AR) rcs $$@ $$^
endef

# The folder too: an archive forgets a file that was removed.
define archive

$(1)/lib/$(2).a: $(3:src/%.c=$(1)/obj/%.o) src/$(2)
	@mkdir -p $$(@D)
	$$(call say,AR) rm -f $$@ && $$(AR) rcs $$@ $$(filter %.o,$$^)

endef

# $(1), $(2), $(3) as above; $(4): the program
define program
$(2)/$(4): $(2)/obj/$($(4)_MAIN)/main.o $(patsubst %,$(2)/lib/%.a,$(filter $(MODULES),$($(4)_USES)))
	$$(call say,LINK) $(3) $$($(1)_LDFLAGS) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$($(4)_LIBS)
endef

define test_programs
$(2)/tests/%: $(2)/obj/tests/%.o $(MODULES:%=$(2)/lib/%.a) $(2)/lib/unit-shared.a
	@mkdir -p $$(@D)
	$$(call say,LINK) $(3) $$($(1)_LDFLAGS) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group -lcmocka $$(LIBS_all)
endef

$(eval $(call variant,release,build,$(CC)))
$(eval $(call variant,asan,build/asan,$(CC)))
$(eval $(call variant,fuzz,build/fuzz,$(FUZZ_CC)))
$(foreach p,$(PROGRAMS),$(eval $(call program,release,build,$(CC),$(p))))
$(foreach p,$(PROGRAMS),$(eval $(call program,asan,build/asan,$(CC),$(p))))
$(eval $(call test_programs,release,build,$(CC)))
$(eval $(call test_programs,asan,build/asan,$(CC)))

$(FUZZERS): build/fuzz/%: build/fuzz/obj/tests/fuzz/%.o $(MODULES:%=build/fuzz/lib/%.a)
	$(call say,LINK) $(FUZZ_CC) $(fuzz_LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS_all)

build/libcryptsetup-token-tallyboot.so: $(patsubst src/%.c,build/obj/%.o,$(wildcard src/token/*.c)) src/token/token.map \
		$(patsubst %,build/lib/%.a,$(filter luks crypto base,$(MODULES)))
	$(call say,LINK) $(CC) -shared $(BASE_LDFLAGS) -Wl,--version-script=src/token/token.map -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lcryptsetup -ljansson -lcrypto

# PKCS#11 modules that misbehave
build/tests/modules/%.so: tests/modules/%.c
	@mkdir -p $(@D)
	$(call say,LINK) $(CC) $(CPPFLAGS) $(WARNINGS) -Wno-missing-prototypes -std=gnu11 -O1 -g -fPIC -shared -o $@ $<

build/man/%: docs/man/%.scd
	@mkdir -p $(@D)
	$(call say,MAN) scdoc < $< > $@

-include $(shell find build/obj build/asan/obj build/fuzz/obj -name '*.d' 2>/dev/null)

tests: all $(UNIT_TESTS:%=build/tests/unit/%) $(TEST_TOOLS:%=build/tests/tools/%) $(TEST_MODULES)
asan: $(TEST_MODULES) $(PROGRAMS:%=build/asan/%) $(UNIT_TESTS:%=build/asan/tests/unit/%) $(TEST_TOOLS:%=build/asan/tests/tools/%)
fuzzers: $(FUZZERS)

deps: deps-check
	packaging/deps packaging/debian-packages.bench

deps-check:
	packaging/deps

# The parts need the packages before make looks for a header: hence the second make.
check: deps-check
	$(MAKE) -j$(JOBS) tests asan fuzzers
	tests/run --seconds 5 --seed 1 unit service attack asan fuzz valgrind core-vm

check-unit: tests
	tests/run unit service attack

check-asan: asan tests
	tests/run asan

check-vm: deps-check
	$(MAKE) -j$(JOBS) all
	vm-tests/run $(if $(SHARD),--shard $(SHARD))

fuzz: fuzzers
	tests/run --seconds $(SECONDS) $(if $(TARGET),--only $(TARGET)) fuzz

demo: deps-check
	$(MAKE) -j$(JOBS) all
	vm-tests/demo

bench: deps
	$(MAKE) -j$(JOBS) all tests
	tests/bench/run

lint:
	tests/lint/run

format:
	clang-format -i $$(git ls-files -co --exclude-standard 'src/*.[ch]' 'tests/*.[ch]')

install: all
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(unitdir) $(DESTDIR)$(dracutdir)/90tallyboot $(DESTDIR)$(docdir)
	install -m 755 $(PROGRAMS:%=build/%) $(DESTDIR)$(bindir)
	install -D -m 644 -t $(DESTDIR)$(tokendir) $(PLUGIN)
	ln -sf $(notdir $(PLUGIN)) $(DESTDIR)$(tokendir)/libcryptsetup-token-tallyboot-offline.so
	packaging/install-tree dracut/90tallyboot $(DESTDIR)$(dracutdir)/90tallyboot $(bindir)
	packaging/install-tree completion $(DESTDIR)$(completiondir) $(bindir)
	ln -sf tallyctl $(DESTDIR)$(completiondir)/tallyboot
	packaging/install-tree units $(DESTDIR)$(unitdir) $(bindir)
	packaging/install-tree udev $(DESTDIR)$(prefix)/lib/udev/rules.d $(bindir)
	for page in $(notdir $(MANUALS)); do \
		install -D -m 644 -t $(DESTDIR)$(mandir)/man$${page##*.} build/man/$$page || exit 1; done
	if [ -d examples ]; then cp -r --no-preserve=mode examples $(DESTDIR)$(docdir); fi
	install -m 644 $(wildcard README.md LICENSE SECURITY.md) $(DESTDIR)$(docdir)
	install -D -m 644 -t $(DESTDIR)$(docdir)/docs $(wildcard docs/*.md docs/*.svg)

clean:
	rm -rf build
