// Recognised loops beside the same loops executed plainly: after each budget, fault and
// interrupt registers, memory, page tables and clock are the same, interpreted and translated.
#include "tools/vmrun/loop.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/paging_hart.h"

namespace vmrun {
namespace {

namespace as = assembler;
using Words = std::vector<std::uint32_t>;

constexpr unsigned kBne = 1, kBlt = 4, kBge = 5, kBltu = 6, kBgeu = 7;
constexpr unsigned kDst = 10, kSrc = 11, kEnd = 12, kCount = 13, kValue = 14, kTemp = 16,
                   kIndex = 30, kSpare = 31;

std::shared_ptr<const Loop> recognised(const Words& words) {
  std::vector<BlockOp> ops;
  for (const std::uint32_t word : words) {
    BlockOp op;
    op.raw = word;
    op.bytes = 4;
    ops.push_back(op);
  }
  return recognise_loop(ops);
}

std::uint32_t branch(unsigned funct3, unsigned rs1, unsigned rs2, std::size_t words) {
  return as::b_type(-4 * static_cast<int>(words), rs2, rs1, funct3);
}

TEST(LoopRecogniserTest, KnowsWhatGccMakesOfAByteLoop) {
  const auto loop = recognised({as::load(4, 15, 11, 0), as::addi(11, 11, 1), as::addi(10, 10, 1),
                                as::store(0, 15, 10, -1), branch(kBne, 11, 12, 4)});
  ASSERT_NE(loop, nullptr);
  EXPECT_EQ(loop->kind, LoopKind::kCopy);
  EXPECT_EQ(loop->bytes, 1u);
  EXPECT_EQ(loop->instructions, 5u);
  EXPECT_EQ(loop->writes.size(), 3u);
  std::array<std::uint64_t, 33> x{};
  x[11] = 100;
  x[12] = 107;
  EXPECT_EQ(loop->branch.iterations(x), 6u);  // after the seventh it is not taken
}

TEST(LoopRecogniserTest, KnowsUBootsDescendingWordsAndItsUnrolledFill) {
  const auto copy = recognised({as::addi(11, 11, -8), as::load(3, 15, 11, 0), as::addi(10, 10, -8),
                                as::store(3, 15, 10, 0), branch(kBltu, 5, 10, 4)});
  ASSERT_NE(copy, nullptr);
  EXPECT_EQ(copy->order, ByteOrder::kDescending);
  Words fill;
  for (int i = 0; i < 32; ++i) fill.push_back(as::store(3, 11, 5, 8 * i));
  fill.insert(fill.end(), {as::addi(5, 5, 256), branch(kBltu, 5, 13, 33)});
  ASSERT_NE(recognised(fill), nullptr);
  EXPECT_EQ(recognised(fill)->bytes, 256u);
}

// 2^63 has no positive counterpart.
TEST(LoopRecogniserTest, CountsTheIterationsOfTheLargestStep) {
  Words words = {as::u_type(0x80000, 5, 0x37)};
  for (int i = 0; i < 32; ++i) words.push_back(as::op(0, 0, 5, 5, 5));
  words.insert(words.end(), {as::op(0, 0, 6, 6, 5), as::store(0, 14, 10, 0), as::addi(10, 10, 1),
                             branch(kBne, 6, 7, 36)});
  const auto loop = recognised(words);
  ASSERT_NE(loop, nullptr);
  EXPECT_EQ(loop->branch.step_size(), std::uint64_t{1} << 63);
  std::array<std::uint64_t, 33> x{};
  x[7] = std::uint64_t{1} << 63;
  EXPECT_EQ(loop->branch.iterations(x), 0u);
  x[6] = x[7];
  EXPECT_EQ(loop->branch.iterations(x), 1u);
}

TEST(LoopRecogniserTest, RefusesWhatIsNoCopy) {
  const std::uint32_t load = as::load(4, 15, 11, 0), store = as::store(0, 15, 10, 0);
  const std::uint32_t next = as::addi(11, 11, 1), to = as::addi(10, 10, 1);
  const std::uint32_t again = branch(kBne, 11, 12, 4);
  ASSERT_NE(recognised({load, store, next, to, again}), nullptr);
  const Words refused[] = {
      {load, store, next, to, branch(kBne, 15, 0, 4)},           // strcpy
      {load, store, next, to, branch(0, 11, 12, 4)},             // beq
      {load, store, next, to, branch(kBgeu, 11, 12, 4)},         // in the other direction
      {load, store, next, as::addi(10, 10, 2), again},           // a gap
      {load, as::store(1, 15, 10, 0), next, to, again},          // other widths
      {load, store, next, as::addi(10, 10, -1), again},          // one up, one down
      {as::load(4, 15, 11, 0), next, to, again},                 // stores nothing
      {load, as::addi(15, 15, 1), store, next, to, again},       // changes it
      {load, store, next, to, as::op(0, 0, 14, 14, 15), again},  // sums it up
      {load, store, as::addi(11, 10, 1), to, again},             // pointers change places
      {load, store, next, to, as::kFence, again},
      {load, store, next, to, branch(kBne, 12, 13, 4)},  // never ends, or at once
      {as::store(3, 10, 10, 0), as::addi(10, 10, 8), branch(kBne, 10, 12, 2)},  // other values
      {load, as::load(4, 16, 11, 1), store, as::store(0, 16, 10, 2), as::addi(11, 11, 2),
       as::addi(10, 10, 2), again},
  };
  for (std::size_t i = 0; i < std::size(refused); ++i) {
    EXPECT_EQ(recognised(refused[i]), nullptr) << i;
  }
}

constexpr std::uint64_t kPages = 8;
constexpr std::uint64_t kRo = kV | kR | kA, kClean = kV | kR | kW;

struct Program {
  Words words;
  std::array<std::uint64_t, 32> x{};
  std::array<std::uint64_t, kPages> pages{};  // of memory
  std::array<std::uint64_t, kPages> rights{};
};

// Copies and fills of all widths, unrolled or not, up and down, of any alignment and overlap.
class Generator {
 public:
  explicit Generator(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t random(std::uint64_t limit) { return engine_() % limit; }
  Program make() {
    Program out;
    for (std::uint64_t i = 1; i < 32; ++i) out.x[i] = engine_();
    out.x[14] = random(2) == 0 ? 0x4141'4141'4141'4141 : engine_();
    for (std::uint64_t i = 0; i < kPages; ++i) {
      out.pages[i] = random(8) == 0 ? random(kPages) : kPages - 1 - i;
      constexpr std::uint64_t kRights[] = {kRw, kRw, kRw, kRw, kClean, kClean, kRo, 0};
      out.rights[i] = kRights[random(8)];
    }
    random(6) == 0 ? make_indexed(out) : make_pointers(out);
    return out;
  }

 private:
  std::uint64_t place(std::uint64_t room) {
    return PagingHart::kVirtualData + 64 + random(kPages * 4096 - room - 128);
  }
  // Where both sides begin.
  void place_both(Program& out, std::uint64_t bytes) {
    out.x[kSrc] = place(bytes + 256) + 128;
    out.x[kDst] = random(2) == 0 ? place(bytes) : out.x[kSrc] + random(160) - 80;
    if (random(2) == 0) out.x[kSrc] &= ~std::uint64_t{7}, out.x[kDst] &= ~std::uint64_t{7};
  }

  void make_indexed(Program& out) {
    const std::uint64_t count = 1 + random(2000);
    place_both(out, count);
    out.x[kIndex] = 0;
    out.x[kEnd] = count;
    out.words = {
        as::op(0, 0, kSpare, kSrc, kIndex), as::load(random(2) == 0 ? 0 : 4, kTemp, kSpare, 0),
        as::op(0, 0, kSpare, kIndex, kDst), as::addi(kIndex, kIndex, 1),
        as::store(0, kTemp, kSpare, 0),     branch(kBne, kIndex, kEnd, 5)};
  }

  void make_pointers(Program& out) {
    const unsigned log2 = static_cast<unsigned>(random(4));
    const unsigned unrolled = 1u << random(4);
    const std::uint64_t group = std::uint64_t{unrolled} << log2;
    const std::uint64_t count = 1 + random(std::min<std::uint64_t>(2000, 9000 / group));
    const bool down = random(3) == 0, fills = random(3) == 0, early = random(2) == 0;
    const std::uint64_t bytes = count * group;
    const int step = down ? -static_cast<int>(group) : static_cast<int>(group);
    place_both(out, bytes);
    if (down) out.x[kDst] += bytes, out.x[kSrc] += bytes;
    const int first = (down ? step : 0) - (early ? step : 0);
    Words& words = out.words;
    const auto move_on = [&] {
      words.push_back(as::addi(kDst, kDst, step));
      words.push_back(as::addi(kSrc, kSrc, step));
    };
    if (early) move_on();
    add_accesses(words, log2, unrolled, first, fills);
    if (!early) move_on();
    add_branch(out, count, step);
  }

  void add_accesses(Words& words, unsigned log2, unsigned unrolled, int first, bool fills) {
    const unsigned funct3 = log2 == 3 || random(2) == 0 ? log2 : log2 + 4;
    const bool grouped = random(2) == 0;
    const unsigned value = random(3) == 0 ? 0 : kValue;
    Words stores;
    for (unsigned i = 0; i < unrolled; ++i) {
      const int offset = first + static_cast<int>(i << log2);
      const unsigned temp = fills ? value : kTemp + (grouped ? i : 0);
      if (!fills) words.push_back(as::load(funct3, temp, kSrc, offset));
      stores.push_back(as::store(log2, temp, kDst, offset));
      if (grouped) continue;
      words.push_back(stores.back());
    }
    if (grouped) words.insert(words.end(), stores.begin(), stores.end());
  }

  void add_branch(Program& out, std::uint64_t count, int step) {
    const std::uint64_t end = out.x[kDst] + static_cast<std::uint64_t>(std::int64_t{step}) * count;
    const bool up = step > 0;
    const unsigned less = random(2) == 0 ? kBlt : kBltu, least = less == kBlt ? kBge : kBgeu;
    out.x[kEnd] = end;
    const std::size_t words = out.words.size();
    switch (random(4)) {
      case 0:
        out.x[kCount] = count;
        out.words.insert(out.words.end(),
                         {as::addi(kCount, kCount, -1), branch(kBne, kCount, 0, words + 1)});
        break;
      case 1: out.words.push_back(branch(kBne, kDst, kEnd, words)); break;
      case 2: out.words.push_back(branch(less, up ? kDst : kEnd, up ? kEnd : kDst, words)); break;
      default:
        out.x[kEnd] = up ? end - 1 : end + 1;
        out.words.push_back(branch(least, up ? kEnd : kDst, up ? kDst : kEnd, words));
    }
  }

  std::mt19937_64 engine_;
};

class Guest : public PagingHart {
 public:
  Guest(Execution execution, LoopMode mode) : PagingHart(execution) { hart().set_loop_mode(mode); }
  void start(const Program& made) {
    Words words = made.words;
    words.push_back(as::jal(0, 0));
    program(words);
    hart().forget_code();
    std::mt19937_64 engine(words.size());
    for (std::uint64_t at = 0; at < kPages * 4096; at += 8) poke(BareHart::kData + at, engine());
    for (std::uint64_t page = 0; page < kPages; ++page) {
      map(kVirtualData + page * 4096, BareHart::kData + made.pages[page] * 4096, made.rights[page]);
    }
    std::copy(made.x.begin(), made.x.end(), state().x.begin());
    go_on();
  }
  void go_on() {
    hart().forget_translations();
    state().pc = kVirtualCode;
    state().privilege = Privilege::kSupervisor;
    state().csrs.scause = 0;
  }
  std::vector<std::byte> ram() {
    std::vector<std::byte> out(BareHart::kEnd - BareHart::kData);
    EXPECT_TRUE(memory().read(vm_mem::GuestAddress{BareHart::kData}, out).ok());
    return out;
  }
};

class LoopTest : public ExecutionTest {
 protected:
  void expect_same() {
    HartState &a = got.state(), &b = want.state();
    EXPECT_EQ(a.pc, b.pc);
    EXPECT_EQ(a.clock.retired(), b.clock.retired());
    for (std::size_t i = 1; i < 32; ++i) EXPECT_EQ(a.x[i], b.x[i]) << "x" << i;
    EXPECT_TRUE(a.csrs == b.csrs) << "CSRs";
  }
  void run_both(std::uint64_t instructions) {
    static_cast<void>(got.hart().run(instructions));
    static_cast<void>(want.hart().run(instructions));
    expect_same();
  }
  // To the end or a fault, with stops on the way.
  void run_in_pieces(Generator& generator, std::uint64_t end) {
    const std::uint64_t most = generator.random(2) == 0 ? 60 : 3000;
    while (!HasFailure() && want.state().csrs.scause == 0 && want.state().pc != end) {
      run_both(1 + generator.random(most));
    }
    EXPECT_TRUE(got.ram() == want.ram()) << "memory and page tables";
  }
  // Each fault is seen to, and the loop entered again.
  void run_to_the_end(Generator& generator, const Program& program) {
    const std::uint64_t end = PagingHart::kVirtualCode + 4 * program.words.size();
    for (Guest* guest : {&got, &want}) guest->start(program);
    for (unsigned faults = 0; faults < 12; ++faults) {
      run_in_pieces(generator, end);
      if (HasFailure() || want.state().csrs.scause == 0) return;
      const std::uint64_t page = want.state().csrs.stval & ~std::uint64_t{4095};
      const std::uint64_t index = (page - PagingHart::kVirtualData) / 4096;
      const std::uint64_t sepc = want.state().csrs.sepc;
      for (Guest* guest : {&got, &want}) {
        guest->map(page, BareHart::kData + program.pages[index % kPages] * 4096, kRw);
        guest->go_on();
        guest->state().pc = sepc;
      }
    }
  }

