#include "bench/vm_mem/snapshot/zero_rows.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "bench/harness/contest.h"
#include "bench/harness/machine.h"
#include "bench/harness/page_buffer.h"
#include "bench/harness/process.h"
#include "vm_mem/internal/zero_page.h"

namespace vm_bench {
namespace {

bool by_memcmp(const std::byte* page) {
  return page[0] == std::byte{0} && std::memcmp(page, page + 1, kPage - 1) == 0;
}

bool by_core(const std::byte* page) { return vm_mem::internal::is_zero_page(page); }

using Test = bool (*)(const std::byte*);

void check(Test test) {
  alignas(64) std::byte page[kPage] = {};
  bool right = test(page);
  for (std::size_t at = 0; at < kPage; ++at) {
    page[at] = std::byte{1};
    right = right && !test(page);
    page[at] = std::byte{0};
  }
  if (!right) give_up("a zero test is wrong");
}

// Goes on where it ended: pages in memory are not met again before all others were.
class Walk {
 public:
  Walk(const std::byte* pages, std::size_t bytes) : pages_(pages), bytes_(bytes) {}

  template <bool (*kTest)(const std::byte*)>
  Contest::Run testing() {
    return [this](std::size_t count) {
      bool zero = true;
      for (std::size_t i = 0; i < count; ++i) {
        zero = kTest(pages_ + at_) && zero;
        at_ = at_ + kPage < bytes_ ? at_ + kPage : 0;
      }
      if (!zero) give_up("a page of zeros is not zero");
    };
  }

 private:
  const std::byte* pages_;
  std::size_t bytes_;
  std::size_t at_ = 0;
};

}  // namespace

Regime zero_scan(std::string name, PagesAre where) {
  return {.name = std::move(name), .measure = [where](Session& session) {
            check(by_core);
            check(by_memcmp);
            const bool hot = where == PagesAre::kInL1;
            const std::size_t bytes = hot ? 4 * kPage : beyond_caches_bytes();
            PageBuffer buffer;
            Walk walk(buffer.at_least(bytes), bytes);
            const Contest contest{.ours = walk.testing<by_core>(),
                                  .peer = walk.testing<by_memcmp>(),
                                  .warmth = hot ? Warmth::kHot : Warmth::kCold};
            Ratio ratio{.outcome = compare(contest, session.effort()), .peer = "memcmp(p,p+1)"};
            ratio.remark = in_nanoseconds(ratio.outcome);
            return ratio;
          }};
}

}  // namespace vm_bench
