// The messages of a front end that translates: what they may say, and their bounds.

#include <gtest/gtest.h>

#include <sys/mman.h>

#include "tests/vm_device/vhost_user_translator.h"
#include "vm_device/internal/vhost_user_iotlb.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kFeatures = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush;
constexpr std::uint64_t kPage = Translator::kPage;
constexpr std::uint64_t kData = VhostDisk::kData;
constexpr std::uint64_t kUser = VhostDisk::kUser;
constexpr std::uint64_t kUpdate = Translator::kUpdate;
constexpr std::uint64_t kInvalidate = Translator::kInvalidate;

TEST(VhostUserIotlbMessagesTest, ItIsOfferedWhereItIsWanted) {
  VhostDisk disk;
  disk.negotiate(kFeatures);
  EXPECT_EQ(disk.get_word(Request::kGetFeatures) & kFeatureAccessPlatform, 0u);
  EXPECT_FALSE(disk.ask(Request::kSetFeatures, {kFeatures | kFeatureAccessPlatform}));
  TranslatedDisk translated;
  EXPECT_NE(translated.get_word(Request::kGetFeatures) & kFeatureAccessPlatform, 0u);
}

TEST(VhostUserIotlbMessagesTest, ADriverThatDoesNotAcceptItHasAddressesOfTheGuest) {
  VhostDisk disk({.iommu = true});
  disk.start();
  EXPECT_FALSE(disk.ask(Request::kIotlbMsg, {kData, kPage, VhostDisk::user(kData), 3 | 2 << 8}));
  EXPECT_EQ(disk.request(kIn, 1, 512), kOk);
}

TEST(VhostUserIotlbMessagesTest, EveryMalformedMessageIsRefusedAndTheDiskGoesOn) {
  TranslatedDisk disk;
  disk.start(kFeatures);
  ASSERT_EQ(disk.translated_request(), kOk);
  const std::vector<std::byte> good =
      bytes_of({kData, kPage, VhostDisk::user(kData), 3 | kUpdate << 8});
  ASSERT_TRUE(disk.ask(Request::kIotlbMsg, good));
  ASSERT_TRUE(disk.ask(Request::kIotlbMsg, std::span(good).first(26)));
  EXPECT_FALSE(disk.ask(Request::kIotlbMsg, std::span(good).first(25)));
  EXPECT_FALSE(disk.ask(Request::kIotlbMsg, bytes_of({kData, kPage, kUser, 0x203, 0})));
  EXPECT_FALSE(disk.ask(Request::kIotlbMsg, good, {disk.kick}));
  const struct {
    std::uint64_t type, iova, bytes, user, access;
  } bad[] = {
      {0, kData, kPage, VhostDisk::user(kData), 3},
      {1, kData, kPage, VhostDisk::user(kData), 3},
      {4, kData, kPage, VhostDisk::user(kData), 3},
      {255, kData, kPage, VhostDisk::user(kData), 3},
      {kUpdate, kData, kPage, VhostDisk::user(kData), 0},
      {kUpdate, kData, kPage, VhostDisk::user(kData), 4},
      {kUpdate, kData, 0, VhostDisk::user(kData), 3},
      {kUpdate, kData, 1, VhostDisk::user(kData), 3},
      {kUpdate, kData + 1, kPage, VhostDisk::user(kData), 3},
      {kUpdate, kData, kPage, VhostDisk::user(kData) + 1, 3},
      {kUpdate, kData, kPage, 0, 3},
      {kUpdate, kData, kPage, kUser + kRamBytes, 3},
      {kUpdate, kData, 2 * kPage, kUser + kRamBytes - kPage, 3},
      {kUpdate, kData, UINT64_MAX - 4095, kUser, 3},
      {kUpdate, UINT64_MAX - 4095, 2 * kPage, kUser, 3},
      {kUpdate, 0, UINT64_MAX, kUser, 3},
      {kUpdate, 0, kPage, UINT64_MAX - 4095, 3},
      {kInvalidate, kData, 0, 0, 0},
      {kInvalidate, kData, UINT64_MAX, 0, 0},
      {kInvalidate, UINT64_MAX, 2, 0, 0},
  };
  std::uint64_t refused = 3;
  for (const auto& [type, iova, bytes, user, access] : bad) {
    EXPECT_FALSE(disk.bus.send(type, iova, bytes, user, access)) << ++refused;
  }
  EXPECT_EQ(disk.backend->statistics().refused, 3 + std::size(bad));
  EXPECT_EQ(disk.request(kIn, 1, 512), kOk);
}

