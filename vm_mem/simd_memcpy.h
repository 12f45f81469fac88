// The copy core: one table of kernels, chosen at run time for this CPU, tuned by
// size. Everything in this project that moves guest bytes ends here.
//
// Needs, for all of them: valid pointers for `n` bytes; with n == 0 they may be
// anything. Buffers need no alignment. No byte outside the destination is written
// and none outside the source is read.
#ifndef VM_MEM_SIMD_MEMCPY_H_
#define VM_MEM_SIMD_MEMCPY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "vm_mem/copy_policy.h"

namespace vm_mem {

// memcpy_raw, the core, and memcpy_adaptive, the core with small copies in line:
// vm_mem/inline_copy.h, included below.

// The core behind a check: spans of different lengths, or that overlap, are a
// caller's bug; both sizes are printed and the process terminates.
void memcpy_fast(std::span<std::byte> dst, std::span<const std::byte> src) noexcept;

// The ranges may overlap. Returns dst.
void* memmove_raw(void* dst, const void* src, std::size_t n) noexcept;

// Returns dst.
void* memset_raw(void* dst, int value, std::size_t n) noexcept;

// Negative, zero or positive as a is less than, equal to or greater than b, the
// bytes compared as unsigned; sign as libc's.
int memcmp_raw(const void* a, const void* b, std::size_t n) noexcept;

// memcmp_raw() == 0, sooner: no order is found.
bool equal_raw(const void* a, const void* b, std::size_t n) noexcept;

// True where every byte is 0; true for no bytes.
bool is_zero(std::span<const std::byte> bytes) noexcept;

// Like memcpy_raw, but from CopyPolicy::stream_hint_min on asks the CPU not to keep
// `dst` in cache. For data that this core will not read again soon: snapshots,
// migration.
//
// Memory:  where it streams, the stores may pass each other while the call runs; a store
//          fence at the end orders all of them before any later store of this thread.
// Source:  Intel SDM vol. 1, 10.4.6.2 (temporal and non-temporal data).
void* memcpy_stream(void* dst, const void* src, std::size_t n) noexcept;

// The widest instruction set that this CPU and this operating system offer the
// core, found once and cached. What VM_MEM_ISA forces does not change it.
enum class SimdFeature : std::uint8_t { kNone, kSse2, kAvx2, kAvx512, kNeon, kSve };

bool has_sse2() noexcept;
bool has_avx2() noexcept;
bool has_avx512() noexcept;  // F, BW, DQ, VL and BMI2; the OS saves ZMM and mask state
bool has_neon() noexcept;
bool has_sve() noexcept;
SimdFeature simd_feature() noexcept;
// Such as "AVX-512 (512-bit)".
std::string_view simd_feature_name() noexcept;

// The name of the row in use ("avx512", "avx2", "sse2", "sve", "neon", "scalar"): the best
// one, or the one that the environment variable VM_MEM_ISA forces.
std::string_view active_isa() noexcept;

// What was wrong with VM_MEM_ISA or VM_MEM_POLICY when the library started; it then
// runs on its defaults. Ok where nothing was.
absl::Status startup_status();

}  // namespace vm_mem

#include "vm_mem/inline_copy.h"

#endif  // VM_MEM_SIMD_MEMCPY_H_