  Guest got{GetParam(), LoopMode::kRecognised};
  Guest want{GetParam(), LoopMode::kPlain};
};

TEST_P(LoopTest, RandomLoopsEndAsPlainOnes) {
  constexpr unsigned kPrograms = 400;
  Generator generator(7);
  for (unsigned i = 0; i < kPrograms && !HasFailure(); ++i) {
    const Program program = generator.make();
    run_to_the_end(generator, program);
    if (!HasFailure()) continue;
    std::string listing;
    for (const std::uint32_t word : program.words) listing += testing::PrintToString(word) + " ";
    ADD_FAILURE() << "program " << i << ": " << listing;
  }
  EXPECT_GT(got.hart().loops().iterations, 100u * kPrograms);
  EXPECT_EQ(want.hart().loops().runs, 0u);
}

// A byte loop as GCC makes it.
const Words kByteLoop = {as::load(4, 15, 11, 0), as::addi(11, 11, 1), as::addi(10, 10, 1),
                         as::store(0, 15, 10, -1), branch(kBne, 11, 12, 4)};

Program byte_loop(std::uint64_t bytes) {
  Program out{.words = kByteLoop};
  for (std::uint64_t i = 0; i < kPages; ++i) out.pages[i] = i;
  out.rights.fill(kRw);
  out.x[kSrc] = PagingHart::kVirtualData + 5;
  out.x[kDst] = PagingHart::kVirtualData + 0x4003;
  out.x[kEnd] = out.x[kSrc] + bytes;
  return out;
}

TEST_P(LoopTest, ABudgetEndsItWhereItEndsThePlainOne) {
  for (std::uint64_t budget = 1; budget < 2000 && !HasFailure(); budget += 1 + budget / 10) {
    const Program program = byte_loop(300);
    for (Guest* guest : {&got, &want}) guest->start(program);
    run_both(budget);
  }
}

TEST_P(LoopTest, AnInterruptFindsTheRegistersOfWholeIterations) {
  const Program program = byte_loop(9000);
  for (Guest* guest : {&got, &want}) {
    guest->start(program);
    guest->program(Words{as::csrrs(20, 0x341, 0), as::kMret}, BareHart::kHandler);
    guest->state().csrs.mie = mask_of(Interrupt::kTimer);
  }
  for (unsigned i = 0; i < 20; ++i) {
    run_both(777);
    for (Guest* guest : {&got, &want}) guest->state().pins.raise(Interrupt::kTimer);
    run_both(1);
    EXPECT_EQ(got.state().csrs.mcause, std::uint64_t{1} << 63 | 7);
    for (Guest* guest : {&got, &want}) guest->state().pins.lower(Interrupt::kTimer);
  }
  EXPECT_GT(got.hart().loops().iterations, 2000u);
}

// Counts what it is read and written, and gives numbers that say so.
class CountingDevice : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size,
                                std::uint64_t& value) override {
    value = 16 * ++reads + offset + size;
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t, unsigned, std::uint64_t) override {
    ++writes;
    return vm_mem::AccessFault::kNone;
  }
  unsigned reads = 0;
  unsigned writes = 0;
};

TEST_P(LoopTest, ADeviceSeesEachAccessOnce) {
  constexpr std::uint64_t kDevice = 0x1000'0000;
  CountingDevice devices[2];
  const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{kDevice}, 4096);
  EXPECT_TRUE(got.memory().add_mmio(*range, &devices[0]).ok());
  EXPECT_TRUE(want.memory().add_mmio(*range, &devices[1]).ok());
  Program program = byte_loop(4096 + 300);  // half of it from plain memory
  for (Guest* guest : {&got, &want}) {
    guest->start(program);
    guest->map(PagingHart::kVirtualData + 0x1000, kDevice, kRw);
  }
  run_both(50'000);
  EXPECT_EQ(devices[0].reads, 305u);
  EXPECT_EQ(devices[1].reads, 305u);
  EXPECT_TRUE(got.ram() == want.ram());
}

// A device that says nothing costs a few looks, and what comes after it is as fast as before.
TEST_P(LoopTest, IterationsThatCannotBeHelpedAreNotTriedEachTime) {
  constexpr std::uint64_t kDevice = 0x1000'0000, kBytes = 4000;
  CountingDevice device;
  const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{kDevice}, 4096);
  EXPECT_TRUE(got.memory().add_mmio(*range, &device).ok());
  Program program = byte_loop(kBytes);
  got.start(program);
  const std::uint64_t device_page = PagingHart::kVirtualData + 0x10'000;
  got.map(device_page, kDevice, kRw);
  got.x(kDst) = device_page;
  static_cast<void>(got.hart().run(5 * kBytes));
  EXPECT_EQ(device.writes, kBytes);
  EXPECT_GT(got.hart().loops().refused, 0u);
  EXPECT_LT(got.hart().loops().refused, kBytes / 20);
  EXPECT_EQ(got.hart().loops().iterations, 0u);
  got.start(program);
  static_cast<void>(got.hart().run(5 * kBytes));
  EXPECT_GT(got.hart().loops().iterations, kBytes - 100);
}

