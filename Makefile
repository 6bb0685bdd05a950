# `make help` lists what a person needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

IMG ?= model-operator
CLUSTER ?= node
FUZZ_SECONDS ?= 300
export CLUSTER
.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-16s %s\n", $$1, $$2 }'

.PHONY: demo
demo: ## Start a node, install the operator, download a model and run a server that answers with it (CLUSTER=current: your own cluster)
	@ci/demo up

.PHONY: demo-down
demo-down: ## Take the demo's node down
	@ci/demo down

.PHONY: picture
picture: ## Record the demo and draw docs/demo.svg
	@ci/picture

.PHONY: test
test: ## Everything that CI runs
	@ci/parts

.PHONY: bench
bench: bench-loader bench-operator bench-node ## Measure everything

.PHONY: bench-loader
bench-loader: ## Measure model-loader beside other downloaders: 20 minutes, 10 GiB of memory (BENCH='--shrink 16 --rounds 1': a quick look)
	@benches/loader/peers/install
	cargo build --release -p model-loader -p bench-loader
	@cargo run --quiet --release -p bench-loader -- $(BENCH)

.PHONY: bench-operator
bench-operator: ## Measure controller and webhook against a real API server, the controller beside one in Go: 30 minutes (BENCH='--models 100 --requests 1000 --overload 5': a quick look)
	@ci/release
	@cd benches/operator/peer && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off go build -trimpath -o $(CURDIR)/target/bench-peer .
	@cargo run --quiet --release -p bench-operator -- --binaries target/$$(rustc --print host-tuple)/dist --peer target/bench-peer $(BENCH)

.PHONY: bench-node
bench-node: ## Measure on a node how long a Model takes from kubectl apply to Ready, and what for: 5 minutes
	cargo test -p e2e --test main -- time_to_ready

.PHONY: audit
audit: ## Check dependencies against the advisory database, which is fetched
	@ci/cargo-deny check advisories

.PHONY: manifests
manifests: ## Generate config/ from the Rust types
	@cargo run --quiet -p model-webhook --example manifests

.PHONY: install
install: ## Install the CRD into the current cluster
	kubectl apply -f config/crd

.PHONY: uninstall
uninstall: ## Remove the CRD, and with it every Model, from the current cluster
	kubectl delete -f config/crd

.PHONY: run
run: ## Run controller and webhook on this machine against the current cluster
	@ci/run-local

.PHONY: build
build: ## Build the static binaries
	@ci/release

.PHONY: repro
repro: ## Build the release of this commit twice, at different paths, and compare the bytes (15 minutes)
	@ci/repro

.PHONY: sbom
sbom: ## Write what each binary is made of, as CycloneDX, to target/sbom
	@ci/sbom

.PHONY: book
book: ## Build docs/ as a book, to target/book
	@ci/book

.PHONY: krew
krew: build ## Pack kubectl-model for krew: archive with licence, manifest with digest, in target/krew (BASE_URL=where it is served)
	@ci/krew

.PHONY: docker-build
docker-build: build ## Build the images IMG-controller, IMG-webhook and IMG-loader with docker, podman or buildah (IMG=registry/name:tag)
	@ci/docker-build $(IMG)

.PHONY: package
package: ## Build each crate from the archive that a registry would get
	cargo package -p model-core -p model-resources -p model-watch -p model-loader -p model-controller -p model-webhook -p kubectl-model

.PHONY: semver
semver: ## Compare the public API of the libraries with an earlier revision (BASE=rev; else the newest tag)
	@ci/semver

.PHONY: faults
faults: ## The long forms of the fault tests: the loader killed at 200 random moments, the controller at each write, everybody on a node 200 times; API server, etcd and hub away and watches cut for a minute, conflicts, two controllers and renewed certificates three times (90 minutes)
	MODEL_LOADER_KILLS=200 cargo test -p model-loader --test loader kills
	MODEL_CONTROLLER_KILLS=all cargo test -p model-controller --test it kills -- --nocapture
	MODEL_E2E_KILL_ROUNDS=200 cargo test -p e2e --test main -- killed
	MODEL_E2E_AWAY_SECONDS=60 cargo test -p e2e --test main -- api_server_away etcd_away hub_cut_off watches_cut crd_upgraded
	MODEL_E2E_FAULT_ROUNDS=3 cargo test -p e2e --test main -- conflicts two_controllers certificate

.PHONY: oldest
oldest: ## Test against the API server of the oldest supported Kubernetes (the first time it is compiled: some minutes)
	@ci/oldest

.PHONY: cert-manager
cert-manager: ## Let cert-manager make the webhook's certificate, on a node, under load (the first time it is compiled: some minutes)
	cargo test -p e2e --test main -- cert_manager

.PHONY: fuzz
fuzz: ## The simulation and the property tests with new seeds and 20,000 cases instead of 256 (those that start a shell or Python: 1,600), then each target of fuzz/ for FUZZ_SECONDS (300)
	PROPTEST_CASES=20000 SIMULATION_SEED=$$RANDOM cargo test --release -p model-resources --test simulation
	PROPTEST_CASES=20000 cargo test --release -p model-resources --test it -- injection_properties gates
	PROPTEST_CASES=1600 cargo test --release -p model-resources --test it -- commands
	PROPTEST_CASES=20000 cargo test --release -p model-core -p model-resources -p model-loader -p kubectl-model --lib
	@ci/fuzz $(FUZZ_SECONDS)
