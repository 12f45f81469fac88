#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <thread>
#include <vector>

#include "tests/support/emulator.h"
#include "tests/support/faulty_memory.h"
#include "tests/vm_engine/fault_sites.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/engine.h"

namespace {

using vm_test::FaultCode;
using vm_test::FaultyMemory;
using vm_test::HostFailure;

class FaultGuardTest : public testing::Test {
 protected:
  FaultGuardTest() {
    EXPECT_EQ(vme_fault_install(0), VME_OK);
    EXPECT_EQ(vme_thread_attach(machine_.cpu.get()), VME_OK);
  }
  ~FaultGuardTest() override { vme_thread_detach(); }

  const vme_fault& fault() const { return machine_.cpu->fault; }
  vme_engine* engine() const { return machine_.engine.get(); }

  // How an access to `at` ended: 1 where it faulted.
  static std::uint64_t load(const std::byte* at) {
    std::uint64_t faulted = 7;
    vm_test_load(at, 0, &faulted);
    return faulted;
  }
  static std::uint64_t store(std::byte* at) {
    std::uint64_t faulted = 7;
    vm_test_store(at, 0, 0x1122334455667788, &faulted);
    return faulted;
  }

  vm_test::Machine machine_;
};

TEST_F(FaultGuardTest, AFaultGoesOnAtTheLandingPadWithTheSitesRecord) {
  const FaultCode code(engine(), VME_SITE_HOST_POINTER);
  const FaultyMemory memory(HostFailure::kNoAccess);
  EXPECT_EQ(load(memory.bad() - 8), 0u);
  EXPECT_EQ(load(memory.bad() + 16), 1u);
  EXPECT_EQ(fault().rc, std::uint32_t{VME_PROT});
  EXPECT_EQ(fault().access, VME_ACCESS_READ);
  EXPECT_EQ(fault().side, VME_SIDE_SOURCE);
  EXPECT_EQ(fault().site, vm_test::kLoadCookie);
  EXPECT_EQ(fault().gva, reinterpret_cast<std::uintptr_t>(memory.bad() + 16));
  EXPECT_EQ(fault().gpa, ~0ull);
  EXPECT_EQ(fault().acc_size, 8u);
  EXPECT_EQ(fault().host_pc, reinterpret_cast<std::uintptr_t>(vm_test_load_site));
  EXPECT_EQ(fault().guest_pc, vm_test::kGuestPc);
}

TEST_F(FaultGuardTest, ABusErrorIsTold) {
  const FaultCode code(engine(), VME_SITE_HOST_POINTER);
  const FaultyMemory memory(HostFailure::kTruncatedMemfd);
  EXPECT_EQ(store(memory.bad()), 1u);
  EXPECT_EQ(fault().rc, std::uint32_t{VME_BUS});
  EXPECT_EQ(fault().access, VME_ACCESS_WRITE);
  EXPECT_EQ(fault().side, VME_SIDE_DESTINATION);
  EXPECT_EQ(fault().site, vm_test::kStoreCookie);
}

TEST_F(FaultGuardTest, ACopyStopsAtTheFirstByteThatFails) {
  const FaultCode code(engine(), VME_SITE_HOST_POINTER);
  const FaultyMemory memory(HostFailure::kNoAccess);
  std::array<std::byte, 64> buffer{};
  for (std::uint64_t before = 0; before < 40; ++before) {
    EXPECT_EQ(vm_test_copy(buffer.data(), memory.bad() - before, buffer.size()), before);
    EXPECT_EQ(vm_test_copy(memory.bad() - before, buffer.data(), buffer.size()), before);
  }
}

TEST_F(FaultGuardTest, RegistrationRefusesBadInput) {
  const std::vector<vme_site> good = vm_test::fault_sites(0);
  vme_code* code = nullptr;
  const auto with = [&](void* base, std::uint64_t bytes, const std::vector<vme_site>& sites) {
    return vme_code_register(engine(), base, bytes, sites.data(), sites.size(), &code);
  };
  const auto changed = [&](void (*change)(vme_site&)) {
    std::vector<vme_site> sites = good;
    change(sites[1]);
    return with(vm_test::code_base(), vm_test::code_bytes(), sites);
  };
  EXPECT_EQ(with(nullptr, 64, good), VME_EINVAL);
  EXPECT_EQ(with(vm_test::code_base(), 0, good), VME_EINVAL);
  EXPECT_EQ(with(vm_test::code_base(), (1ull << 32) + 1, good), VME_EINVAL);
  EXPECT_EQ(with(vm_test::code_base(), good.back().pc_off, good), VME_EINVAL);
  EXPECT_EQ(with(&code, sizeof code, {}), VME_EINVAL) << "not executable";
  EXPECT_EQ(changed([](vme_site& s) { s.pc_off = 0; }), VME_EINVAL);
  EXPECT_EQ(changed([](vme_site& s) { s.land_off = 1 << 20; }), VME_EINVAL);
  EXPECT_EQ(changed([](vme_site& s) { s.access = VME_ACCESS_EXECUTE; }), VME_EINVAL);
  EXPECT_EQ(changed([](vme_site& s) { s.access = 3; }), VME_EINVAL);
  EXPECT_EQ(changed([](vme_site& s) { s.size_log2 = 7; }), VME_EINVAL);
  EXPECT_EQ(changed([](vme_site& s) { s.side = 2; }), VME_EINVAL);
  EXPECT_EQ(changed([](vme_site& s) { s.flags = 2; }), VME_EINVAL);
  EXPECT_EQ(vme_code_register(nullptr, vm_test::code_base(), 8, nullptr, 0, &code), VME_EINVAL);
  EXPECT_EQ(vme_code_register(engine(), vm_test::code_base(), 8, nullptr, 0, nullptr), VME_EINVAL);
  EXPECT_EQ(vme_code_register(engine(), vm_test::code_base(), 8, nullptr, 1, &code), VME_EINVAL);
  EXPECT_EQ(code, nullptr);
  EXPECT_EQ(vme_code_unregister(nullptr), VME_OK);
  EXPECT_EQ(vme_fault_install(1), VME_EINVAL);
}

TEST_F(FaultGuardTest, CodeIsRegisteredOnce) {
  const FaultCode code(engine(), VME_SITE_HOST_POINTER);
  vme_code* again = nullptr;
  for (const std::uint64_t bytes : {std::uint64_t{1}, vm_test::code_bytes()}) {
    EXPECT_EQ(vme_code_register(engine(), vm_test::code_base(), bytes, nullptr, 0, &again),
              VME_EINVAL);
  }
}

TEST_F(FaultGuardTest, AHotSiteIsToldOnceWhenItsLimitIsReached) {
  const FaultCode code(engine(), VME_SITE_HOST_POINTER);
  const FaultyMemory memory(HostFailure::kNoAccess);
  std::vector<vme_hot_site> told;
  const auto take = [&] {
    return vme_hot_take(
        engine(),
        [](void* all, const vme_hot_site* site) {
          static_cast<std::vector<vme_hot_site>*>(all)->push_back(*site);
        },
        &told);
  };
  for (int i = 0; i < 15; ++i) EXPECT_EQ(load(memory.bad()), 1u);
  EXPECT_EQ(take(), 0u);
  EXPECT_EQ(load(memory.bad()), 1u);
  ASSERT_EQ(take(), 1u);
  EXPECT_EQ(told[0].code, code.get());
  EXPECT_EQ(told[0].index, 0u);
  EXPECT_EQ(told[0].faults, 16u);
  EXPECT_EQ(told[0].site.cookie, vm_test::kLoadCookie);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(load(memory.bad()), 1u);
  EXPECT_EQ(take(), 0u);
}

TEST_F(FaultGuardTest, ALowerLimitHoldsForSitesThatHaveReachedItAlready) {
  const FaultCode code(engine(), VME_SITE_HOST_POINTER);
  const FaultyMemory memory(HostFailure::kNoAccess);
  const auto take = [&] {
    return vme_hot_take(
        engine(), [](void*, const vme_hot_site*) {}, nullptr);
  };
  vme_hot_limits(engine(), 0, 0);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(load(memory.bad()), 1u);
  EXPECT_EQ(take(), 0u) << "0 is never";
  vme_hot_limits(engine(), 1, 3);
  EXPECT_EQ(load(memory.bad()), 1u);
  EXPECT_EQ(take(), 1u);
  vme_hot_limits(engine(), 1, 2);
  EXPECT_EQ(load(memory.bad()), 1u);
  EXPECT_EQ(take(), 0u) << "told of once";
}

// A page at its own place, to register code in and to unmap.
class OnePage {
 public:
  explicit OnePage(void* at = nullptr, int rights = PROT_READ | PROT_EXEC)
      : at_(mmap(at, 4096, rights, MAP_PRIVATE | MAP_ANONYMOUS | (at != nullptr ? MAP_FIXED : 0),
                 -1, 0)) {}
  OnePage(const OnePage&) = delete;
  OnePage& operator=(const OnePage&) = delete;
  ~OnePage() { munmap(at_, 4096); }
  void* at() const { return at_; }

