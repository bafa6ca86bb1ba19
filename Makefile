# Every target is a script in scripts/; this file only names them.
.DEFAULT_GOAL := build
.PHONY: help build run test race cover lint fmt generate check e2e e2e-offline e2e-full torture bench clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

build: ## build bin/conclave
	@scripts/build

run: build ## start three nodes on loopback with a demo model
	@exec bin/conclave dev

test: ## run the unit and in-process cluster tests
	@scripts/test

race: ## run the same tests with the race detector
	@scripts/test -race

cover: ## run the same tests and report coverage
	@scripts/cover

lint: ## check style, imports, sizes and shell scripts
	@scripts/lint

fmt: ## format the Go files
	@scripts/fmt

generate: ## regenerate committed generated files
	@scripts/generate

check: generate fmt lint race ## everything before a review; the tree must stay clean
	@scripts/clean-tree

e2e: build ## run the tests with real processes, SDKs and faults
	@scripts/e2e

e2e-offline: build ## the same where there is no network but loopback
	@scripts/e2e -offline

e2e-full: build ## the same with the long mixes
	@scripts/e2e -full

torture: build ## torture real nodes with random faults: make torture FOR=1h SEED=7
	@scripts/torture

bench: build ## compare a node with a bare relay in one run
	@scripts/bench

clean: ## remove what the other targets made
	@rm -rf bin .conclave
