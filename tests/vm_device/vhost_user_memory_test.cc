// The memory that a front end shares, takes back, cuts off; and the log of what was written.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "tests/vm_device/shared_file.h"
#include "tests/vm_device/vhost_user_front_end.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kFeatures = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush;

constexpr std::uint64_t kOther = 0x10'0000;  // guest address of a second region
constexpr std::uint64_t kOtherUser = 0x1000'0000;

class VhostUserMemoryTest : public testing::Test {
 protected:
  VhostUserMemoryTest() { disk_.start(); }

  bool add(const SharedFile& file, std::uint64_t bytes) {
    return disk_.ask(Request::kAddMemReg, {0, kOther, bytes, kOtherUser, 0}, {file.fd()});
  }
  bool remove(std::uint64_t bytes) {
    return disk_.ask(Request::kRemMemReg, {0, kOther, bytes, kOtherUser, 0});
  }
  // Reads sectors to a guest address.
  int read_to(std::uint64_t address, std::uint32_t bytes) {
    disk_.guest.put(VhostDisk::kHeader, kIn);
    disk_.guest.put(VhostDisk::kHeader + 8, std::uint64_t{1});
    disk_.driver->want_interrupt();
    disk_.driver->offer({{VhostDisk::kHeader, 16, 0, 0},
                         {address, bytes, kWrite, 0},
                         {VhostDisk::kStatus, 1, kWrite, 0}});
    disk_.kick_ring();
    return disk_.wait_for_answer();
  }
  // To a ring that waits for its memory.
  void offer_in_vain() {
    disk_.offer(kIn, 1, 512);
    disk_.kick_ring();
    for (int i = 0; i < 3; ++i) disk_.join();
    EXPECT_FALSE(disk_.driver->has_used());
    EXPECT_EQ(take_event(disk_.error), 0u);
  }

  VhostDisk disk_;
};

TEST_F(VhostUserMemoryTest, ARegionThatIsAddedIsReachedUntilItIsTaken) {
  SharedFile file(8192);
  EXPECT_EQ(read_to(kOther, 512), kIoErr);
  ASSERT_TRUE(add(file, 8192));
  EXPECT_EQ(read_to(kOther + 512, 512), kOk);
  EXPECT_EQ(std::memcmp(&file.bytes()[512], &disk_.image.content[512], 512), 0);
  EXPECT_EQ(read_to(kOther + 8192 - 256, 512), kIoErr);
  ASSERT_TRUE(remove(8192));
  EXPECT_EQ(read_to(kOther, 512), kIoErr);
  EXPECT_FALSE(remove(8192));
  EXPECT_TRUE(add(file, 4096));
}

TEST_F(VhostUserMemoryTest, ThereAre509Regions) {
  EXPECT_EQ(disk_.get_word(Request::kGetMaxMemSlots), 509u);
  SharedFile file(4096);
  std::uint64_t added = 0;
  while (disk_.ask(Request::kAddMemReg,
                   {0, kOther + added * 8192, 4096, kOtherUser + added * 8192, 0}, {file.fd()})) {
    ++added;
  }
  EXPECT_EQ(added, 508u);  // and the first one
  EXPECT_EQ(read_to(kOther + 507 * 8192, 512), kOk);
}

TEST_F(VhostUserMemoryTest, AFileThatIsCutOffFailsTheRequestAlone) {
  SharedFile file(8192);
  ASSERT_TRUE(add(file, 8192));
  file.cut(4096);
  EXPECT_EQ(read_to(kOther + 4096, 512), kIoErr);
  EXPECT_EQ(read_to(kOther, 512), kOk);
  file.cut(0);
  EXPECT_EQ(read_to(kOther, 512), kIoErr);
  EXPECT_EQ(disk_.request(kIn, 1, 512), kOk);
}

TEST_F(VhostUserMemoryTest, WhatIsNotWritableIsRefused) {
  const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  EXPECT_FALSE(disk_.ask(Request::kAddMemReg, {0, kOther, 4096, kOtherUser, 0}, {fd}));
  ::close(fd);
}

TEST_F(VhostUserMemoryTest, ARingWhoseMemoryIsTakenStopsAndComesBackWithIt) {
  ASSERT_TRUE(disk_.ask(Request::kRemMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0}));
  offer_in_vain();
  ASSERT_TRUE(disk_.stop_ring(0));
  ASSERT_TRUE(disk_.share_memory());
  disk_.driver->clear();
  ASSERT_TRUE(disk_.start_ring(0, disk_.driver->config()));
  EXPECT_EQ(disk_.request(kIn, 1, 512), kOk);
}

