// Emitted AArch64 code that reaches a guest through the soft TLB and the helpers, executed
// beside a second machine on which the helpers alone do the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "tests/vm_engine/emit_a64_program.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/emit.h"

namespace vm_engine {
namespace {

using vm_test::A64Registers;
using vm_test::id;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::patterned;
using vm_test::Program;

constexpr Reg kDst = Reg::kX19;
constexpr Reg kSrc = Reg::kX20;
constexpr Reg kSize = Reg::kX21;
constexpr std::uint16_t kCookie = 77;
constexpr std::uint64_t kGuestPc = 0x80001234;
constexpr std::uint64_t kRamEnd = Machine::kRam + 8 * kPage;

unsigned calls = 0;  // of helpers, counted on their way

vme_value counted_load(vme_cpu* cpu, std::uint64_t gva, std::uint32_t flags) {
  ++calls;
  return vme_load(cpu, gva, flags);
}
std::uint64_t counted_store(vme_cpu* cpu, std::uint64_t gva, std::uint64_t value,
                            std::uint32_t flags) {
  ++calls;
  return vme_store(cpu, gva, value, flags);
}
std::uint64_t counted_copy(vme_cpu* cpu, std::uint64_t dst, std::uint64_t src, std::uint64_t n,
                           std::uint32_t flags) {
  ++calls;
  return vme_copy(cpu, dst, src, n, flags);
}

template <typename Function>
std::uint64_t address_of(Function* function) {
  return reinterpret_cast<std::uint64_t>(function);
}

// The same place, by its offset or by its address.
ExitTarget any_exit(std::mt19937& random) {
  if (random() % 2 == 0) return ExitTarget::at_offset(Program::kExit);
  return ExitTarget::at_address(address_of(vm_test::vm_test_a64_code) + Program::kExit);
}

class EmitA64GuestTest : public testing::Test {
 protected:
  EmitA64GuestTest() {
    config.address_mode = AddressMode::kSoftTlb;
    config.exit = ExitTarget::at_offset(Program::kExit);
    config.cookie = kCookie;
    config.guest_pc = kGuestPc;
    config.helpers.load = address_of(&counted_load);
    config.helpers.store = address_of(&counted_store);
    config.helpers.copy = address_of(&counted_copy);
    calls = 0;
    for (Machine* each : {&machine, &model}) {
      each->put(Machine::kRam, vm_test::noise(8 * kPage, 1));
      each->put(Machine::kTracked, vm_test::noise(4 * kPage, 2));
      each->put(Machine::kBehind, vm_test::noise(2 * kPage, 3));
    }
  }

  template <typename Emit>
  void emit(Program& program, Emit emit_into) {
    const absl::Status status = emit_into(program.buffer);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_NO_FATAL_FAILURE(program.finish());
  }

  A64Registers run(const Program& program, std::uint64_t dst, std::uint64_t src,
                   std::uint64_t size = 0) {
    A64Registers in = patterned();
    in.x[id(config.cpu)] = address_of(machine.cpu.get());
    in.x[id(kDst)] = dst;
    in.x[id(kSrc)] = src;
    in.x[id(kSize)] = size;
    const A64Registers out = program.run(in);
    RegSet may_change = (config.scratch & ~reg_bit(config.cpu)) | reg_bit(config.result);
    if (loads) may_change |= out.exited != 0 ? 0 : reg_bit(kDst);
    vm_test::check_survivors(config, in, out, may_change);
    return out;
  }

  // Where bytes are left the code left by its exit, with the model's fault and the site's.
  void check_fault(const A64Registers& out, std::uint64_t left) {
    EXPECT_EQ(out.exited, left == 0 ? 0u : 1u);
    if (left == 0) return;
    const vme_fault& fault = machine.cpu->fault;
    const vme_fault& wanted = model.cpu->fault;
    EXPECT_EQ(out.x[id(config.result)], left);
    EXPECT_EQ(fault.rc, wanted.rc);
    EXPECT_EQ(fault.access, wanted.access);
    EXPECT_EQ(fault.side, wanted.side);
    EXPECT_EQ(fault.gva, wanted.gva);
    EXPECT_EQ(fault.gpa, wanted.gpa);
    EXPECT_EQ(fault.acc_gva, wanted.acc_gva);
    EXPECT_EQ(fault.acc_size, wanted.acc_size);
    EXPECT_EQ(fault.done, wanted.done);
    EXPECT_EQ(fault.site, kCookie);
    EXPECT_EQ(fault.guest_pc, kGuestPc);
  }

