#include "vm_engine/internal/code_guard.h"

#include <algorithm>
#include <optional>

#include "vm_engine/internal/attached_thread.h"

namespace vm_engine::internal {
namespace {

using vm_mem::CodeRange;
using vm_mem::CodeWrite;
using vm_mem::kCodeChunkBytes;
using vm_mem::MapSection;

vme_rc rc_of(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return VME_OK;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange: return VME_UNMAPPED;  // removed or cut off by now
    case absl::StatusCode::kResourceExhausted: return VME_ENOMEM;
    case absl::StatusCode::kInvalidArgument: return VME_EINVAL;
    default: return VME_ENOTSUP;
  }
}

CodeRange as_range(const vme_tc_range& range) {
  return {vm_mem::RegionId{range.ram_id}, range.ram_off, range.len};
}

vme_tc_range as_c(const CodeRange& range) {
  return {static_cast<std::uint64_t>(range.region), range.offset, range.bytes};
}

// The ranges of a translation, in the library's terms.
struct Ranges {
  explicit Ranges(const vme_translation& translation) : count(translation.n) {
    std::transform(translation.ranges, translation.ranges + count, ranges.begin(), as_range);
  }
  std::span<const CodeRange> span() const { return std::span(ranges).first(count); }

  std::array<CodeRange, VME_TC_RANGES> ranges;
  std::size_t count;
};

bool is_translation(const vme_translation& translation) { return translation.n <= VME_TC_RANGES; }

void note_code_hit(Cpu& cpu) {
  cpu.fault.rc = VME_CODE_HIT;
  __atomic_fetch_or(&cpu.exit_request, 1u | VME_EXIT_CODE, __ATOMIC_RELAXED);
}

bool overlap(const CodeRange& a, const CodeWrite& b) {
  return a.region == b.region && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

}  // namespace

// Chunks have one user for each translation: where a piece goes on from the last range, the
// chunk that it begins in is watched already.
bool Extension::add(const CodeRange& piece) {
  vme_tc_range* const last = longer_.n != 0 ? &longer_.ranges[longer_.n - 1] : nullptr;
  const bool goes_on = last != nullptr && as_range(*last).region == piece.region &&
                       last->ram_off + last->len == piece.offset;
  if (!goes_on && longer_.n == VME_TC_RANGES) return false;
  std::uint64_t known = 0;
  if (goes_on) {
    const std::uint64_t in_chunk = piece.offset % kCodeChunkBytes;
    known = std::min(in_chunk == 0 ? 0 : kCodeChunkBytes - in_chunk, piece.bytes);
    last->len += piece.bytes;
  } else {
    longer_.ranges[longer_.n++] = as_c(piece);
  }
  if (known != piece.bytes) {
    add_fresh({piece.region, piece.offset + known, piece.bytes - known});
  }
  return true;
}

void Extension::add_fresh(const CodeRange& piece) {
  CodeRange* const last = fresh_count_ != 0 ? &fresh_[fresh_count_ - 1] : nullptr;
  if (last != nullptr && last->region == piece.region &&
      last->offset + last->bytes == piece.offset) {
    last->bytes += piece.bytes;
  } else {
    fresh_[fresh_count_++] = piece;
  }
}

Located locate(const vm_mem::MemoryMap& map, std::uint64_t gpa) {
  const MapSection* section = map.find(vm_mem::GuestAddress{gpa});
  if (section == nullptr) return {.rc = VME_UNMAPPED, .piece = {}};
  const std::uint64_t within = gpa - section->range.begin().value;
  return {
      .rc = section->kind == vm_mem::RegionKind::kMmio ? VME_MMIO : VME_OK,
      .piece = {section->shown, section->region_offset + within, section->range.bytes() - within}};
}

// By the TLB alone. A page that it has lost by now may be the one.
bool runs_what_was_written(Cpu& cpu, vm_mem::MemoryManager& manager, const CodeWrite& write) {
  const std::shared_ptr<const vm_mem::MemoryMap> map = manager.map();
  for (std::uint64_t gva = cpu.cur_blk_lo; gva < cpu.cur_blk_hi;) {
    const std::uint64_t rest = std::min(kPageBytes - (gva & ~kPageMask), cpu.cur_blk_hi - gva);
    const std::optional<std::uint64_t> gpa = cpu.executable_gpa(gva);
    if (!gpa) return true;
    Located at = locate(*map, *gpa);
    at.piece.bytes = std::min(at.piece.bytes, rest);
    if (at.rc == VME_OK && overlap(at.piece, write)) return true;
    gva += rest;
  }
  return false;
}

}  // namespace vm_engine::internal