TEST_F(VhostUserMemoryTest, ARingOutsideOfMemoryDoesNotStart) {
  ASSERT_TRUE(disk_.stop_ring(0));
  VirtqueueConfig config = disk_.driver->config();
  config.device_area = kRamEnd - 8;
  ASSERT_TRUE(disk_.start_ring(0, config));
  EXPECT_TRUE(wait_for(disk_.error));
  take_event(disk_.error);
  ASSERT_TRUE(disk_.stop_ring(0));
  ASSERT_TRUE(disk_.start_ring(0, disk_.driver->config()));
  EXPECT_EQ(disk_.request(kIn, 1, 512), kOk);
}

// QEMU sends the whole table whenever memory comes or goes. The same file may be seen at several
// guest addresses; the front end's address decides where the ring is.
TEST_F(VhostUserMemoryTest, ATableThatMovesARingMovesIt) {
  ASSERT_EQ(disk_.request(kIn, 1, 512), kOk);
  ASSERT_TRUE(disk_.share_memory());
  ASSERT_EQ(disk_.request(kIn, 1, 512), kOk);
  ASSERT_TRUE(disk_.ask(Request::kSetMemTable,
                        {2, kRamBase, kRamBytes, kOtherUser, 0,  //
                         kOther, kRamBytes, VhostFrontEnd::kUser, 0},
                        {disk_.memory_fd(), disk_.memory_fd()}));
  EXPECT_EQ(disk_.request(kIn, 1, 512), kOk);
  ASSERT_TRUE(disk_.ask(Request::kRemMemReg, {0, kOther, kRamBytes, VhostFrontEnd::kUser, 0}));
  offer_in_vain();
}

// As where a front end changes the bounds of a region.
TEST_F(VhostUserMemoryTest, MemoryThatGoesAndComesBackStopsNothing) {
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(disk_.ask(Request::kRemMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0}));
    disk_.driver->want_interrupt();
    disk_.offer(kIn, 1, 512);
    ASSERT_TRUE(disk_.ask(Request::kAddMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0},
                          {disk_.memory_fd()}));
    EXPECT_EQ(disk_.wait_for_answer(), kOk);
  }
  EXPECT_EQ(disk_.backend->statistics().queue_errors, 0u);
  EXPECT_EQ(take_event(disk_.error), 0u);
}

// A kick finds no ring meanwhile, and is not the last one that it gets.
TEST_F(VhostUserMemoryTest, AKickWhileTheMemoryIsGoneStopsNothing) {
  ASSERT_TRUE(disk_.ask(Request::kRemMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0}));
  disk_.driver->want_interrupt();
  offer_in_vain();
  ASSERT_TRUE(disk_.ask(Request::kAddMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0},
                        {disk_.memory_fd()}));
  EXPECT_EQ(disk_.wait_for_answer(), kOk);
  EXPECT_EQ(take_event(disk_.error), 0u);
}

// Nor would what the ring has met be better the second time.
TEST_F(VhostUserMemoryTest, AChangeOfMemoryRevivesNoFailedRing) {
  disk_.driver->offer({{VhostDisk::kHeader, 16, 0, 0}});  // no place for an answer
  disk_.kick_ring();
  ASSERT_TRUE(wait_for(disk_.error));
  take_event(disk_.error);
  ASSERT_TRUE(disk_.share_memory());
  ASSERT_TRUE(disk_.ask(Request::kRemMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0}));
  ASSERT_TRUE(disk_.ask(Request::kAddMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0},
                        {disk_.memory_fd()}));
  EXPECT_EQ(disk_.backend->statistics().queue_errors, 1u);
  EXPECT_EQ(take_event(disk_.error), 0u);
  EXPECT_EQ(disk_.get_word(Request::kGetStatus) & 64u, 64u);
  ASSERT_TRUE(disk_.stop_ring(0));
  disk_.driver->clear();
  ASSERT_TRUE(disk_.start_ring(0, disk_.driver->config()));
  EXPECT_EQ(disk_.request(kIn, 1, 512), kOk);
}

// What a device holds while its rings run, such as the lock of its image.
struct Holding {
  std::atomic<bool> held{false};
  std::atomic<int> times{0};
  absl::Status answer;
  absl::Status parting{};

  VhostUserOptions options() {
    return {.acquire =
                [this] {
                  EXPECT_FALSE(held);
                  held = answer.ok();
                  ++times;
                  return answer;
                },
            .release =
                [this] {
                  EXPECT_TRUE(held);
                  held = false;
                  return parting;
                }};
  }
};

