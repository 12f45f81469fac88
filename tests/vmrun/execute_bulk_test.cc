// Bulk copies beside the loops that define them, byte by byte: registers, memory and faults,
// interpreted and translated.

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <random>
#include <vector>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/paging_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;

enum Variant : unsigned { kCpy, kCpyf, kCpyb, kSet };

constexpr std::uint32_t bulk(unsigned variant, unsigned rd, unsigned rs1, unsigned rs2) {
  return as::r_type(0, rs2, rs1, variant, rd, 0x0b);
}

constexpr std::uint64_t kPages = 4;
constexpr std::uint64_t kBytes = kPages * 4096;
constexpr std::uint64_t kCode = PagingHart::kVirtualCode;
constexpr std::uint64_t kData = PagingHart::kVirtualData;
constexpr std::uint64_t kLoadPage = 13, kStorePage = 15;
constexpr std::uint64_t kRo = kV | kR | kA;

// The loops of docs/vmrun.md over kPages pages.
struct Loop {
  struct Fault {
    std::uint64_t cause, tval;
  };

  std::uint64_t dst = 0, src = 0, count = 0;
  std::array<std::uint64_t, kPages> rights{};
  std::vector<std::uint8_t> memory = std::vector<std::uint8_t>(kBytes);

  std::uint64_t right_of(std::uint64_t at) const {
    return at - kData < kBytes ? rights[(at - kData) / 4096] : 0;
  }
  std::optional<Fault> store(std::uint64_t at, std::uint64_t value) {
    if ((right_of(at) & kW) == 0) return Fault{kStorePage, at};
    memory[at - kData] = static_cast<std::uint8_t>(value);
    return std::nullopt;
  }
  std::optional<Fault> copy(std::uint64_t to, std::uint64_t from) {
    if ((right_of(from) & kR) == 0) return Fault{kLoadPage, from};
    return store(to, memory[from - kData]);
  }
  std::optional<Fault> step(unsigned variant) {
    std::optional<Fault> fault;
    if (variant == kSet) {
      if ((fault = store(dst, src))) return fault;
      ++dst;
    } else if (variant == kCpyb) {
      if ((fault = copy(dst - 1, src - 1))) return fault;
      --dst, --src;
    } else if (variant == kCpy && dst != src && dst - src < count) {
      if ((fault = copy(dst + count - 1, src + count - 1))) return fault;
    } else {
      if ((fault = copy(dst, src))) return fault;
      ++dst, ++src;
    }
    --count;
    return std::nullopt;
  }
  std::optional<Fault> run(unsigned variant) {
    while (count != 0) {
      if (const auto fault = step(variant)) return fault;
    }
    return std::nullopt;
  }
};

struct Names {
  unsigned dst, src, count;
};
// Of registers that a translator may keep in the host's, and of others.
constexpr Names kNames[] = {{10, 11, 12}, {20, 21, 22}, {5, 14, 31}};

class Guest : public PagingHart {
 public:
  explicit Guest(Execution execution) : PagingHart(execution) {}

  // Page i of the data is page kPages - 1 - i of memory.
  void show(const Loop& loop) {
    for (std::uint64_t page = 0; page < kPages; ++page) {
      map(kVirtualData + page * 4096, physical(page), loop.rights[page]);
      const auto* const bytes = loop.memory.data() + page * 4096;
      static_cast<void>(memory().write(vm_mem::GuestAddress{physical(page)},
                                       std::as_bytes(std::span(bytes, 4096))));
    }
    hart().forget_translations();
  }
  std::vector<std::uint8_t> data() {
    std::vector<std::uint8_t> out(kBytes);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const auto bytes = std::span(out).subspan(page * 4096, 4096);
      static_cast<void>(
          memory().read(vm_mem::GuestAddress{physical(page)}, std::as_writable_bytes(bytes)));
    }
    return out;
  }
  // Until it is done, or has trapped.
  void run_one(unsigned variant, const Names& names, const Loop& loop) {
    program(std::vector<std::uint32_t>{bulk(variant, names.dst, names.src, names.count),
                                       as::jal(0, 0)});
    hart().forget_code();
    x(names.dst) = loop.dst;
    x(names.src) = loop.src;
    x(names.count) = loop.count;
    state().pc = kVirtualCode;
    state().privilege = Privilege::kSupervisor;
    state().csrs.scause = 0;
    while (state().pc == kVirtualCode) static_cast<void>(hart().run(1));
  }

 private:
  static std::uint64_t physical(std::uint64_t page) {
    return BareHart::kData + (kPages - 1 - page) * 4096;
  }
};

