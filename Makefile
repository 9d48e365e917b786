# demo    shows the main workflow on real plugins: build, sign, verify, install, check, repair; no server, no root
# test    runs all tests; installs and builds what they need first
# from-source  compiles all plugins of bundles/from-source.yaml for all platforms and compares them with its lock
# crash   interrupts installations at every system call that changes something, and by power cuts; prints the numbers
# fuzz    runs each fuzz target for ten minutes with the stable compiler; FUZZ_SECONDS and FUZZ_TARGETS say otherwise
# bench   compares each row with its peers in the same run; writes target/bench.json
# lint    checks formatting and scripts, and runs clippy with and without the publishing verbs
# peers   builds and installs the programs that tests and benchmarks compare with, once, into a cache outside the tree
# static  builds the static program, target/bin/cnister
# node    builds the static program for nodes (no publishing verbs), target/bin/cnister-node
SHELL := /bin/bash
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN := $(TARGET)/bin
# With an explicit --target the flag does not reach procedural macros, which cannot be static.
STATIC := RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target $(HOST)
BUILT := $(TARGET)/$(HOST)/release/cnister

.PHONY: static node demo test unit from-source crash fuzz bench lint peers system

static:
	$(STATIC)
	@mkdir -p $(BIN) && install -m 0755 $(BUILT) $(BIN)/cnister

node:
	$(STATIC) --no-default-features
	@mkdir -p $(BIN) && install -m 0755 $(BUILT) $(BIN)/cnister-node

demo:
	@tests/demo/prepare.sh "$(PLUGINS)"
	@echo "compiling the static program; this takes a few minutes the first time"
	@$(MAKE) --no-print-directory -s static
	@tests/demo/run.sh "$(BIN)/cnister"

system:
	@tests/peers/system.sh

peers:
	@tests/peers/build.sh
	@tests/peers/python.sh

test: system peers node static unit

unit:
	@rm -rf $(TARGET)/tmp/peers-present $(TARGET)/tmp/peers-missing
	CNISTER_NODE_BINARY=$(BIN)/cnister-node CNISTER_STATIC_BINARY=$(BIN)/cnister cargo test --locked
	cargo test --locked --no-default-features --lib
	@tests/peers/summary.sh $(TARGET)/tmp

from-source:
	CNISTER_FROM_SOURCE=all cargo test --locked --test from_source

crash: system node
	@CNISTER_NODE_BINARY=$(BIN)/cnister-node tests/crash/run.sh

fuzz: system
	@TARGET=$(TARGET) tests/fuzz/run.sh

bench: system peers node static
	CNISTER=$(BIN)/cnister CNISTER_NODE_BINARY=$(BIN)/cnister-node TARGET=$(TARGET) tests/bench/run.sh

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --lib --bins -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck tests/*/*.sh; else echo "skipped: shellcheck is not installed"; fi
