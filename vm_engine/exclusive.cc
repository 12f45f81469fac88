#include "vm_engine/exclusive.h"

#include <optional>

#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/exclusive_line.h"
#include "vm_engine/internal/helper_flags.h"
#include "vm_engine/soft_tlb.h"

namespace {

using vm_engine::internal::Cpu;
using vm_engine::internal::destination_mode;
using vm_engine::internal::element_bytes;
using vm_engine::internal::ExclusiveLine;
using vm_engine::internal::kNoAddress;
using vm_engine::internal::kPageBytes;
using vm_engine::internal::PageKind;
using vm_engine::internal::Place;
using vm_engine::internal::source_mode;
using vm_engine::internal::Subject;

constexpr std::uint32_t kKnownFlags = 0x3ff;  // both modes, elements that there are

static_assert(VME_EXCLUSIVE_LINE == vm_mem::kReservedLineBytes);

struct Word {
  std::uint64_t gva;
  std::uint64_t bytes;
  unsigned mode;
};

Subject subject_of(const Word& word, std::uint32_t access) {
  return {.access = access,
          .side = static_cast<std::uint8_t>(access == VME_ACCESS_WRITE ? VME_SIDE_DESTINATION
                                                                       : VME_SIDE_SOURCE),
          .gva = word.gva,
          .bytes = word.bytes};
}

// Where the word lies, every permission asked for; its host memory is the vCPU's to use
// until its next call.
vme_rc find(Cpu& cpu, const Word& word, std::uint32_t access, std::uint32_t flags) {
  cpu.sync();
  const auto refuse = [&](vme_rc rc, std::uint64_t gpa) {
    return cpu.fail(rc, subject_of(word, access), word.gva, gpa);
  };
  if ((flags & ~kKnownFlags) != 0 || word.mode >= VME_MMU_MODES)
    return refuse(VME_EINVAL, kNoAddress);
  if (word.gva % word.bytes != 0) return refuse(VME_ALIGN, kNoAddress);
  const Place place = cpu.resolve(word.gva, access, word.mode);
  if (place.rc != VME_OK) return refuse(place.rc, place.gpa);
  if (place.kind == PageKind::kDevice) return refuse(VME_MMIO, place.gpa);
  if (cpu.host_pointer(word.gva, word.mode) == nullptr) return refuse(VME_ENOTSUP, place.gpa);
  return VME_OK;
}

template <typename Visit>
auto with_word(std::byte* host, std::uint64_t bytes, Visit visit) {
  using vm_engine::detail::Word;
  switch (bytes) {
    case 1: return visit(reinterpret_cast<Word<std::uint8_t>*>(host));
    case 2: return visit(reinterpret_cast<Word<std::uint16_t>*>(host));
    case 4: return visit(reinterpret_cast<Word<std::uint32_t>*>(host));
    default: return visit(reinterpret_cast<Word<std::uint64_t>*>(host));
  }
}

std::uint64_t load_word(std::byte* host, std::uint64_t bytes) {
  return with_word(host, bytes, [](auto* word) {
    return std::uint64_t{__atomic_load_n(word, __ATOMIC_SEQ_CST)};
  });
}

bool replace_word(std::byte* host, std::uint64_t bytes, std::uint64_t expected,
                  std::uint64_t desired) {
  return with_word(host, bytes, [&](auto* word) {
    auto found = static_cast<std::remove_reference_t<decltype(*word)>>(expected);
    return __atomic_compare_exchange_n(word, &found, static_cast<decltype(found)>(desired), false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  });
}

}  // namespace

vme_value vme_excl_load(vme_cpu* block, uint64_t gva, uint32_t flags) {
  const std::uint64_t bytes = element_bytes(flags);
  const vme_value nothing{.value = 0, .left = bytes};
  Cpu* const cpu = Cpu::from(block);
  if (cpu == nullptr) return nothing;
  ExclusiveLine& line = cpu->exclusive_line();
  line.forget_word();
  const Word word{gva, bytes, source_mode(flags)};
  if (find(*cpu, word, VME_ACCESS_READ, flags) != VME_OK) return nothing;
  // Others may be waited for, and the TLB emptied meanwhile: looked up again, until what is
  // reserved is what is loaded.
  for (bool reserved = false; !reserved;) {
    const vm_engine::internal::TlbDetail taken = cpu->detail_of(gva, word.mode);
    const std::uint64_t offset = taken.region_offset + gva % kPageBytes;
    if (const vme_rc rc = line.take(*cpu, taken.dirty_log, offset); rc != VME_OK) {
      cpu->fail(rc, subject_of(word, VME_ACCESS_READ), gva, taken.gpa_page | gva % kPageBytes);
      return nothing;
    }
    if (find(*cpu, word, VME_ACCESS_READ, flags) != VME_OK) return nothing;
    const vm_engine::internal::TlbDetail& found = cpu->detail_of(gva, word.mode);
    reserved = found.dirty_log == taken.dirty_log && found.region_offset == taken.region_offset &&
               line.holds(found.dirty_log, offset);
  }
  std::byte* const host = cpu->host_pointer(gva, word.mode);
  const std::uint64_t value = load_word(host, bytes);
  line.remember_word({.host = host, .bytes = bytes, .value = value});
  return {.value = value, .left = 0};
}

vme_value vme_excl_store(vme_cpu* block, uint64_t gva, uint64_t value, uint32_t flags) {
  const std::uint64_t bytes = element_bytes(flags);
  Cpu* const cpu = Cpu::from(block);
  if (cpu == nullptr) return {.value = 1, .left = bytes};
  const Word word{gva, bytes, destination_mode(flags)};
  const vme_rc rc = find(*cpu, word, VME_ACCESS_WRITE, flags);
  ExclusiveLine& line = cpu->exclusive_line();
  const std::optional<ExclusiveLine::Word> loaded = line.forget_word();
  if (rc != VME_OK) return {.value = 1, .left = bytes};
  std::byte* const host = cpu->host_pointer(gva, word.mode);
  const bool is_loaded = loaded && loaded->host == host && loaded->bytes == bytes;
  const auto replace = [&] { return replace_word(host, bytes, loaded->value, value); };
  if (!is_loaded || !line.store_if_intact(replace)) return {.value = 1, .left = 0};
  vm_engine::detail::mark_update(*cpu, gva, static_cast<unsigned>(bytes), word.mode);
  return {.value = 0, .left = 0};
}

void vme_excl_clear(vme_cpu* block) {
  if (Cpu* const cpu = Cpu::from(block)) cpu->exclusive_line().drop();
}