class ExecuteBulkTest : public ExecutionTest {
 protected:
  std::uint64_t random(std::uint64_t limit) { return engine_() % limit; }
  Loop random_loop(unsigned variant) {
    Loop loop;
    for (std::uint8_t& byte : loop.memory) byte = static_cast<std::uint8_t>(engine_());
    for (std::uint64_t& right : loop.rights)
      right = random(4) == 0 ? (random(2) != 0 ? kRo : 0) : kRw;
    loop.count = random(3) == 0 ? random(2 * 4096) : random(80);
    loop.src = kData + 300 + random(kBytes - 2 * 4096 - 600);
    // Half of them overlap.
    loop.dst =
        random(2) == 0 ? loop.src + random(2 * 128) - 128 : kData + 300 + random(kBytes - 9000);
    if (variant == kCpyb) loop.dst += loop.count, loop.src += loop.count;
    return loop;
  }
  void expect_same(Guest& guest, const Names& names, const Loop& loop) {
    EXPECT_EQ(guest.x(names.dst), loop.dst);
    EXPECT_EQ(guest.x(names.src), loop.src);
    EXPECT_EQ(guest.x(names.count), loop.count);
    EXPECT_TRUE(guest.data() == loop.memory) << "memory";
  }
  // Each fault is seen to, and the instruction executed again.
  void run_beside(Guest& guest, unsigned variant, const Names& names, Loop loop) {
    guest.show(loop);
    for (;;) {
      guest.run_one(variant, names, loop);
      const auto fault = loop.run(variant);
      expect_same(guest, names, loop);
      EXPECT_EQ(guest.state().csrs.scause, fault ? fault->cause : 0);
      if (!fault || HasFailure()) return;
      EXPECT_EQ(guest.state().csrs.stval, fault->tval);
      EXPECT_EQ(guest.state().csrs.sepc, kCode);
      loop.rights[(fault->tval - kData) / 4096] = kRw;
      guest.show(loop);
    }
  }

 private:
  std::mt19937_64 engine_{20261122};
};

TEST_P(ExecuteBulkTest, DoesWhatTheLoopsDo) {
  Guest guest(GetParam());
  for (unsigned i = 0; i < 600 && !HasFailure(); ++i) {
    const unsigned variant = i % 4;
    run_beside(guest, variant, kNames[i % 3], random_loop(variant));
    if (HasFailure()) ADD_FAILURE() << "case " << i;
  }
}

TEST_P(ExecuteBulkTest, AFaultAtAnyByteIsExactAndResumes) {
  Guest guest(GetParam());
  for (std::uint64_t at = 0; at <= 40 && !HasFailure(); ++at) {
    for (const unsigned variant : {kCpy, kCpyf, kCpyb, kSet}) {
      for (const std::uint64_t ahead : {std::uint64_t{7}, ~std::uint64_t{6}, std::uint64_t{8192}}) {
        Loop loop = random_loop(variant);
        loop.rights = {kRw, ahead == 8192 ? std::uint64_t{0} : kRo, kRw, kRo};
        loop.src = kData + 4096 - at;
        loop.dst = loop.src + ahead;
        loop.count = 40;
        if (variant == kCpyb) loop.dst += 40, loop.src += 40;
        run_beside(guest, variant, kNames[0], loop);
      }
    }
  }
}

TEST_P(ExecuteBulkTest, ACountOfZeroTouchesNothing) {
  Guest guest(GetParam());
  Loop loop = random_loop(kCpy);
  loop.rights = {};
  loop.count = 0;
  for (const unsigned variant : {kCpy, kCpyf, kCpyb, kSet}) {
    run_beside(guest, variant, kNames[0], loop);
  }
}

TEST_P(ExecuteBulkTest, AFillOfZerosNamesX0) {
  Guest guest(GetParam());
  Loop loop = random_loop(kSet);
  loop.rights.fill(kRw);
  loop.dst = kData + 5;
  loop.src = 0;
  loop.count = 5000;
  run_beside(guest, kSet, {10, 0, 12}, loop);
}

// Takes single bytes, and none from kRefused on.
class ByteDevice : public vm_mem::MmioHandler {
 public:
  static constexpr std::uint64_t kRefused = 40;

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned, std::uint64_t& value) override {
    value = 3 * offset;
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size,
                                 std::uint64_t value) override {
    if (offset >= kRefused) return vm_mem::AccessFault::kDevice;
    written.push_back({offset, size, value});
    return vm_mem::AccessFault::kNone;
  }
  std::vector<std::array<std::uint64_t, 3>> written;
};

