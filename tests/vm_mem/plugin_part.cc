// A plugin that brings a copy of the library along: plugin_test loads it.

#include <cstddef>

#include "vm_mem/simd_memcpy.h"

// Moves n bytes up by one, over themselves.
extern "C" void move_up(std::byte* bytes, std::size_t n) {
  vm_mem::memmove_raw(bytes + 1, bytes, n);
}
