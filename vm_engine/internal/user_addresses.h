// What this architecture's processes can have for addresses.
#ifndef VM_ENGINE_INTERNAL_USER_ADDRESSES_H_
#define VM_ENGINE_INTERNAL_USER_ADDRESSES_H_

namespace vm_engine::internal {

// Nothing is ever mapped at 2^this or beyond.
unsigned user_address_bits();

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_USER_ADDRESSES_H_
