#include "vm_mem/simd_memcpy.h"

#include <cstdio>
#include <cstdlib>

#include "vm_mem/internal/copy_state.h"
#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/startup.h"

namespace vm_mem {
namespace {

std::byte* bytes(void* p) { return static_cast<std::byte*>(p); }
const std::byte* bytes(const void* p) { return static_cast<const std::byte*>(p); }

bool overlap(std::span<const std::byte> a, std::span<const std::byte> b) {
  const auto first = reinterpret_cast<std::uintptr_t>(a.data());
  const auto second = reinterpret_cast<std::uintptr_t>(b.data());
  return !a.empty() && !b.empty() && first < second + b.size() && second < first + a.size();
}

}  // namespace

void memcpy_fast(std::span<std::byte> dst, std::span<const std::byte> src) noexcept {
  const bool same_size = dst.size() == src.size();
  if (!same_size || overlap(dst, src)) {
    std::fprintf(stderr, "vm_mem::memcpy_fast: dst %zu bytes, src %zu bytes: %s\n", dst.size(),
                 src.size(), same_size ? "the ranges overlap" : "the sizes differ");
    std::abort();
  }
  memcpy_raw(dst.data(), src.data(), dst.size());
}

void* memmove_raw(void* dst, const void* src, std::size_t n) noexcept {
  const bool disjoint =
      reinterpret_cast<std::uintptr_t>(dst) - reinterpret_cast<std::uintptr_t>(src) >= n &&
      reinterpret_cast<std::uintptr_t>(src) - reinterpret_cast<std::uintptr_t>(dst) >= n;
  if (disjoint) return memcpy_raw(dst, src, n);
  internal::active_kernels().move(bytes(dst), bytes(src), n);
  return dst;
}

void* memset_raw(void* dst, int value, std::size_t n) noexcept {
  internal::active_kernels().set(bytes(dst), static_cast<std::byte>(value), n);
  return dst;
}

int memcmp_raw(const void* a, const void* b, std::size_t n) noexcept {
  return internal::active_kernels().compare(bytes(a), bytes(b), n);
}

bool equal_raw(const void* a, const void* b, std::size_t n) noexcept {
  return internal::active_kernels().equal(bytes(a), bytes(b), n);
}

bool is_zero(std::span<const std::byte> span) noexcept {
  return internal::active_kernels().is_zero(span.data(), span.size());
}

void* memcpy_stream(void* dst, const void* src, std::size_t n) noexcept {
  const internal::CopyState& state = internal::copy_state();
  const internal::CopyKernels& row = *state.row.load(std::memory_order_relaxed);
  const bool streams = n >= state.stream_hint_min.load(std::memory_order_relaxed);
  (streams ? row.stream : row.copy)(bytes(dst), bytes(src), n);
  return dst;
}

bool has_sse2() noexcept { return internal::cpu_features().sse2; }
bool has_avx2() noexcept { return internal::cpu_features().avx2; }
bool has_avx512() noexcept { return internal::cpu_features().avx512; }
bool has_neon() noexcept { return internal::cpu_features().neon; }
bool has_sve() noexcept { return internal::cpu_features().sve; }

SimdFeature simd_feature() noexcept {
  const internal::CpuFeatures features = internal::cpu_features();
  if (features.avx512) return SimdFeature::kAvx512;
  if (features.avx2) return SimdFeature::kAvx2;
  if (features.sse2) return SimdFeature::kSse2;
  if (features.sve) return SimdFeature::kSve;
  if (features.neon) return SimdFeature::kNeon;
  return SimdFeature::kNone;
}

std::string_view simd_feature_name() noexcept {
  switch (simd_feature()) {
    case SimdFeature::kNone: return "scalar (64-bit)";
    case SimdFeature::kSse2: return "SSE2 (128-bit)";
    case SimdFeature::kAvx2: return "AVX2 (256-bit)";
    case SimdFeature::kAvx512: return "AVX-512 (512-bit)";
    case SimdFeature::kNeon: return "NEON (128-bit)";
    case SimdFeature::kSve: return "SVE (scalable)";
  }
  return "unknown";
}

std::string_view active_isa() noexcept { return internal::active_kernels().isa; }

absl::Status startup_status() { return internal::startup().status; }

}  // namespace vm_mem