  void check_memory() {
    EXPECT_EQ(machine.bytes(Machine::kRam, 8 * kPage), model.bytes(Machine::kRam, 8 * kPage));
    EXPECT_EQ(machine.bytes(Machine::kTracked, 4 * kPage),
              model.bytes(Machine::kTracked, 4 * kPage));
    EXPECT_EQ(machine.bytes(Machine::kBehind, 2 * kPage), model.bytes(Machine::kBehind, 2 * kPage));
    EXPECT_EQ(machine.device.log, model.device.log);
  }

  Machine machine;
  Machine model;
  EmitConfig config = default_emit_config(Isa::kAArch64);
  bool loads = false;
};

std::uint64_t interpreted(std::uint64_t value, MemOp op) {
  if (op.order == ByteOrder::kBig) value = __builtin_bswap64(value) >> (64 - 8 * op.bytes);
  const unsigned unused = 64 - 8 * op.bytes;
  if (op.extend == Extend::kZero) return value << unused >> unused;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
}

std::uint32_t element(unsigned bytes) {
  return static_cast<std::uint32_t>(std::countr_zero(bytes)) << VME_ELEM_SHIFT;
}

std::vector<MemOp> all_ops() {
  std::vector<MemOp> ops;
  for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
    for (const Extend extend : {Extend::kZero, Extend::kSign}) {
      for (const ByteOrder order : {ByteOrder::kLittle, ByteOrder::kBig}) {
        ops.push_back({.bytes = bytes, .extend = extend, .order = order});
      }
    }
  }
  return ops;
}

// In one page, across two, into the hole, in it, in ROM, in a device.
constexpr std::uint64_t kPlaces[] = {
    Machine::kRam + 40, Machine::kRam + 0x203, Machine::kRam + kPage - 1, Machine::kTracked + 9,
    kRamEnd - 1,        kRamEnd + 64,          Machine::kRom + 16,        Machine::kDevice + 8};

TEST_F(EmitA64GuestTest, LoadsAreVmeLoads) {
  loads = true;
  for (const AddressMode mode : {AddressMode::kSoftTlb, AddressMode::kGuest}) {
    config.address_mode = mode;
    for (const MemOp op : all_ops()) {
      Program program;
      emit(program, [&](CodeBuffer& b) { return emit_load(b, config, kDst, kSrc, op); });
      for (const std::uint64_t gva : kPlaces) {
        const vme_value wanted = vme_load(model.cpu.get(), gva, element(op.bytes));
        const A64Registers out = run(program, 99, gva);
        check_fault(out, wanted.left);
        if (wanted.left == 0) {
          EXPECT_EQ(out.x[id(kDst)], interpreted(wanted.value, op)) << gva;
        }
      }
    }
  }
  check_memory();
}

TEST_F(EmitA64GuestTest, StoresAreVmeStores) {
  for (const AddressMode mode : {AddressMode::kSoftTlb, AddressMode::kGuest}) {
    config.address_mode = mode;
    std::uint64_t value = 0x8192a3b4c5d6e7f8;
    for (const MemOp op : all_ops()) {
      Program program;
      emit(program, [&](CodeBuffer& b) { return emit_store(b, config, kSrc, kDst, op); });
      for (const std::uint64_t gva : kPlaces) {
        value += 0x0102030405060708;
        MemOp unsigned_op = op;
        unsigned_op.extend = Extend::kZero;
        const std::uint64_t left =
            vme_store(model.cpu.get(), gva, interpreted(value, unsigned_op), element(op.bytes));
        check_fault(run(program, value, gva), left);
      }
    }
  }
  check_memory();
}

TEST_F(EmitA64GuestTest, AHitCallsNoHelperAndAMissOne) {
  loads = true;
  Program program;
  emit(program, [&](CodeBuffer& b) {
    EXPECT_TRUE(emit_load(b, config, kDst, kSrc, {.bytes = 8}).ok());
    return emit_store(b, config, kSrc, kDst, {.bytes = 8});
  });
  run(program, 0, Machine::kRam + 16);
  EXPECT_EQ(calls, 2u);
  run(program, 0, Machine::kRam + kPage - 8);
  EXPECT_EQ(calls, 2u);
  run(program, 0, Machine::kRam + kPage - 7);
  EXPECT_EQ(calls, 4u);
  vme_tlb_flush(machine.cpu.get());
  run(program, 0, Machine::kRam + 24);
  EXPECT_EQ(calls, 6u);
}

TEST_F(EmitA64GuestTest, LoadsMayOverwriteTheirAddress) {
  loads = true;
  Program program;
  emit(program, [&](CodeBuffer& b) { return emit_load(b, config, kDst, kDst, {.bytes = 4}); });
  for (int round = 0; round < 2; ++round) {
    const vme_value wanted = vme_load(model.cpu.get(), Machine::kRam + 8, element(4));
    EXPECT_EQ(run(program, Machine::kRam + 8, 0).x[id(kDst)], wanted.value);
  }
  EXPECT_EQ(calls, 1u);
  EXPECT_EQ(run(program, kRamEnd, 0).x[id(kDst)], kRamEnd);
}

// Whatever the registers are, at an exit the one to be loaded is as it was.
TEST_F(EmitA64GuestTest, ALoadThatFailsKeepsItsRegister) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::array<unsigned, 18> regs;
    std::iota(regs.begin(), regs.end(), 0u);
    std::shuffle(regs.begin(), regs.end(), random);
    const auto dst = static_cast<Reg>(regs[0]);
    const auto gva = static_cast<Reg>(regs[1]);
    config.cpu = static_cast<Reg>(regs[2]);
    config.result = static_cast<Reg>(regs[3]);
    config.address_mode = round % 2 == 0 ? AddressMode::kSoftTlb : AddressMode::kGuest;
    config.exit = any_exit(random);
    Program program;
    emit(program, [&](CodeBuffer& b) { return emit_load(b, config, dst, gva, {.bytes = 8}); });
    A64Registers in = patterned();
    in.x[id(config.cpu)] = address_of(machine.cpu.get());
    in.x[id(gva)] = kRamEnd + 64;
    const A64Registers out = program.run(in);
    EXPECT_EQ(out.exited, 1u);
    EXPECT_EQ(out.x[id(dst)], in.x[id(dst)]) << id(dst);
    EXPECT_EQ(out.x[id(config.cpu)], in.x[id(config.cpu)]) << id(config.cpu);
    EXPECT_EQ(out.x[id(config.result)], 8u);
  }
}

