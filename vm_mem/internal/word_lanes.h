// Lanes of 1, 2, 4 and 8 bytes: what every instruction set has, and what the small
// ends of every kernel are made of. The 8-byte lane is the scalar row's.
#ifndef VM_MEM_INTERNAL_WORD_LANES_H_
#define VM_MEM_INTERNAL_WORD_LANES_H_

#include <cstddef>
#include <cstdint>

#include "host/prefetch.h"
#include "vm_mem/internal/target_region.h"

namespace vm_mem::internal {

// One access of sizeof(Word) bytes at any address. Volatile keeps it one access:
// not split, not merged, and no loop of them turned into a call of memcpy.
template <typename Word>
struct [[gnu::packed, gnu::may_alias]] AnyAddress {
  Word value;
};

template <typename Word>
VM_MEM_INLINE Word load_word(const std::byte* p) {
  return reinterpret_cast<const volatile AnyAddress<Word>*>(p)->value;
}

template <typename Word>
VM_MEM_INLINE void store_word(std::byte* p, Word word) {
  reinterpret_cast<volatile AnyAddress<Word>*>(p)->value = word;
}

template <typename Word, typename HalfLane>
struct WordLane {
  static constexpr std::size_t kBytes = sizeof(Word);
  using Reg = Word;
  using Half = HalfLane;

  VM_MEM_INLINE static Reg load(const std::byte* p) { return load_word<Word>(p); }
  VM_MEM_INLINE static void store(std::byte* p, Reg r) { store_word<Word>(p, r); }
  VM_MEM_INLINE static Reg splat(std::byte value) {
    return static_cast<Reg>(0x0101'0101'0101'0101u * static_cast<std::uint64_t>(value));
  }
  VM_MEM_INLINE static Reg either(Reg a, Reg b) { return static_cast<Reg>(a | b); }
  VM_MEM_INLINE static Reg difference(Reg a, Reg b) { return static_cast<Reg>(a ^ b); }
  VM_MEM_INLINE static bool is_zero(Reg r) { return r == 0; }
};

using Lane1 = WordLane<std::uint8_t, void>;
using Lane2 = WordLane<std::uint16_t, Lane1>;
using Lane4 = WordLane<std::uint32_t, Lane2>;
using Lane8 = WordLane<std::uint64_t, Lane4>;

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_WORD_LANES_H_
