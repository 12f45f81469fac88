// Copy kernels for AArch64 with the Scalable Vector Extension. How long a vector is,
// 16 to 256 bytes, is known at run time only, and can differ between threads.
//
// Plan by size, V being the bytes of a vector:
//   0 .. 2V    two vectors, each cut to the size by a predicate: no branch on the size
//   above      the shapes over 16-byte lanes, which every vector length has
// Operations on guest memory take the shapes at any size: an access of SVE is single-
// copy atomic by element only, so that one by bytes keeps no word whole.
//
// Source:  Arm ARM, B2.2.1 and C8 (whilelo, ld1b); Arm's optimized-routines, memcpy-sve.

#include <arm_neon.h>
#include <arm_sve.h>

#include <cstddef>
#include <cstdint>

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/host_instructions.h"
#include "vm_mem/internal/long_copy.h"
#include "vm_mem/internal/recoverable_asm.h"
#include "vm_mem/internal/recoverable_finish.h"
#include "vm_mem/internal/size_history.h"
#include "vm_mem/internal/word_lanes.h"

namespace vm_mem::internal {
namespace {

VM_MEM_TARGET_BEGIN(VM_MEM_SVE)

#include "vm_mem/internal/lane_neon.inc"
using Lane = Lane16;
#include "vm_mem/internal/copy_shapes.inc"
#include "vm_mem/internal/recoverable_neon.inc"
using FaultLane = FaultLane16;
VM_MEM_INLINE void leave_vectors() {}
#include "vm_mem/internal/recoverable_shapes.inc"
#include "vm_mem/internal/plain_by_ladder.inc"

VM_MEM_INLINE bool fits_two_vectors(std::size_t n) { return n <= 2 * svcntb(); }
VM_MEM_INLINE svbool_t in_first(std::size_t n) { return svwhilelt_b8_u64(0, n); }
VM_MEM_INLINE svbool_t in_second(std::size_t n) { return svwhilelt_b8_u64(svcntb(), n); }

// Bytes outside the predicate are not accessed, whatever page they lie in, and read 0.
VM_MEM_INLINE svuint8_t load_first(const std::byte* p, std::size_t n) {
  return svld1_u8(in_first(n), reinterpret_cast<const std::uint8_t*>(p));
}
VM_MEM_INLINE svuint8_t load_second(const std::byte* p, std::size_t n) {
  return svld1_vnum_u8(in_second(n), reinterpret_cast<const std::uint8_t*>(p), 1);
}
VM_MEM_INLINE bool any_set(svuint8_t bytes) {
  return svptest_any(svptrue_b8(), svcmpne_n_u8(svptrue_b8(), bytes, 0));
}

VM_MEM_KERNEL void copy_scalable(std::byte* dst, const std::byte* src, std::size_t n) noexcept {
  if (!fits_two_vectors(n)) return copy(dst, src, n);
  const svuint8_t first = load_first(src, n);
  const svuint8_t second = load_second(src, n);
  svst1_u8(in_first(n), reinterpret_cast<std::uint8_t*>(dst), first);
  svst1_vnum_u8(in_second(n), reinterpret_cast<std::uint8_t*>(dst), 1, second);
}

VM_MEM_INLINE int order_of_vectors(svuint8_t a, svuint8_t b) {
  const svbool_t all = svptrue_b8();
  const svbool_t to_difference = svbrka_b_z(all, svcmpne_u8(all, a, b));
  const int left = svlastb_u8(to_difference, a);
  const int right = svlastb_u8(to_difference, b);
  return static_cast<int>(left > right) - static_cast<int>(left < right);
}

VM_MEM_KERNEL int compare_scalable(const std::byte* a, const std::byte* b, std::size_t n) {
  if (!fits_two_vectors(n)) return compare(a, b, n);
  const int order = order_of_vectors(load_first(a, n), load_first(b, n));
  return order != 0 ? order : order_of_vectors(load_second(a, n), load_second(b, n));
}

VM_MEM_KERNEL bool equal_scalable(const std::byte* a, const std::byte* b, std::size_t n) {
  if (!fits_two_vectors(n)) return equal(a, b, n);
  const svbool_t all = svptrue_b8();
  const svuint8_t first = sveor_u8_x(all, load_first(a, n), load_first(b, n));
  return !any_set(svorr_u8_x(all, first, sveor_u8_x(all, load_second(a, n), load_second(b, n))));
}

VM_MEM_KERNEL bool is_zero_scalable(const std::byte* p, std::size_t n) {
  if (!fits_two_vectors(n)) return is_zero(p, n);
  return !any_set(svorr_u8_x(svptrue_b8(), load_first(p, n), load_second(p, n)));
}

VM_MEM_TARGET_END

bool supported_here() { return cpu_features().sve && cpu_features().neon; }

consteval CopyKernels make_scalable_row() {
  CopyKernels row = make_row("sve", supported_here, kRecoverable);
  row.copy = copy_scalable;
  row.compare = compare_scalable;
  row.equal = equal_scalable;
  row.is_zero = is_zero_scalable;
  return row;
}

}  // namespace

constinit const CopyKernels kSveKernels = make_scalable_row();

}  // namespace vm_mem::internal
