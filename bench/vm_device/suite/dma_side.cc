#include "bench/vm_device/suite/dma_side.h"

namespace vm_bench {
namespace {

using vm_device::DmaAccess;
using vm_device::DmaSpace;
using vm_device::Iommu;
using vm_mem::GuestAddress;

constexpr vm_device::IommuDeviceId kDevice{1};
constexpr std::uint64_t kTranslatedPage = 4096;
constexpr std::uint64_t kTranslatedBytes = 16 * kTranslatedPage;
// As a driver has them: one stretch below 4 GiB, whatever the guest addresses.
constexpr std::uint64_t kFirstIova = 0xffe0'0000;

}  // namespace

DmaSide::DmaSide(Form form, Bus bus, Tracked tracked)
    : bus_(bus), manager_(make_manager(two_regions(), tracked)), reader_(*manager_) {
  if (bus == Bus::kIommu) translate_hot_pages();
  if (form == Form::kReader) {
    bus == Bus::kIommu ? dma_.emplace(reader_, *iommu_, kDevice) : dma_.emplace(reader_);
  } else {
    bus == Bus::kIommu ? dma_.emplace(*manager_, *iommu_, kDevice) : dma_.emplace(*manager_);
  }
}

void DmaSide::translate_hot_pages() {
  auto iommu = Iommu::create({});
  require(iommu.ok(), "the host refuses an IOMMU");
  iommu_ = *std::move(iommu);
  const auto domain = iommu_->create_domain();
  require(domain.ok() && iommu_->add_device(kDevice).ok() && iommu_->attach(kDevice, *domain).ok(),
          "the IOMMU refuses a device");
  for (const PeerRange& region : two_regions()) {
    const std::uint64_t hot = region.base + kHotOffset;
    for (std::uint64_t guest = hot; guest < hot + kTranslatedBytes; guest += kTranslatedPage) {
      require(iommu_
                  ->map(*domain, {bus_address(guest), kTranslatedPage}, GuestAddress{guest},
                        DmaAccess::kReadWrite)
                  .ok(),
              "the IOMMU refuses a page");
    }
  }
}

std::uint64_t DmaSide::bus_address(std::uint64_t guest) const {
  if (bus_ == Bus::kDirect) return guest;
  std::uint64_t before = 0;  // of the regions
  for (const PeerRange& region : two_regions()) {
    const std::uint64_t offset = guest - (region.base + kHotOffset);
    if (offset < kTranslatedBytes) return kFirstIova + before + (offset ^ kTranslatedPage);
    before += kTranslatedBytes;
  }
  require(false, "an address of the benchmark has no translation");
  return 0;
}

std::byte* DmaSide::host(std::uint64_t guest) {
  const vm_mem::MapSection* const section = reader_.map().find(GuestAddress{guest});
  require(section != nullptr, "there is no memory at an address of the benchmark");
  return section->host + (guest - section->range.begin().value);
}

void fill_pattern(std::span<std::byte> bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + (i >> 8) * 31 + seed);
  }
}

}  // namespace vm_bench
