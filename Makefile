# Every target makes .venv and installs what it needs; a second run is quick.
PYTHON ?= python3
BIN := .venv/bin
OLDEST := .venv-oldest/bin
NEWEST := .venv-newest/bin
ENGINES := .venv-engines/bin
HARNESS := .venv-harness/bin
META := settings.ini setup.py pyproject.toml constraints.txt
# two processes; tests/conftest.py says which test goes to which
WORKERS := -n 2

MINUTES := 60
KILLS := 50

# what the tests of the code leave to the pinned versions
CODE := $(patsubst %,--ignore=tests/test_%.py,project site lab types notebooks web explorer views front live)

.PHONY: help demo test test-long test-web speed-web web test-oldest test-newest test-engines test-harness test-crash fuzz docs lab bench guard compute compare model sums hub notebooks export field film colab package clean

help:
	@echo "make demo                generate and explain real text with the bundled model"
	@echo "make test                everything CI checks: sync, notebooks, pytest, site, browser"
	@echo "make test-long           make test with all cases, slow cells and more drawn examples: before a release"
	@echo "make test-web            the engine of the pages against Python: all cases, in node and in Chromium, some minutes"
	@echo "make speed-web           its tokens and steps per second in Chromium"
	@echo "make web                 build it into build/web/: one script, and the weights that it loads"
	@echo "make test-oldest         the tests of the code with the oldest torch, transformers, ... (Python 3.11 or 3.12; fetches gigabytes)"
	@echo "make test-newest         the same with the newest that settings.ini admits (fetches gigabytes)"
	@echo "make test-engines        drive the classes of vLLM's and SGLang's wheels, without a GPU (fetches gigabytes)"
	@echo "make test-harness        our class in lm_eval itself, on tasks from local files (WRITE=1: store what it reports)"
	@echo "make test-crash          kill a sweep 50 times at random moments (KILLS=50): nothing lost, nothing double"
	@echo "make fuzz                attack the package with new examples for an hour (MINUTES=60): cases per class, and what failed"
	@echo "make docs                build the site into _docs/ and write README.md"
	@echo "make lab                 open the notebooks in JupyterLab"
	@echo "make bench               time the package against transformers, an hour (ONLY='draws': some rows); goes on where it was stopped"
	@echo "make guard OLD= NEW=     name what became slower from one such table (JSON) to another"
	@echo "make export              write the package from the notebooks: modules, stubs, help texts"
	@echo "make notebooks           run all notebooks and store their outputs"
	@echo "make compute             measure every strategy on sums: accuracy against tokens (chapter Sums), some 10 minutes"
	@echo "make compare             measure every strategy and knob on stories and sums (chapter The comparison), some 6 minutes"
	@echo "make hub                 write a folder per strategy for the Hub of transformers into dist/hub/"
	@echo "make field SYSTEMS=...   hold the table of who has what against sources: SYSTEMS='transformers=folder vLLM=folder'"
	@echo "make film                film the playground of the built site for README.md"
	@echo "make colab               write the notebooks with a first cell for Colab into dist/colab/"
	@echo "make package TAG=v1.2.3  build and check the archives of a release in dist/package/ (without TAG: of today)"
	@echo "make sums                train the small model of the chapter Sums anew, some 2 minutes"
	@echo "make model CORPUS=file   train the bundled model anew from a stories.jsonl (COMPILE=1: faster, needs a C++ compiler)"

.venv/base: $(META)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/dev: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.venv/measure: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[measure]'
	@touch $@

demo: .venv/measure
	@$(BIN)/llm-sampling demo --figure demo.png --page demo.html

test: .venv/dev
	$(BIN)/python -m pytest $(WORKERS)

test-long: .venv/dev
	$(BIN)/python -m pytest $(WORKERS) --long

test-web: .venv/dev
	$(BIN)/python tests/web_cases.py

speed-web: .venv/dev
	$(BIN)/python tests/web_cases.py --speed

web: .venv/dev
	$(BIN)/python tools/web.py

test-crash: .venv/dev
	$(BIN)/python tests/crash.py --kills $(KILLS)

fuzz: .venv/dev
	$(BIN)/python tools/fuzz.py --minutes $(MINUTES)

