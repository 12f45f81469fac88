#include "vm_engine/code_fetcher.h"

#include <algorithm>
#include <array>
#include <bit>

#include "vm_engine/internal/transfer.h"

namespace vm_engine {

FetchResult CodeFetcher::fetch(std::uint64_t gva, std::span<std::byte> to) {
  auto& cpu = static_cast<internal::Cpu&>(*cpu_);
  const internal::TransferRequest request{.kind = internal::TransferKind::kRead,
                                          .bytes = to.size(),
                                          .flags = (mmu_mode_ << VME_MMU_SRC_SHIFT) | VME_NO_MMIO,
                                          .source_gva = gva,
                                          .host_to = to.data(),
                                          .read_access = VME_ACCESS_EXECUTE};
  const std::uint64_t left = internal::Transfer(cpu, request).run();
  if (left == 0) return FetchResult{.done = to.size()};
  return FetchResult{
      .rc = static_cast<vme_rc>(cpu.fault.rc), .done = to.size() - left, .at = cpu.fault.gva};
}

FetchResult CodeFetcher::fetch_in_page(std::uint64_t gva, std::span<std::byte> to) {
  const std::uint64_t rest = internal::kPageBytes - (gva & ~internal::kPageMask);
  return fetch(gva, to.first(std::min<std::uint64_t>(to.size(), rest)));
}

vme_rc CodeFetcher::slow_parcel(std::uint64_t gva, std::uint16_t& value) {
  std::array<std::byte, sizeof(value)> bytes{};
  const FetchResult result = fetch(gva, bytes);
  if (result.ok()) value = std::bit_cast<std::uint16_t>(bytes);
  return result.rc;
}

}  // namespace vm_engine
