.PHONY: help check test smoke

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

check: ## what CI checks without running anything: style, layers of the package, types
	ruff check .
	ruff format --check .
	lint-imports
	mypy

test: ## the whole test suite on two processes
	pytest -n 3 --dist loadfile --no-loadscope-reorder

smoke: ## a whole experiment in a minute: no download, no GPU, no account
	python train.py experiment=smoke
