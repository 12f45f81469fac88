// A thread's own handle on guest memory: the hot path.
//
// It holds the current map. The manager tells it of a change by taking its index away,
// so that the one load by which an access finds the index is also the test whether the
// map is still the current one.
#ifndef VM_MEM_MEMORY_READER_H_
#define VM_MEM_MEMORY_READER_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "vm_mem/access.h"
#include "vm_mem/granule_table.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_map.h"
#include "vm_mem/statistics.h"
#include "vm_mem/write_cause.h"

namespace vm_mem {
namespace internal {
class ReaderList;
}

// For one thread at a time. It keeps the map it last used alive, and with it the
// memory of regions removed since: an idle thread calls park().
class MemoryReader : public TypedAccess<MemoryReader> {
 public:
  // Needs:  `manager` outlives this object.
  explicit MemoryReader(MemoryManager& manager, Route route = Route::kCpu);
  MemoryReader(const MemoryReader&) = delete;
  MemoryReader& operator=(const MemoryReader&) = delete;
  ~MemoryReader();

  // The current map, valid until the next call of a member of this object, or, in an
  // MmioHandler called from inside an access of this object, until that one ends.
  // Cost:  two loads while the map stays the same.
  const MemoryMap& map();

  // Drops the map until the next access; inside an access, when that one ends.
  void park();

  // For who reaches the same few bytes again and again, such as a ring: a slot that was
  // looked for after map() may be kept and used while changes() is what it was before the
  // look. That pins nothing: once the map has changed, or this reader was parked, the
  // number is another one. It is to be compared again after any other call of this reader.
  const std::atomic<std::uint64_t>& changes() const { return changes_; }
  // The slot of an address, or one in which it is out of bounds.
  const MapSlot& slot(GuestAddress address) const { return slot_at(address); }

  // As the members of MemoryManager of the same names. Cost: within one section of
  // memory that cannot fault in the host, one lookup and the copy.
  AccessResult read(GuestAddress from, std::span<std::byte> to) {
    const MapSlot& slot = slot_at(from);
    const std::uint64_t offset = from.value - slot.begin;
    if (!slot.loads(offset, to.size())) [[unlikely]]
      return read_sections(from, to);
    copy_out(to.data(), slot.host + offset, to.size(), counts_);
    return {.done = to.size()};
  }
  AccessResult write(GuestAddress to, std::span<const std::byte> from) {
    const MapSlot& slot = slot_at(to);
    const std::uint64_t offset = to.value - slot.begin;
    const std::uint64_t last = from.size() - 1;  // from offset; no bytes are past any limit
    const std::uint64_t limit = slot.storable[0];
    if (offset >= limit || last >= limit - offset) [[unlikely]]
      return write_sections(to, from);
    copy_in(slot.host + offset, from.data(), from.size(), counts_);
    if (!slot.are_marked(offset, last)) [[unlikely]]
      mark_block(slot, offset, from.size());
    return {.done = from.size()};
  }
  // As these where they cost no more than that, and less in the two sections that such calls
  // found last. False: nothing was done.
  bool try_read(GuestAddress from, std::span<std::byte> to) {
    const MapSlot& slot = recent_slot_at(from);
    const std::uint64_t offset = from.value - slot.begin;
    if (!slot.loads(offset, to.size()) || !is_recent()) [[unlikely]]
      return find_and_read(from, to);
    copy_out(to.data(), slot.host + offset, to.size(), counts_);
    return true;
  }
  bool try_write(GuestAddress to, std::span<const std::byte> from) {
    const MapSlot& slot = recent_slot_at(to);
    const std::uint64_t offset = to.value - slot.begin;
    const std::uint64_t last = from.size() - 1;  // from offset; no bytes are past any limit
    const std::uint64_t limit = slot.storable[0];
    // Within two pages, whose marks are found while the bytes are under way.
    if (offset >= limit || last >= limit - offset || last >= kGuestPageBytes || !is_recent())
        [[unlikely]]
      return find_and_write(to, from);
    const std::atomic<std::uint8_t>& first_mark = slot.mark_of(offset);
    const std::atomic<std::uint8_t>& last_mark = slot.mark_of(offset + last);
    copy_in(slot.host + offset, from.data(), from.size(), counts_);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the bytes come first
    if (first_mark.load(std::memory_order_relaxed) != kMarkedByte ||
        last_mark.load(std::memory_order_relaxed) != kMarkedByte) [[unlikely]]
      mark_recent(to, from.size());
    return true;
  }
  // Runs of guest memory, to or from one buffer: as if each was tried by itself, in order,
  // but quicker, above all for 17 to 64 bytes in whole words. Returns how many, from the
  // first on, were moved, the last perhaps in part: what is moved is the shorter of the list
  // and the buffer, which becomes what is left of it. A run of no bytes is moved, wherever
  // it is.
  std::size_t try_read(std::span<const AddressRun> from, std::span<std::byte>& to);
  std::size_t try_write(std::span<const AddressRun> to, std::span<const std::byte>& from);
  AccessResult copy_block(GuestAddress to, GuestAddress from, std::uint64_t bytes);
  AccessResult fill_block(GuestAddress to, std::byte value, std::uint64_t bytes);
  AccessResult compare_block(GuestAddress a, GuestAddress b, std::uint64_t bytes, int& order);

