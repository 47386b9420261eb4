# The few words a user types. Everything else is cargo's.

CARGO  ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=

TARGET = $(or $(shell $(CARGO) metadata --no-deps --format-version 1 2>/dev/null | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'),target)
MODULE_DIR = $(PREFIX)/lib/pkcs11
SHIPPED = -p cryptoki-module -p ptool
# Those tests from outside that reach the TPM in every way, for which the static ptool and its module are used as well.
STATIC_TESTS = budgets doctor faults mechanisms ssh states
# cargo-nextest runs the same tests faster; without it cargo does.
TEST = $(CARGO) $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo nextest run --no-fail-fast || echo test --no-fail-fast)

help:
	@echo 'make demo      a key in a software TPM, from its creation to an SSH login'
	@echo 'make check     packages, build, lints and all tests'
	@echo 'make check-clients  other programs, all scenarios: a table in docs/CLIENTS.md; MODULE=FILE tests another module'
	@echo 'make check-tpms  every mechanism on a newer software TPM, with each profile; PROFILE=NAME takes one'
	@echo 'make check-bare  demo and check in a new Debian, made for that; SUITE=bookworm takes Debian 12'
	@echo 'make build     the module and ptool, optimised'
	@echo 'make install   them, manual pages, completions and the p11-kit module file, to PREFIX ($(PREFIX)); DESTDIR is put in front'
	@echo 'make deb       a Debian package of them; make check-deb installs and tries it on two releases, in trees'
	@echo 'make static    a ptool and a module that need no library of the system but, for the module, the C library'
	@echo 'make bench     what everything costs, beside tpm2-pkcs11 and the limits of TPM and OpenSSL; bench-report writes docs/PERFORMANCE.md'
	@echo 'make fuzz      hostile files, responses and calls, for SECONDS=60 each, from SEED=1'
	@echo 'make soak      many processes on one store, some of them killed, for SECONDS=60'
	@echo 'make docs      regenerate the tables in docs/'
	@echo 'make fmt lint clean'

demo:
	@tests/scripts/packages.sh demo
	@$(CARGO) build $(SHIPPED) -p swtpm-fixtures
	@TARGET='$(TARGET)' tests/demo/demo.sh

# Tests that this machine cannot run write why.
SKIPPED = '$(TARGET)/debug/skipped'

# What is built without the feature comes first, so that what is left in the target directory is the whole one. The static ptool
# and its module are kept aside.
check:
	@tests/scripts/packages.sh check
	@rm -f $(SKIPPED)
	$(call STATIC,dev)
	@install -D -t '$(TARGET)/static/debug' '$(TARGET)/debug/libtpm2_cryptoki.so' '$(TARGET)/debug/ptool'
	@tests/scripts/static.sh '$(TARGET)/static/debug/ptool' '$(TARGET)/static/debug/libtpm2_cryptoki.so'
	$(TEST) -p tpm -p token -p admin $(SHIPPED) --no-default-features
	$(CARGO) build $(SHIPPED) -p swtpm-fixtures
	$(TEST) --workspace
	TPM2_CRYPTOKI_MODULE='$(TARGET)/static/debug/libtpm2_cryptoki.so' TPM2_CRYPTOKI_PTOOL='$(TARGET)/static/debug/ptool' \
	    $(TEST) -p tests $(patsubst %,--test %,$(STATIC_TESTS))
	@$(MAKE) --no-print-directory lint
	@if [ -s $(SKIPPED) ]; then echo; echo "$$(sort -u $(SKIPPED) | wc -l) tests were left out; with CI=1 in the environment they fail:"; sort -u $(SKIPPED); fi

# Longer than `make check`, with more programs. Needs root, for the Debian tree and for servers that change their user.
check-clients:
	@tests/scripts/packages.sh clients
	$(CARGO) build $(SHIPPED) -p swtpm-fixtures
	@MODULE='$(MODULE)' CARGO='$(CARGO)' tests/scripts/clients.sh $(ONLY)

# A new Debian 13 (SUITE=bookworm: 12), with nothing installed but make, git and ca-certificates, does all by itself. Needs root.
SUITE = trixie
check-bare:
	@tests/scripts/bare.sh $(SUITE)

# A software TPM of a newer Debian, in a tree. Needs root.
check-tpms:
	@tests/scripts/packages.sh check
	$(CARGO) build $(SHIPPED) -p swtpm-fixtures
	@CARGO='$(CARGO)' tests/scripts/tpms.sh $(PROFILE)

lint:
	@if $(CARGO) fmt --version >/dev/null 2>&1; then echo '$(CARGO) fmt --all --check'; $(CARGO) fmt --all --check; \
	else echo 'rustfmt is not installed: formatting is not checked'; fi
	@if $(CARGO) clippy --version >/dev/null 2>&1; then echo '$(CARGO) clippy'; $(CARGO) clippy --workspace --all-targets -- -D warnings; \
	else echo 'clippy is not installed: lints are not checked'; fi

build:
	@tests/scripts/packages.sh build
	$(CARGO) build --release $(SHIPPED)

# Under sudo, what the user has built is installed as it is: root has no business in somebody's target directory.
install:
	@if [ -z "$$SUDO_USER" ]; then $(MAKE) --no-print-directory build; \
	elif [ ! -e '$(TARGET)/release/ptool' ]; then echo 'Run `make build` first, without sudo.' >&2; exit 1; fi
	install -D -m 755 '$(TARGET)/release/libtpm2_cryptoki.so' '$(DESTDIR)$(MODULE_DIR)/libtpm2_cryptoki.so'
	install -D -m 755 '$(TARGET)/release/ptool' '$(DESTDIR)$(PREFIX)/bin/ptool'
	'$(DESTDIR)$(PREFIX)/bin/ptool' generate man '$(DESTDIR)$(PREFIX)/share/man/man1'
	install -d '$(DESTDIR)$(PREFIX)/share/bash-completion/completions' '$(DESTDIR)$(PREFIX)/share/zsh/site-functions' \
	    '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d'
	'$(DESTDIR)$(PREFIX)/bin/ptool' generate completions bash >'$(DESTDIR)$(PREFIX)/share/bash-completion/completions/ptool'
	'$(DESTDIR)$(PREFIX)/bin/ptool' generate completions zsh >'$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ptool'
	'$(DESTDIR)$(PREFIX)/bin/ptool' generate completions fish >'$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ptool.fish'
	install -d '$(DESTDIR)$(PREFIX)/share/p11-kit/modules'
	printf 'module: %s\ncritical: no\ntrust-policy: no\n' '$(MODULE_DIR)/libtpm2_cryptoki.so' \
	    >'$(DESTDIR)$(PREFIX)/share/p11-kit/modules/tpm2-cryptoki.module'

deb:
	@tests/scripts/packages.sh deb
	$(CARGO) build --release $(SHIPPED)
	@cryptoki-module/packaging/deb.sh '$(TARGET)/release'

check-deb:
	@tests/scripts/packages.sh check
	@tests/scripts/packages.sh deb
	$(CARGO) build $(SHIPPED) -p swtpm-fixtures
	@TARGET='$(TARGET)' tests/scripts/deb.sh "$$($(MAKE) --no-print-directory deb | tail -n 1)"

# For machines whose C library is another one, and for hosts that want nothing loaded: ptool with all in it, and a module that needs
# the C library alone (a module is loaded into programs that have one): it brings its unwinder along, which is asked for by the name
# of the shared one. readelf has the last word; `make check` has both tested.
define STATIC
	@mkdir -p '$(TARGET)/static/unwinder' && echo 'INPUT(-lgcc_eh -lgcc)' >'$(TARGET)/static/unwinder/libgcc_s.so'
	$(CARGO) rustc -p cryptoki-module --lib --crate-type cdylib --no-default-features --profile $(1) $(2) -- \
	    -C link-arg=-L'$(TARGET)/static/unwinder'
	$(CARGO) rustc -p ptool --no-default-features --profile $(1) $(2) -- -C target-feature=+crt-static
endef

static:
	$(call STATIC,release,--target-dir '$(TARGET)/static')
	@tests/scripts/static.sh '$(TARGET)/static/release/ptool' '$(TARGET)/static/release/libtpm2_cryptoki.so'

bench bench-report:
	@tests/scripts/packages.sh bench
	$(CARGO) build --release $(SHIPPED)
	TPM2_CRYPTOKI_MODULE='$(abspath $(TARGET))/release/libtpm2_cryptoki.so' TPM2_CRYPTOKI_PTOOL='$(abspath $(TARGET))/release/ptool' \
	    $(CARGO) bench -p tests --bench performance -- $(if $(filter bench-report,$@),--report)

# Ends with an error when anything was found; what it was is in files in target/fuzz, which `fuzz replay` takes.
SECONDS = 60
SEED = 1
FUZZ = $(CARGO) run --quiet -p tests --bin fuzz --
fuzz soak:
	@tests/scripts/packages.sh check
	$(CARGO) build $(SHIPPED) -p swtpm-fixtures -p tests
	@if [ $@ = fuzz ]; then $(FUZZ) bytes --seconds $(SECONDS) --seed $(SEED) && $(FUZZ) calls --seconds $(SECONDS) --seed $(SEED); \
	else $(FUZZ) soak --seconds $(SECONDS) --seed $(SEED); fi

docs:
	$(CARGO) run -p tests --bin docs-tables

fmt:
	$(CARGO) fmt --all

clean:
	$(CARGO) clean

.PHONY: help demo check check-clients check-bare check-tpms check-deb deb static lint build install bench bench-report fuzz soak docs fmt clean
