# What one does with pollvs. Each target installs the Debian packages that it needs and that are missing.
#   make demo      a director between real clients and servers, in network namespaces
#   make test      everything: lint, unit, property, world, loom and namespace tests
#   make lint      formatting, clippy and shellcheck, warnings being errors
#   make soak      traffic, random changes, flapping servers and reloads for MINUTES (20), and nothing left over at the end
#   make bench     the benches; with CASES, FAMILIES, FLOWS, BURSTS, SOURCES or ROUNDS (dr,tun 4 1024 32 ring 3, say) forwarding alone
#   make bench-testpmd  packets a second through pollvsd between two processes of DPDK's testpmd; LINK, METHOD, SINK (docs/benchmarks.md)
#   make picture   draws the last figures of forwarding into docs/bench.svg
#   make count     exact instructions a packet, held against benches/instructions.toml; RECORD=1 writes that anew
#   make fuzz      a short seeded run of every fuzz target
#   make oracle    random scenarios on the Linux kernel and on pollvs, compared (SEEDS=1..200)
#   make install   programs, preload library, configuration, systemd units, ipvsadm's wrapper, under PREFIX (/usr/local) and DESTDIR
#   make uninstall takes away what install has put in place
#   make deb       a Debian package, in target/deb

CARGO  ?= cargo
PREFIX ?= /usr/local
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 30
# Minutes of the soak.
MINUTES ?= 20
# Random scenarios that the kernel and pollvs are compared on.
SEEDS ?= 1..200
# What is to be measured of forwarding, if not everything.
FORWARDING := $(if $(CASES),--case $(CASES)) $(if $(FAMILIES),--family $(FAMILIES)) $(if $(FLOWS),--flows $(FLOWS)) \
    $(if $(BURSTS),--burst $(BURSTS)) $(if $(SOURCES),--source $(SOURCES)) $(if $(ROUNDS),--rounds $(ROUNDS))
TARGET := $(or $(CARGO_TARGET_DIR),target)
SHELL  := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin

.PHONY: all build demo test lint soak bench bench-testpmd picture count fuzz oracle install uninstall deb deps
.DEFAULT_GOAL := build

deps:
	@config/install-packages.sh build network lint

build:
	@config/install-packages.sh build
	@echo "Building pollvsd and pollvs (release; some minutes the first time)"
	@$(CARGO) build --release --locked --bins

demo:
	@config/install-packages.sh network
	@$(MAKE) --no-print-directory build
	@POLLVSD=$(TARGET)/release/pollvsd POLLVS=$(TARGET)/release/pollvs config/demo/demo.sh

test: lint
	@config/install-packages.sh network
	$(CARGO) test --locked --no-default-features
	$(CARGO) test --locked --release --manifest-path tests/loom/Cargo.toml
	POLLVS_NAMESPACE_TESTS=required $(CARGO) test --locked --workspace
	@$(MAKE) --no-print-directory count

# The last of cargo's lines fails if the fuzz targets' lock file lacks what the package has come to need.
lint:
	@config/install-packages.sh build lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features --all-targets -- -D warnings
	$(CARGO) update --workspace --locked --quiet --manifest-path tests/fuzz/Cargo.toml
	shellcheck -x config/*.sh config/ipvsadm config/deb/* config/demo/*.sh tests/namespaces/tutorial/* tests/ipvs/record .ci/run

soak:
	@config/install-packages.sh build network
	POLLVS_NAMESPACE_TESTS=required POLLVS_SOAK_SECONDS=$$(($(MINUTES) * 60)) \
	    $(CARGO) test --locked --test main namespaces::soak -- --nocapture

bench:
	@config/install-packages.sh build
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(CARGO) bench --locked $(if $(strip $(FORWARDING)),--bench forwarding -- $(FORWARDING))

bench-testpmd:
	@config/install-packages.sh testpmd
	@$(MAKE) --no-print-directory build
	@POLLVSD=$(TARGET)/release/pollvsd POLLVS=$(TARGET)/release/pollvs config/bench-testpmd.sh

picture:
	@config/install-packages.sh build
	$(CARGO) bench --locked --bench forwarding -- --draw docs/bench.svg

count:
	@config/install-packages.sh build count
	config/count-instructions.sh $(if $(RECORD),record,check) benches/instructions.toml $(TARGET)/bench/instructions.toml

fuzz:
	@config/install-packages.sh build fuzz
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	$(CARGO) run --locked --manifest-path tests/fuzz/Cargo.toml --example seeds
	@set -euo pipefail; targets=$$($(CARGO) fuzz list --fuzz-dir tests/fuzz); \
	for target in $$targets; do \
	    echo "Fuzzing $$target for $(FUZZ_SECONDS) s"; \
	    $(CARGO) fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target -- \
	        -seed=1 -max_total_time=$(FUZZ_SECONDS) -verbosity=0; \
	done

# The kernel is built once, from Debian's package of its source, and kept in $$XDG_CACHE_HOME/ipvs-oracle.
oracle:
	@config/install-packages.sh build oracle
	@tests/oracle/ipvs-oracle build
	$(CARGO) build --locked --no-default-features --example compare
	@tests/oracle/compare $(SEEDS) --folder $(TARGET)/oracle --replay $(TARGET)/debug/examples/compare

install: build
	$(CARGO) build --release --locked --package pollvs-ipvs
	DESTDIR='$(DESTDIR)' config/install.sh install '$(PREFIX)' '$(TARGET)/release'

uninstall:
	DESTDIR='$(DESTDIR)' config/install.sh uninstall '$(PREFIX)'

# The package is made of what an installation below target/deb/tree has put in place.
deb: build
	@config/install-packages.sh deb
	@command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb
	$(CARGO) build --release --locked --package pollvs-ipvs
	rm -rf target/deb
	DESTDIR=$(CURDIR)/target/deb/tree UNITS=/lib/systemd/system config/install.sh install /usr '$(TARGET)/release'
	strip --strip-debug target/deb/tree/usr/sbin/* target/deb/tree/usr/lib/pollvs/*.so
	$(CARGO) deb --locked --no-build --no-strip --package pollvs --output target/deb/
