#include "bench/vm_mem/suite/guest_recoverable.h"

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "vm_mem/guest_copy.h"
#include "vm_mem/host_fault.h"
#include "vm_mem/internal/recoverable_copy.h"

namespace vm_bench {
namespace {

constexpr std::size_t kMost = std::size_t{1} << 20;
constexpr std::size_t kPage = 4096;

struct Buffers {
  std::vector<std::byte> memory = std::vector<std::byte>(2 * kMost + 4 * kPage, std::byte{1});
  std::byte* guest() { return page(); }
  // Half a page apart: no load is taken for one of the stores before it.
  std::byte* host() { return page() + kMost + kPage + kPage / 2; }

 private:
  std::byte* page() {
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    return memory.data() + (kPage - address % kPage);
  }
};

template <auto kCopy>
Contest::Run repeated(std::byte* dst, const std::byte* src, std::size_t bytes) {
  return [=](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) kCopy(dst, src, bytes);
  };
}

Contest contest(Buffers& buffers, std::size_t bytes, bool reads) {
  std::byte* const guest = buffers.guest();
  std::byte* const host = buffers.host();
  if (reads) {
    return {.ours = repeated<vm_mem::internal::copy_from_guest_or_fault>(host, guest, bytes),
            .peer = repeated<vm_mem::copy_from_guest>(host, guest, bytes)};
  }
  return {.ours = repeated<vm_mem::internal::copy_to_guest_or_fault>(guest, host, bytes),
          .peer = repeated<vm_mem::copy_to_guest>(guest, host, bytes)};
}

Ratio measure(Session& session, std::string_view name) {
  if (!vm_mem::install_host_fault_handler().ok()) std::exit(1);
  Buffers buffers;
  Ratio worst{.outcome = {}, .peer = "plain"};
  double least = 0;
  for (std::size_t bytes = 8; bytes <= kMost; bytes *= 2) {
    for (const bool reads : {true, false}) {
      const std::string point = fmt::format("{}_{}", reads ? "read" : "write", bytes);
      session.progress(point);
      Outcome outcome = settle(contest(buffers, bytes, reads), session.effort());
      session.report_point(name, point, outcome);
      const double median = outcome.summary().median;
      if (!worst.outcome.ratios.empty() && median >= least) continue;
      least = median;
      worst.outcome = std::move(outcome);
      worst.remark = " at " + point;
    }
  }
  return worst;
}

}  // namespace

Regime recoverable(std::string name) {
  return {.name = name, .measure = [name](Session& session) { return measure(session, name); }};
}

}  // namespace vm_bench
