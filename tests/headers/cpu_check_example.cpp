// A program whose static initialiser must not be reached on a processor that lacks what the library needs.
#include <iostream>

namespace {
struct Initialiser {
  Initialiser() { std::cout << "a static initialiser ran before the check\n"; }
};
const Initialiser initialiser;
}  // namespace

int main() { std::cout << "main ran in spite of the check\n"; }
