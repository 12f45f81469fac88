// Every allocation of a call fails once, alone or with all that follow: the call is refused
// by a status, and everything is as before.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>

#include "tests/support/failing_allocations.h"
#include "vm_device/dma.h"
#include "vm_device/iommu.h"
#include "vm_device/virtio_iommu.h"
#include "vm_mem/memory_manager.h"

namespace vm_device {
namespace {

using vm_test::allocations_left;
using vm_test::Failing;

constexpr IommuDeviceId kDevice{1};

class IommuMemoryTest : public testing::Test {
 protected:
  // Fails each allocation of `call` in turn, until it has what it needs.
  static void fail_each_allocation_of(const std::function<absl::Status()>& call,
                                      Failing how = Failing::kOne) {
    absl::Status status;
    vm_test::failing = how;
    vm_test::failed_allocations = 0;
    for (int succeed = 0; succeed == 0 || !status.ok(); ++succeed) {
      allocations_left = succeed;
      status = call();
      allocations_left = -1;
      ASSERT_TRUE(status.ok() || status.code() == absl::StatusCode::kResourceExhausted) << status;
    }
    EXPECT_GT(vm_test::failed_allocations, 0);
  }

  std::unique_ptr<Iommu> iommu = std::move(Iommu::create({}).value());
};

TEST_F(IommuMemoryTest, NoIommuIsMadeByHalves) {
  for (const Failing how : {Failing::kOne, Failing::kAllFurther}) {
    fail_each_allocation_of([] { return Iommu::create({}).status(); }, how);
  }
}

TEST_F(IommuMemoryTest, ADomainIsMadeOrNot) {
  const IommuDomainId before = *iommu->create_domain();
  for (const Failing how : {Failing::kOne, Failing::kAllFurther}) {
    fail_each_allocation_of([&] { return iommu->create_domain().status(); }, how);
  }
  EXPECT_EQ(iommu->create_domain()->value, before.value + 3);
}

TEST_F(IommuMemoryTest, ADeviceIsKnownOrNot) {
  fail_each_allocation_of([&] { return iommu->add_device({2}); });
  fail_each_allocation_of([&] { return iommu->add_device(kDevice); }, Failing::kAllFurther);
  EXPECT_EQ(iommu->add_device(kDevice).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(IommuMemoryTest, APageIsMappedOrNot) {
  const IommuDomainId domain = *iommu->create_domain();
  ASSERT_TRUE(iommu->add_device(kDevice).ok());
  ASSERT_TRUE(iommu->attach(kDevice, domain).ok());
  std::array<GuestSegment, 1> out;
  ASSERT_FALSE(iommu->translate(kDevice, {0, 1}, DmaAccess::kRead, out).ok());
  fail_each_allocation_of(
      [&] {
        const absl::Status status =
            iommu->map(domain, {0, 4096}, vm_mem::GuestAddress{0}, DmaAccess::kRead);
        EXPECT_EQ(iommu->translate(kDevice, {0, 1}, DmaAccess::kRead, out).ok(), status.ok());
        return status;
      },
      Failing::kAllFurther);
}

// Of unmap() the ends are split, which takes tables; where they cannot be had, nothing goes.
TEST_F(IommuMemoryTest, APageIsUnmappedOrNot) {
  const IommuDomainId domain = *iommu->create_domain();
  ASSERT_TRUE(iommu->map(domain, {0, 1 << 30}, vm_mem::GuestAddress{0}, DmaAccess::kRead).ok());
  fail_each_allocation_of([&] { return iommu->unmap(domain, {4096, 4096}); }, Failing::kAllFurther);
  EXPECT_EQ(*iommu->unmap_within(domain, {0, 1 << 30}), (1u << 30) - 4096);
}

TEST_F(IommuMemoryTest, ARemovalNeedsNoMemory) {
  const IommuDomainId domain = *iommu->create_domain();
  allocations_left = 0;
  const bool removed = iommu->remove_domain(domain).ok();
  allocations_left = -1;
  EXPECT_TRUE(removed);
}

// Whoever asks for unknown devices makes the host keep nothing of them but the faults.
TEST_F(IommuMemoryTest, ATranslationForAnUnknownDeviceTakesNoMemory) {
  std::array<GuestSegment, 1> out;
  ASSERT_FALSE(iommu->translate(kDevice, {0, 1}, DmaAccess::kRead, out).ok());
  vm_test::failing = Failing::kAllFurther;
  vm_test::failed_allocations = 0;
  allocations_left = 0;
  const auto refused = iommu->translate({77}, {0, 1}, DmaAccess::kRead, out);
  allocations_left = -1;
  EXPECT_EQ(refused.fault, DmaFault::kTranslation);
  EXPECT_EQ(vm_test::failed_allocations, 0);
  std::array<IommuFault, 2> faults;
  ASSERT_EQ(iommu->poll_faults(faults), 2u);
  EXPECT_EQ(faults[1].device.value, 77u);
  EXPECT_EQ(faults[1].reason, IommuFaultReason::kUnknownDevice);
}

TEST_F(IommuMemoryTest, ADeviceWithoutAPortReachesNothing) {
  const auto memory = std::move(vm_mem::MemoryManager::create({}).value());
  vm_test::failing = Failing::kOne;
  std::optional<DmaSpace> dma;
  for (int succeed = 0; !dma.has_value(); ++succeed) {
    vm_test::failed_allocations = 0;
    allocations_left = succeed;
    try {
      dma.emplace(*memory, *iommu, kDevice);
    } catch (const std::bad_alloc&) {  // what is no port's
    }
    allocations_left = -1;
  }
  ASSERT_EQ(vm_test::failed_allocations, 1);
  std::array<std::byte, 1> to;
  EXPECT_EQ(dma->read(0, to).fault, DmaFault::kTranslation);
}

TEST_F(IommuMemoryTest, AVirtioIommuIsMadeOrNot) {
  const std::array endpoints{kDevice, IommuDeviceId{2}};
  for (const Failing how : {Failing::kOne, Failing::kAllFurther}) {
    fail_each_allocation_of([&] { return VirtioIommu::create(*iommu, endpoints).status(); }, how);
  }
}

}  // namespace
}  // namespace vm_device
