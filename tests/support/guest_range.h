// A range that a test knows to be one.
#ifndef TESTS_SUPPORT_GUEST_RANGE_H_
#define TESTS_SUPPORT_GUEST_RANGE_H_

#include <cstdint>

#include "vm_mem/guest_address.h"

namespace vm_test {

inline vm_mem::GuestRange range(std::uint64_t begin, std::uint64_t bytes) {
  return vm_mem::GuestRange::make(vm_mem::GuestAddress{begin}, bytes).value();
}

}  // namespace vm_test

#endif  // TESTS_SUPPORT_GUEST_RANGE_H_
