// Memory served by callbacks that stop anywhere: what the helpers report and what they
// leave alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "tests/vm_engine/machine.h"
#include "vm_engine/engine.h"

namespace {

using vm_test::kPage;
using vm_test::noise;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kBytes = 4 * kPage;

std::uint32_t elements(unsigned log2) { return log2 << VME_ELEM_SHIFT; }

// Four pages from 0 on. One byte may be bad: an access stops before it.
class Board {
 public:
  explicit Board(bool with_probe = false) : memory(noise(kBytes, 1)) {
    const vme_memory_ops ops = {read, write, with_probe ? probe : nullptr};
    const vme_config config = {VME_ABI_VERSION, 0, &ops, this, nullptr, nullptr};
    vme_engine* made = nullptr;
    if (vme_engine_create(&config, &made) != VME_OK) throw std::runtime_error("no engine");
    engine.reset(made);
    vme_cpu* made_cpu = nullptr;
    if (vme_cpu_create(made, &made_cpu) != VME_OK) throw std::runtime_error("no vCPU");
    cpu.reset(made_cpu);
  }

  Bytes memory;
  std::uint64_t bad_read = kBytes;
  std::uint64_t bad_write = kBytes;
  bool writes_are_commands = false;  // for probe: a flash chip
  std::uint64_t empty_calls = 0;
  std::vector<std::uint64_t> writes;  // the lengths
  vm_engine::EnginePtr engine;
  vm_engine::CpuPtr cpu;