using vm_engine::internal::Cpu;
using vm_engine::internal::Located;
using vm_engine::internal::Ranges;

// Again where the map has changed meanwhile: what is watched has to be what is read then.
vme_rc vme_tc::extend(vme_cpu* self, std::uint64_t gpa, std::uint64_t bytes,
                      vme_translation& translation) {
  for (int tries = 0; tries < kMostTries; ++tries) {
    const std::shared_ptr<const vm_mem::MemoryMap> map = engine_.manager->map();
    vm_engine::internal::Extension extension(translation);
    for (std::uint64_t done = 0; done != bytes;) {
      Located at = vm_engine::internal::locate(*map, gpa + done);
      if (at.rc != VME_OK) return at.rc;
      at.piece.bytes = std::min(at.piece.bytes, bytes - done);
      if (!extension.add(at.piece)) return VME_ENOMEM;
      done += at.piece.bytes;
    }
    if (!extension.fresh().empty()) {
      const vme_rc rc = watch(self, extension);
      if (rc != VME_OK) return rc;
    }
    if (engine_.manager->generation() == map->generation()) {
      translation = extension.longer();
      return VME_OK;
    }
    if (!extension.fresh().empty()) {
      (void)engine_.manager->code_watch().release(extension.fresh());
    }
  }
  return VME_EBUSY;
}

vme_rc vme_tc::watch(vme_cpu* self, vm_engine::internal::Extension& extension) {
  const vm_engine::internal::Closing closing(self != nullptr ? Cpu::from(self)
                                                             : vm_engine::internal::attached_cpu());
  const absl::StatusOr<vm_mem::CodeStamp> stamp =
      engine_.manager->code_watch().watch(extension.fresh());
  if (absl::IsAborted(stamp.status())) return closing.why();
  if (!stamp.ok()) return vm_engine::internal::rc_of(stamp.status());
  extension.set_stamp(*stamp);
  return VME_OK;
}

void vme_tc::release(vme_translation& translation) {
  if (!vm_engine::internal::is_translation(translation)) return;
  const Ranges ranges(translation);
  // One by one: of what was removed from the map nothing is left to release.
  for (const vm_mem::CodeRange& range : ranges.span()) {
    (void)engine_.manager->code_watch().release({&range, 1});
  }
  translation = vme_translation{};
}

bool vme_tc::is_clean(const vme_translation& translation) const {
  if (!vm_engine::internal::is_translation(translation)) return false;
  return !engine_.manager->code_watch().written_since({translation.stamp},
                                                      Ranges(translation).span());
}

void vme_tc::code_written(std::span<const vm_mem::CodeWrite> writes) noexcept {
  Cpu* by = vm_engine::internal::attached_cpu();
  if (by != nullptr && &by->engine() != &engine_) by = nullptr;
  if (by != nullptr && by->cur_blk_lo < by->cur_blk_hi) {
    for (const vm_mem::CodeWrite& write : writes) {
      if (runs_what_was_written(*by, *engine_.manager, write)) {
        vm_engine::internal::note_code_hit(*by);
      }
    }
  }
  tell(writes, by);
}

void vme_tc::tell(std::span<const vm_mem::CodeWrite> writes, vme_cpu* by) {
  constexpr std::size_t kMost = 16;
  std::array<vme_tc_event, kMost> events;
  const auto now = vm_engine::internal::HotPages::Clock::now();
  for (std::size_t first = 0; first < writes.size(); first += kMost) {
    const auto part = writes.subspan(first, std::min(kMost, writes.size() - first));
    std::transform(part.begin(), part.end(), events.begin(), [&](const vm_mem::CodeWrite& write) {
      const bool hot = hot_.count({write.region, write.offset, write.bytes}, now);
      return vme_tc_event{
          .written = vm_engine::internal::as_c({write.region, write.offset, write.bytes}),
          .why = static_cast<std::uint32_t>(write.cause),
          .flags = hot ? std::uint32_t{VME_TC_HOT} : 0,
          .by = by};
    });
    fn_(opaque_, events.data(), part.size());
  }
}