  // Has the statistics say that `bytes` were copied: for who found the host memory himself
  // and copies by vm_mem/guest_copy.h. Those up to kUncountedBytes need not be told.
  void count_copy(std::uint64_t bytes);

  // As those of TypedAccess.
  // Cost:  naturally aligned, to memory that cannot fault in the host: 19 instructions
  //        for a load, 25 for a store to a page that is marked already, of any map.
  template <GuestWord T>
  AccessResult load(GuestAddress from, T& value,
                    std::memory_order order = std::memory_order_relaxed);
  template <GuestWord T>
  AccessResult store(GuestAddress to, T value, std::memory_order order = std::memory_order_relaxed);

  MemoryManager& manager() const { return *manager_; }

 private:
  friend TypedAccess<MemoryReader>;
  friend class internal::ReaderList;
  class Access;
  struct Count {
    std::atomic<std::uint64_t> operations{0};
    std::atomic<std::uint64_t> bytes{0};
  };
  using Counts = std::array<Count, kCopyPathCount>;
  struct alignas(128) RecentSlot : MapSlot {};

  const MapSlot& slot_at(GuestAddress address) const {
    return index_.load(std::memory_order_acquire)->slot_at(address.value);
  }
  // Of those that are remembered. The granule table takes five loads of which each waits for
  // the one before; this takes two.
  const MapSlot& recent_slot_at(GuestAddress address) const {
    return recent_[recent_number(address.value)];
  }
  std::size_t recent_number(std::uint64_t address) const {
    return address - recent_[1].begin < recent_[1].loadable[0] ? 1 : 0;
  }
  bool is_recent() const { return index_.load(std::memory_order_acquire) == recent_index_; }
  void remember(const BlockIndex& index, GuestAddress at, const MapSlot& slot);
  // Has the CPU fetch the first lines of what is soon read; nothing where try_read() would
  // have to look for it.
  void prefetch(const AddressRun& from) const;
  bool find_and_read(GuestAddress from, std::span<std::byte> to);
  bool find_and_write(GuestAddress to, std::span<const std::byte> from);
  void mark_recent(GuestAddress at, std::uint64_t bytes) const;
  // What its writes are reported as.
  WriteCause stores() const { return cause_of(route_, WriteCause::kStore); }
  WriteCause copies() const { return cause_of(route_, WriteCause::kCopy); }
  void mark_word(const MapSlot& slot, GuestAddress at, unsigned bytes) const;
  void mark_block(const MapSlot& slot, std::uint64_t offset, std::uint64_t bytes) const;
  // The runs of a list that are as long as the first, and a few whole words of what is
  // remembered: move(slot, word, words, bytes) for each. How many they are.
  template <typename Byte, typename Move>
  std::size_t few_words(std::span<const AddressRun> list, MapSlot::Limits MapSlot::*limits,
                        std::span<Byte>& buffer, Move move);
  // Counted, within one section of memory that cannot fault. The arguments lie where the
  // copies want them: the call is one of a chain of jumps.
  static void copy_out(std::byte* to, const std::byte* guest, std::size_t bytes, Counts& counts);
  static void copy_in(std::byte* guest, const std::byte* from, std::size_t bytes, Counts& counts);
  AccessResult read_sections(GuestAddress from, std::span<std::byte> to);
  AccessResult write_sections(GuestAddress to, std::span<const std::byte> from);
  static void count(Counts& counts, std::uint64_t bytes);
  void renew();
  template <typename Outermost, typename Nested>
  AccessResult access(Outermost outermost, Nested nested);
  template <typename Outermost, typename Nested>
  AccessResult bulk(Outermost outermost, Nested nested);
  AccessResult load_bits(GuestAddress from, unsigned bytes, std::uint64_t& bits,
                         std::memory_order order);
  AccessResult store_bits(GuestAddress to, unsigned bytes, std::uint64_t bits,
                          std::memory_order order);
  AccessResult modify_bits(GuestAddress at, unsigned bytes, WordOperation operation,
                           std::uint64_t operand, std::uint64_t& previous, std::memory_order order);
  AccessResult compare_exchange_bits(GuestAddress at, unsigned bytes, std::uint64_t& expected,
                                     std::uint64_t desired, bool& exchanged,
                                     std::memory_order order);