TEST(VhostUserHoldingTest, ItIsHeldFromTheFirstRingsStartToTheLastOnesStop) {
  Holding holding;
  VhostDisk disk(holding.options(), {.num_queues = 2});
  disk.join();
  EXPECT_FALSE(holding.held);
  disk.start();
  RingDriver second(disk.guest, VhostDisk::kRing + 0x1000, VhostDisk::kSize, kFeatures);
  ASSERT_TRUE(disk.start_ring(1, second.config()));
  ASSERT_TRUE(disk.stop_ring(0));
  EXPECT_TRUE(holding.held);
  // Known before the answer comes: the next one may be started for it.
  ASSERT_TRUE(disk.stop_ring(1));
  EXPECT_FALSE(holding.held);
  ASSERT_TRUE(disk.start_ring(1, second.config()));
  EXPECT_TRUE(holding.held);
  ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(1, 0)}));
  EXPECT_FALSE(holding.held);
  ASSERT_TRUE(disk.ask(Request::kSetVringEnable, {pair_of(1, 1)}));
  ASSERT_TRUE(disk.ask(Request::kResetDevice, {}));
  EXPECT_FALSE(holding.held);
  EXPECT_EQ(holding.times, 3);
}

// Whoever waits for it would be told that it is free.
TEST(VhostUserHoldingTest, ARingThatIsStoppedWhileItsMemoryIsAwayLetsGo) {
  for (const bool disables : {false, true}) {
    SCOPED_TRACE(disables);
    Holding holding;
    VhostDisk disk(holding.options());
    disk.start();
    ASSERT_TRUE(disk.ask(Request::kRemMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0}));
    EXPECT_TRUE(holding.held);
    ASSERT_TRUE(disables ? disk.ask(Request::kSetVringEnable, {pair_of(0, 0)}) : disk.stop_ring(0));
    EXPECT_FALSE(holding.held);
  }
}

TEST(VhostUserHoldingTest, AFrontEndIsNotToldOfAStopThatFailed) {
  Holding holding;
  holding.parting = absl::DataLossError("the disk is full");
  VhostDisk disk(holding.options());
  disk.start();
  EXPECT_FALSE(disk.stop_ring(0));
  disk.wait();
  EXPECT_EQ(disk.result, holding.parting);
}

TEST(VhostUserHoldingTest, AChangeOfMemoryDoesNotLetGoAndTheEndOfTheConnectionDoes) {
  Holding holding;
  VhostDisk disk(holding.options());
  disk.start();
  ASSERT_TRUE(disk.share_memory());
  ASSERT_TRUE(disk.ask(Request::kRemMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0}));
  EXPECT_TRUE(holding.held);
  ASSERT_TRUE(disk.share_memory());
  EXPECT_EQ(disk.request(kIn, 1, 512), kOk);
  EXPECT_EQ(holding.times, 1);
  ASSERT_TRUE(disk.ask(Request::kRemMemReg, {0, kRamBase, kRamBytes, VhostFrontEnd::kUser, 0}));
  disk.disconnect();
  EXPECT_FALSE(holding.held);
}

TEST(VhostUserHoldingTest, WhatCannotBeHadEndsTheConnectionAndNoRingRuns) {
  Holding holding{.answer = absl::FailedPreconditionError("somebody has it")};
  VhostDisk disk(holding.options());
  disk.negotiate(kFeatures);
  ASSERT_TRUE(disk.share_memory());
  disk.driver.emplace(disk.guest, VhostDisk::kRing, VhostDisk::kSize, kFeatures);
  disk.offer(kIn, 1, 512);
  EXPECT_FALSE(disk.start_ring(0, disk.driver->config()));
  disk.wait();
  EXPECT_EQ(disk.result, holding.answer);
  EXPECT_FALSE(disk.driver->has_used());
  EXPECT_EQ(disk.backend->statistics().notifications, 0u);
  // The next front end may find it free.
  holding.answer = absl::OkStatus();
  disk.connect();
  disk.start();
  EXPECT_TRUE(holding.held);
}

class VhostUserLogTest : public VhostUserMemoryTest {
 protected:
  static constexpr std::uint64_t kLogBytes = kRamEnd / 4096 / 8 + 8;

