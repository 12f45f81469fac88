// One of the objects that inline_copy_test links: VM_TEST_PART names it, and its
// compiler flags differ from the others'.

#include "tests/vm_mem/inline_copy_part.h"

namespace vm_test {

InlineCopyPart VM_TEST_PART() {
  return {.adaptive = vm_mem::memcpy_adaptive, .copy_in_line = vm_mem::copy_in_line};
}

}  // namespace vm_test