  // Of map_, or of nothing once the manager has another map.
  std::atomic<const BlockIndex*> index_{&GranuleTable::nowhere()};
  // Of index_, counted because another index may lie where a former one did.
  std::atomic<std::uint64_t> changes_{0};
  MemoryManager* manager_;
  Route route_;
  int depth_ = 0;
  bool park_wanted_ = false;
  std::shared_ptr<const MemoryMap> map_;
  std::shared_ptr<const MemoryMap> nested_;   // for map() inside an access
  Counts counts_;                             // written by this thread alone
  const BlockIndex* recent_index_ = nullptr;  // of whose sections recent_ are
  std::array<RecentSlot, 2> recent_{};
};

// Turned right by the size's logarithm, the offset is the number of a word; one that is
// not aligned is beyond every limit.
template <GuestWord T>
[[gnu::always_inline]] inline AccessResult MemoryReader::load(GuestAddress from, T& value,
                                                              std::memory_order order) {
  constexpr int kSize = std::countr_zero(sizeof(T));
  const MapSlot& slot = slot_at(from);
  const std::uint64_t word = std::rotr(from.value - slot.begin, kSize);
  if (word < slot.loadable[kSize]) [[likely]] {
    const std::byte* const host = slot.host + word * sizeof(T);
    value = word_from_bits<T>(load_host_word<WordBits<T>>(host, order));
    return {.done = sizeof(T)};
  }
  std::uint64_t bits = 0;
  const AccessResult result = load_bits(from, sizeof(T), bits, order);
  if (result.ok()) value = word_from_bits<T>(bits);
  return result;
}

template <GuestWord T>
[[gnu::always_inline]] inline AccessResult MemoryReader::store(GuestAddress to, T value,
                                                               std::memory_order order) {
  constexpr int kSize = std::countr_zero(sizeof(T));
  const MapSlot& slot = slot_at(to);
  const std::uint64_t word = std::rotr(to.value - slot.begin, kSize);
  if (word < slot.storable[kSize]) [[likely]] {
    store_host_word(slot.host + word * sizeof(T), std::bit_cast<WordBits<T>>(value), order);
    if (!slot.is_marked(word / (kGuestPageBytes / sizeof(T)))) [[unlikely]]
      mark_word(slot, to, sizeof(T));
    return {.done = sizeof(T)};
  }
  return store_bits(to, sizeof(T), word_to_bits(value), order);
}

}  // namespace vm_mem

#endif  // VM_MEM_MEMORY_READER_H_
