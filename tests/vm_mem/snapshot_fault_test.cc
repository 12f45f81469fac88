// Saves and restores on a host whose system calls fail, do half of it, or never return because
// the process is killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <string>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/internal/page_stream.h"
#include "vm_mem/internal/snapshot_restore.h"
#include "vm_mem/internal/snapshot_save.h"

namespace vm_mem::internal {
namespace {

using vm_test::SnapshotWorld;

// What the call that is number `at` of all does.
enum class Fault { kNone, kError, kDieBefore, kDieAfter };

class FaultyCalls final : public FileCalls {
 public:
  FaultyCalls(Fault fault, int at, int error = EIO) : fault_(fault), at_(at), error_(error) {}

  ssize_t read_at(int fd, std::byte* to, std::size_t bytes, std::uint64_t offset) override {
    return around(ssize_t{-1}, [&] { return FileCalls::read_at(fd, to, cut(bytes), offset); });
  }
  ssize_t write_at(int fd, const std::byte* from, std::size_t bytes,
                   std::uint64_t offset) override {
    return around(ssize_t{-1}, [&] { return FileCalls::write_at(fd, from, cut(bytes), offset); });
  }
  int sync_data(int fd) override {
    return around(-1, [&] { return FileCalls::sync_data(fd); });
  }
  int sync_folder(int fd) override {
    return around(-1, [&] { return FileCalls::sync_folder(fd); });
  }
  int rename(const std::string& from, const std::string& to) override {
    renames_ = count_.load();
    return around(-1, [&] { return FileCalls::rename(from, to); });
  }
  // No call does more than this.
  void cut_to(std::size_t bytes) { most_ = bytes; }
  int count() const { return count_; }
  int rename_number() const { return renames_; }

 private:
  std::size_t cut(std::size_t bytes) const { return std::min(bytes, most_); }
  template <typename Result, typename Call>
  Result around(Result failed, Call call) {
    const bool now = count_++ == at_;
    if (now && fault_ == Fault::kDieBefore) ::raise(SIGKILL);
    if (now && fault_ == Fault::kError) {
      errno = error_;
      return failed;
    }
    const Result result = call();
    if (now && fault_ == Fault::kDieAfter) ::raise(SIGKILL);
    return result;
  }