// Near an edge of what is there, on either side of it.
std::uint64_t some_place(std::mt19937& random) {
  constexpr std::uint64_t kEdges[] = {
      Machine::kRam,         Machine::kRam + kPage, kRamEnd,          Machine::kTracked,
      Machine::kRom + kPage, Machine::kDevice,      Machine::kBehind, Machine::kBehind + 2 * kPage};
  return kEdges[random() % std::size(kEdges)] + random() % 200 - 100;
}

TEST_F(EmitA64GuestTest, CopiesAreVmeCopies) {
  std::mt19937 random(3);
  for (int round = 0; round < 1200; ++round) {
    config.address_mode = round % 4 == 0 ? AddressMode::kGuest : AddressMode::kSoftTlb;
    config.inline_max = round % 3 == 0 ? 300 : 64;
    const std::uint64_t bytes = random() % (round % 2 == 0 ? 66 : 300);
    const std::uint64_t dst = some_place(random);
    const bool overlaps = random() % 3 == 0;
    const std::uint64_t src = overlaps ? dst + random() % 80 - 40 : some_place(random);
    constexpr std::array kSizes{CopySize::in(kSize), CopySize::in_low_half(kSize)};
    const unsigned kind = random() % 8;
    const CopySize size = kind < 2 ? kSizes[kind] : CopySize::constant(bytes);
    const std::uint64_t in_register = bytes | (kind == 1 ? 0xabcdef0100000000 : 0);
    Program program;
    emit(program, [&](CodeBuffer& b) { return emit_memcpy_call(b, config, kDst, kSrc, size); });
    const std::uint64_t left = vme_copy(model.cpu.get(), dst, src, bytes, 0);
    const A64Registers out = run(program, dst, src, in_register);
    if (config.address_mode == AddressMode::kGuest) {
      EXPECT_EQ(out.x[id(config.result)], left);
    } else {
      check_fault(out, left);
    }
  }
  check_memory();
}

