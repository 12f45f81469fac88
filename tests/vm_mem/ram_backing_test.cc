#include "vm_mem/internal/ram_backing.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/guarded_buffer.h"
#include "tests/support/host_probes.h"
#include "tests/support/temporary_file.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kBytes = 0x20000;

class RamBackingTest : public testing::Test {
 protected:
  static GuestRange range() { return *GuestRange::make(GuestAddress{0x8000'0000}, kBytes); }

  vm_test::TemporaryFile file_{std::string(kBytes, 'f')};
  vm_test::GuardedBuffer memory_{kBytes};
};

TEST_F(RamBackingTest, EveryBackingHoldsWhatTheGuestWrites) {
  const RamOptions backings[] = {
      {.backing = Backing::kAnonymous},
      {.backing = Backing::kMemfd},
      {.backing = Backing::kFile, .file = file_.path()},
      {.backing = Backing::kFile, .file = file_.path(), .sharing = FileSharing::kPrivate},
      {.backing = Backing::kCallerOwned, .memory = memory_.all()},
  };
  for (const RamOptions& options : backings) {
    const auto memory = MemoryManager::create({}).value();
    const auto region = memory->add_ram(range(), options);
    ASSERT_TRUE(region.ok()) << region.status();
    EXPECT_TRUE(memory->store(GuestAddress{0x8000'1238}, std::uint64_t{42}).ok());
    std::uint64_t word = 0;
    EXPECT_TRUE(memory->load(GuestAddress{0x8000'1238}, word).ok());
    EXPECT_EQ(word, 42u);
  }
  EXPECT_EQ(file_.content()[0x1238], 42);
  EXPECT_EQ(memory_.all()[0x1238], std::byte{42});
}

TEST_F(RamBackingTest, ASharedFileThatTheGuestOnlyReadsIsMappedReadOnly) {
  const RamOptions rom = {
      .backing = Backing::kFile, .protection = Protection::kRead, .file = file_.path()};
  EXPECT_FALSE(map_ram(kBytes, rom)->writable());
  RamOptions copy = rom;
  copy.sharing = FileSharing::kPrivate;
  EXPECT_TRUE(map_ram(kBytes, copy)->writable());
}

TEST_F(RamBackingTest, ReservesForResizing) {
  for (const Backing backing : {Backing::kAnonymous, Backing::kMemfd}) {
    const auto mapping = map_ram(kBytes, {.backing = backing, .max_bytes = 4 * kBytes});
    ASSERT_TRUE(mapping.ok()) << mapping.status();
    EXPECT_EQ(mapping->bytes().size(), kBytes);
    EXPECT_EQ(mapping->max_bytes(), 4 * kBytes);
  }
}

TEST_F(RamBackingTest, OptionsOfAnotherBackingAreRefused) {
  const RamOptions misplaced[] = {
      {.backing = Backing::kMemfd, .file = file_.path()},
      {.backing = Backing::kAnonymous, .fd = 0},
      {.backing = Backing::kHugetlb, .file_offset = 0x10000},
      {.backing = Backing::kAnonymous, .memory = memory_.all()},
      {.backing = static_cast<Backing>(77)},
  };
  for (const RamOptions& options : misplaced) {
    const absl::Status status = map_ram(kBytes, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
}

TEST_F(RamBackingTest, ARefusalLeavesTheMapAndTheDescriptorsAsTheyWere) {
  const auto memory = MemoryManager::create({}).value();
  ASSERT_TRUE(memory->add_ram(*GuestRange::make(GuestAddress{0}, 0x1000)).ok());
  const auto generation = memory->generation();
  const int descriptors = vm_test::open_descriptors();
  RamOptions guarded = {.backing = Backing::kCallerOwned, .memory = memory_.all()};
  guarded.host.guards = GuardPages::kBothSides;
  const RamOptions refused[] = {
      {.backing = Backing::kFile},
      {.backing = Backing::kFile, .file = "/nonexistent"},
      {.backing = Backing::kFile, .file = "/tmp"},
      {.backing = Backing::kFile, .file = file_.path(), .file_offset = 0x10000},
      {.backing = Backing::kFile, .file = file_.path(), .file_offset = 1},
      {.backing = Backing::kHugetlb, .huge_page_bytes = 5},
      {.backing = Backing::kHugetlb},
      {.backing = Backing::kCallerOwned},
      {.backing = Backing::kCallerOwned, .memory = memory_.all().subspan(1)},
      guarded,
  };
  for (const RamOptions& options : refused) {
    const absl::Status status = memory->add_ram(range(), options).status();
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(status.message().empty());
  }
  EXPECT_EQ(memory->generation(), generation);
  EXPECT_EQ(vm_test::open_descriptors(), descriptors);
  EXPECT_TRUE(memory->add_ram(range()).ok());
}

TEST(RecoversTest, ByBackingUnlessToldOtherwise) {
  EXPECT_FALSE(recovers({.backing = Backing::kAnonymous}));
  EXPECT_FALSE(recovers({.backing = Backing::kMemfd}));
  EXPECT_TRUE(recovers({.backing = Backing::kFile}));
  EXPECT_TRUE(recovers({.backing = Backing::kHugetlb}));
  EXPECT_TRUE(recovers({.backing = Backing::kCallerOwned}));
  EXPECT_TRUE(
      recovers({.backing = Backing::kMemfd, .fault_recovery = FaultRecovery::kRecoverable}));
  EXPECT_FALSE(recovers({.backing = Backing::kFile, .fault_recovery = FaultRecovery::kPlain}));
}

}  // namespace
}  // namespace vm_mem::internal