  Fault fault_;
  int at_;
  int error_;
  std::size_t most_ = SIZE_MAX;
  std::atomic<int> count_{0};
  std::atomic<int> renames_{-1};
};

// More than one block of 1 MiB.
std::vector<vm_test::TestRegion> few_megabytes() { return {{.begin = 0, .pages = 300}}; }

void fill(SnapshotWorld& world, std::uint64_t seed) {
  for (std::uint64_t page = 0; page < world.page_count(); ++page) world.fill(page, seed + page);
}

absl::Status save(SnapshotWorld& world, const std::string& path, FileCalls& calls,
                  SnapshotIo io = SnapshotIo::kThreads) {
  return save_memory(world.memory(), {.path = path, .io = io, .calls = &calls}, {}, {}, nullptr)
      .status();
}

// The seed that the memory of a whole file was filled with.
std::uint64_t seed_of(const std::string& path) {
  const auto snapshot = Snapshot::open(path);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  SnapshotWorld world(few_megabytes());
  EXPECT_TRUE(restore_snapshot(world.memory(), *snapshot).ok());
  const std::vector<std::byte> bytes = world.bytes();
  for (const std::uint64_t seed : {1000U, 5000U}) {
    SnapshotWorld wanted(few_megabytes());
    fill(wanted, seed);
    if (wanted.bytes() == bytes) return seed;
  }
  return 0;
}

std::size_t file_count(const vm_test::TemporaryFolder& folder) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

int calls_of_a_save(const vm_test::TemporaryFolder& folder, SnapshotWorld& world, int& rename) {
  FaultyCalls calls(Fault::kNone, -1);
  EXPECT_TRUE(save(world, folder.file("trial"), calls).ok());
  std::filesystem::remove(folder.file("trial"));
  rename = calls.rename_number();
  return calls.count();
}

TEST(SnapshotFaultTest, AFailingCallLeavesTheOldFileAndNothingElse) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world(few_megabytes());
  fill(world, 1000);
  int rename = 0;
  const int count = calls_of_a_save(folder, world, rename);
  ASSERT_GE(count, 7);
  ASSERT_TRUE(save_snapshot(world.memory(), folder.file("a")).ok());
  fill(world, 5000);
  for (const int error : {ENOSPC, EIO}) {
    for (int at = 0; at <= rename; ++at) {
      FaultyCalls calls(Fault::kError, at, error);
      const absl::Status failed = save(world, folder.file("a"), calls);
      EXPECT_EQ(failed.code(), error == ENOSPC ? absl::StatusCode::kResourceExhausted
                                               : absl::StatusCode::kUnavailable);
      EXPECT_THAT(std::string(failed.message()), testing::HasSubstr(folder.file("a")));
      EXPECT_EQ(file_count(folder), 1);
    }
  }
  EXPECT_EQ(seed_of(folder.file("a")), 1000);
  // The folder's fsync comes after the rename: the new file is there, and the caller is told.
  FaultyCalls calls(Fault::kError, count - 1);
  EXPECT_FALSE(save(world, folder.file("a"), calls).ok());
  EXPECT_EQ(seed_of(folder.file("a")), 5000);
  // Unless the file system has no such call for folders.
  FaultyCalls without(Fault::kError, count - 1, EINVAL);
  EXPECT_TRUE(save(world, folder.file("a"), without).ok());
}

TEST(SnapshotFaultTest, InterruptedAndShortCallsGoOn) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world(few_megabytes());
  fill(world, 1000);
  for (const SnapshotIo io : {SnapshotIo::kThreads, SnapshotIo::kBuffered}) {
    for (const std::size_t most : {70'000U, 4097U * 5U}) {
      FaultyCalls calls(Fault::kError, 1, EINTR);
      calls.cut_to(most);
      const absl::Status saved = save(world, folder.file("a"), calls, io);
      ASSERT_TRUE(saved.ok()) << saved;
      EXPECT_EQ(seed_of(folder.file("a")), 1000);
      FaultyCalls reads(Fault::kError, 40, EINTR);
      reads.cut_to(most);
      const auto chain = SnapshotChain::open(folder.file("a"), {}, reads);
      ASSERT_TRUE(chain.ok()) << chain.status();
      SnapshotWorld other(few_megabytes());
      const absl::Status restored = restore_memory(other.memory(), *chain, {.io = io});
      ASSERT_TRUE(restored.ok()) << restored;
      EXPECT_EQ(other.bytes(), world.bytes());
    }
  }
}

TEST(SnapshotFaultTest, AReadThatFailsLeavesFreshMemoryFresh) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world(few_megabytes());
  fill(world, 1000);
  ASSERT_TRUE(save_snapshot(world.memory(), folder.file("a")).ok());
  FaultyCalls none(Fault::kNone, -1);
  const auto good = SnapshotChain::open(folder.file("a"), {}, none);
  ASSERT_TRUE(good.ok());
  const int opens = none.count();
  SnapshotWorld other(few_megabytes());
  ASSERT_TRUE(restore_memory(other.memory(), *good, {}).ok());
  for (int at = 0; at < none.count(); ++at) {
    FaultyCalls calls(Fault::kError, at);
    const auto chain = SnapshotChain::open(folder.file("a"), {}, calls);
    EXPECT_EQ(chain.ok(), at >= opens);
    if (!chain.ok()) continue;
    SnapshotWorld fresh(few_megabytes());
    EXPECT_EQ(restore_memory(fresh.memory(), *chain, {}).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(fresh.bytes(), SnapshotWorld(few_megabytes()).bytes());
  }
}

// A process that is killed before or after any of its calls: the name has the old snapshot or
// the new one, and the new one from the rename on.
TEST(SnapshotFaultTest, AKilledSaveLeavesTheOldFileOrTheNewOne) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world(few_megabytes());
  fill(world, 1000);
  int rename = 0;
  const int count = calls_of_a_save(folder, world, rename);
  ASSERT_TRUE(save_snapshot(world.memory(), folder.file("old")).ok());
  fill(world, 5000);
  for (int at = 0; at < count; ++at) {
    for (const Fault fault : {Fault::kDieBefore, Fault::kDieAfter}) {
      std::filesystem::copy_file(folder.file("old"), folder.file("a"),
                                 std::filesystem::copy_options::overwrite_existing);
      const pid_t child = ::fork();
      if (child == 0) {
        FaultyCalls calls(fault, at);
        save(world, folder.file("a"), calls).IgnoreError();
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status)) << at;
      const bool renamed = at > rename || (at == rename && fault == Fault::kDieAfter);
      EXPECT_EQ(seed_of(folder.file("a")), renamed ? 5000 : 1000) << at;
    }
  }
}

TEST(SnapshotFaultTest, AFileThatMayNotGrowIsRefused) {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world(few_megabytes());
  fill(world, 1000);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  for (const SnapshotIo io : {SnapshotIo::kRing, SnapshotIo::kThreads, SnapshotIo::kBuffered}) {
    rlimit limit = before;
    limit.rlim_cur = 1 << 20;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    const auto saved = save_snapshot(world.memory(), folder.file("a"), {.io = io});
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(saved.status().code(), absl::StatusCode::kResourceExhausted) << saved.status();
    EXPECT_EQ(file_count(folder), 0);
  }
  ::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace vm_mem::internal
