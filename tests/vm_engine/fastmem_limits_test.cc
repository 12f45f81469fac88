// What the arena does where the host or the guest's memory leaves it no room.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "tests/support/failing_allocations.h"
#include "tests/support/sanitizers.h"
#include "tests/vm_engine/fastmem_machine.h"
#include "vm_engine/internal/arena_space.h"
#include "vm_engine/internal/page_bits.h"
#include "vm_mem/memory_listener.h"

namespace {

using vm_engine::FastmemArena;
using vm_engine::FastmemMode;
using vm_engine::FastmemOptions;
using vm_mem::Backing;
using vm_mem::MemoryManager;
using vm_mem::RegionId;
using namespace vm_test;

class FewMappingsTest : public FastmemTest {
 protected:
  FewMappingsTest() : FastmemTest(few()) {}
  static FastmemOptions few() {
    FastmemOptions options = small_arena();
    options.max_mappings = 16;
    return options;
  }
};

TEST_F(FewMappingsTest, ProtectedPagesThatTakeTooManyMakeTheirPieceReadOnly) {
  for (std::uint64_t page = 0; page < kRamPages; page += 2) {
    ASSERT_TRUE(arena_->protect(ram_, page * kPage, kPage).ok());
    EXPECT_FALSE(direct_store(kRam + page * kPage, 1)) << page;
  }
  EXPECT_EQ(arena_->mode(), FastmemMode::kSoftTlb);
  EXPECT_NE(arena_->reason().find("mappings"), std::string::npos);
  EXPECT_LE(arena_->statistics().mappings, 16u);
  for (std::uint64_t page = 0; page < kRamPages; ++page) {
    EXPECT_EQ(store(kRam + page * kPage, page), 0u);
    EXPECT_EQ(load(kRam + page * kPage), page);
  }
}

TEST_F(FewMappingsTest, TrackedPagesBeyondTheBudgetStayClosedAndRight) {
  harvest();
  for (std::uint64_t page = 0; page < kRamPages; page += 2) {
    EXPECT_EQ(store(kTracked + page * kPage, page + 1), 0u);
    EXPECT_EQ(load(kTracked + page * kPage), page + 1);
  }
  EXPECT_LE(arena_->statistics().mappings, 16u);
  EXPECT_EQ(harvest().size(), kRamPages / 2);
}

TEST_F(FewMappingsTest, PagesThatAreClosedAnywayTakeNoMappings) {
  ASSERT_TRUE(arena_->protect(ram_, kPage, kPage).ok());
  ASSERT_TRUE(arena_->protect(ram_, 8 * kPage, kPage).ok());
  ASSERT_GT(arena_->statistics().mappings + 2, 16u);
  ASSERT_TRUE(arena_->protect(tracked_, 0, kRamPages * kPage).ok());
  ASSERT_TRUE(arena_->protect(ram_, 8 * kPage, kPage).ok());
  EXPECT_EQ(arena_->mode(), FastmemMode::kFastmem) << arena_->reason();
  EXPECT_TRUE(direct_store(kRam, 1));
  EXPECT_FALSE(direct_store(kRam + 8 * kPage, 1));
}

// From the allocation on that comes after `successes` ones.
template <typename Call>
auto without_memory(int successes, Call call) {
  vm_test::failed_allocations = 0;
  vm_test::failing = vm_test::Failing::kAllFurther;
  return vm_test::with_failing_allocation(successes, call);
}

TEST_F(FewMappingsTest, ProtectedPagesAreClosedWhereThereIsNoMemoryForTheReason) {
  ASSERT_TRUE(arena_->protect(ram_, 0, kRamPages * kPage).ok());
  arena_->unprotect(ram_, 0, kRamPages * kPage);
  for (std::uint64_t page = 0; page < kRamPages; ++page) {
    ASSERT_TRUE(direct_store(kRam + page * kPage, 1));
  }
  for (std::uint64_t page = 0; page < kRamPages; page += 2) {
    ASSERT_TRUE(without_memory(0, [&] { return arena_->protect(ram_, page * kPage, kPage); }).ok());
    ASSERT_FALSE(direct_store(kRam + page * kPage, 1)) << page;
  }
  EXPECT_NE(arena_->reason().find("protected"), std::string::npos) << arena_->reason();
}

class NoMemoryTest : public FastmemTest {
 protected:
  void new_arena() {
    if (arena_ != nullptr) arena_->detach(made_);
    arena_ = FastmemArena::create(*memory_, small_arena()).value();
    ASSERT_TRUE(arena_->attach(made_).ok());
  }
  // Wherever something is stored, it is the guest's memory.
  void expect_right() {
    for (std::uint64_t gva = 0; gva < 0x200000; gva += kPage) {
      std::uint64_t value = 0;
      if (!direct_store(gva, gva + 1)) continue;
      EXPECT_TRUE(memory_->load(vm_mem::GuestAddress{gva}, value).ok()) << std::hex << gva;
      EXPECT_EQ(value, gva + 1);
    }
  }
};

TEST_F(NoMemoryTest, ProtectingHoldsItsPromise) {
  bool failed = true;
  for (int successes = 0; failed; ++successes) {
    ASSERT_NO_FATAL_FAILURE(new_arena());
    ASSERT_TRUE(direct_store(kRam + 3 * kPage, 1));
    const absl::Status status =
        without_memory(successes, [&] { return arena_->protect(ram_, 3 * kPage, kPage); });
    failed = vm_test::failed_allocations != 0;
    EXPECT_FALSE(direct_store(kRam + 3 * kPage, 1)) << successes;
    EXPECT_EQ(status.code(), failed ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kOk);
    EXPECT_EQ(arena_->mode(), failed ? FastmemMode::kSoftTlb : FastmemMode::kFastmem);
    if (!failed) break;
    const auto mirror = memory_->add_alias(range(0x100000, 4 * kPage), ram_, 2 * kPage);
    ASSERT_TRUE(mirror.ok());
    EXPECT_FALSE(direct_store(0x100000 + kPage, 1)) << "where it is shown later, too";
    ASSERT_TRUE(memory_->remove_region(*mirror, vm_mem::RemovePolicy::kWait).ok());
  }
}

// Has this thread run out of memory once a section has come, or gone; or have it again.
class Starver : public vm_mem::MemoryListener {
 public:
  explicit Starver(int successes) : successes_(successes) {}
  void region_added(const vm_mem::MapSection&) override { change(); }
  void region_removed(const vm_mem::MapSection&) override { change(); }