// A whole that is not asked for is harmless: the last pages below 2^64, and what is there.
TEST(VhostUserIotlbMessagesTest, TheLastPageIsLikeOthers) {
  TranslatedDisk disk;
  disk.start(kFeatures);
  constexpr std::uint64_t kLast = UINT64_MAX - 4095;
  ASSERT_TRUE(disk.bus.send(kUpdate, kLast, kPage, VhostDisk::user(kData), 3));
  disk.bus.answer();
  ASSERT_TRUE(disk.bus.map(VhostDisk::kHeader));
  ASSERT_TRUE(disk.bus.map(VhostDisk::kStatus));
  disk.guest.put(VhostDisk::kHeader, kIn);
  disk.guest.put(VhostDisk::kHeader + 8, std::uint64_t{5});
  disk.driver->want_interrupt();
  disk.driver->offer({{VhostDisk::kHeader, 16, 0, 0},
                      {kLast + 4096 - 512, 512, kWrite, 0},
                      {VhostDisk::kStatus, 1, kWrite, 0}});
  disk.kick_ring();
  EXPECT_EQ(disk.wait_for_answer(), kOk);
  EXPECT_TRUE(disk.has_sector(kData + 4096 - 512, 5));
  EXPECT_TRUE(disk.bus.unmap(kLast, kPage));
}

