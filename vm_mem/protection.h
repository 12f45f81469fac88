// What the guest and its devices may do with a region.
#ifndef VM_MEM_PROTECTION_H_
#define VM_MEM_PROTECTION_H_

#include <cstdint>

namespace vm_mem {

enum class Protection : std::uint8_t {
  kNone,  // every access is kProtected
  kRead,  // a write is kReadOnly
  kReadWrite,
};

}  // namespace vm_mem

#endif  // VM_MEM_PROTECTION_H_
