// One of the objects that inline_copy_test links: VM_TEST_PART names it, and its
// compiler flags differ from the others'.

#include "tests/vm_mem/inline_copy_part.h"

namespace vm_test {

namespace {

// A claim about compilers, which warn of copies that cannot be: into 64 bytes, of a
// size that is known at run time only.
void fill_packet(Packet& packet, std::span<const std::byte> payload) {
  packet.bytes = payload.size();
  vm_mem::memcpy_adaptive(std::span(packet.payload).first(payload.size()), payload);
}

}  // namespace

InlineCopyPart VM_TEST_PART() {
  return {.adaptive = vm_mem::memcpy_adaptive,
          .copy_in_line = vm_mem::copy_in_line,
          .fill_packet = fill_packet};
}

}  // namespace vm_test
