// Guest memory that is a MemoryManager.
#include <atomic>
#include <cstring>
#include <new>
#include <utility>

#include "vm_engine/internal/guest_memory.h"
#include "vm_mem/memory_reader.h"

namespace vm_engine::internal {
namespace {

using vm_mem::AccessFault;
using vm_mem::AccessResult;
using vm_mem::GuestAddress;
using vm_mem::MapSection;
using vm_mem::Protection;
using vm_mem::RegionKind;

vme_rc rc_of(AccessFault fault) {
  switch (fault) {
    case AccessFault::kNone: return VME_OK;
    case AccessFault::kUnmapped: return VME_UNMAPPED;
    case AccessFault::kReadOnly:
    case AccessFault::kProtected: return VME_PROT;
    case AccessFault::kDevice:
    case AccessFault::kBusy: return VME_MMIO;
    case AccessFault::kHostFault: return VME_BUS;
    case AccessFault::kMisaligned: return VME_ALIGN;
  }
  return VME_BUS;
}

// What was done from the end does not count: a run reports a prefix.
Outcome outcome_of(const AccessResult& result) {
  return Outcome{.done = result.from_end ? 0 : result.done,
                 .rc = rc_of(result.fault),
                 .side = result.side == vm_mem::AccessSide::kSource
                             ? std::uint8_t{VME_SIDE_SOURCE}
                             : std::uint8_t{VME_SIDE_DESTINATION}};
}

bool permits(const MapSection& section, std::uint32_t access) {
  if (section.protection == Protection::kReadWrite && section.kind != RegionKind::kRom) return true;
  return section.protection != Protection::kNone && access != VME_ACCESS_WRITE;
}

class ManagedMemory : public GuestMemory {
 public:
  explicit ManagedMemory(vm_mem::MemoryManager& manager)
      : reader_(manager, vm_mem::Route::kEngine) {
    map_ = {.word = &manager.generation_word(), .seen = ~std::uint64_t{0}};
    harvests_ = {.word = &manager.dirty_epoch_word(), .seen = 0};
    counter_ = &reader_;
  }

  // The reader renews its own map with every access. The one that host pointers were
  // taken from is held apart, so that it outlives them.
  void renew() override {
    vm_mem::MemoryManager& manager = reader_.manager();
    harvests_.seen = manager.dirty_epoch();
    held_ = manager.map();
    map_.seen = held_->generation();
    reader_.map();
  }

  void park() override {
    held_.reset();
    map_.seen = ~std::uint64_t{0};
    reader_.park();
  }

  bool faults_by_page() const override { return true; }

  Page page(std::uint64_t gpa, std::uint32_t access) override {
    const MapSection* section = held_->find(GuestAddress{gpa});
    if (section == nullptr) return Page{.rc = VME_UNMAPPED};
    if (!permits(*section, access)) return Page{.rc = VME_PROT};
    if (section->kind == RegionKind::kMmio) return Page{.kind = PageKind::kDevice};
    const std::uint64_t offset = gpa - section->range.begin().value;
    return Page{.host = section->host + offset,
                .dirty_log = section->dirty_log,
                .region_offset = section->region_offset + offset,
                .recoverable = section->recoverable,
                .bytes = section->range.bytes() - offset};
  }

  Outcome read(std::uint64_t gpa, std::span<std::byte> to) override {
    return outcome_of(reader_.read(GuestAddress{gpa}, to));
  }
  Outcome write(std::uint64_t gpa, std::span<const std::byte> from) override {
    return outcome_of(reader_.write(GuestAddress{gpa}, from));
  }
  Outcome copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes, std::uint64_t) override {
    return outcome_of(reader_.copy_block(GuestAddress{to}, GuestAddress{from}, bytes));
  }
  Outcome fill(std::uint64_t gpa, std::byte value, std::uint64_t bytes) override {
    return outcome_of(reader_.fill_block(GuestAddress{gpa}, value, bytes));
  }
  Outcome load(std::uint64_t gpa, std::span<std::byte> to) override {
    switch (to.size()) {
      case 1: return load_word<std::uint8_t>(gpa, to);
      case 2: return load_word<std::uint16_t>(gpa, to);
      case 4: return load_word<std::uint32_t>(gpa, to);
      default: return load_word<std::uint64_t>(gpa, to);
    }
  }
  Outcome store(std::uint64_t gpa, std::span<const std::byte> from) override {
    switch (from.size()) {
      case 1: return store_word<std::uint8_t>(gpa, from);
      case 2: return store_word<std::uint16_t>(gpa, from);
      case 4: return store_word<std::uint32_t>(gpa, from);
      default: return store_word<std::uint64_t>(gpa, from);
    }
  }

 private:
  template <typename Word>
  Outcome load_word(std::uint64_t gpa, std::span<std::byte> to) {
    Word word = 0;
    const AccessResult result = reader_.load(GuestAddress{gpa}, word, std::memory_order_acquire);
    if (result.ok()) std::memcpy(to.data(), &word, sizeof word);
    return outcome_of(result);
  }
  template <typename Word>
  Outcome store_word(std::uint64_t gpa, std::span<const std::byte> from) {
    Word word = 0;
    std::memcpy(&word, from.data(), sizeof word);
    return outcome_of(reader_.store(GuestAddress{gpa}, word, std::memory_order_release));
  }

  vm_mem::MemoryReader reader_;
  std::shared_ptr<const vm_mem::MemoryMap> held_;
};

}  // namespace

std::unique_ptr<GuestMemory> make_managed_memory(vm_mem::MemoryManager& manager) {
  return std::unique_ptr<GuestMemory>(new (std::nothrow) ManagedMemory(manager));
}

}  // namespace vm_engine::internal