 private:
  void* at_;
};

TEST_F(FaultGuardTest, MappingsOnceSeenToBeExecutableAreNotLookedUpAgain) {
  if (vm_test::is_emulated()) GTEST_SKIP() << "qemu tells of its own mappings' rights";
  const auto is_accepted = [&](void* at) {
    vme_code* code = nullptr;
    const vme_rc rc = vme_code_register(engine(), at, 16, nullptr, 0, &code);
    EXPECT_EQ(vme_code_unregister(code), VME_OK);
    return rc == VME_OK;
  };
  const OnePage data(nullptr, PROT_READ);
  EXPECT_FALSE(is_accepted(data.at()));
  const OnePage first;
  const OnePage apart(nullptr, PROT_NONE);
  EXPECT_TRUE(is_accepted(first.at()));
  EXPECT_TRUE(is_accepted(vm_test::code_base()));
  // What the host says by now shows that nobody asks it.
  const OnePage changed(first.at(), PROT_READ);
  EXPECT_TRUE(is_accepted(vm_test::code_base()));
  EXPECT_TRUE(is_accepted(first.at()));
}

TEST_F(FaultGuardTest, CodeOfARunningBlockIsNotUnregistered) {
  const std::vector<vme_site> sites = vm_test::fault_sites(0);
  vme_code* code = nullptr;
  ASSERT_EQ(vme_code_register(engine(), vm_test::code_base(), vm_test::code_bytes(), sites.data(),
                              sites.size(), &code),
            VME_OK);
  machine_.cpu->cur_blk_lo = vm_test::kGuestPc;
  machine_.cpu->cur_blk_hi = vm_test::kGuestPc + 1;
  EXPECT_EQ(vme_code_unregister(code), VME_EBUSY);
  machine_.cpu->cur_blk_lo = machine_.cpu->cur_blk_hi = 0;
  EXPECT_EQ(vme_code_unregister(code), VME_OK);
}

TEST_F(FaultGuardTest, AVcpuIsAttachedToOneThread) {
  vme_rc on_other_thread = VME_OK;
  std::thread([&] { on_other_thread = vme_thread_attach(machine_.cpu.get()); }).join();
  EXPECT_EQ(on_other_thread, VME_EINVAL);
  EXPECT_EQ(vme_thread_attach(machine_.cpu.get()), VME_OK);
  vme_thread_detach();
  std::thread([&] { on_other_thread = vme_thread_attach(machine_.cpu.get()); }).join();
  EXPECT_EQ(on_other_thread, VME_OK);
  EXPECT_EQ(vme_thread_attach(machine_.cpu.get()), VME_OK) << "that thread has ended";
  EXPECT_EQ(vme_thread_attach(nullptr), VME_EINVAL);
  vme_cpu foreign{};
  EXPECT_EQ(vme_thread_attach(&foreign), VME_EINVAL);
}

}  // namespace