TEST_P(ExecuteBulkTest, ADeviceSeesEachByteInOrderUpToTheOneThatItRefuses) {
  constexpr std::uint64_t kDevice = 0x1000'0000, kStoreAccess = 7;
  Guest guest(GetParam());
  ByteDevice device;
  const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{kDevice}, 4096);
  ASSERT_TRUE(guest.memory().add_mmio(*range, &device).ok());
  Loop loop = random_loop(kCpyf);
  loop.rights.fill(kRw);
  guest.show(loop);
  guest.map(kData + 0x10'000, kDevice, kRw);
  loop.src = kData + 4096 - 20;
  loop.dst = kData + 0x10'000;
  loop.count = 100;
  guest.run_one(kCpyf, kNames[0], loop);
  EXPECT_EQ(guest.state().csrs.scause, kStoreAccess);
  EXPECT_EQ(guest.state().csrs.stval, loop.dst + ByteDevice::kRefused);
  EXPECT_EQ(guest.x(10), loop.dst + ByteDevice::kRefused);
  EXPECT_EQ(guest.x(11), loop.src + ByteDevice::kRefused);
  EXPECT_EQ(guest.x(12), loop.count - ByteDevice::kRefused);
  ASSERT_EQ(device.written.size(), ByteDevice::kRefused);
  for (std::uint64_t i = 0; i < ByteDevice::kRefused; ++i) {
    const std::array<std::uint64_t, 3> byte{i, 1, loop.memory[loop.src - kData + i]};
    EXPECT_EQ(device.written[i], byte) << i;
  }
}

// 160 KiB of one page after the other, all of them the same.
class LongBulkTest : public ExecuteBulkTest {
 protected:
  static constexpr std::uint64_t kLong = 160 << 10;
  static constexpr std::uint64_t kPiece = 64 << 10;
  static constexpr std::uint64_t kTo = kData + 0x10'0000;

  static void prepare(Guest& guest) {
    for (std::uint64_t at = 0; at < kLong; at += 4096) {
      guest.map(kData + at, BareHart::kData, kRw);
      guest.map(kTo + at, BareHart::kData + 4096, kRw);
    }
    guest.poke<std::uint64_t>(BareHart::kData + 8, 0x1122'3344'5566'7788);
    guest.program(std::vector<std::uint32_t>{bulk(kCpy, 10, 11, 12), as::jal(0, 0)});
    guest.x(10) = kTo;
    guest.x(11) = kData;
    guest.x(12) = kLong;
    guest.state().pc = kCode;
    guest.state().privilege = Privilege::kSupervisor;
  }
};

TEST_P(LongBulkTest, APieceRetiresOneInstructionAndStaysAtIt) {
  Guest guest(GetParam());
  prepare(guest);
  for (std::uint64_t piece = 1; piece <= 3; ++piece) {
    static_cast<void>(guest.hart().run(1));
    const std::uint64_t done = std::min(piece * kPiece, kLong);
    EXPECT_EQ(guest.x(10), kTo + done);
    EXPECT_EQ(guest.x(11), kData + done);
    EXPECT_EQ(guest.x(12), kLong - done);
    if (piece == 3) break;  // the jump that follows is in its block
    EXPECT_EQ(guest.state().pc, kCode);
    EXPECT_EQ(guest.state().clock.retired(), piece);
  }
  EXPECT_EQ(guest.state().pc, kCode + 4);
  EXPECT_EQ(guest.peek<std::uint64_t>(BareHart::kData + 4096 + 8), 0x1122'3344'5566'7788u);
}

TEST_P(LongBulkTest, AnInterruptIsTakenBetweenPieces) {
  Guest guest(GetParam());
  prepare(guest);
  static_cast<void>(guest.hart().run(1));
  guest.program(std::vector{as::kMret}, BareHart::kHandler);
  guest.state().csrs.mie = mask_of(Interrupt::kTimer);
  guest.state().pins.raise(Interrupt::kTimer);
  static_cast<void>(guest.hart().run(1));
  EXPECT_EQ(guest.state().csrs.mepc, kCode);
  EXPECT_EQ(guest.state().csrs.mcause, std::uint64_t{1} << 63 | 7);
  EXPECT_EQ(guest.x(12), kLong - kPiece);
  guest.state().pins.lower(Interrupt::kTimer);
  static_cast<void>(guest.hart().run(3));
  EXPECT_EQ(guest.x(12), 0u);
  EXPECT_EQ(guest.x(10), kTo + kLong);
}

TEST_P(ExecuteBulkTest, ReservedEncodingsAreIllegalInstructions) {
  Guest guest(GetParam());
  for (const std::uint32_t word : {bulk(4, 10, 11, 12), bulk(0, 10, 10, 12), bulk(3, 10, 11, 0)}) {
    EXPECT_EQ(guest.cause_of(word), 2u);
    EXPECT_EQ(guest.state().csrs.stval, word);
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, ExecuteBulkTest, both_executions(), name_of_execution);
INSTANTIATE_TEST_SUITE_P(Cpu, LongBulkTest, both_executions(), name_of_execution);

}  // namespace
}  // namespace vmrun