  bool use_log(const SharedFile& log, std::uint64_t bytes, std::uint64_t offset = 0) {
    disk_.socket->send(static_cast<std::uint32_t>(Request::kSetLogBase),
                       internal::kVhostUserVersion, bytes_of({bytes, offset}), {log.fd()});
    const auto answer = disk_.socket->receive(static_cast<std::uint32_t>(Request::kSetLogBase));
    return answer && VhostDisk::word(*answer) == 0;
  }
  bool set_logging(bool on) {
    return disk_.ask(Request::kSetFeatures, {kFeatures | internal::kVhostFeatureProtocol |
                                             (on ? internal::kVhostFeatureLogAll : 0)});
  }
  static std::set<std::uint64_t> pages(SharedFile& log) {
    std::set<std::uint64_t> out;
    for (std::uint64_t i = 0; i < log.bytes().size() * 8; ++i) {
      if ((std::to_integer<unsigned>(log.bytes()[i / 8]) >> (i % 8) & 1) != 0) out.insert(i * 4096);
    }
    return out;
  }
};

TEST_F(VhostUserLogTest, StoppingARingTellsExactlyWhatWasWritten) {
  SharedFile log(kLogBytes);
  ASSERT_EQ(disk_.request(kIn, 1, 512), kOk);
  ASSERT_TRUE(use_log(log, kLogBytes));
  ASSERT_TRUE(set_logging(true));
  ASSERT_EQ(read_to(VhostDisk::kData + 3 * 4096 - 512, 1024), kOk);
  ASSERT_TRUE(disk_.stop_ring(0));
  const std::set<std::uint64_t> want{VhostDisk::kData + 2 * 4096, VhostDisk::kData + 3 * 4096,
                                     VhostDisk::kStatus & ~std::uint64_t{4095},
                                     disk_.driver->device_area()};
  EXPECT_EQ(pages(log), want);
}

TEST_F(VhostUserLogTest, WritesAreToldWhileTheRingRuns) {
  SharedFile log(kLogBytes);
  ASSERT_TRUE(use_log(log, kLogBytes));
  const int told = make_event();
  ASSERT_TRUE(disk_.ask(Request::kSetLogFd, {}, {told}));
  ASSERT_TRUE(set_logging(true));
  ASSERT_EQ(disk_.request(kIn, 1, 512), kOk);
  EXPECT_TRUE(wait_for(told));
  while (!pages(log).contains(VhostDisk::kData)) std::this_thread::yield();
  ::close(told);
}

TEST_F(VhostUserLogTest, WithoutTheFeatureNothingIsTold) {
  SharedFile log(kLogBytes);
  ASSERT_TRUE(use_log(log, kLogBytes));
  ASSERT_TRUE(set_logging(true));
  ASSERT_TRUE(set_logging(false));
  const auto before = pages(log);
  ASSERT_EQ(disk_.request(kIn, 1, 512), kOk);
  ASSERT_TRUE(disk_.stop_ring(0));
  EXPECT_EQ(pages(log), before);
}

// The last page's bit is in the last byte, which is in no whole word.
TEST_F(VhostUserLogTest, ALogMayEndAnywhere) {
  SharedFile log(kLogBytes);
  SharedFile file(4096);
  ASSERT_TRUE(add(file, 4096));
  const std::uint64_t bytes = kOther / 4096 / 8 + 1;
  ASSERT_TRUE(use_log(log, bytes));
  ASSERT_TRUE(set_logging(true));
  ASSERT_EQ(read_to(kOther, 512), kOk);
  ASSERT_TRUE(disk_.stop_ring(0));
  EXPECT_EQ(pages(log), std::set<std::uint64_t>{kOther});
}

TEST_F(VhostUserLogTest, ALogThatIsCutOffHarmsNobody) {
  SharedFile log(4096);
  ASSERT_TRUE(use_log(log, 4096));
  ASSERT_TRUE(set_logging(true));
  log.cut(0);
  ASSERT_EQ(read_to(VhostDisk::kData, 512), kOk);
  ASSERT_TRUE(disk_.stop_ring(0));
  ASSERT_TRUE(disk_.start_ring(0, disk_.driver->config()));
  EXPECT_EQ(disk_.request(kIn, 1, 512), kOk);
}

// Front ends do not look at the answer: they would go on without a log.
TEST_F(VhostUserLogTest, ALogThatIsNoneEndsTheConnection) {
  SharedFile log(4096);
  const struct {
    std::uint64_t bytes;
    std::uint64_t offset;
  } bad[] = {{8192, 0}, {0, 0}, {8, 4}, {8, UINT64_MAX - 4095}};
  for (const auto& [bytes, offset] : bad) {
    EXPECT_FALSE(use_log(log, bytes, offset));
    disk_.wait();
    EXPECT_EQ(disk_.result.code(), absl::StatusCode::kInvalidArgument);
    disk_.disconnect();
    disk_.connect();
  }
  disk_.start();
  EXPECT_EQ(disk_.request(kIn, 1, 512), kOk);
}

}  // namespace
}  // namespace vm_device