TEST(VhostUserIotlbMessagesTest, ARangeMayLieInSeveralRegions) {
  TranslatedDisk disk;
  disk.start(kFeatures);
  constexpr std::uint64_t kHalf = kRamBytes / 2;
  ASSERT_TRUE(disk.ask(Request::kSetMemTable,
                       {2, 0x100'0000, kHalf, kUser + kHalf, kHalf,  //
                        0x10'0000, kHalf, kUser, 0},
                       {disk.memory_fd(), disk.memory_fd()}));
  ASSERT_TRUE(disk.bus.map(kRamBase, kRamBytes));
  disk.driver->want_interrupt();
  constexpr std::uint64_t kAcross = kRamBase + kHalf - 512;
  disk.guest.put(VhostDisk::kHeader, kIn);
  disk.guest.put(VhostDisk::kHeader + 8, std::uint64_t{2});
  disk.driver->offer({{VhostDisk::kHeader, 16, 0, 0},
                      {kAcross, 1024, kWrite, 0},
                      {VhostDisk::kStatus, 1, kWrite, 0}});
  disk.kick_ring();
  EXPECT_EQ(disk.wait_for_answer(), kOk);
  EXPECT_TRUE(disk.has_sector(kAcross, 2));
  EXPECT_TRUE(disk.has_sector(kAcross + 512, 3));
}

TEST(VhostUserIotlbMessagesTest, TranslationsGoWithTheirMemoryAndAreAskedForWhenItIsBack) {
  TranslatedDisk disk;
  disk.start(kFeatures);
  ASSERT_EQ(disk.translated_request(), kOk);
  ASSERT_TRUE(disk.ask(Request::kRemMemReg, {0, Translator::kGuest, kRamBytes, kUser, 0}));
  disk.offer_and_kick();
  const auto asked = disk.bus.misses();
  EXPECT_EQ(asked.size(), 3u);
  for (const auto& [page, access] : asked) EXPECT_FALSE(disk.bus.map(page));
  EXPECT_EQ(disk.bus.misses().size(), 0u);
  ASSERT_TRUE(
      disk.ask(Request::kAddMemReg, {0, 0x200'0000, kRamBytes, kUser, 0}, {disk.memory_fd()}));
  EXPECT_EQ(disk.bus.misses(), asked);
  for (const auto& [page, access] : asked) EXPECT_TRUE(disk.bus.map(page));
  disk.bus.answer();
  EXPECT_EQ(disk.wait_for_answer(), kOk);
}

TEST(VhostUserIotlbMessagesTest, TheLogHasTheGuestsPages) {
  TranslatedDisk disk;
  disk.start(kFeatures);
  disk.bus.answer();
  constexpr std::uint64_t kLogBytes = 64;  // of 2 MiB
  const int log = ::memfd_create("log", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(log, kLogBytes), 0);
  const auto base = static_cast<std::uint32_t>(Request::kSetLogBase);
  disk.socket->send(base, internal::kVhostUserVersion, bytes_of({kLogBytes, 0}), {log});
  ASSERT_TRUE(disk.socket->receive(base));
  ASSERT_TRUE(disk.ask(Request::kSetFeatures,
                       {kFeatures | kFeatureAccessPlatform | internal::kVhostFeatureProtocol |
                        internal::kVhostFeatureLogAll}));
  ASSERT_EQ(disk.translated_request(), kOk);
  ASSERT_TRUE(disk.stop_ring(0));
  std::array<std::uint64_t, 8> bits{};
  ASSERT_EQ(::pread(log, bits.data(), sizeof bits, 0), ssize_t{sizeof bits});
  ::close(log);
  std::set<std::uint64_t> pages;
  for (std::uint64_t i = 0; i < 512; ++i) {
    if ((bits[i / 64] >> i % 64 & 1) != 0) pages.insert(i * kPage);
  }
  const auto place = [](std::uint64_t at) { return at - kRamBase + Translator::kGuest; };
  EXPECT_EQ(pages,
            (std::set{place(disk.driver->device_area()), place(VhostDisk::kStatus), place(kData)}));
}

TEST(VhostUserIotlbMessagesTest, MoreUpdatesThanThereIsRoomForCostTheOldOnes) {
  TranslatedDisk disk;
  disk.start(kFeatures);
  ASSERT_EQ(disk.translated_request(), kOk);
  for (std::uint64_t i = 1; i <= 10'000; ++i) {
    ASSERT_TRUE(disk.bus.send(kUpdate, i << 30, kPage, VhostDisk::user(kData), 3)) << i;
  }
  EXPECT_EQ(disk.translated_request(), kOk);
  EXPECT_EQ(disk.backend->statistics().queue_errors, 0u);
}

TEST(VhostUserIotlbMessagesTest, TheTablesHaveABound) {
  const auto manager = vm_mem::MemoryManager::create({}).value();
  vm_mem::MemoryReader reader(*manager, vm_mem::Route::kDma);
  internal::VhostUserMemory memory(*manager, reader);
  const internal::OwnedFd file(::memfd_create("memory", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 1 << 20), 0);
  ASSERT_TRUE(
      memory.add({.guest = 0, .bytes = 1 << 20, .user = kUser, .file_offset = 0}, file).ok());
  internal::VhostUserIotlb iotlb(memory, [](std::uint64_t, DmaAccess) { return true; });
  ASSERT_TRUE(iotlb.open().ok());
  std::uint64_t last = 0;
  const auto add = [&] {
    ++last;
    return iotlb.add({last << 30, kPage}, kUser, DmaAccess::kRead);
  };
  while (add().ok()) ASSERT_LT(last, 20'000u);
  EXPECT_LE(iotlb.iommu().table_bytes(), internal::VhostUserIotlb::kMaxTableBytes);
  EXPECT_TRUE(iotlb.put({last << 30, kPage}, kUser, DmaAccess::kRead).ok());
  EXPECT_LT(iotlb.iommu().table_bytes(), 1u << 20);
  EXPECT_TRUE(iotlb.settled({last << 30, kPage}, DmaAccess::kRead, {}));
  EXPECT_FALSE(iotlb.settled({kPage, kPage}, DmaAccess::kRead, {}));
  memory.clear();
}

// Of 4 GiB, which are a million pages.
TEST(VhostUserIotlbMessagesTest, WhereNobodyHearsOnePageIsTried) {
  const auto manager = vm_mem::MemoryManager::create({}).value();
  vm_mem::MemoryReader reader(*manager, vm_mem::Route::kDma);
  internal::VhostUserMemory memory(*manager, reader);
  int tried = 0;
  bool is_heard = false;
  internal::VhostUserIotlb iotlb(memory, [&](std::uint64_t, DmaAccess) {
    ++tried;
    return is_heard;
  });
  ASSERT_TRUE(iotlb.open().ok());
  constexpr DmaSegment kLong{kPage, 0xffff'f000};
  EXPECT_FALSE(iotlb.settled(kLong, DmaAccess::kRead, {}));
  EXPECT_EQ(tried, 1);
  is_heard = true;
  EXPECT_FALSE(iotlb.settled({kPage, 3 * kPage}, DmaAccess::kRead, {}));
  EXPECT_EQ(tried, 4);
  is_heard = false;
  EXPECT_FALSE(iotlb.settled(kLong, DmaAccess::kRead, {}));
  EXPECT_EQ(tried, 5);
}

}  // namespace
}  // namespace vm_device
