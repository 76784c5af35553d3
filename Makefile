# make without a goal prints what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export SEPTUM_CACHE ?= $(HOME)/.cache/septum
# Programs of the administrator, which a user's PATH may not hold.
export PATH := $(PATH):/usr/sbin:/sbin
export GOTOOLCHAIN := auto

TAG ?= dev
IMAGES ?=
FUZZTIME ?= 1m
OUT := build

# Go, or a message that says how to get it; only goals that need it ask.
GO_GOALS := $(filter-out help deps deps-test docs demo-down clean,$(or $(MAKECMDGOALS),help))
ifneq ($(GO_GOALS),)
GO_DIR := $(shell hack/go.sh)
ifeq ($(GO_DIR),)
$(error Go is needed; see the message above)
endif
export PATH := $(GO_DIR):$(PATH)
endif

##@ Try it
.PHONY: help
help: ## Print this help
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: deps ## A two-node cluster on this machine with Septum, and the sample policy shown at work (root)
	@test/demo/demo.sh

.PHONY: demo-kafka
demo-kafka: deps-test ## The same cluster with a Kafka broker, and a policy on its topics shown at work (root)
	@test/demo/demo.sh kafka

.PHONY: demo-down
demo-down: ## End the demo's cluster and remove everything it made (root)
	@test/cluster/cluster down

##@ Test it
.PHONY: test
test: ## Every test: unit, kernel, chart, lint, verify and the real cluster (root)
	@go run ./test/run

.PHONY: test-unit
test-unit: ## The tests that need no root and no cluster
	@go run ./test/run unit

.PHONY: test-kernel
test-kernel: ## BPF programs, network namespaces and a real Envoy on this kernel (root)
	@go run ./test/run kernel

.PHONY: test-chart
test-chart: ## The Helm chart, with the real helm
	@go run ./test/run chart

.PHONY: e2e
e2e: ## Septum on a real two-node cluster (root)
	@go run ./test/run e2e

.PHONY: fuzz
fuzz: ## Every fuzz target for a while each (root; FUZZTIME=1h, TARGETS='FuzzDecide …')
	@FUZZTIME=$(FUZZTIME) hack/fuzz.sh $(TARGETS)

.PHONY: bench
bench: ## Measure: the data path beside other proxies (written to docs/performance.md), then the pure code (root)
	go test -count=1 -timeout=60m -v -run 'TestDataPath|TestKafka|TestDNS|TestTLS' ./test/bench -full -update
	go test -run '^$$' -bench . -benchmem ./policy/... ./bpf/... ./xds/... ./controllers

##@ Build it
.PHONY: build
build: ## The programs, in build/bin
	@mkdir -p $(OUT)/bin
	@for program in operator enforcer cni proxy; do \
	  echo "build/bin/septum-$$program"; \
	  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $(OUT)/bin/septum-$$program ./cmd/$$program || exit 1; \
	done
	@$(MAKE) plugin

.PHONY: plugin
plugin: ## The kubectl plugin, in build/bin: put it and kubectl_complete-septum into PATH
	@mkdir -p $(OUT)/bin
	@echo build/bin/kubectl-septum
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(TAG)' -o $(OUT)/bin/kubectl-septum ./cmd/kubectl-septum
	@install -m 0755 cmd/kubectl-septum/kubectl_complete-septum $(OUT)/bin/

.PHONY: krew
krew: ## The kubectl plugin for all platforms, and Krew's manifest, in build/krew (VERSION=v1.2.3)
	@hack/krew.sh $(VERSION)

.PHONY: sbom
sbom: build ## What each program is made of (CycloneDX), in build/sbom
	@go run ./cmd/sbom -out $(OUT)/sbom $(OUT)/bin/septum-operator $(OUT)/bin/septum-enforcer $(OUT)/bin/septum-cni $(OUT)/bin/septum-proxy $(OUT)/bin/kubectl-septum

.PHONY: images
images: ## The container images, in build/images (TAG=dev, IMAGES=name,…)
	@go run ./cmd/images -out $(OUT)/images -bin $(OUT)/bin -tag $(TAG) -only '$(IMAGES)'

.PHONY: push
push: ## The container images, to a registry (REGISTRY=registry.example/septum, TAG, IMAGES)
	@[ -n "$(REGISTRY)" ] || { echo "say where to: make push REGISTRY=registry.example/septum TAG=v0.1.0" >&2; exit 2; }
	@go run ./cmd/images -out $(OUT)/images -bin $(OUT)/bin -tag $(TAG) -only '$(IMAGES)' -push $(REGISTRY)

.PHONY: docs
docs: ## The documentation as a site, in build/site; a link that leads nowhere fails
	@hack/docs.sh

.PHONY: deps
deps: ## Install the Debian packages that are missing (root)
	@hack/deps.sh

.PHONY: deps-test
deps-test: ## The same, with those that only tests need
	@hack/deps.sh test

.PHONY: binaries
binaries: deps ## Kubernetes, etcd, CoreDNS and helm for the local cluster, into the cache
	@test/cluster/cluster binaries

##@ Change it
.PHONY: generate
generate: ## Everything that is generated: BPF, protobuf, deep copies, CRDs, the chart's CRDs
	@hack/generate.sh

.PHONY: verify
verify: ## Fail if a generated file is not what its source gives
	@hack/verify.sh

.PHONY: lint
lint: ## golangci-lint, with the import table of ARCHITECTURE.md
	@hack/lint.sh

.PHONY: fmt
fmt: ## gofmt
	@gofmt -w $$(git ls-files '*.go' | grep -v -e '\.pb\.go$$' -e zz_generated -e '_bpfe[lb]\.go$$')

.PHONY: golden
golden: ## Rewrite the chart's golden renderings and config/, after a change that is meant
	go test ./test/chart -update

.PHONY: clean
clean: ## Remove build/ (the cache stays)
	@rm -rf $(OUT)
