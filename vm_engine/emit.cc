#include "vm_engine/emit.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/emit_back_end.h"
#include "vm_engine/internal/native_isa.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_engine {
namespace {

using internal::back_end_of;
using internal::BackEnd;
using internal::Fragment;

template <typename Function>
std::uint64_t address_of(Function* function) {
  return std::uint64_t{reinterpret_cast<std::uintptr_t>(function)};
}

// Zeros become this process's functions; another ISA's stay zero, and a call refuses them.
HelperAddresses complete(HelperAddresses helpers, Isa isa) {
  if (isa != internal::native_isa()) return helpers;
  const auto fill_in = [](std::uint64_t& address, auto* own) {
    if (address == 0) address = address_of(own);
  };
  fill_in(helpers.memcpy_raw, &vm_mem::memcpy_raw);
  fill_in(helpers.memset_raw, &vm_mem::memset_raw);
  fill_in(helpers.load, &vme_load);
  fill_in(helpers.store, &vme_store);
  fill_in(helpers.copy, &vme_copy);
  fill_in(helpers.fill, &vme_fill);
  fill_in(helpers.write, &vme_write);
  return helpers;
}

absl::Status check_room(const CodeBuffer& buffer, std::size_t bytes) {
  const std::size_t left = buffer.bytes.size() - std::min(buffer.used, buffer.bytes.size());
  if (bytes <= left) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the code takes %d bytes; the buffer has %d left", bytes, left));
}

std::int64_t distance_between(std::size_t from, std::size_t to) {
  return static_cast<std::int64_t>(to) - static_cast<std::int64_t>(from);
}

// Stubs lie in the same mapping, though perhaps in another buffer.
std::int64_t distance_to(const Stubs& stubs, const Fragment::StubCall& call,
                         const CodeBuffer& buffer) {
  const auto target = reinterpret_cast<std::uintptr_t>(stubs.base) + call.stub;
  const auto from = reinterpret_cast<std::uintptr_t>(buffer.bytes.data()) + call.from;
  return static_cast<std::int64_t>(target - from);
}

absl::Status link_stubs(const BackEnd& isa, const EmitConfig& config, const CodeBuffer& buffer,
                        Fragment& made) {
  for (const Fragment::StubCall& call : made.stub_calls) {
    const std::span field = std::span(made.code).subspan(call.from - made.origin).first<4>();
    const std::int64_t distance = distance_to(*config.stubs, call, buffer);
    if (!isa.reaches(field, distance)) {
      return absl::FailedPreconditionError(
          absl::StrFormat("a near stub is %d bytes away: out of reach", distance));
    }
    isa.link(field, distance);
  }
  return absl::OkStatus();
}

absl::Status append(const BackEnd& isa, const EmitConfig& config, CodeBuffer& buffer,
                    Fragment made) {
  if (absl::Status bad = check_room(buffer, made.code.size()); !bad.ok()) return bad;
  if (absl::Status bad = link_stubs(isa, config, buffer, made); !bad.ok()) return bad;
  if (!made.code.empty()) {
    vm_mem::memcpy_raw(buffer.bytes.data() + buffer.used, made.code.data(), made.code.size());
  }
  buffer.used += made.code.size();
  buffer.fault_sites.insert(buffer.fault_sites.end(), made.sites.begin(), made.sites.end());
  if (made.slow) buffer.slow_paths.push_back(std::move(*made.slow));
  return absl::OkStatus();
}

// Judges the config and the operands, has `make` fill in a Fragment, and appends it.
template <typename Make>
absl::Status emit(CodeBuffer& buffer, const EmitConfig& config, std::initializer_list<Reg> operands,
                  Make make) {
  const BackEnd* const isa = back_end_of(config.isa);
  if (isa == nullptr) return absl::InvalidArgumentError("no such ISA");
  if (absl::Status bad = internal::check_config(*isa, config); !bad.ok()) return bad;
  if (absl::Status bad = internal::check_operands(*isa, config, operands); !bad.ok()) return bad;
  EmitConfig complete_config = config;
  complete_config.helpers = complete(config.helpers, config.isa);
  Fragment made{.origin = buffer.used, .first_site = buffer.fault_sites.size()};
  if (absl::Status bad = make(*isa, complete_config, made); !bad.ok()) return bad;
  return append(*isa, complete_config, buffer, std::move(made));
}

// Where a constant stands in place of the register, that of another operand does no harm.
Reg operand_of(CopySize size, Reg other) { return size.in_register() ? size.reg() : other; }
Reg operand_of(FillByte value, Reg other) { return value.in_register() ? value.reg() : other; }

std::span<std::byte, 4> field_at(std::span<std::byte> code, std::size_t offset) {
  return code.subspan(offset).first<4>();
}

// The links of `path`, whose code starts at `base`: calls use(field's place, field, distance).
template <typename Use>
void for_each_link(const CodeBuffer& buffer, SlowPath& path, std::size_t base, Use use) {
  for (const SlowPath::Link& link : path.entries) {
    use(field_at(buffer.bytes, link.from), distance_between(link.from, base + link.to));
  }
  for (const SlowPath::Link& link : path.leaves) {
    use(field_at(path.code, link.from), distance_between(base + link.from, link.to));
  }
}

absl::Status check_links(CodeBuffer& buffer) {
  bool reached = true;
  std::size_t base = buffer.used;
  for (SlowPath& path : buffer.slow_paths) {
    const BackEnd& isa = *back_end_of(path.isa);
    for_each_link(buffer, path, base, [&](auto field, std::int64_t distance) {
      reached = reached && isa.reaches(field, distance);
    });
    base += path.code.size();
  }
  if (reached) return absl::OkStatus();
  return absl::FailedPreconditionError("a branch does not reach its slow path");
}

}  // namespace