TEST_F(EmitA64GuestTest, ACopyThatHitsTwiceCallsNoHelper) {
  vme_copy(machine.cpu.get(), Machine::kRam, Machine::kRam + kPage, 8, 0);
  for (std::uint64_t bytes = 1; bytes <= 64; ++bytes) {
    Program program;
    emit(program, [&](CodeBuffer& b) {
      return emit_memcpy_call(b, config, kDst, kSrc, CopySize::constant(bytes));
    });
    run(program, Machine::kRam + 100, Machine::kRam + kPage + 7);
    EXPECT_EQ(machine.bytes(Machine::kRam + 100, bytes),
              machine.bytes(Machine::kRam + kPage + 7, bytes));
  }
  EXPECT_EQ(calls, 0u);
}

TEST_F(EmitA64GuestTest, FillsAreVmeFills) {
  std::mt19937 random(4);
  for (int round = 0; round < 600; ++round) {
    config.address_mode = round % 4 == 0 ? AddressMode::kGuest : AddressMode::kSoftTlb;
    const bool by_words = random() % 4 == 0;
    config.flags = by_words ? element(8) : 0;
    const std::uint64_t bytes = by_words ? random() % 10 * 8 : random() % 100;
    const std::uint64_t dst = some_place(random);
    const auto byte = static_cast<std::uint8_t>(random());
    const bool in_register = random() % 2 == 0;
    Program program;
    emit(program, [&](CodeBuffer& b) {
      return emit_memset_call(b, config, kDst,
                              in_register ? FillByte::in(kSrc) : FillByte::constant(byte),
                              CopySize::constant(bytes));
    });
    const std::uint64_t left =
        vme_fill(model.cpu.get(), dst, byte * 0x0101010101010101u, bytes, config.flags);
    const A64Registers out = run(program, dst, 0xabcdef00 | byte);
    if (config.address_mode != AddressMode::kGuest) check_fault(out, left);
  }
  check_memory();
}

TEST_F(EmitA64GuestTest, OnlyWhatIsDeclaredChanges) {
  std::mt19937 random(5);
  for (int round = 0; round < 400; ++round) {
    // The vCPU's register is any that the operands do not take, scratch or not.
    config.cpu = static_cast<Reg>(random() % 18);
    config.scratch = static_cast<RegSet>(random() & 0x7fe3ffff) | 0xf0;
    config.scratch_vectors = static_cast<VectorSet>(random()) | 0xff;
    config.red_zone_bytes = static_cast<std::uint32_t>(random() % 5 * 16);
    do config.result = static_cast<Reg>(random() % 18);
    while (config.result == config.cpu);
    config.exit = any_exit(random);
    const std::uint64_t bytes = random() % 65;
    const std::uint64_t dst = some_place(random);
    const std::uint64_t src = some_place(random);
    Program program;
    emit(program, [&](CodeBuffer& b) {
      return emit_memcpy_call(b, config, kDst, kSrc, CopySize::constant(bytes));
    });
    const std::uint64_t left = vme_copy(model.cpu.get(), dst, src, bytes, 0);
    check_fault(run(program, dst, src), left);
  }
  check_memory();
}

}  // namespace
}  // namespace vm_engine
