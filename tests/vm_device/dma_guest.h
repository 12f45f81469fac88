// A guest for the tests of what goes on beside DMA: RAM, tracked RAM, ROM, registers, and an
// IOMMU before a second view of them.
#ifndef TESTS_VM_DEVICE_DMA_GUEST_H_
#define TESTS_VM_DEVICE_DMA_GUEST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/vm_device/guest.h"
#include "vm_device/dma.h"
#include "vm_device/iommu.h"

namespace vm_device {

inline constexpr std::uint64_t kPage = 4096;
inline constexpr IommuDeviceId kDevice{3};
inline constexpr std::uint64_t kDeviceBase = 0x1000'0000;
inline constexpr std::uint64_t kTracked = 0x4000'0000;
inline constexpr std::uint64_t kRom = 0x5000'0000;

using vm_test::noise;

// `Registers` is an MmioHandler.
template <class Registers>
struct DmaGuest {
  DmaGuest()
      : iommu(std::move(Iommu::create({}).value())),
        domain(*iommu->create_domain()),
        dma(*guest.memory),
        behind(*guest.memory, *iommu, kDevice) {
    EXPECT_TRUE(iommu->add_device(kDevice).ok());
    EXPECT_TRUE(iommu->attach(kDevice, domain).ok());
    EXPECT_TRUE(guest.bus.attach(guest_range(kDeviceBase, kPage), &registers, "registers").ok());
    EXPECT_TRUE(guest.memory->add_rom(guest_range(kRom, kPage), noise(kPage)).ok());
    tracked = *guest.memory->add_ram(guest_range(kTracked, 8 * kPage),
                                     {.dirty_tracking = vm_mem::DirtyTracking::kOn});
    guest.put_bytes(kRamBase, noise(16 * kPage));
  }

  void map_iova(std::uint64_t iova, std::uint64_t to, std::uint64_t bytes = kPage,
                DmaAccess permitted = DmaAccess::kReadWrite) {
    EXPECT_TRUE(iommu->map(domain, {iova, bytes}, vm_mem::GuestAddress{to}, permitted).ok());
  }
  std::uint64_t dirty_pages() { return *guest.memory->dirty_page_count(tracked); }

  Registers registers;
  Guest guest;
  std::unique_ptr<Iommu> iommu;
  IommuDomainId domain;
  DmaSpace dma;
  DmaSpace behind;
  vm_mem::RegionId tracked;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_DMA_GUEST_H_