EmitConfig default_emit_config(Isa isa) {
  const BackEnd* const back_end = back_end_of(isa);
  return back_end == nullptr ? EmitConfig{} : back_end->default_config();
}

EmitConfig default_emit_config() {
  EmitConfig config = default_emit_config(internal::native_isa());
  if (vm_mem::has_avx2()) config.level = VectorLevel::kAvx2;
  if (vm_mem::has_avx512()) {
    config.level = VectorLevel::kAvx512;
    config.scratch_vectors = kAllVectors;
  }
  return config;
}

absl::Status emit_memcpy_call(CodeBuffer& buffer, const EmitConfig& config, Reg dst, Reg src,
                              CopySize size) {
  if (absl::Status bad = internal::check_block_exit(config); !bad.ok()) return bad;
  if (config.address_mode == AddressMode::kHostPointer && dst == src) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "register %d is both dst and src; host ranges must be disjoint", static_cast<int>(dst)));
  }
  return emit(buffer, config, {dst, src, operand_of(size, dst)},
              [&](const BackEnd& isa, const EmitConfig& full, Fragment& out) {
                return isa.copy(full, {.dst = dst, .src = src, .size = size}, out);
              });
}

absl::Status emit_memset_call(CodeBuffer& buffer, const EmitConfig& config, Reg dst, FillByte value,
                              CopySize size) {
  return emit(buffer, config, {dst, operand_of(value, dst), operand_of(size, dst)},
              [&](const BackEnd& isa, const EmitConfig& full, Fragment& out) {
                return isa.fill(full, {.dst = dst, .value = value, .size = size}, out);
              });
}

absl::Status emit_load(CodeBuffer& buffer, const EmitConfig& config, Reg dst, Reg gva, MemOp op) {
  if (absl::Status bad = internal::check_access(config, op); !bad.ok()) return bad;
  return emit(buffer, config, {dst, gva},
              [&](const BackEnd& isa, const EmitConfig& full, Fragment& out) {
                return isa.load(full, {.reg = dst, .gva = gva, .op = op}, out);
              });
}

absl::Status emit_store(CodeBuffer& buffer, const EmitConfig& config, Reg gva, Reg value,
                        MemOp op) {
  if (absl::Status bad = internal::check_access(config, op); !bad.ok()) return bad;
  return emit(buffer, config, {gva, value},
              [&](const BackEnd& isa, const EmitConfig& full, Fragment& out) {
                return isa.store(full, {.reg = value, .gva = gva, .op = op}, out);
              });
}

absl::Status emit_stubs(CodeBuffer& buffer, const EmitConfig& config, Stubs& stubs) {
  Stubs made{.base = buffer.bytes.data() + buffer.used,
             .isa = config.isa,
             .level = config.level,
             .rsp_mod_16 = config.rsp_mod_16,
             .red_zone_bytes = config.red_zone_bytes};
  EmitConfig own = config;
  own.stubs = nullptr;
  absl::Status status =
      emit(buffer, own, {}, [&](const BackEnd& isa, const EmitConfig& full, Fragment& out) {
        return isa.stubs(full, out, made);
      });
  if (status.ok()) stubs = made;
  return status;
}

std::size_t slow_path_bytes(const CodeBuffer& buffer) {
  std::size_t bytes = 0;
  for (const SlowPath& path : buffer.slow_paths) bytes += path.code.size();
  return bytes;
}

absl::Status emit_slow_paths(CodeBuffer& buffer) {
  if (absl::Status bad = check_room(buffer, slow_path_bytes(buffer)); !bad.ok()) return bad;
  if (absl::Status bad = check_links(buffer); !bad.ok()) return bad;
  for (SlowPath& path : buffer.slow_paths) {
    const BackEnd& isa = *back_end_of(path.isa);
    for_each_link(buffer, path, buffer.used,
                  [&](auto field, std::int64_t distance) { isa.link(field, distance); });
    for (const SlowPath::Pad& pad : path.pads) {
      buffer.fault_sites[pad.site].land_off = static_cast<std::uint32_t>(buffer.used + pad.to);
    }
    vm_mem::memcpy_raw(buffer.bytes.data() + buffer.used, path.code.data(), path.code.size());
    buffer.used += path.code.size();
  }
  buffer.slow_paths.clear();
  return absl::OkStatus();
}

}  // namespace vm_engine
