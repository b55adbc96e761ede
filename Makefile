# Zixiao: every verb a person or a machine needs. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CONFIGURATION ?= Release
RID           := linux-x64
VERSION       := $(shell sed -n 's|.*<VersionPrefix>\(.*\)</VersionPrefix>.*|\1|p' Directory.Build.props)
SOURCES       := $(shell find src api -type f \( -name '*.cs' -o -name '*.proto' -o -name '*.csproj' -o -name '*.[ch]' \) -not -path '*/obj/*' -not -path '*/bin/*') \
                 Directory.Build.props Directory.Packages.props BannedSymbols.txt .editorconfig global.json scripts/guest.sh src/Hypervisor.Init/Makefile

export DOTNET_CLI_TELEMETRY_OPTOUT := 1
export DOTNET_NOLOGO := 1

.PHONY: help deps proto build run stop test lint bench publish clean

help: ## list the verbs
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "  make bench-NAME one benchmark: api, c2m, create, create-architectures, cli, fleet, memory, pull, restore, rootfs, scheduler, scheduler-durable, scheduler-endtoend, store, vm, watch, what-if"

deps: ## install the Debian packages that building and running need (as root)
	@scripts/deps.sh build run

proto: ## generate the code of the API contracts (also part of every build)
	@scripts/as-caller.sh dotnet build src/Hypervisor.Protocol -c $(CONFIGURATION) -v q

build: bin/.built ## build bin/hypervisor-server, bin/hypervisor-agent and bin/hypervisor-ctl
	@:

bin/.built: $(SOURCES)
	@scripts/deps.sh build
	@scripts/as-caller.sh scripts/build.sh $(CONFIGURATION) $(RID)

run: ## start a one-machine cluster with a first container in it (as root); STORE=etcd: on an etcd of its own
	@scripts/deps.sh build run $(if $(filter etcd,$(STORE)),etcd)
	@$(MAKE) --no-print-directory build
	@scripts/run.sh

stop: ## take down everything that `make run` started
	@scripts/stop.sh

test: ## build everything and run every test (as root); STORE=etcd: every cluster on three members of etcd
	@scripts/deps.sh build run test cloud
	@$(MAKE) --no-print-directory build
	@scripts/test.sh

lint: ## check formatting, analyzers and scripts
	@scripts/deps.sh build test
	@scripts/lint.sh

bench: bench-all ## run all benchmarks but c2m (as root); OPTIONS: what bench-fleet and bench-c2m are told besides

bench-%:
	@scripts/deps.sh build run etcd bench
	@$(MAKE) --no-print-directory build
	@scripts/bench.sh $* $(OPTIONS)

publish: build ## make the release archive for linux-x64
	@scripts/as-caller.sh scripts/publish.sh $(VERSION) $(RID)

clean: ## remove everything that was built
	@rm -rf bin artifacts TestResults
	@find src test bench -type d \( -name obj -o -name bin \) -prune -exec rm -rf {} +
