#include <cpuid.h>

#include <array>
#include <cstring>
#include <string_view>

#include "vm_mem/internal/cpu_features.h"
#include "vm_mem/internal/cpu_identity.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint32_t kIntelCaches = 4;
constexpr std::uint32_t kExtended = 0x80000000;
constexpr std::uint32_t kAmdCaches = 0x8000001d;
constexpr std::uint32_t kEcxTopologyExtensions = 1u << 22;
constexpr std::uint32_t kMostCaches = 16;

constexpr std::uint32_t bits(std::uint32_t value, unsigned low, unsigned count) {
  return value >> low & ((1u << count) - 1);
}

std::string register_text(std::initializer_list<std::uint32_t> words) {
  std::string text;
  for (const std::uint32_t word : words) {
    std::array<char, sizeof word> bytes{};
    std::memcpy(bytes.data(), &word, sizeof word);
    text.append(bytes.data(), bytes.size());
  }
  return text;
}

// The brand is padded with blanks before and zeros after.
std::string read_brand(const CpuidReader& read) {
  if (read(kExtended, 0).eax < kExtended + 4) return "";
  std::string brand;
  for (std::uint32_t leaf = kExtended + 2; leaf <= kExtended + 4; ++leaf) {
    const CpuidLeaf part = read(leaf, 0);
    brand += register_text({part.eax, part.ebx, part.ecx, part.edx});
  }
  brand.resize(std::strlen(brand.c_str()));
  const std::size_t begin = brand.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return brand.substr(begin, brand.find_last_not_of(' ') - begin + 1);
}

// Leaf 4 of Intel and leaf 8000_001D of AMD have one format.
CacheSizes walk_caches(const CpuidReader& read, std::uint32_t leaf) {
  CacheSizes found;
  for (std::uint32_t i = 0; i < kMostCaches; ++i) {
    const CpuidLeaf cache = read(leaf, i);
    const std::uint32_t type = bits(cache.eax, 0, 5);
    if (type == 0) break;
    if (type == 2) continue;  // instructions
    const std::size_t line = bits(cache.ebx, 0, 12) + 1;
    const std::size_t bytes = line * (bits(cache.ebx, 12, 10) + 1) * (bits(cache.ebx, 22, 10) + 1) *
                              (std::size_t{cache.ecx} + 1);
    const std::uint32_t level = bits(cache.eax, 5, 3);
    if (level == 1) found.l1d = bytes;
    if (level == 2) found.l2 = bytes;
    if (level == 3) found.l3 = bytes;
    if (level == 1) found.line = line;
  }
  return found;
}

// What AMD has on CPUs without topology extensions.
CacheSizes old_amd_caches(const CpuidReader& read) {
  if (read(kExtended, 0).eax < kExtended + 6) return {};
  const CpuidLeaf first = read(kExtended + 5, 0);
  const CpuidLeaf rest = read(kExtended + 6, 0);
  return {.l1d = std::size_t{bits(first.ecx, 24, 8)} << 10,
          .l2 = std::size_t{bits(rest.ecx, 16, 16)} << 10,
          .l3 = std::size_t{bits(rest.edx, 18, 14)} << 19,
          .line = bits(first.ecx, 0, 8)};
}

CacheSizes read_caches(const CpuidReader& read, CpuVendor vendor) {
  if (vendor == CpuVendor::kAmd) {
    const bool listed = read(kExtended, 0).eax >= kAmdCaches &&
                        (read(kExtended + 1, 0).ecx & kEcxTopologyExtensions) != 0;
    return listed ? walk_caches(read, kAmdCaches) : old_amd_caches(read);
  }
  return read(0, 0).eax >= kIntelCaches ? walk_caches(read, kIntelCaches) : CacheSizes{};
}

CpuVendor vendor_named(std::string_view name) {
  if (name == "GenuineIntel") return CpuVendor::kIntel;
  if (name == "AuthenticAMD") return CpuVendor::kAmd;
  return CpuVendor::kOther;
}

void decode_signature(std::uint32_t eax, HostCpu& cpu) {
  const unsigned family = bits(eax, 8, 4);
  cpu.family = family == 0xf ? family + bits(eax, 20, 8) : family;
  cpu.model = bits(eax, 4, 4);
  if (family == 6 || family == 0xf) cpu.model |= bits(eax, 16, 4) << 4;
  cpu.stepping = bits(eax, 0, 4);
}

CpuidLeaf ask_cpu(std::uint32_t leaf, std::uint32_t subleaf) {
  CpuidLeaf got;
  __get_cpuid_count(leaf, subleaf, &got.eax, &got.ebx, &got.ecx, &got.edx);
  return got;
}

}  // namespace

HostCpu decode_x86_cpu(const CpuidReader& read, std::uint64_t saved_state) {
  const CpuidLeaf first = read(0, 0);
  const CpuidLeaf seventh = first.eax >= 7 ? read(7, 0) : CpuidLeaf{};
  const CpuFeatures features = decode_x86({.leaf7_ebx = seventh.ebx, .leaf7_edx = seventh.edx});
  HostCpu cpu;
  cpu.vendor_name = register_text({first.ebx, first.edx, first.ecx});
  cpu.vendor = vendor_named(cpu.vendor_name);
  cpu.brand = read_brand(read);
  decode_signature(read(1, 0).eax, cpu);
  cpu.fast_rep_movsb = features.fast_rep_movsb;
  cpu.fast_short_rep_movsb = features.fast_short_rep_movsb;
  cpu.saved_state = saved_state;
  cpu.caches = read_caches(read, cpu.vendor);
  return cpu;
}

HostCpu detect_host_cpu() {
  return with_caches_of_kernel(decode_x86_cpu(ask_cpu, saved_state_mask()));
}

}  // namespace vm_mem::internal
