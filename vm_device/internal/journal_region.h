// A part of shared bytes in which a queue notes the requests that it has.
#ifndef VM_DEVICE_INTERNAL_JOURNAL_REGION_H_
#define VM_DEVICE_INTERNAL_JOURNAL_REGION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "vm_device/internal/foreign_bytes.h"

namespace vm_device::internal {

// Another owner of the bytes may write what he likes there: what is read is to be judged, and
// read once. Bytes that he has cut off read as zeros, and what is stored there is lost.
class JournalRegion {
 public:
  // What a journal of so many entries may find there. Both forms begin alike, and nothing says
  // which one it is.
  enum class Found : std::uint8_t { kNothing, kJournal, kAnother };

  // Where the form ends, for a header and entries of so many bytes.
  static constexpr std::uint64_t bytes_for(std::uint64_t header, std::uint64_t entries) {
    constexpr std::uint64_t kAlignment = 64;
    return (header + entries + kAlignment - 1) / kAlignment * kAlignment;
  }

  // Needs:  `bytes` outlives this object.
  JournalRegion(ForeignBytes& bytes, std::uint64_t begin) : bytes_(&bytes), begin_(begin) {}

  Found find(std::uint16_t count) const {
    const auto version = load<std::uint16_t>(kVersion);
    if (version == 0) return Found::kNothing;
    const bool is_known = version == 1 && load<std::uint16_t>(kCount) == count;
    return is_known ? Found::kJournal : Found::kAnother;
  }
  // From then on there is nothing, and a journal.
  void forget() { store(kVersion, std::uint16_t{0}); }
  void begin(std::uint16_t count) {
    store(kCount, count);
    store(kVersion, std::uint16_t{1});
  }

  template <typename T>
  T load(std::uint64_t at) const {
    T value{};
    static_cast<void>(bytes_->reader().load(address(at), value));
    return value;
  }
  void read(std::uint64_t at, std::span<std::byte> to) const {
    static_cast<void>(bytes_->reader().read(address(at), to));
  }

  // In order: the process may end between any two.
  template <typename T>
  void store(std::uint64_t at, T value) {
    static_cast<void>(bytes_->reader().store(address(at), value, std::memory_order_release));
  }
  // The bytes themselves are in no order.
  void write(std::uint64_t at, std::span<const std::byte> from) {
    static_cast<void>(bytes_->reader().write(address(at), from));
  }

 private:
  // After features, of 8 bytes; 2 bytes each.
  static constexpr std::uint64_t kVersion = 8;
  static constexpr std::uint64_t kCount = 10;

  vm_mem::GuestAddress address(std::uint64_t at) const { return vm_mem::GuestAddress{begin_ + at}; }

  ForeignBytes* bytes_;
  std::uint64_t begin_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_JOURNAL_REGION_H_
