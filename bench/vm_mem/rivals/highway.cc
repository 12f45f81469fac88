// Highway's Copy, compiled for every target that it knows and chosen for this CPU.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/vm_mem/rivals/highway.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, as Highway wants it.
#include <hwy/contrib/algo/copy-inl.h>
#include <hwy/highway.h>

#include <cstdint>

#include "bench/vm_mem/contestants.h"

HWY_BEFORE_NAMESPACE();
namespace vm_bench {
namespace HWY_NAMESPACE {

void copy_highway(std::byte* dst, const std::byte* src, std::size_t n) {
  const hwy::HWY_NAMESPACE::ScalableTag<std::uint8_t> tag;
  hwy::HWY_NAMESPACE::Copy(tag, reinterpret_cast<const std::uint8_t*>(src), n,
                           reinterpret_cast<std::uint8_t*>(dst));
}

}  // namespace HWY_NAMESPACE
}  // namespace vm_bench
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vm_bench {
namespace {

HWY_EXPORT(copy_highway);

void copy_dispatched(std::byte* dst, const std::byte* src, std::size_t n) {
  HWY_DYNAMIC_DISPATCH(copy_highway)(dst, src, n);
}

const Rival kHighway("highway", copy_dispatched, true);

}  // namespace
}  // namespace vm_bench
#endif
