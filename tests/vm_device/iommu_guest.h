// A guest behind an IOMMU: RAM, ROM, and one device that reaches them by IOVAs.
#ifndef TESTS_VM_DEVICE_IOMMU_GUEST_H_
#define TESTS_VM_DEVICE_IOMMU_GUEST_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/vm_device/guest.h"
#include "vm_device/dma.h"
#include "vm_device/iommu.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {

inline constexpr std::uint64_t kPage = 4096;
inline constexpr IommuDeviceId kDevice{7};
inline constexpr std::uint64_t kRom = 0x10'0000;
inline constexpr std::uint64_t kGuestPages = 16;  // of RAM that the tests map

struct IommuGuest {
  IommuGuest()
      : iommu(std::move(Iommu::create({}).value())),
        domain(*iommu->create_domain()),
        dma(*guest.memory, *iommu, kDevice),
        reader(*guest.memory, vm_mem::Route::kDma),
        on_reader(reader, *iommu, kDevice) {
    EXPECT_TRUE(iommu->add_device(kDevice).ok());
    EXPECT_TRUE(iommu->attach(kDevice, domain).ok());
    EXPECT_TRUE(guest.memory->add_rom(guest_range(kRom, kPage), vm_test::noise(kPage, 9)).ok());
    guest.put_bytes(kRamBase, vm_test::noise(kGuestPages * kPage, 5));
  }
  void map(std::uint64_t iova, std::uint64_t to, std::uint64_t bytes = kPage,
           DmaAccess permitted = DmaAccess::kReadWrite) {
    EXPECT_TRUE(iommu->map(domain, {iova, bytes}, vm_mem::GuestAddress{to}, permitted).ok());
  }
  void unmap(std::uint64_t iova, std::uint64_t bytes = kPage) {
    EXPECT_TRUE(iommu->unmap(domain, {iova, bytes}).ok());
  }
  std::vector<IommuFault> faults() {
    std::vector<IommuFault> out(300);
    out.resize(iommu->poll_faults(out));
    return out;
  }

  Guest guest;
  std::unique_ptr<Iommu> iommu;
  IommuDomainId domain;
  DmaSpace dma;
  vm_mem::MemoryReader reader;
  DmaSpace on_reader;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_IOMMU_GUEST_H_
