// Every allocation of a call fails once: the call is refused, and everything is as before.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>

#include "vm_device/iommu.h"
#include "vm_device/virtio_iommu.h"
#include "vm_mem/memory_manager.h"

namespace {

// How many allocations of this thread succeed before the next one fails; below 0: all do.
thread_local int allocations_left = -1;

bool fails_now() { return allocations_left >= 0 && allocations_left-- == 0; }

}  // namespace

void* operator new(std::size_t bytes) {
  void* const memory = fails_now() ? nullptr : std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  void* memory = nullptr;
  if (fails_now() || ::posix_memalign(&memory, static_cast<std::size_t>(alignment), bytes) != 0) {
    throw std::bad_alloc();
  }
  return memory;
}
// Out of line: in line g++ takes them for frees of what another function allocated.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace vm_device {
namespace {

constexpr IommuDeviceId kDevice{1};

class IommuMemoryTest : public testing::Test {
 protected:
  // Fails each allocation of `call` in turn, until none is left to fail.
  static void fail_each_allocation_of(const std::function<absl::Status()>& call) {
    absl::Status status;
    int failures = -1;
    do {
      allocations_left = ++failures;
      status = call();
      allocations_left = -1;
      ASSERT_TRUE(status.ok() || status.code() == absl::StatusCode::kResourceExhausted) << status;
    } while (!status.ok());
    EXPECT_GT(failures, 0);
  }

  std::unique_ptr<Iommu> iommu = std::move(Iommu::create({}).value());
};

TEST_F(IommuMemoryTest, NoIommuIsMadeByHalves) {
  fail_each_allocation_of([] { return Iommu::create({}).status(); });
}

TEST_F(IommuMemoryTest, ADomainIsMadeOrNot) {
  const IommuDomainId before = *iommu->create_domain();
  fail_each_allocation_of([&] { return iommu->create_domain().status(); });
  EXPECT_EQ(iommu->create_domain()->value, before.value + 2);
}

TEST_F(IommuMemoryTest, ADeviceIsKnownOrNot) {
  fail_each_allocation_of([&] { return iommu->add_device(kDevice); });
  EXPECT_EQ(iommu->add_device(kDevice).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(IommuMemoryTest, APageIsMappedOrNot) {
  const IommuDomainId domain = *iommu->create_domain();
  ASSERT_TRUE(iommu->add_device(kDevice).ok());
  ASSERT_TRUE(iommu->attach(kDevice, domain).ok());
  std::array<GuestSegment, 1> out;
  ASSERT_FALSE(iommu->translate(kDevice, {0, 1}, DmaAccess::kRead, out).ok());
  fail_each_allocation_of([&] {
    const absl::Status status =
        iommu->map(domain, {0, 4096}, vm_mem::GuestAddress{0}, DmaAccess::kRead);
    EXPECT_EQ(iommu->translate(kDevice, {0, 1}, DmaAccess::kRead, out).ok(), status.ok());
    return status;
  });
}

TEST_F(IommuMemoryTest, ARemovalNeedsNoMemory) {
  const IommuDomainId domain = *iommu->create_domain();
  allocations_left = 0;
  const bool removed = iommu->remove_domain(domain).ok();
  allocations_left = -1;
  EXPECT_TRUE(removed);
}

TEST_F(IommuMemoryTest, ADeviceWithoutAPortReachesNothing) {
  std::array<GuestSegment, 1> out;
  ASSERT_FALSE(iommu->translate(kDevice, {0, 1}, DmaAccess::kRead, out).ok());
  allocations_left = 0;
  const auto refused = iommu->translate({77}, {0, 1}, DmaAccess::kRead, out);
  allocations_left = -1;
  EXPECT_EQ(refused.fault, DmaFault::kTranslation);
}

TEST_F(IommuMemoryTest, AVirtioIommuIsMadeOrNot) {
  const std::array endpoints{kDevice, IommuDeviceId{2}};
  fail_each_allocation_of([&] { return VirtioIommu::create(*iommu, endpoints).status(); });
}

}  // namespace
}  // namespace vm_device
