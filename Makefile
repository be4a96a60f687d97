# Learning to Denoise: `make book` builds the book, `make test` checks everything.
# Needed on the machine: Python 3.11 to 3.14, GNU make, git. The rest comes from the first run.

PYTHON := .venv/bin/python
PORT ?= 8000
# How many processes share the tests; each may take 3 GB.
JOBS ?= 2
# The networks here are so small that one thread is as fast as two, and on a busy machine, where threads wait for each other, far faster.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup book test check lint format equations notebooks assignments grade-demo mutants bench bench-grade sweeps serve clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: .venv/installed  ## create .venv and install the pinned packages

.venv/installed: pyproject.toml constraints.txt tools/setup.sh
	@sh tools/setup.sh
	@touch $@

book: setup  ## build the book into _build/html
	@$(PYTHON) tools/build_book.py

test: setup lint  ## lint, build the book, run every test
	@$(PYTHON) tools/system_packages.py
	@$(MAKE) --no-print-directory book
	@$(PYTHON) -m pytest -n $(JOBS) --dist worksteal

check: setup  ## lint, types, and the nearest tests and pages that the change at hand reaches (ARGS="--pages", "--base REV", "--seconds 60")
	@$(PYTHON) tools/check.py $(ARGS)

lint: setup  ## check style, types, and that no notebook is tracked
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m pyright
	@notebooks=$$(git ls-files '*.ipynb'); test -z "$$notebooks" || { echo "tracked notebooks (text is the source): $$notebooks" >&2; exit 1; }

format: setup  ## rewrite the code in the project's style
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

equations: setup  ## count the labelled equations and their checks
	@$(PYTHON) tools/equations.py

notebooks: book  ## run each page's notebook as a reader does: downloaded, in a fresh environment (long; installs packages)
	@$(PYTHON) -W ignore tools/run_notebooks.py

assignments: setup  ## write the students' and the instructors' notebooks into build/
	@$(PYTHON) -m course.cli assignments build

grade-demo: setup  ## a small course from release to feedback: three submissions, graded by nbgrader's commands
	@$(PYTHON) -W ignore tools/grade_demo.py

mutants: setup  ## print which hidden test catches which mistake
	@$(PYTHON) tools/kill_matrix.py

bench: setup build/peers/installed  ## measure speed and quality beside other libraries, into results/ (long; on an idle machine)
	@for part in operators networks keywords speed sampling quality; do \
		env -u OMP_NUM_THREADS PYTHONPATH=build/peers $(PYTHON) -W ignore -m benchmarks.$$part || exit 1; done

bench-grade: setup build/graders/installed  ## measure how fast submissions are graded, ours beside other graders, into results/ (long; on an idle machine)
	@for part in assignments grading cluster; do env -u OMP_NUM_THREADS $(PYTHON) -W ignore -m benchmarks.$$part || exit 1; done

sweeps: setup  ## draw and measure the shipped models over samplers and guidance scales, into results/ (hours; stop it and go on at will; N=1000)
	@for sweep in samplers classifier mnist-cfg cifar10-cfg remedies; do for task in draw measure; do \
		$(PYTHON) -W ignore -m benchmarks.sweeps $$task $$sweep --n $(or $(N),1000) || exit 1; done; done
	@$(PYTHON) -W ignore -m benchmarks.accuracy_score

build/%/installed: benchmarks/%.txt
	@$(PYTHON) -m pip install --quiet --no-deps --upgrade --target build/$* -r $<
	@touch $@

serve: _build/html/index.html  ## serve the built book on http://localhost:8000 (PORT=... for another port)
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

_build/html/index.html:
	@$(MAKE) --no-print-directory book

clean:  ## delete what was built (.venv stays)
	rm -rf _build build .pytest_cache .ruff_cache
