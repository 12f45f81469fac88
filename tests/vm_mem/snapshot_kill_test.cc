// Processes that save one snapshot after another, whole ones and incremental ones, and are
// killed at some moment. VM_TEST_SNAPSHOT_KILLS times, or 4; tools/soak --snapshot-kills does
// more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>
#include <string>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/snapshot.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using vm_test::SnapshotWorld;

constexpr std::uint64_t kPages = 2048;
constexpr std::uint64_t kChain = 5;  // a whole one and four that rest on it

std::vector<vm_test::TestRegion> regions() { return {{.begin = 0, .pages = kPages}}; }

bool is_whole(std::uint64_t generation) { return generation % kChain == 0; }

std::string name_of(std::uint64_t generation) {
  return "snapshot." + std::to_string(generation % kChain);
}

// What the guest writes before snapshot `generation` is saved.
void write_generation(SnapshotWorld& world, std::uint64_t generation) {
  std::mt19937_64 random(generation);
  for (int count = 0; count < 200; ++count) {
    const std::uint64_t page = random() % kPages;
    world.fill(page, random() % 8 == 0 ? 0 : generation * kPages + page + 1);
  }
}

std::vector<std::byte> bytes_at(std::uint64_t generation) {
  SnapshotWorld world(regions());
  for (std::uint64_t at = 0; at <= generation; ++at) write_generation(world, at);
  return world.bytes();
}

// Saves until it is killed, and says after each through `said` which one is done.
[[noreturn]] void save_forever(const std::string& folder, SnapshotIo io, int said) {
  SnapshotWorld world(regions());
  auto series = SnapshotSeries::begin(world.memory(), "snapshots");
  for (std::uint64_t generation = 0; series.ok(); ++generation) {
    write_generation(world, generation);
    const std::string path = folder + "/" + name_of(generation);
    const auto saved = is_whole(generation) ? series->save_full(path, {.io = io})
                                            : series->save_incremental(path, {.io = io});
    if (!saved.ok()) {
      std::cerr << saved.status() << "\n";
      break;
    }
    if (::write(said, &generation, sizeof generation) != sizeof generation) break;
  }
  ::_exit(1);
}

struct Killed {
  bool any = false;
  std::uint64_t last = 0;  // that was saved, as it said
};

Killed save_and_kill(const std::string& folder, SnapshotIo io, unsigned microseconds) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) save_forever(folder, io, ends[1]);
  ::close(ends[1]);
  Killed out;
  // From the first that is there on, so that there is always an old one.
  out.any = ::read(ends[0], &out.last, sizeof out.last) == sizeof out.last;
  ::usleep(microseconds);
  ::kill(child, SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << status;
  while (::read(ends[0], &out.last, sizeof out.last) == sizeof out.last) continue;
  ::close(ends[0]);
  return out;
}

// Whether `path` is a whole snapshot of this generation.
testing::AssertionResult is_generation(const std::string& path, std::uint64_t generation) {
  const auto snapshot = Snapshot::open(path);
  if (!snapshot.ok()) return testing::AssertionFailure() << snapshot.status();
  SnapshotWorld world(regions());
  const absl::Status restored = restore_snapshot(world.memory(), *snapshot);
  if (!restored.ok()) return testing::AssertionFailure() << restored;
  if (world.bytes() != bytes_at(generation))
    return testing::AssertionFailure() << path << " is not generation " << generation;
  return testing::AssertionSuccess();
}

struct Found {
  std::uint64_t old = 0;
  std::uint64_t next = 0;
  std::uint64_t bad = 0;
  std::uint64_t left = 0;  // temporary files
};

// The names of the last one that was done, and of the one that it was at.
void look(const std::string& folder, std::uint64_t last, Found& found) {
  const std::string next_path = folder + "/" + name_of(last + 1);
  const auto next = is_generation(next_path, last + 1);
  // The one before under that name, of which those that rest on it are left, or nothing yet.
  const bool replaces = last + 1 >= kChain;
  const bool was_whole = is_whole(last + 1);
  const bool old =
      !next && (!replaces   ? !std::filesystem::exists(next_path)
                : was_whole ? bool{is_generation(next_path, last + 1 - kChain)}
                            // Its parent was replaced since: that is told from damage.
                            : absl::IsFailedPrecondition(Snapshot::open(next_path).status()));
  // A new whole one takes those along that rested on the one before.
  const bool last_is_lost = next && was_whole;
  const auto done = is_generation(folder + "/" + name_of(last), last);
  const bool good = (next || old) && (last_is_lost || done);
  EXPECT_TRUE(good) << "after " << last << ": " << next.message() << "; " << done.message();
  found.bad += good ? 0U : 1U;
  found.next += good && next ? 1U : 0U;
  found.old += good && old ? 1U : 0U;
}

TEST(SnapshotKillTest, AProcessThatIsKilledLeavesTheOldSnapshotOrTheNewOne) {
  const char* const wanted = std::getenv("VM_TEST_SNAPSHOT_KILLS");
  const int kills = wanted == nullptr ? 4 : std::atoi(wanted);
  // A file system that has O_DIRECT and a disk below it, where there is one.
  const vm_test::TemporaryFolder folder(wanted == nullptr ? vm_test::memory_folder()
                                                          : testing::TempDir());
  std::random_device seed;
  std::mt19937 random(seed());
  Found found;
  for (int at = 0; at < kills; ++at) {
    const auto io = std::array{SnapshotIo::kRing, SnapshotIo::kThreads,
                               SnapshotIo::kBuffered}[static_cast<std::size_t>(at) % 3];
    const Killed killed =
        save_and_kill(folder.path(), io, static_cast<unsigned>(random() % 60'000));
    ASSERT_TRUE(killed.any);
    look(folder.path(), killed.last, found);
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      found.left += entry.path().string().find(".tmp.") != std::string::npos ? 1U : 0U;
      std::filesystem::remove(entry.path());
    }
  }
  std::cout << "  kills " << kills << ": good " << found.old + found.next << " (the old one "
            << found.old << ", the new one " << found.next << "), bad " << found.bad
            << "; temporary files left " << found.left << "\n";
}

}  // namespace
}  // namespace vm_mem