test-oldest: .venv-oldest/ready
	$(OLDEST)/python -m pytest $(WORKERS) $(CODE)

.venv-oldest/ready: settings.ini constraints-oldest.txt
	$(OLDEST)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv-oldest
	$(OLDEST)/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e '.[widgets,measure]' pytest pytest-xdist hypothesis
	@touch $@

test-newest: .venv-newest/ready
	$(NEWEST)/python -m pytest $(WORKERS) $(CODE)

.venv-newest/ready: settings.ini
	$(NEWEST)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv-newest
	$(NEWEST)/python -m pip install --quiet --disable-pip-version-check --upgrade -e '.[widgets,measure]' pytest pytest-xdist hypothesis
	@touch $@

# A file at a time: both wheels patch what they import. No plain pip finds one set of
# versions for them, and none of ours: so without their requirements, which stand beside.
test-engines: .venv-engines/ready
	PYTHONPATH=. OMP_NUM_THREADS=1 $(ENGINES)/python -m pytest tests/engines/real_vllm.py
	PYTHONPATH=. OMP_NUM_THREADS=1 $(ENGINES)/python -m pytest tests/engines/real_sglang.py

.venv-engines/ready: requirements-engines.txt
	$(ENGINES)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv-engines
	$(ENGINES)/python -m pip install --quiet --disable-pip-version-check -r requirements-engines.txt
	$(ENGINES)/python -m pip install --quiet --disable-pip-version-check --no-deps vllm==0.33.0 sglang==0.5.23
	@touch $@

test-harness: .venv-harness/ready
	$(if $(WRITE),PYTHONPATH=. OMP_NUM_THREADS=1 $(HARNESS)/python benchmarks/harness.py)
	PYTHONPATH=. OMP_NUM_THREADS=1 $(HARNESS)/python -m pytest tests/harness/real_lm_eval.py

.venv-harness/ready: $(META)
	$(HARNESS)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv-harness
	$(HARNESS)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lm-eval]' 'lm_eval[hf]==0.4.13' pytest
	@touch $@

export: .venv/dev
	$(BIN)/nbdev-export
	$(BIN)/python tools/stubs.py

docs: export
	$(BIN)/python docs/build.py

lab: .venv/dev
	$(BIN)/jupyter lab nbs

notebooks: export
	$(BIN)/python tools/run_nbs.py

# contrastive search is compared with the last transformers that had it
bench: .venv/base .venv-peers/ready
	$(BIN)/python benchmarks/run.py --peer .venv-peers/bin/python $(if $(ONLY),--only $(ONLY))

.venv-peers/ready: constraints.txt
	.venv-peers/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" transformers==4.55.4
	@touch $@

guard: .venv/base
	$(BIN)/python benchmarks/guard.py "$(OLD)" "$(NEW)"

compute: .venv/base
	$(BIN)/python benchmarks/compute.py

compare: .venv/measure
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/compare.py

hub: .venv/base
	$(BIN)/python tools/hub.py

field:
	$(PYTHON) tools/field.py $(SYSTEMS)

film: .venv/dev
	$(BIN)/python tools/animate.py

colab: .venv/dev
	$(BIN)/python docs/build.py --colab

package: .venv/package
	$(BIN)/python tools/release.py $(TAG)
	rm -rf dist/package
	$(BIN)/python -m build --outdir dist/package
	$(BIN)/python -m twine check --strict dist/package/*

.venv/package: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.3' 'twine>=6.1' 'readme-renderer[md]>=44'
	@touch $@

# one thread: sums of floats depend on how threads share them
sums: .venv/base
	OMP_NUM_THREADS=1 $(BIN)/python -c 'import sys; from llm_sampling.sums import main; sys.exit(main())' --out "$(or $(OUT),build/sums)"

model: .venv/base
	@test -n "$(CORPUS)" || { echo 'usage: make model CORPUS=stories.jsonl [OUT=folder]   (lines of {"book", "title", "text"})' >&2; exit 2; }
	$(BIN)/python -c 'import sys; from llm_sampling.default_model import main; sys.exit(main())' "$(CORPUS)" --out "$(or $(OUT),build/model)" $(if $(COMPILE),--compile)

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-engines .venv-harness .venv-peers build dist _docs _proc _sphinx _doctrees demo.png demo.html
