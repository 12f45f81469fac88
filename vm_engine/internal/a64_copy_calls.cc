// The arguments of the functions that copies and fills call.
#include "vm_engine/internal/a64_copy_code.h"

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

constexpr std::uint64_t kEveryByte = 0x0101010101010101;

// x2, a byte, in all eight.
void spread_byte(A64Code& code) {
  code.load_constant(Reg::kX16, kEveryByte);
  code.assembler.uxtb(a64::w2, a64::w2);
  code.assembler.mul(a64::x2, a64::x2, a64::x16);
}

}  // namespace

A64Call copy_call(const EmitConfig& config, const CopyRequest& request) {
  if (!reaches_guest(config)) {
    A64Call call{.name = "memcpy_raw",
                 .helper = config.helpers.memcpy_raw,
                 .moves = {{Reg::kX0, request.dst}, {Reg::kX1, request.src}}};
    call.add_size(Reg::kX2, request.size);
    return call;
  }
  A64Call call{.name = "copy",
               .helper = config.helpers.copy,
               .moves = {{Reg::kX0, config.cpu}, {Reg::kX1, request.dst}, {Reg::kX2, request.src}},
               .constants = {{Reg::kX4, config.flags}}};
  call.add_size(Reg::kX3, request.size);
  return call;
}

A64Call fill_call(const EmitConfig& config, const FillRequest& request) {
  const bool guest = reaches_guest(config);
  A64Call call{.name = guest ? "fill" : "memset_raw",
               .helper = guest ? config.helpers.fill : config.helpers.memset_raw,
               .moves = {{guest ? Reg::kX1 : Reg::kX0, request.dst}}};
  const Reg value = guest ? Reg::kX2 : Reg::kX1;
  if (guest) {
    call.moves.emplace_back(Reg::kX0, config.cpu);
    call.constants.emplace_back(Reg::kX4, config.flags);
  }
  if (request.value.in_register()) {
    call.moves.emplace_back(value, request.value.reg());
    if (guest) call.adjust = spread_byte;
  } else {
    call.constants.emplace_back(value, request.value.byte() * (guest ? kEveryByte : 1));
  }
  call.add_size(guest ? Reg::kX3 : Reg::kX2, request.size);
  return call;
}

void skip_done(A64Code& code, std::uint64_t bytes) {
  code.assembler.add(a64::x1, a64::x1, a64::x5);
  code.load_constant(Reg::kX3, bytes);
  code.assembler.sub(a64::x3, a64::x3, a64::x5);
}

}  // namespace vm_engine::internal::aarch64