// Who asks for the hart is heard at the next page's end, interpreted as well as translated.
TEST_P(LoopTest, APinOrAYieldAsksForAnExit) {
  const auto request = [&]() -> std::uint32_t { return got.hart().memory().cpu().exit_request; };
  const auto run = [&] { static_cast<void>(got.hart().run(5 * 64)); };
  got.start(byte_loop(9000));
  run();
  EXPECT_EQ(request(), 0u);
  got.state().pins.raise(Interrupt::kTimer);
  EXPECT_NE(request(), 0u);
  run();
  EXPECT_EQ(request(), 0u);
  got.hart().yield();
  EXPECT_NE(request(), 0u);
  run();
  run();
  EXPECT_EQ(request(), 0u);
}

TEST(LoopExitTest, ARequestEndsALoopAtThePagesEnd) {
  Guest guest(Execution::kInterpreted, LoopMode::kRecognised);
  Program program = byte_loop(0x3000);
  guest.start(program);
  constexpr std::uint32_t kEmbeddersBit = 1 << 5;  // nobody takes it up
  guest.hart().memory().cpu().exit_request = kEmbeddersBit;
  static_cast<void>(guest.hart().run(5 * 0x3000));
  EXPECT_GT(guest.hart().loops().runs, 4u);
  EXPECT_LE(guest.hart().loops().iterations, guest.hart().loops().runs * 4096);
}

