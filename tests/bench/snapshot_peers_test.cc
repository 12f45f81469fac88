#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bench/peers/snapshot_restores.h"
#include "bench/peers/snapshot_saves.h"
#include "tests/support/temporary_file.h"

namespace vm_bench {
namespace {

constexpr std::size_t kPages = 300;

// Pages 3 to 6, 100 and the last are not zero, some of them in one byte alone.
class SnapshotPeersTest : public testing::Test {
 protected:
  SnapshotPeersTest() : mapping_(kPages * kGuestPage, PROT_READ | PROT_WRITE) {
    for (std::size_t page = 3; page < 7; ++page) {
      std::ranges::fill(memory().subspan(page * kGuestPage, kGuestPage), std::byte{0x5a});
    }
    memory()[100 * kGuestPage + 1234] = std::byte{1};
    memory().back() = std::byte{2};
  }

  std::span<std::byte> memory() const { return mapping_.bytes(); }
  const std::string& folder() const { return folder_.path(); }
  std::string path() const { return folder_.file("guest"); }
  void expect_memory(std::span<const std::byte> found) const {
    EXPECT_TRUE(std::ranges::equal(found, memory()));
  }

 private:
  vm_test::TemporaryFolder folder_;
  PeerMapping mapping_;
};

TEST_F(SnapshotPeersTest, AWholeSaveIsTheMemory) {
  save_whole(memory(), path());
  expect_memory(vm_test::file_bytes(path()));
}

TEST_F(SnapshotPeersTest, ASparseSaveIsTheMemoryAndHasHoles) {
  save_sparse(memory(), path());
  expect_memory(vm_test::file_bytes(path()));
  std::uint64_t data = 0;
  PeerFile(path(), O_RDONLY).each_extent([&](std::uint64_t begin, std::uint64_t end) {
    data += end - begin;
  });
  EXPECT_LT(data, memory().size());
}

TEST_F(SnapshotPeersTest, EveryMappedRamHasThePagesAtTheirPlacesAndABitmap) {
  for (const MappedRamWrites writes :
       {MappedRamWrites::kPages, MappedRamWrites::kRuns, MappedRamWrites::kRunsDirect}) {
    const bool direct = writes == MappedRamWrites::kRunsDirect;
    if (direct && !takes_direct(folder())) GTEST_SKIP() << "no O_DIRECT in " << folder();
    std::filesystem::remove(path());
    save_mapped_ram(memory(), path(), writes);
    const std::vector<std::byte> file = vm_test::file_bytes(path());
    expect_memory(std::span(file).subspan(kMappedRamOffset));
    EXPECT_EQ(file[kGuestPage], std::byte{0b0111'1000});
    EXPECT_EQ(file[kGuestPage + 100 / 8], std::byte{1 << 100 % 8});
  }
}

TEST_F(SnapshotPeersTest, ADiffHasTheDirtyPagesAndNoOthers) {
  std::vector<std::uint64_t> dirty((kPages + 63) / 64);
  for (const std::size_t page : {0U, 4U, 5U, 299U})
    dirty[page / 64] |= std::uint64_t{1} << page % 64;
  save_dirty_runs(memory(), dirty, path());
  const std::vector<std::byte> file = vm_test::file_bytes(path());
  ASSERT_EQ(file.size(), memory().size());
  for (std::size_t page = 0; page < kPages; ++page) {
    const auto found = std::span(file).subspan(page * kGuestPage, kGuestPage);
    if ((dirty[page / 64] >> page % 64 & 1) != 0) {
      EXPECT_TRUE(std::ranges::equal(found, memory().subspan(page * kGuestPage, kGuestPage)));
    } else {
      EXPECT_TRUE(std::ranges::all_of(found, [](std::byte byte) { return byte == std::byte{0}; }));
    }
  }
}

TEST_F(SnapshotPeersTest, ARestoreBringsTheMemory) {
  save_sparse(memory(), path());
  const PeerMapping eager(memory().size(), PROT_READ | PROT_WRITE);
  restore_sparse(path(), eager.bytes());
  expect_memory(eager.bytes());
  const PrivateRestore mapped(path());
  expect_memory(mapped.memory());
  mapped.memory()[0] = std::byte{9};  // is the guest's own
  expect_memory(vm_test::file_bytes(path()));
}

TEST_F(SnapshotPeersTest, AHandlerBringsEachPageThatIsTouched) {
  if (!userfaultfd_missing().empty()) GTEST_SKIP() << userfaultfd_missing();
  save_sparse(memory(), path());
  const HandlerRestore restore(path());
  restore.memory()[kGuestPage] = std::byte{0};
  expect_memory(restore.memory());
}

}  // namespace
}  // namespace vm_bench
