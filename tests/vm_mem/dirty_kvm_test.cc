// KVM's dirty bitmap as a feed of the dirty log: a guest of four instructions stores to
// three pages.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {
namespace {

constexpr std::uint64_t kPages = 16;
constexpr std::uint64_t kCode = 0x1000;
// In 16-bit mode: mov byte [0x2000], 1; the same at 0x5000 and 0x9000; hlt.
constexpr unsigned char kProgram[] = {0xc6, 0x06, 0x00, 0x20, 0x01, 0xc6, 0x06, 0x00,
                                      0x50, 0x01, 0xc6, 0x06, 0x00, 0x90, 0x01, 0xf4};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

bool start_at(int vcpu, std::uint64_t address) {
  kvm_sregs segments{};
  if (ioctl(vcpu, KVM_GET_SREGS, &segments) != 0) return false;
  for (kvm_segment* segment : {&segments.cs, &segments.ds}) {
    segment->base = 0;
    segment->selector = 0;
  }
  kvm_regs registers{};
  registers.rip = address;
  registers.rflags = 2;
  return ioctl(vcpu, KVM_SET_SREGS, &segments) == 0 && ioctl(vcpu, KVM_SET_REGS, &registers) == 0;
}

TEST(DirtyKvmTest, AGuestsStoresReachTheHarvest) {
  const auto memory = MemoryManager::create({}).value();
  const auto range = GuestRange::make(GuestAddress{0}, kPages * kDirtyPageBytes).value();
  const RegionId ram = memory->add_ram(range, {.dirty_tracking = DirtyTracking::kOn}).value();
  ASSERT_TRUE(memory->write(GuestAddress{kCode}, std::as_bytes(std::span(kProgram))).ok());
  const DirtyClient client = memory->add_dirty_client("kvm").value();
  const auto map = memory->map();
  const MapSection& section = *map->find(GuestAddress{0});

  const Descriptor kvm(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (kvm.get() < 0) GTEST_SKIP() << "/dev/kvm: " << std::strerror(errno);
  const Descriptor vm(ioctl(kvm.get(), KVM_CREATE_VM, 0));
  if (vm.get() < 0) GTEST_SKIP() << "KVM_CREATE_VM: " << std::strerror(errno);
  kvm_userspace_memory_region slot{};
  slot.flags = KVM_MEM_LOG_DIRTY_PAGES;
  slot.memory_size = range.bytes();
  slot.userspace_addr = reinterpret_cast<std::uintptr_t>(section.host);
  ASSERT_EQ(ioctl(vm.get(), KVM_SET_USER_MEMORY_REGION, &slot), 0) << std::strerror(errno);
  const Descriptor vcpu(ioctl(vm.get(), KVM_CREATE_VCPU, 0));
  if (vcpu.get() < 0) GTEST_SKIP() << "KVM_CREATE_VCPU: " << std::strerror(errno);
  if (!start_at(vcpu.get(), kCode)) GTEST_SKIP() << "KVM registers: " << std::strerror(errno);
  const auto run_bytes = static_cast<std::size_t>(ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0));
  void* const shared = mmap(nullptr, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.get(), 0);
  ASSERT_NE(shared, MAP_FAILED);

  const int status = ioctl(vcpu.get(), KVM_RUN, 0);
  const std::uint32_t exit_reason = static_cast<kvm_run*>(shared)->exit_reason;
  munmap(shared, run_bytes);
  if (status != 0 || exit_reason != KVM_EXIT_HLT) {
    GTEST_SKIP() << "this KVM does not run 16-bit code: status " << status << ", exit "
                 << exit_reason;
  }
  std::array<std::uint64_t, 1> bits{};
  kvm_dirty_log log{};
  log.dirty_bitmap = bits.data();
  ASSERT_EQ(ioctl(vm.get(), KVM_GET_DIRTY_LOG, &log), 0) << std::strerror(errno);
  section.dirty_log->merge_bitmap(bits);
  DirtyPages pages;
  ASSERT_EQ(memory->harvest_dirty(client, ram, pages), absl::OkStatus());
  EXPECT_THAT(pages.runs(), testing::ElementsAre(DirtyRun{2, 3}, DirtyRun{5, 6}, DirtyRun{9, 10}));
}

}  // namespace
}  // namespace vm_mem