TEST_P(LoopTest, MachineModesLoopsAreThoseOfPhysicalMemory) {
  const Program program = byte_loop(9000);
  for (Guest* guest : {&got, &want}) {
    guest->start(program);
    guest->state().privilege = Privilege::kMachine;
    guest->state().pc = BareHart::kCode;
    guest->x(kSrc) = BareHart::kData + 5;
    guest->x(kDst) = BareHart::kData + 0x3003;
    guest->x(kEnd) = BareHart::kData + 5 + 9000;
  }
  run_both(777);
  run_both(50'000);
  EXPECT_TRUE(got.ram() == want.ram());
  EXPECT_GT(got.hart().loops().iterations, 8000u);
}

constexpr std::uint64_t kOwnChunk = BareHart::kCode + 0x40;

// Without a fence, which the translator does not need.
TEST_P(LoopTest, ALoopThatOverwritesItselfEndsAsThePlainOne) {
  const Words words = {as::store(0, 14, 10, 0), as::addi(10, 10, 1), branch(kBne, 10, 12, 2)};
  for (Guest* guest : {&got, &want}) {
    guest->program(words, kOwnChunk);
    guest->state().privilege = Privilege::kMachine;
    guest->state().pc = kOwnChunk;
    guest->x(10) = kOwnChunk - 8;
    guest->x(12) = BareHart::kCode + 0x3000;
    guest->x(14) = 0;
  }
  run_both(3000);
  EXPECT_TRUE(got.ram() == want.ram());
  if (GetParam() == Execution::kInterpreted) return;
  EXPECT_EQ(got.hart().loops().iterations, 0u);
  EXPECT_EQ(got.state().csrs.mepc, kOwnChunk);
  EXPECT_EQ(got.peek<std::uint64_t>(BareHart::kCode + 0x1000), 0u);
}

TEST_P(LoopTest, ALoopThatWritesToItsPageGoesOnPlainlyWhereItIsTranslated) {
  const Program program = byte_loop(2000);
  for (Guest* guest : {&got, &want}) {
    guest->start(program);
    // Behind the loop: of its page, and not of its code.
    guest->map(PagingHart::kVirtualData + 0x4000, BareHart::kCode, kRw);
    guest->x(kDst) = PagingHart::kVirtualData + 0x4000 + 0x400;
  }
  run_both(5 * 2000);
  for (std::uint64_t at = 0x400; at < 0x400 + 2000; at += 8) {
    ASSERT_EQ(got.peek<std::uint64_t>(BareHart::kCode + at),
              want.peek<std::uint64_t>(BareHart::kCode + at));
  }
  if (GetParam() == Execution::kInterpreted) return;
  EXPECT_EQ(got.hart().loops().iterations, 0u);
}

INSTANTIATE_TEST_SUITE_P(Cpu, LoopTest, both_executions(), name_of_execution);

}  // namespace
}  // namespace vmrun
