# Each target installs missing packages, builds and runs.

.DEFAULT_GOAL := help
.PHONY: help packages configure distill divergences hinton cnn verses language-model test bench docs format clean

JOBS := $(shell nproc)
BUILD := build/release
CLANG_FORMAT := clang-format-16

help:
	@echo "make distill [ARGS=...]   train a teacher and students on Fashion-MNIST, print and write the result"
	@echo "make divergences [ARGS=...]  compare the divergences of the distillation loss on Fashion-MNIST (--help)"
	@echo "make hinton [ARGS=...]    repeat the tables of Hinton et al. (2015) (--quick, --data FOLDER, --help)"
	@echo "make cnn [ARGS=...]       distil a residual network into a depthwise one"
	@echo "make verses [ARGS=...]    learn which book of the Bible a verse is from (--help)"
	@echo "make language-model [ARGS=...]  distil a language model of bytes (--help)"
	@echo "make test                 build and run every test"
	@echo "make bench [ARGS=...]     measure speed and memory, with libtorch where installed (--quick, --help)"
	@echo "make docs                 build the guides and the API reference in build/docs/html"
	@echo "make format               format all C++ sources"
	@echo "make clean                remove the build folder"

packages:
	@cmake/install_packages.sh build

configure: packages
	@cmake --preset release --log-level=NOTICE $(CMAKE_ARGS)

distill: configure
	@cmake --build $(BUILD) --target distill
	@$(BUILD)/examples/distill --config examples/distill/fashion_mnist.json $(ARGS)

divergences: configure
	@cmake --build $(BUILD) --target divergences
	@$(BUILD)/examples/divergences $(ARGS)

hinton: configure
	@cmake --build $(BUILD) --target hinton_2015
	@$(BUILD)/examples/hinton_2015 $(ARGS)

cnn: configure
	@cmake --build $(BUILD) --target cnn
	@$(BUILD)/examples/cnn $(ARGS)

verses: configure $(BUILD)/kjv.txt
	@cmake --build $(BUILD) --target verses
	@$(BUILD)/examples/verses --data $(BUILD)/kjv.txt $(ARGS)

language-model: configure $(BUILD)/kjv_text.txt
	@cmake --build $(BUILD) --target language_model
	@$(BUILD)/examples/language_model --data $(BUILD)/kjv_text.txt $(ARGS)

# The King James Bible, one verse per line: with references such as 1Sm3:4, and without.
$(BUILD)/kjv.txt:
	@cmake/install_packages.sh text
	@mkdir -p $(BUILD)
	@bible -f Gen1:1-Rev22:21 > $@.new < /dev/null
	@test "$$(wc -l < $@.new)" -eq 31102 || { echo "bible printed another number of verses than 31102" >&2; exit 1; }
	@mv $@.new $@

$(BUILD)/kjv_text.txt: $(BUILD)/kjv.txt
	@cut -d ' ' -f 2- $< > $@.new
	@mv $@.new $@

test: configure
	@cmake --build $(BUILD)
	@ctest --preset release --parallel $(JOBS)

bench:
	@cmake/install_packages.sh build bench
	@cmake --preset release --log-level=NOTICE -DRETORT_BUILD_BENCHMARKS=ON $(CMAKE_ARGS)
	@cmake --build $(BUILD) --target bench_table
	@$(BUILD)/tests/benchmarks/bench_table --json $(BUILD)/bench.json $(ARGS)

docs:
	@cmake/install_packages.sh docs
	@docs/build.sh

format:
	@cmake/install_packages.sh format
	@git ls-files '*.hpp' '*.cpp' | xargs $(CLANG_FORMAT) -i

clean:
	@rm -rf build
