// What the flags of the helpers say (vm_engine.h).
#ifndef VM_ENGINE_INTERNAL_HELPER_FLAGS_H_
#define VM_ENGINE_INTERNAL_HELPER_FLAGS_H_

#include <cstdint>

#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {

inline constexpr std::uint32_t kOrderMask = 3u << 18;

constexpr std::uint64_t element_bytes(std::uint32_t flags) {
  return std::uint64_t{1} << ((flags >> VME_ELEM_SHIFT) & 7);
}
constexpr unsigned source_mode(std::uint32_t flags) { return (flags >> VME_MMU_SRC_SHIFT) & 0xf; }
constexpr unsigned destination_mode(std::uint32_t flags) {
  return (flags >> VME_MMU_DST_SHIFT) & 0xf;
}

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_HELPER_FLAGS_H_
