// An IOMMU as plainly as it can be written down: lists of ranges, searched from the
// front, and one byte after the other.
#ifndef TESTS_VM_DEVICE_FUZZ_IOMMU_MODEL_H_
#define TESTS_VM_DEVICE_FUZZ_IOMMU_MODEL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <stdexcept>
#include <vector>

#include "vm_device/iommu.h"

namespace vm_device {

inline void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

struct ModelRange {
  std::uint64_t first, last, to;
  std::uint8_t permitted;
};

// The ranges of one domain, in no order.
class ModelDomain {
 public:
  const ModelRange* find(std::uint64_t iova) const {
    for (const ModelRange& it : ranges_) {
      if (iova >= it.first && iova <= it.last) return &it;
    }
    return nullptr;
  }
  bool overlaps(std::uint64_t first, std::uint64_t last) const {
    return std::any_of(ranges_.begin(), ranges_.end(),
                       [&](const ModelRange& it) { return it.first <= last && first <= it.last; });
  }
  std::uint64_t mapped_in(std::uint64_t first, std::uint64_t last) const {
    std::uint64_t bytes = 0;
    for (const ModelRange& it : ranges_) {
      if (it.first > last || first > it.last) continue;
      bytes += std::min(it.last, last) - std::max(it.first, first) + 1;
    }
    return bytes;
  }
  void add(const ModelRange& range) { ranges_.push_back(range); }
  void cut(std::uint64_t first, std::uint64_t last) {
    std::vector<ModelRange> left;
    for (const ModelRange& it : ranges_) {
      if (it.first > last || first > it.last) {
        left.push_back(it);
        continue;
      }
      if (it.first < first) left.push_back({it.first, first - 1, it.to, it.permitted});
      if (it.last > last) {
        left.push_back({last + 1, it.last, it.to + (last + 1 - it.first), it.permitted});
      }
    }
    ranges_ = std::move(left);
  }

 private:
  std::vector<ModelRange> ranges_;
};

enum class ModelTarget : std::uint8_t { kUnknown, kBlocked, kBypassed, kDomain };

struct ModelDevice {
  ModelTarget target = ModelTarget::kUnknown;
  std::uint32_t domain = 0;
};

struct IommuModel {
  static constexpr std::size_t kFaultQueue = 8;

  // Where a byte goes, or why it goes nowhere.
  std::optional<std::uint64_t> locate(std::uint32_t device, std::uint64_t iova, DmaAccess access,
                                      IommuFaultReason& reason) const {
    const ModelDevice& it = devices[device];
    if (it.target == ModelTarget::kBypassed) return iova;
    if (it.target != ModelTarget::kDomain) {
      reason = it.target == ModelTarget::kUnknown ? IommuFaultReason::kUnknownDevice
                                                  : IommuFaultReason::kNoDomain;
      return std::nullopt;
    }
    const ModelRange* const range = domains.at(it.domain).find(iova);
    reason = range == nullptr ? IommuFaultReason::kUnmapped : IommuFaultReason::kForbidden;
    const auto bits = static_cast<std::uint8_t>(access);
    if (range == nullptr || (range->permitted & bits) != bits) return std::nullopt;
    return range->to + (iova - range->first);
  }
  void record(std::uint32_t device, std::uint64_t iova, DmaAccess access, IommuFaultReason reason) {
    if (faults.size() == kFaultQueue) {
      ++lost;
    } else {
      faults.push_back({{device}, iova, access, reason});
    }
  }

  std::map<std::uint32_t, ModelDomain> domains;
  std::vector<ModelDevice> devices;
  std::deque<IommuFault> faults;
  std::uint64_t lost = 0;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_FUZZ_IOMMU_MODEL_H_