 private:
  static std::uint64_t reach(std::uint64_t gpa, std::uint64_t n, std::uint64_t bad) {
    return gpa <= bad ? std::min(n, bad - gpa) : n;
  }
  static std::uint64_t read(void* opaque, std::uint64_t gpa, void* host, std::uint64_t n,
                            std::uint32_t* why) {
    auto& board = *static_cast<Board*>(opaque);
    if (n == 0) ++board.empty_calls;
    const std::uint64_t done = reach(gpa, n, board.bad_read);
    if (done != 0) std::memcpy(host, &board.memory[gpa], done);
    if (done < n) *why = VME_UNMAPPED;
    return done;
  }
  static std::uint64_t write(void* opaque, std::uint64_t gpa, const void* host, std::uint64_t n,
                             std::uint32_t* why) {
    auto& board = *static_cast<Board*>(opaque);
    if (n == 0) ++board.empty_calls;
    board.writes.push_back(n);
    const std::uint64_t done = reach(gpa, n, board.bad_write);
    if (done != 0) std::memcpy(&board.memory[gpa], host, done);
    if (done < n) *why = VME_PROT;
    return done;
  }
  static std::uint32_t probe(void* opaque, std::uint64_t, std::uint32_t access) {
    const auto& board = *static_cast<Board*>(opaque);
    return board.writes_are_commands && access == VME_ACCESS_WRITE ? VME_MMIO : VME_OK;
  }
};

// What element-by-element order comes to.
struct Expected {
  std::uint64_t left = 0;
  std::uint64_t gva = 0;
  unsigned side = 0;
};

struct Case {
  std::uint64_t to = 0;
  std::uint64_t from = 0;
  std::uint64_t bytes = 0;
  std::uint64_t element = 1;
  std::uint32_t flags = 0;
};

bool holds(std::uint64_t begin, std::uint64_t n, std::uint64_t byte) { return byte - begin < n; }

// Moves `source` to `memory`: the same memory where the copy propagates.
Expected walk(const Case& c, const Bytes& source, Bytes& memory, std::uint64_t bad_read,
              std::uint64_t bad_write) {
  for (std::uint64_t done = 0; done < c.bytes; done += c.element) {
    const bool up = (c.flags & VME_BACKWARD) == 0;
    const std::uint64_t at = up ? done : c.bytes - done - c.element;
    if (holds(c.from + at, c.element, bad_read)) return {c.bytes - done, bad_read, VME_SIDE_SOURCE};
    if (holds(c.to + at, c.element, bad_write)) {
      return {c.bytes - done, bad_write, VME_SIDE_DESTINATION};
    }
    std::memmove(&memory[c.to + at], &source[c.from + at], c.element);
  }
  return {};
}

void check(const Case& c, std::uint64_t bad_read, std::uint64_t bad_write) {
  Board board;
  board.bad_read = bad_read;
  board.bad_write = bad_write;
  Bytes want = board.memory;
  const Bytes before = want;
  const bool live = (c.flags & VME_OVERLAP_PROPAGATE) != 0;
  const Expected expected = walk(c, live ? want : before, want, bad_read, bad_write);
  SCOPED_TRACE(testing::Message() << c.to << " <- " << c.from << " n " << c.bytes << " flags "
                                  << c.flags << " bad " << bad_read << ", " << bad_write);
  EXPECT_EQ(vme_copy(board.cpu.get(), c.to, c.from, c.bytes, c.flags), expected.left);
  EXPECT_TRUE(board.memory == want);
  EXPECT_EQ(board.empty_calls, 0u);
  if (expected.left == 0) return;
  const vme_fault& fault = board.cpu->fault;
  EXPECT_EQ(fault.gva, expected.gva);
  EXPECT_EQ(fault.side, expected.side);
  EXPECT_EQ(fault.done, c.bytes - expected.left);
  EXPECT_EQ(fault.rc, std::uint32_t{expected.side == VME_SIDE_SOURCE ? VME_UNMAPPED : VME_PROT});
}

TEST(CallbackMemoryTest, TheCallbacksCodeIsReported) {
  Board board;
  board.bad_read = 8;
  board.bad_write = 100;
  Bytes host(16);
  EXPECT_EQ(vme_read(board.cpu.get(), host.data(), 0, 16, 0), 8u);
  EXPECT_EQ(board.cpu->fault.rc, std::uint32_t{VME_UNMAPPED});
  EXPECT_EQ(vme_write(board.cpu.get(), 96, host.data(), 16, 0), 12u);
  EXPECT_EQ(board.cpu->fault.rc, std::uint32_t{VME_PROT});
}

// Destinations stop between elements: a callback that stops inside one has written it.
TEST(CallbackMemoryTest, CopiesStopWhereElementByElementOrderWould) {
  for (const unsigned log2 : {0u, 2u, 3u}) {
    const std::uint64_t element = std::uint64_t{1} << log2;
    for (const std::uint32_t flags : {0u, std::uint32_t{VME_BACKWARD}}) {
      const Case apart{kPage + 40, 8, 64, element, flags | elements(log2)};
      for (std::uint64_t i = 0; i < 64; ++i) check(apart, apart.from + i, kBytes);
      for (std::uint64_t i = 0; i < 64; i += element) check(apart, kBytes, apart.to + i);
    }
  }
}

TEST(CallbackMemoryTest, PropagationStopsWhereElementByElementOrderWould) {
  for (const std::uint64_t distance : {1u, 4u, 24u}) {
    const std::uint32_t flags = elements(2) | VME_OVERLAP_PROPAGATE;
    const Case up{200 + distance, 200, 64, 4, flags};
    const Case down{200, 200 + distance, 64, 4, flags | VME_BACKWARD};
    for (const Case& c : {up, down}) {
      for (std::uint64_t i = 0; i < 64; ++i) check(c, c.from + i, kBytes);
      for (std::uint64_t i = 0; i < 64; i += 4) check(c, kBytes, c.to + i);
    }
  }
}

TEST(CallbackMemoryTest, AReadWritesNoPartOfAnElement) {
  for (const std::uint32_t direction : {0u, std::uint32_t{VME_BACKWARD}}) {
    Board board;
    board.bad_read = 1001 + 30;
    Bytes host(64, std::byte{0xcc});
    Bytes want = host;
    const std::uint64_t done = direction == 0 ? 24 : 32;
    const std::uint64_t at = direction == 0 ? 0 : 32;
    std::copy_n(board.memory.begin() + 1001 + static_cast<std::ptrdiff_t>(at), done,
                want.begin() + static_cast<std::ptrdiff_t>(at));
    EXPECT_EQ(vme_read(board.cpu.get(), host.data(), 1001, 64, elements(3) | direction), 64 - done);
    EXPECT_EQ(host, want);
    EXPECT_EQ(board.cpu->fault.gva, 1031u);
    EXPECT_EQ(board.cpu->fault.acc_gva, 1025u);
  }
}

TEST(CallbackMemoryTest, APageMayBeMemoryToReadAndADeviceToWrite) {
  Board board(true);
  board.writes_are_commands = true;
  Bytes host(8);
  ASSERT_EQ(vme_read(board.cpu.get(), host.data(), 0, 8, 0), 0u);
  ASSERT_EQ(vme_write(board.cpu.get(), 0, host.data(), 8, elements(1)), 0u);
  EXPECT_EQ(board.writes, (std::vector<std::uint64_t>{2, 2, 2, 2}));
  EXPECT_EQ(vme_write(board.cpu.get(), 0, host.data(), 8, VME_NO_MMIO), 8u);
  EXPECT_EQ(vme_read(board.cpu.get(), host.data(), 0, 8, VME_NO_MMIO), 0u);
}

}  // namespace
