#include "vm_engine/internal/user_addresses.h"

namespace vm_engine::internal {

// With FEAT_LVA. The top byte of an address is ignored, and is no reason for a fault.
unsigned user_address_bits() { return 52; }

}  // namespace vm_engine::internal