 private:
  void change() const { vm_test::allocations_left = successes_; }
  const int successes_;
};

TEST_F(NoMemoryTest, FollowingTheMapShowsWhatIsThereOrNothing) {
  bool failed = true;
  for (int successes = 0; failed; ++successes) {
    Starver before(successes);
    Starver after(-1);
    vm_test::failing = vm_test::Failing::kAllFurther;
    arena_->detach(made_);
    arena_.reset();
    memory_->add_listener(&before);
    vm_test::allocations_left = -1;
    ASSERT_NO_FATAL_FAILURE(new_arena());
    memory_->add_listener(&after);
    vm_test::failed_allocations = 0;
    const vm_mem::GuestAddress to{successes % 2 == 0 ? 0x180000 : kRam};
    EXPECT_TRUE(memory_->move_region(ram_, to).ok());
    failed = vm_test::failed_allocations != 0;
    expect_right();
    EXPECT_EQ(arena_->mode(), failed ? FastmemMode::kSoftTlb : FastmemMode::kFastmem);
    memory_->remove_listener(&after);
    memory_->remove_listener(&before);
    vm_test::allocations_left = -1;
    expect_right();
  }
}

TEST(FastmemArenaTest, FallsBackWhereRamHasNoDescriptor) {
  vm_test::Machine machine;
  const auto arena = FastmemArena::create(*machine.memory, small_arena());
  ASSERT_TRUE(arena.ok());
  EXPECT_EQ((*arena)->mode(), FastmemMode::kSoftTlb);
  EXPECT_NE((*arena)->reason().find("without a descriptor"), std::string::npos);
  EXPECT_EQ((*arena)->base(), nullptr);
  EXPECT_EQ((*arena)->bytes(), 0u);
  EXPECT_EQ((*arena)->attach(machine.cpu.get()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE((*arena)->protect(machine.ram, 0, kPage).ok());
  (*arena)->close_tracked_pages();
}

TEST(FastmemArenaTest, FallsBackWhereTheMapTakesTooManyMappings) {
  auto memory = MemoryManager::create({}).value();
  for (std::uint64_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(memory->add_ram(range(2 * i * kPage, kPage), {.backing = Backing::kMemfd}).ok());
  }
  FastmemOptions options = small_arena();
  options.max_mappings = 12;
  const auto arena = FastmemArena::create(*memory, options).value();
  EXPECT_EQ(arena->mode(), FastmemMode::kSoftTlb);
  EXPECT_NE(arena->reason().find("mappings"), std::string::npos) << arena->reason();
}

TEST(FastmemArenaTest, FallsBackWhereThePagesOfTheHostAreLarger) {
  EXPECT_EQ(vm_engine::internal::unfit_host(4096), "");
  EXPECT_NE(vm_engine::internal::unfit_host(16384), "");
  EXPECT_NE(vm_engine::internal::unfit_host(65536).find("0x10000"), std::string::npos);
}

TEST(FastmemArenaTest, RefusesSizesThatAreNoPages) {
  auto memory = MemoryManager::create({}).value();
  for (const FastmemOptions& options :
       {FastmemOptions{.bytes = 0}, FastmemOptions{.bytes = kPage + 1},
        FastmemOptions{.bytes = kPage, .guard_bytes = 5}}) {
    EXPECT_EQ(FastmemArena::create(*memory, options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  const auto huge = FastmemArena::create(*memory, {.bytes = ~std::uint64_t{0} << 12}).value();
  EXPECT_EQ(huge->mode(), FastmemMode::kSoftTlb);
}

constexpr int kRight = 42;

TEST(FastmemArenaDeathTest, FallsBackWhereAddressSpaceIsLimited) {
  if (!vm_test::kSanitizers.empty()) GTEST_SKIP() << "sanitizers need more address space";
  EXPECT_EXIT(
      {
        auto memory = MemoryManager::create({}).value();
        rlimit limit{};
        getrlimit(RLIMIT_AS, &limit);
        limit.rlim_cur = rlim_t{4} << 30;
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(1);
        const auto arena = FastmemArena::create(*memory).value();
        const bool named = arena->reason().find("RLIMIT_AS") != std::string::npos;
        _exit(arena->mode() == FastmemMode::kSoftTlb && named ? kRight : 2);
      },
      testing::ExitedWithCode(kRight), "");
}

// Takes mappings until the host has none left.
void exhaust_mappings() {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  auto* const pages = static_cast<std::byte*>(
      mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  for (std::size_t at = 0; at < kBytes; at += 2 * kPage) {
    if (mprotect(pages + at, kPage, PROT_READ) != 0) return;
  }
  _exit(3);
}

TEST(FastmemArenaDeathTest, IsRightWhereTheHostHasNoMappingsLeft) {
  if (std::getenv("VM_TEST_EMULATED") != nullptr || !vm_test::kSanitizers.empty()) {
    GTEST_SKIP() << "what runs beneath needs mappings itself";
  }
  EXPECT_EXIT(
      {
        auto memory = MemoryManager::create({}).value();
        const RegionId ram =
            memory->add_ram(range(0, 16 * kPage), {.backing = Backing::kMemfd}).value();
        const auto arena = FastmemArena::create(*memory, small_arena()).value();
        exhaust_mappings();
        volatile std::byte* const page = arena->base() + 3 * kPage;
        *page = std::byte{1};
        if (!arena->protect(ram, 3 * kPage, kPage).ok()) _exit(1);
        if (arena->mode() != FastmemMode::kSoftTlb) _exit(2);
        // The page is not writable any more: asked of the kernel.
        int ends[2];
        if (pipe(ends) != 0 || write(ends[1], "x", 1) != 1) _exit(4);
        _exit(read(ends[0], arena->base() + 3 * kPage, 1) == -1 ? kRight : 5);
      },
      testing::ExitedWithCode(kRight), "");
}

TEST(PageBitsTest, CountsRunsAsTheyChange) {
  vm_engine::internal::PageBits bits(200, false);
  std::vector<bool> model(200);
  std::uint32_t state = 1;
  for (int step = 0; step < 2000; ++step) {
    state = state * 1664525u + 1013904223u;
    const std::uint64_t first = (state >> 8) % 200;
    const std::uint64_t count = std::min<std::uint64_t>((state >> 16) % 9, 200 - first);
    const bool value = (state >> 24 & 1) != 0;
    bits.assign(first, count, value);
    for (std::uint64_t i = 0; i < count; ++i) model[first + i] = value;
    std::uint64_t runs = 1;
    for (std::size_t i = 1; i < model.size(); ++i) runs += model[i] != model[i - 1] ? 1u : 0u;
    ASSERT_EQ(bits.runs(), runs);
    ASSERT_EQ(bits.ones(),
              static_cast<std::uint64_t>(std::count(model.begin(), model.end(), true)));
    const auto part = bits.part(first, count);
    for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(part.test(i), model[first + i]);
    ASSERT_EQ(part.runs(), count == 0 ? 0u : 1u);
  }
}

}  // namespace
