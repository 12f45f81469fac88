// The first entry of the table that applies to CPU and row gives the limits; the last
// applies to all.

#include "vm_mem/internal/policy_defaults.h"

#include <algorithm>
#include <array>

namespace vm_mem::internal {
namespace {

constexpr std::size_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr std::size_t operator""_MiB(unsigned long long n) { return n << 20; }

// The limit is the largest of these, in bytes and in parts of a cache.
struct Limit {
  std::size_t least = 0;
  std::size_t l1d_halves = 0;
  std::size_t l2_times = 0;
  std::size_t l3_halves = 0;
};

constexpr Limit kNoSize = {.least = kNever};

struct Entry {
  std::string_view name;
  bool (*applies)(const HostCpu& cpu, std::size_t vector_width);
  Limit prefetch_min;
  Limit stream_min;
  Limit stream_hint_min;
  Limit rep_movsb_min = kNoSize;
  Limit rep_movsb_hot_min = kNoSize;
  Limit rep_movsb_max = kNoSize;
  std::size_t stream_pages = 8;
  std::size_t align_loads_max = 0;
};

// A copy that is read again soon comes out of L2: below twice its size streaming loses.
constexpr Limit kStream = {.least = 4_MiB, .l2_times = 2};
// Where the caller says that nothing is read again soon, its fixed cost is what counts.
constexpr Limit kStreamHint = {.least = 64_KiB};
// Above L1 a loop waits for lines to be read before they are overwritten.
constexpr Limit kPastL1 = {.least = 4_KiB, .l1d_halves = 2};

// Up to here the string instruction is as fast, and leaves the bytes in the caches.
constexpr Limit kStreamZen5 = {.least = 4_MiB, .l3_halves = 1};

bool has_short_strings(const HostCpu& cpu) {
  return cpu.vendor == CpuVendor::kAmd && cpu.fast_rep_movsb && cpu.fast_short_rep_movsb;
}

bool is_zen5(const HostCpu& cpu) { return has_short_strings(cpu) && cpu.family >= 0x1a; }

bool is_x86_vector(const HostCpu& cpu, std::size_t vector_width) {
  return cpu.vendor != CpuVendor::kArm && vector_width >= 16;
}

constexpr std::array kEntries = {
    // Narrow loops are behind the string instruction in L1 too.
    Entry{.name = "AMD Zen 5 and later, 128-bit",
          .applies = [](const HostCpu& cpu,
                        std::size_t vector_width) { return is_zen5(cpu) && vector_width == 16; },
          .prefetch_min = kNoSize,
          .stream_min = kStreamZen5,
          .stream_hint_min = kStreamHint,
          .rep_movsb_min = {.least = 1_KiB},
          .rep_movsb_hot_min = {.least = 1_KiB},
          .stream_pages = 1,
          .align_loads_max = 4_KiB},
    // Measured on Zen 5 (docs/kernels.md): `rep movsb` beats loops but where the
    // destination is in L1, and streaming stores up to half of L3.
    Entry{.name = "AMD Zen 5 and later",
          .applies =
              [](const HostCpu& cpu, std::size_t vector_width) {
                return is_zen5(cpu) && is_x86_vector(cpu, vector_width);
              },
          .prefetch_min = kNoSize,
          .stream_min = kStreamZen5,
          .stream_hint_min = kStreamHint,
          .rep_movsb_min = {.least = 2_KiB},
          .rep_movsb_hot_min = {.least = 2_KiB, .l1d_halves = 1},
          .stream_pages = 1,
          .align_loads_max = 4_KiB},
    // Their `rep movsb` is up to 20 times slower than a loop where only the source is
    // aligned, and equals it from the size of L2.
    // Source:  glibc bug 30994 and its fix, "x86: Fix Zen3/Zen4 ERMS selection".
    Entry{.name = "AMD Zen 3 and Zen 4",
          .applies =
              [](const HostCpu& cpu, std::size_t vector_width) {
                return has_short_strings(cpu) && is_x86_vector(cpu, vector_width);
              },
          .prefetch_min = kPastL1,
          .stream_min = kNoSize,
          .stream_hint_min = kNoSize,
          .rep_movsb_min = {.least = 512_KiB, .l2_times = 1},
          .rep_movsb_hot_min = {.least = 512_KiB, .l2_times = 1}},
    Entry{.name = "x86-64 with AVX-512",
          .applies =
              [](const HostCpu& cpu, std::size_t vector_width) {
                return is_x86_vector(cpu, vector_width) && vector_width >= 64;
              },
          .prefetch_min = {.least = 4_KiB},
          .stream_min = kStream,
          .stream_hint_min = kStreamHint},
    Entry{.name = "Intel with ERMS, 256-bit",
          .applies =
              [](const HostCpu& cpu, std::size_t vector_width) {
                return cpu.vendor == CpuVendor::kIntel && cpu.fast_rep_movsb && vector_width == 32;
              },
          .prefetch_min = kNoSize,
          .stream_min = kStream,
          .stream_hint_min = kStreamHint,
          .rep_movsb_min = {.least = 4_KiB},
          .rep_movsb_hot_min = {.least = 4_KiB},
          .rep_movsb_max = kStream},
    Entry{.name = "Intel with ERMS, 128-bit",
          .applies =
              [](const HostCpu& cpu, std::size_t vector_width) {
                return cpu.vendor == CpuVendor::kIntel && cpu.fast_rep_movsb && vector_width == 16;
              },
          .prefetch_min = kNoSize,
          .stream_min = kStream,
          .stream_hint_min = kStreamHint,
          .rep_movsb_min = {.least = 2_KiB},
          .rep_movsb_hot_min = {.least = 2_KiB},
          .rep_movsb_max = kStream},
    Entry{.name = "x86-64",
          .applies = is_x86_vector,
          .prefetch_min = kPastL1,
          .stream_min = kStream,
          .stream_hint_min = kStreamHint},
    Entry{.name = "any CPU",
          .applies = [](const HostCpu&, std::size_t) { return true; },
          .prefetch_min = kNoSize,
          .stream_min = kStream,
          .stream_hint_min = kStreamHint,
          .stream_pages = 1},
};

std::size_t resolve(const Limit& limit, const CacheSizes& caches) {
  return std::max({limit.least, limit.l1d_halves * caches.l1d / 2, limit.l2_times * caches.l2,
                   limit.l3_halves * caches.l3 / 2});
}

// Intel CPUs that lower their clock when 512-bit registers are used: Skylake-SP and -X
// with Cascade Lake, Ice Lake servers and clients, Tiger Lake.
// Source:  Linux, arch/x86/kernel/cpu/intel.c, zmm_exclusion_list.
constexpr std::array<unsigned, 8> kThrottling = {0x55, 0x6a, 0x6c, 0x7d, 0x7e, 0x9d, 0x8c, 0x8d};

}  // namespace

PolicyDefaults policy_defaults(const HostCpu& cpu, std::size_t vector_width) {
  const Entry& entry = *std::find_if(kEntries.begin(), kEntries.end(), [&](const Entry& each) {
    return each.applies(cpu, vector_width);
  });
  const auto bytes = [&](const Limit& limit) { return resolve(limit, cpu.caches); };
  return {.name = entry.name,
          .policy = {.inline_max = 64,
                     .vector_width = vector_width,
                     .align_loads_max = entry.align_loads_max,
                     .prefetch_min = bytes(entry.prefetch_min),
                     .stream_min = bytes(entry.stream_min),
                     .stream_hint_min = bytes(entry.stream_hint_min),
                     .stream_pages = entry.stream_pages,
                     .rep_movsb_min = bytes(entry.rep_movsb_min),
                     .rep_movsb_hot_min = bytes(entry.rep_movsb_hot_min),
                     .rep_movsb_max = bytes(entry.rep_movsb_max)}};
}

std::size_t preferred_width(const HostCpu& cpu) {
  const bool throttles =
      cpu.vendor == CpuVendor::kIntel && cpu.family == 6 &&
      std::find(kThrottling.begin(), kThrottling.end(), cpu.model) != kThrottling.end();
  return throttles ? 32 : kNever;
}

}  // namespace vm_mem::internal
