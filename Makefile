# zcluster: `make` alone prints help.

SHELL := /bin/sh
CARGO ?= cargo
LAYOUT ?= cluster-layout.toml
# Seconds each fuzz target runs.
FUZZ_SECONDS ?= 30
FUZZ_TARGETS := broker_bin broker_json curve frames gateway_json zeek_bin zmtp
# Rounds of `make chaos` that kill loggers.
CHAOS_ROUNDS ?= 50
# Rounds of `make chaos` that kill peers of the broker under load, about five a second.
SOAK_ROUNDS ?= 1500
# Rounds of `make chaos` that kill or stop processes which share a data store, about six a minute.
STORE_ROUNDS ?= 100

.PHONY: help tools build cluster test chaos lint bench fuzz doc clean

help: ## Print this help
	@echo "zcluster: a Zeek-compatible ZeroMQ cluster"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  LAYOUT=FILE       the layout that \`make cluster\` runs (cluster-layout.toml)"
	@echo "  CHAOS_ROUNDS=N    how many rounds of \`make chaos\` kill loggers (50)"
	@echo "  SOAK_ROUNDS=N     how many rounds of it load the broker (1500)"
	@echo "  STORE_ROUNDS=N    how many rounds of it load a data store (100)"
	@echo "  FUZZ_SECONDS=N    how long \`make fuzz\` runs each target (30)"

# Everything else comes from crates.io: libzmq and libsodium are compiled from source.
tools: ## Check for a C++ compiler and make; as root on Debian, install them
	@missing=""; \
	for tool in c++ make; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && apt-get install -y -q g++ make; \
		else \
			echo "missing:$$missing. On Debian: apt-get install g++ make" >&2; exit 1; \
		fi; \
	fi
	@command -v $(CARGO) >/dev/null || { echo "missing: cargo. See https://rustup.rs" >&2; exit 1; }

build: tools ## Build optimised programs, without debug information, into target/dist
	$(CARGO) build --profile dist --workspace --bins

cluster: build ## Build, then run the cluster of cluster-layout.toml in the foreground; Ctrl-C stops it
	@exec target/dist/zcluster up --layout $(LAYOUT) --demo

test: tools ## Build and run every test
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace

chaos: tools ## Kill loggers, peers of the broker and users of a store under load; check what survives
	$(CARGO) build --workspace --bins
	ZCLUSTER_SOAK_ROUNDS=$(SOAK_ROUNDS) $(CARGO) test --test broker_soak -- --nocapture
	ZCLUSTER_CHAOS_ROUNDS=$(CHAOS_ROUNDS) $(CARGO) test --test log_crash -- --nocapture killed
	ZCLUSTER_STORE_ROUNDS=$(STORE_ROUNDS) $(CARGO) test --test store_chaos -- --nocapture

lint: tools ## Check formatting, clippy and rustdoc; any warning fails
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p zcluster --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

bench: tools ## Run the benchmarks (benches/README.md)
	$(CARGO) bench -p zcluster --bench codecs
	$(CARGO) bench -p zcluster --bench curve
	$(CARGO) bench -p zcluster --bench framework
	$(CARGO) bench -p zcluster --bench tables
	$(CARGO) bench -p zcluster --bench stores
	$(CARGO) bench -p zcluster-logger --bench format
	$(CARGO) bench -p zcluster-logger --bench replay
	$(CARGO) bench -p zcluster-logger --bench paced
	$(CARGO) bench -p zcluster-broker --bench forward
	$(CARGO) bench -p zcluster-node --bench gateway

fuzz: tools ## Run each fuzz target for FUZZ_SECONDS (needs cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || { echo "missing: cargo-fuzz. cargo install cargo-fuzz" >&2; exit 1; }
	$(CARGO) run -q --example fuzz-seeds
	@for target in $(FUZZ_TARGETS); do \
		$(CARGO) fuzz run --sanitizer none $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -print_final_stats=1 || exit 1; \
	done

doc: ## Build the library's documentation
	$(CARGO) doc --workspace --no-deps

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf fuzz/target logs tests/clients/node_modules
