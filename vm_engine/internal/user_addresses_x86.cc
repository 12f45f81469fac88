#include "vm_engine/internal/user_addresses.h"

namespace vm_engine::internal {

// With five levels of page tables.
unsigned user_address_bits() { return 56; }

}  // namespace vm_engine::internal
