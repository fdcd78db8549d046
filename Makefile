# The two commands of the README are `make run` and `make test`. Everything here is thin over tox.ini and packaging/.
PYTHON ?= python3
VARIANT ?= netboot-pc
BIN := .venv/bin
SOURCES := pyproject.toml packaging/zipapp.py packaging/constraints.txt $(shell find bty spa -type f ! -name '*.pyc')

.PHONY: help run demo test test-pxe test-pxe-all zipapp media bench clean
help:
	@echo 'make run     build dist/bty.pyz and start the daemon, state under ./data'
	@echo 'make demo    watch a virtual machine with an empty disk being flashed (as root); DEMO_MODE=inventory, DEMO_FIRMWARE=uefi,'
	@echo '             DEMO_KEEP=1, DEMO_PORT=8090 (docs/tutorial/demo.md)'
	@echo 'make test    lint, types, layers and the tests (as root also the Debian packages and the live environment they need)'
	@echo 'make zipapp  build dist/bty.pyz'
	@echo 'make media VARIANT=netboot-pc'
	@echo '             build the live environment into dist/media (as root)'
	@echo 'make test-pxe, make test-pxe-all'
	@echo '             boot virtual machines from their firmware to the flashed system (as root): the main rows, or all'
	@echo 'make bench   measure size and start times of dist/bty.pyz'
	@echo 'make clean   remove what was built; ./data stays'

run: dist/bty.pyz
	@packaging/run

demo:
	@[ "$$(id -u)" = 0 ] || { echo 'the demo makes a network of its own, which needs root: sudo make demo' >&2; exit 1; }
	@packaging/debian-packages packaging/debian-demo-packages.txt --all
	@echo '== the program and the live environment, built where they are not there yet (the first time, a few minutes)'
	@$(MAKE) --no-print-directory media VARIANT=netboot-pc
	@status=0; \
	PATH=$(CURDIR)/$(BIN):$$PATH PYTHONPATH=$(CURDIR) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) packaging/demo || status=$$?; \
	[ -z "$$SUDO_UID" ] || chown -R "$$SUDO_UID:$$SUDO_GID" .venv build dist; \
	exit $$status

test: $(BIN)/ready
	@packaging/debian-packages packaging/debian-test-packages.txt
	@status=0; mkdir -p build; \
	setsid sh -c '$(BIN)/tox run -q -e lint,type,layers; checked=$$?; $(BIN)/tox run -qq --notest -e everything; exit $$checked' \
		>build/checks.log 2>&1 & \
	checks=$$!; trap "kill -- -$$checks 2>/dev/null; exit 130" INT TERM; \
	MAKE=$(MAKE) packaging/media-for-tests || status=1; \
	wait $$checks || status=1; cat build/checks.log; \
	$(BIN)/tox run -qq -e everything || status=1; \
	exit $$status

zipapp: dist/bty.pyz

media: dist/bty.pyz
	$(PYTHON) media/build.py $(VARIANT)

test-pxe test-pxe-all: $(BIN)/ready
	@packaging/debian-packages packaging/debian-test-packages.txt
	@$(MAKE) --no-print-directory media VARIANT=netboot-pc
	@BTY_PXE_ALL=$(if $(filter %-all,$@),1) $(BIN)/tox run -qq -e everything -- tests/pxe

bench: dist/bty.pyz
	$(BIN)/python tests/bench/start.py

dist/bty.pyz: $(BIN)/ready $(SOURCES)
	$(BIN)/python packaging/zipapp.py $@

$(BIN)/ready: packaging/venv
	@packaging/venv $(PYTHON) .venv
	@touch $@

clean:
	rm -rf .venv .tox dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find bty tests packaging -name __pycache__ -type d -prune -exec rm -rf {} +
