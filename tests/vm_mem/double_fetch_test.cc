// No double fetch: what was read from guest memory once and checked is what is used. The
// guest's page is inaccessible; each instruction that touches it faults, is noted, let
// through alone and the page closed behind it. Built twice, the second time with
// link-time optimization across the library.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

constexpr std::size_t kPage = 4096;
constexpr greg_t kTrapFlag = 0x100;

// Which guest bytes were touched, one entry an instruction.
struct Touches {
  std::byte* page = nullptr;
  std::array<std::size_t, 64> offsets{};
  std::size_t count = 0;
};
Touches touches;

void open_page(int protection) { mprotect(touches.page, kPage, protection); }

void on_fault(int, siginfo_t* fault, void* context) {
  const std::byte* const at = static_cast<std::byte*>(fault->si_addr);
  if (at < touches.page || at >= touches.page + kPage || touches.count == touches.offsets.size()) {
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  touches.offsets[touches.count++] = static_cast<std::size_t>(at - touches.page);
  open_page(PROT_READ | PROT_WRITE);
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] |= kTrapFlag;
}

void on_step(int, siginfo_t*, void* context) {
  open_page(PROT_NONE);
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;
}

class DoubleFetchTest : public testing::Test {
 protected:
  DoubleFetchTest() {
    EXPECT_TRUE(memory_->add_ram(GuestRange::make(GuestAddress{0}, kPage).value()).ok());
    std::array<std::byte, 256> content{};
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i + 1);
    EXPECT_TRUE(memory_->write(GuestAddress{0}, content).ok());
    touches.page = memory_->map()->find(GuestAddress{0})->host;
  }

  MemoryManager& manager() { return *memory_; }
  MemoryReader& reader() { return reader_; }

  // The offsets that `access` touches, sorted.
  template <typename Access>
  static std::vector<std::size_t> touched_by(Access access) {
    struct sigaction fault {};
    fault.sa_sigaction = on_fault;
    fault.sa_flags = SA_SIGINFO;
    struct sigaction step = fault;
    step.sa_sigaction = on_step;
    struct sigaction old_fault {};
    struct sigaction old_step {};
    sigaction(SIGSEGV, &fault, &old_fault);
    sigaction(SIGTRAP, &step, &old_step);
    touches.count = 0;
    open_page(PROT_NONE);
    access();
    open_page(PROT_READ | PROT_WRITE);
    sigaction(SIGSEGV, &old_fault, nullptr);
    sigaction(SIGTRAP, &old_step, nullptr);
    std::vector<std::size_t> offsets(touches.offsets.begin(),
                                     touches.offsets.begin() + static_cast<int>(touches.count));
    std::sort(offsets.begin(), offsets.end());
    return offsets;
  }

  // Aligned: one instruction. Else one for each byte.
  static std::vector<std::size_t> once(std::size_t at, std::size_t bytes) {
    if (at % bytes == 0) return {at};
    std::vector<std::size_t> offsets;
    for (std::size_t i = 0; i < bytes; ++i) offsets.push_back(at + i);
    return offsets;
  }

  template <typename Word, typename Front>
  static void check_word(Front& front) {
    for (std::size_t at = 64; at < 64 + 2 * sizeof(Word); ++at) {
      Word word{};
      const auto offsets = touched_by([&] { (void)front.load(GuestAddress{at}, word); });
      EXPECT_EQ(offsets, once(at, sizeof(Word))) << sizeof(Word) << " bytes at " << at;
      EXPECT_EQ(static_cast<std::uint8_t>(word), static_cast<std::uint8_t>(at + 1));
    }
  }
  template <typename Front>
  static void check_words(Front& front) {
    check_word<std::uint8_t>(front);
    check_word<std::uint16_t>(front);
    check_word<std::uint32_t>(front);
    check_word<std::uint64_t>(front);
  }
  template <typename Front>
  static void check_reads(Front& front) {
    std::array<std::byte, 16> host{};
    for (const std::size_t bytes : {1u, 2u, 4u, 8u}) {
      for (std::size_t offset = 0; offset < 8; ++offset) {
        const auto to = std::span(host).subspan(offset, bytes);
        EXPECT_EQ(touched_by([&] { (void)front.read(GuestAddress{64}, to); }),
                  std::vector<std::size_t>{64})
            << bytes << " bytes to offset " << offset;
      }
    }
  }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  MemoryReader reader_{*memory_};
};

// As a device model does it: checks a length that the guest can change, then uses it.
struct Parsed {
  std::uint32_t checked = 0;
  std::uint32_t used = 0;
};
template <typename Front>
[[gnu::noinline]] Parsed parse(Front& front, GuestAddress at) {
  std::uint32_t length = 0;
  if (!front.load_le(at, length).ok() || length > 64) return {};
  std::array<std::byte, 64> payload;
  const AccessResult result = front.read(at.offset_by(64), std::span(payload).first(length));
  return {length, static_cast<std::uint32_t>(result.done)};
}

TEST_F(DoubleFetchTest, ATypedLoadOfTheManagerTouchesEachByteOnce) { check_words(manager()); }
TEST_F(DoubleFetchTest, ATypedLoadOfAReaderTouchesEachByteOnce) { check_words(reader()); }
TEST_F(DoubleFetchTest, AReadOfAWordTouchesItOnce) {
  check_reads(manager());
  check_reads(reader());
}

TEST_F(DoubleFetchTest, ALengthThatIsCheckedIsNotLoadedAgain) {
  ASSERT_TRUE(manager().store(GuestAddress{0}, std::uint32_t{8}).ok());
  Parsed by_manager;
  Parsed by_reader;
  EXPECT_EQ(touched_by([&] { by_manager = parse(manager(), GuestAddress{0}); }),
            (std::vector<std::size_t>{0, 64}));
  EXPECT_EQ(touched_by([&] { by_reader = parse(reader(), GuestAddress{0}); }),
            (std::vector<std::size_t>{0, 64}));
  EXPECT_EQ(by_manager.used, 8u);
  EXPECT_EQ(by_reader.used, 8u);
}

TEST_F(DoubleFetchTest, ALengthThatIsFlippedMeanwhileStaysWhatWasChecked) {
  std::atomic<bool> stop{false};
  std::atomic<int> flips{0};
  std::thread guest([&] {
    MemoryReader own(manager());
    for (std::uint32_t n = 0; !stop.load(std::memory_order_relaxed); ++n) {
      (void)own.store(GuestAddress{0}, n % 2 == 0 ? std::uint32_t{8} : std::uint32_t{0x1000});
      flips.fetch_add(1, std::memory_order_relaxed);
    }
  });
  for (int i = 0; i < 20'000 || flips.load(std::memory_order_relaxed) < 1000; ++i) {
    const Parsed parsed = parse(reader(), GuestAddress{0});
    ASSERT_EQ(parsed.checked, parsed.used);
    ASSERT_LE(parsed.used, 64u);
  }
  stop = true;
  guest.join();
}

}  // namespace
}  // namespace vm_mem
