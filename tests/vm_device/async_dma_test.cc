// AsyncDma on both back ends: exact results, whatever ends a request.
#include "vm_device/async_dma.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "tests/vm_device/async_machine.h"
#include "vm_device/internal/async_injection.h"

namespace vm_device {
namespace {

class AsyncDmaTest : public AsyncMachine {};

TEST_P(AsyncDmaTest, AFileIsScatteredOverTheListAndGatheredAgain) {
  const auto content = noise(10 * kPage, 5);
  const File from(content);
  const std::vector<DmaSegment> list{
      {kRamBase + 100, 3000}, {kTracked + 7, 2 * kPage}, {0, 0}, {kRamBase + 50 * kPage, 1}};
  const std::size_t total = 3000 + 2 * kPage + 1;
  EXPECT_EQ(read_file(from, list, dma, 11), done(1, total));
  std::vector<std::byte> got(total);
  ASSERT_TRUE(dma.read(list, got).ok());
  EXPECT_TRUE(std::equal(got.begin(), got.end(), content.begin() + 11));
  EXPECT_EQ(dirty_pages(), 3u);
  const File to;
  EXPECT_EQ(write_file(to.get(), list, dma), done(2, total));
  EXPECT_EQ(to.content(), got);
}

TEST_P(AsyncDmaTest, ALongListMovesInSeveralCalls) {
  const auto content = noise(200 * kPage, 3);
  const File from(content);
  std::vector<DmaSegment> list;
  for (std::uint64_t i = 0; i < 1000; ++i) list.push_back({kRamBase + (i ^ 1) * 700, 700});
  EXPECT_EQ(read_file(from, list, dma), done(1, 700'000));
  const File to;
  EXPECT_EQ(write_file(to.get(), list, dma), done(2, 700'000));
  EXPECT_TRUE(std::ranges::equal(to.content(), std::span(content).first(700'000)));
}

TEST_P(AsyncDmaTest, TheFilesEndIsToldWithWhatItHad) {
  const File from(noise(kPage + 10));
  EXPECT_EQ(read_file(from, {{kTracked, 100}, {kTracked + kPage, 3 * kPage}}, dma),
            (AsyncCompletion{{1},
                             AsyncOutcome::kEndOfFile,
                             {.done = kPage + 10, .at = kTracked + kPage + kPage - 90},
                             0}));
  EXPECT_EQ(dirty_pages(), 2u);
  EXPECT_EQ(read_file(from, {{kTracked, 100}}, dma, 2 * kPage),
            (AsyncCompletion{{1}, AsyncOutcome::kEndOfFile, {.at = kTracked}, 0}));
  EXPECT_EQ(read_file(from, {{kTracked, 100}}, dma, kPage + 10 - 100), done(1, 100));
}

TEST_P(AsyncDmaTest, ShortTransfersOfFilesInMemoryAreCompleteWhenTheyAreAccepted) {
  if (GetParam() != AsyncBackend::kIoUring) GTEST_SKIP() << "workers make every call";
  const auto content = noise(3 * kPage, 5);
  const File from(content);
  const File to;
  const std::vector<DmaSegment> list{{kRamBase + 100, kPage}, {kTracked, 2 * kPage}};
  AsyncCompletion completion;
  ASSERT_EQ(async->read_file(dma, list, {from.get(), 0, FileHome::kMemory}, {1}),
            AsyncAdmission::kAccepted);
  ASSERT_EQ(async->poll(std::span(&completion, 1)), 1u);
  EXPECT_EQ(completion, done(1, 3 * kPage));
  EXPECT_EQ(dirty_pages(), 2u);
  ASSERT_EQ(async->write_file(dma, list, {to.get(), 0, FileHome::kMemory}, {2}),
            AsyncAdmission::kAccepted);
  ASSERT_EQ(async->poll(std::span(&completion, 1)), 1u);
  EXPECT_EQ(completion, done(2, 3 * kPage));
  EXPECT_EQ(to.content(), content);
}

TEST_P(AsyncDmaTest, NothingIsDoneAtOnce) {
  const File file;
  EXPECT_EQ(read_file(file, {}, dma), done(1, 0));
  EXPECT_EQ(write_file(file.get(), {{0x100, 0}}, dma), done(2, 0));
}

TEST_P(AsyncDmaTest, AHoleEndsTheRequestAtItsByte) {
  const auto content = noise(8 * kPage, 9);
  const File from(content);
  EXPECT_EQ(
      read_file(from, {{kRamEnd - 100, 200}, {kRamBase, 100}}, dma),
      (AsyncCompletion{{1}, AsyncOutcome::kMemoryFault, {DmaFault::kUnmapped, 100, kRamEnd}, 0}));
  EXPECT_TRUE(std::ranges::equal(ram(kRamEnd - 100, 100), std::span(content).first(100)));
  EXPECT_EQ(ram(kRamBase, 100), noise(100));
  const File to;
  EXPECT_EQ(
      write_file(to.get(), {{kRamEnd - 10, UINT64_MAX}}, dma),
      (AsyncCompletion{{2}, AsyncOutcome::kMemoryFault, {DmaFault::kUnmapped, 10, kRamEnd}, 0}));
  EXPECT_EQ(to.content().size(), 10u);
}

TEST_P(AsyncDmaTest, TheTopOfTheAddressSpaceEndsTheRequest) {
  constexpr std::uint64_t kTop = 0xffff'ffff'ffff'e000;
  ASSERT_TRUE(guest.memory->add_ram(guest_range(kTop, kPage)).ok());
  map_iova(UINT64_MAX - kPage + 1, kRamBase);
  const File from(noise(8 * kPage));
  EXPECT_EQ(
      read_file(from, {{kTop + 96, 3 * kPage}}, dma),
      (AsyncCompletion{
          {1}, AsyncOutcome::kMemoryFault, {DmaFault::kUnmapped, kPage - 96, kTop + kPage}, 0}));
  EXPECT_EQ(read_file(from, {{UINT64_MAX - 9, 100}, {0, 5}}, behind),
            (AsyncCompletion{{1}, AsyncOutcome::kMemoryFault, {DmaFault::kTranslation, 10, 0}, 0}));
}

TEST_P(AsyncDmaTest, ReadOnlyMemoryIsReadAndNotWritten) {
  const File file(noise(2 * kPage, 4));
  EXPECT_EQ(read_file(file, {{kRamBase, 8}, {kRom, 8}}, dma),
            (AsyncCompletion{{1}, AsyncOutcome::kMemoryFault, {DmaFault::kReadOnly, 8, kRom}, 0}));
  EXPECT_EQ(ram(kRom, kPage), noise(kPage));
  EXPECT_EQ(write_file(file.get(), {{kRom, kPage}}, dma), done(2, kPage));
  auto written = file.content();
  written.resize(kPage);
  EXPECT_EQ(written, noise(kPage));
}

TEST_P(AsyncDmaTest, TheIommuEndsTheRequestAndIsToldOnce) {
  map_iova(0, kRamBase + 4 * kPage);
  map_iova(kPage, kRamBase);
  map_iova(2 * kPage, kRamBase + 8 * kPage, kPage, DmaAccess::kRead);
  const auto content = noise(8 * kPage, 9);
  const File from(content);
  EXPECT_EQ(read_file(from, {{0x10, 4 * kPage}}, behind),
            (AsyncCompletion{{1},
                             AsyncOutcome::kMemoryFault,
                             {DmaFault::kTranslation, 2 * kPage - 16, 2 * kPage},
                             0}));
  EXPECT_TRUE(
      std::ranges::equal(ram(kRamBase, kPage), std::span(content).subspan(kPage - 16, kPage)));
  std::array<IommuFault, 4> faults;
  ASSERT_EQ(iommu->poll_faults(faults), 1u);
  EXPECT_EQ(faults[0],
            (IommuFault{kDevice, 2 * kPage, DmaAccess::kWrite, IommuFaultReason::kForbidden}));
}

TEST_P(AsyncDmaTest, WhatIsLookedAtAheadIsOnRecordThoughTheFileEndsBefore) {
  map_iova(0, kRamBase);
  const File from(noise(100));
  EXPECT_EQ(read_file(from, {{0, kPage + 8}}, behind),
            (AsyncCompletion{{1}, AsyncOutcome::kEndOfFile, {.done = 100, .at = 100}, 0}));
  std::array<IommuFault, 2> faults;
  ASSERT_EQ(iommu->poll_faults(faults), 1u);
  EXPECT_EQ(faults[0],
            (IommuFault{kDevice, kPage, DmaAccess::kWrite, IommuFaultReason::kUnmapped}));
}

TEST_P(AsyncDmaTest, RegistersAreServedThroughACopy) {
  const File to;
  EXPECT_EQ(write_file(to.get(), {{kRamBase, 8}, {kDeviceBase, 16}, {kRamBase, 8}}, dma),
            done(2, 32));
  EXPECT_EQ(to.content()[15], std::byte{1});
  EXPECT_EQ(to.content()[23], std::byte{2});
  const File from(noise(64 * kPage));
  EXPECT_EQ(read_file(from, {{kDeviceBase, 32}, {kRamBase, 8}}, dma), done(1, 40));
  EXPECT_EQ(registers.written, 32u);
}

TEST_P(AsyncDmaTest, ADeviceThatRefusesIsTheLastThatIsReached) {
  registers.refuse_from = 24;
  const File from(noise(64 * kPage));
  const auto before = ram(kRamBase + kPage, 8);
  EXPECT_EQ(read_file(from, {{kRamBase, 8}, {kDeviceBase, 32}, {kRamBase + kPage, 8}}, dma),
            (AsyncCompletion{
                {1}, AsyncOutcome::kMemoryFault, {DmaFault::kDevice, 32, kDeviceBase + 24}, 0}));
  EXPECT_EQ(ram(kRamBase + kPage, 8), before);
}

TEST_P(AsyncDmaTest, ADeviceDoesNotReachItself) {
  DmaSpace own(*guest.memory, &registers);
  const File to;
  EXPECT_EQ(write_file(to.get(), {{kRamBase, 8}, {kDeviceBase, 16}}, own),
            (AsyncCompletion{
                {2}, AsyncOutcome::kMemoryFault, {DmaFault::kReentrant, 8, kDeviceBase}, 0}));
  EXPECT_EQ(to.content().size(), 8u);
}

// Registers whose access submits DMA of another device to them.
class Submitter : public vm_mem::MmioHandler {
 public:
  Submitter(AsyncDma& async, DmaSpace& space, int file)
      : async_(async), space_(space), file_(file) {}
  AccessFault mmio_read(std::uint64_t, unsigned, std::uint64_t&) override {
    return AccessFault::kDevice;
  }
  AccessFault mmio_write(std::uint64_t offset, unsigned, std::uint64_t) override {
    if (offset != 0) return AccessFault::kNone;
    const std::array<DmaSegment, 1> own{{{kSubmitter + 8, 8}}};
    EXPECT_EQ(async_.fill(space_, own, std::byte{1}, {1}), AsyncAdmission::kAccepted);
    EXPECT_EQ(async_.fence({2}), AsyncAdmission::kAccepted);
    EXPECT_EQ(async_.read_file(space_, own, {file_, 0}, {3}), AsyncAdmission::kAccepted);
    return AccessFault::kNone;
  }
  static constexpr std::uint64_t kSubmitter = 0x1100'0000;

 private:
  AsyncDma& async_;
  DmaSpace& space_;
  int file_;
};

TEST_P(AsyncDmaTest, WorkThatIsPutOffStaysInItsTransaction) {
  const File from(noise(kPage));
  DmaSpace other(*guest.memory, &registers);
  Submitter submitter(*async, other, from.get());
  ASSERT_TRUE(
      guest.bus.attach(guest_range(Submitter::kSubmitter, kPage), &submitter, "submitter").ok());
  guest.put(Submitter::kSubmitter, std::uint64_t{1});
  const DmaResult refused{DmaFault::kReentrant, 0, Submitter::kSubmitter + 8};
  EXPECT_EQ(take(), (AsyncCompletion{{1}, AsyncOutcome::kMemoryFault, refused, 0}));
  EXPECT_EQ(take(), done(2, 0));
  EXPECT_EQ(take(), (AsyncCompletion{{3}, AsyncOutcome::kMemoryFault, refused, 0}));
  // Of nobody's transaction it may.
  EXPECT_EQ(read_file(from, {{Submitter::kSubmitter + 8, 8}}, other), done(1, 8));
  EXPECT_TRUE(guest.bus.detach(&submitter).ok());
}

TEST_P(AsyncDmaTest, AFileErrorIsToldWithItsNumber) {
  EXPECT_EQ(write_file(-1, {{kRamBase, 8}}, dma),
            (AsyncCompletion{{2}, AsyncOutcome::kFileError, {.at = kRamBase}, EBADF}));
  const File file(noise(kPage));
  EXPECT_EQ(write_file(file.get(), {{kRamBase, 8}}, dma, UINT64_MAX),
            (AsyncCompletion{{2}, AsyncOutcome::kFileError, {.at = kRamBase}, EINVAL}));
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  EXPECT_EQ(write_file(ends[1], {{kRamBase, 8}}, dma),
            (AsyncCompletion{{2}, AsyncOutcome::kFileError, {.at = kRamBase}, ESPIPE}));
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(async->sync_file(-1, AsyncSync::kAll, {7}), AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), (AsyncCompletion{{7}, AsyncOutcome::kFileError, {}, EBADF}));
}

TEST_P(AsyncDmaTest, AFullDiskEndsTheRequest) {
  const int full = ::open("/dev/full", O_RDWR | O_CLOEXEC);
  ASSERT_GE(full, 0);
  EXPECT_EQ(write_file(full, {{kRamBase, 8 * kPage}}, dma),
            (AsyncCompletion{{2}, AsyncOutcome::kFileError, {.at = kRamBase}, ENOSPC}));
  ::close(full);
}

TEST_P(AsyncDmaTest, ADiskThatIsFullInTheMiddleSaysHowMuchItTook) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  std::string path;
  const int file = open_file(path);
  ::unlink(path.c_str());
  const rlimit small{3 * kPage, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const AsyncCompletion completion =
      write_file(file, {{kRamBase, 2 * kPage}, {kRamBase + 8 * kPage, 4 * kPage}}, dma);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(
      completion,
      (AsyncCompletion{
          {2}, AsyncOutcome::kFileError, {.done = 3 * kPage, .at = kRamBase + 9 * kPage}, EFBIG}));
  EXPECT_EQ(::lseek(file, 0, SEEK_END), static_cast<off_t>(3 * kPage));
  ::close(file);
}

TEST_P(AsyncDmaTest, SyncsComplete) {
  const File file(noise(kPage));
  ASSERT_EQ(async->sync_file(file.get(), AsyncSync::kAll, {1}), AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), done(1, 0));
  ASSERT_EQ(async->sync_file(file.get(), AsyncSync::kData, {2}), AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), done(2, 0));
}

TEST_P(AsyncDmaTest, CopiesFillsAndBuffersAreThoseOfTheSpace) {
  ASSERT_EQ(async->copy(dma, kTracked, kRamBase, 2 * kPage, {1}), AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), done(1, 2 * kPage));
  EXPECT_EQ(ram(kTracked, 2 * kPage), noise(2 * kPage));
  EXPECT_EQ(dirty_pages(), 2u);
  ASSERT_EQ(async->fill(dma, std::array<DmaSegment, 2>{{{kTracked, 8}, {kTracked + 10, 2}}},
                        std::byte{0xee}, {2}),
            AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), done(2, 10));
  EXPECT_EQ(ram(kTracked + 11, 1)[0], std::byte{0xee});
  std::vector<std::byte> buffer(16);
  const std::array<DmaSegment, 1> end{{{kRamEnd - 10, 16}}};
  ASSERT_EQ(async->read(dma, end, buffer, {3}), AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), (AsyncCompletion{
                        {3}, AsyncOutcome::kMemoryFault, {DmaFault::kUnmapped, 10, kRamEnd}, 0}));
  ASSERT_EQ(async->write(dma, end, std::span(buffer).first(4), {4}), AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), done(4, 4));
}

TEST_P(AsyncDmaTest, ABufferThatIsShorterThanTheListIsDone) {
  const std::array<DmaSegment, 2> list{{{kRamBase, 10}, {kRamBase + kPage, 100}}};
  std::vector<std::byte> buffer(16);
  ASSERT_EQ(async->read(dma, list, buffer, {1}), AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), done(1, buffer.size()));
  EXPECT_EQ(buffer[15], ram(kRamBase + kPage + 5, 1)[0]);
  ASSERT_EQ(async->write(dma, list, buffer, {2}), AsyncAdmission::kAccepted);
  EXPECT_EQ(take(), done(2, buffer.size()));
}

TEST_P(AsyncDmaTest, ASpaceOfAReaderIsServedWithoutTheReader) {
  vm_mem::MemoryReader reader(*guest.memory);
  const File from(noise(kPage, 8));
  {
    DmaSpace space(reader);
    ASSERT_EQ(async->read_file(space, std::array<DmaSegment, 1>{{{kRamBase, kPage}}},
                               {from.get(), 0}, {1}),
              AsyncAdmission::kAccepted);
  }
  EXPECT_EQ(take(), done(1, kPage));
  EXPECT_EQ(ram(kRamBase, kPage), noise(kPage, 8));
}

TEST_P(AsyncDmaTest, MemoryThatTheHostLosesIsAFaultOfMemory) {
  std::string path;
  const int backing = open_file(path);
  ASSERT_EQ(::ftruncate(backing, 4 * kPage), 0);
  constexpr std::uint64_t kShrinking = 0x6000'0000;
  ASSERT_TRUE(guest.memory
                  ->add_ram(guest_range(kShrinking, 4 * kPage),
                            {.backing = vm_mem::Backing::kFile, .file = path})
                  .ok());
  ASSERT_EQ(::ftruncate(backing, 2 * kPage), 0);
  const File from(noise(8 * kPage, 6));
  EXPECT_EQ(read_file(from, {{kShrinking, 4 * kPage}}, dma),
            (AsyncCompletion{{1},
                             AsyncOutcome::kMemoryFault,
                             {DmaFault::kHostFault, 2 * kPage, kShrinking + 2 * kPage},
                             0}));
  ::close(backing);
  ::unlink(path.c_str());
}

// io_uring cancels what a thread that ends has left with it.
TEST_P(AsyncDmaTest, RequestsOutliveTheThreadThatMadeThem) {
  constexpr std::size_t kEach = 32 * kPage;
  constexpr std::size_t kRequests = 64;
  constexpr std::uint64_t kMemory = 0x6000'0000;
  ASSERT_TRUE(guest.memory->add_ram(guest_range(kMemory, kRequests * kEach)).ok());
  std::string path;
  const int file = open_file(path);
  ::unlink(path.c_str());
  const auto content = noise(kRequests * kEach);
  ASSERT_EQ(::pwrite(file, content.data(), content.size(), 0),
            static_cast<ssize_t>(content.size()));
  ASSERT_EQ(::fsync(file), 0);
  for (const std::uint64_t bytes : {kEach, kEach / 4}) {
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    std::thread([&] {
      for (std::size_t i = 0; i < kRequests; ++i) {
        const std::array<DmaSegment, 1> list{{{kMemory + i * kEach, bytes}}};
        EXPECT_EQ(async->read_file(dma, list, {file, i * kEach}, {1}), AsyncAdmission::kAccepted);
      }
    }).join();
    for (std::size_t i = 0; i < kRequests; ++i) EXPECT_EQ(take(), done(1, bytes));
  }
  EXPECT_EQ(ram(kMemory, kRequests * kEach), content);
  ::close(file);
}

INSTANTIATE_TEST_SUITE_P(Backends, AsyncDmaTest,
                         testing::Values(AsyncBackend::kIoUring, AsyncBackend::kThreads),
                         backend_name);

TEST(AsyncDmaCreateTest, RefusesOptionsOutsideTheirLimits) {
  for (const AsyncDmaOptions& options :
       {AsyncDmaOptions{.max_requests = 0}, AsyncDmaOptions{.max_requests = 4097},
        AsyncDmaOptions{.max_segments = 0}, AsyncDmaOptions{.threads = 65}}) {
    EXPECT_EQ(AsyncDma::create(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

// The calls of a script: what each returns, or kMove for what the host does with at most
// `limit` bytes.
class Script : public internal::FileCalls {
 public:
  struct Step {
    std::int64_t result = 0;
    std::uint64_t limit = 0;  // not 0: move as much
  };
  explicit Script(std::vector<Step> steps) : steps_(std::move(steps)) {}
  std::int64_t perform(const internal::FileOp& op) override {
    if (next_ == steps_.size()) return host_.perform(op);
    const Step step = steps_[next_++];
    if (step.limit == 0) return step.result;
    iovec piece = op.pieces.front();
    piece.iov_len = std::min<std::size_t>(piece.iov_len, step.limit);
    internal::FileOp part = op;
    part.pieces = std::span(&piece, 1);
    return host_.perform(part);
  }

 private:
  std::vector<Step> steps_;
  std::size_t next_ = 0;
  internal::SystemFileCalls host_;
};

class AsyncDmaScriptTest : public testing::Test {
 protected:
  AsyncCompletion write(std::vector<Script::Step> steps) {
    async = *internal::AsyncInjection::create({.backend = AsyncBackend::kThreads},
                                              std::make_unique<Script>(std::move(steps)));
    guest.put_bytes(kRamBase, noise(16 * kPage));
    const std::array<DmaSegment, 2> list{{{kRamBase, kPage}, {kRamBase + 8 * kPage, kPage}}};
    EXPECT_EQ(async->write_file(dma, list, {file.get(), 0}, {1}), AsyncAdmission::kAccepted);
    AsyncCompletion completion;
    EXPECT_EQ(async->wait(std::span(&completion, 1), kLong), 1u);
    return completion;
  }
  Guest guest;
  DmaSpace dma{*guest.memory};
  File file;
  std::unique_ptr<AsyncDma> async;
};

TEST_F(AsyncDmaScriptTest, ShortAndInterruptedCallsAreTakenUpWhereTheyEnded) {
  EXPECT_EQ(write({{0, 1}, {-EINTR}, {0, 100}, {-EAGAIN}, {-EINTR}, {0, 4000}, {0, 4000}}),
            done(1, 2 * kPage));
  auto expected = noise(kPage);
  const auto rest = guest.bytes(kRamBase + 8 * kPage, kPage);
  expected.insert(expected.end(), rest.begin(), rest.end());
  EXPECT_EQ(file.content(), expected);
}

TEST_F(AsyncDmaScriptTest, CallsThatEndWithTheirThreadAreMadeAgain) {
  EXPECT_EQ(write({{-ECANCELED}, {-EFAULT}, {0, 100}, {-EFAULT}, {-ECANCELED}}),
            done(1, 2 * kPage));
}

TEST_F(AsyncDmaScriptTest, MemoryThatFaultsTwiceIsLost) {
  EXPECT_EQ(write({{0, 100}, {-EFAULT}, {-EFAULT}}),
            (AsyncCompletion{
                {1}, AsyncOutcome::kMemoryFault, {DmaFault::kHostFault, 100, kRamBase + 100}, 0}));
}

TEST_F(AsyncDmaScriptTest, AnErrorBehindAShortCallKeepsWhatWasMoved) {
  EXPECT_EQ(
      write({{0, 1000}, {-EIO}}),
      (AsyncCompletion{{1}, AsyncOutcome::kFileError, {.done = 1000, .at = kRamBase + 1000}, EIO}));
  EXPECT_EQ(file.content().size(), 1000u);
}

TEST_F(AsyncDmaScriptTest, AFileThatSaysAgainForeverIsInError) {
  EXPECT_EQ(write(std::vector<Script::Step>(1000, Script::Step{-EAGAIN})),
            (AsyncCompletion{{1}, AsyncOutcome::kFileError, {.at = kRamBase}, EAGAIN}));
}

TEST_F(AsyncDmaScriptTest, AWriteOfNothingIsAnError) {
  EXPECT_EQ(write({{0, 5}, {0}}),
            (AsyncCompletion{{1}, AsyncOutcome::kFileError, {.done = 5, .at = kRamBase + 5}, EIO}));
}

}  // namespace
}  // namespace vm_device
