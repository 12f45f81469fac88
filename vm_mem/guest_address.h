// Guest physical addresses and ranges, as types that do not mix with host
// pointers, offsets or sizes.
#ifndef VM_MEM_GUEST_ADDRESS_H_
#define VM_MEM_GUEST_ADDRESS_H_

#include <compare>
#include <cstdint>
#include <optional>

namespace vm_mem {

// A guest physical address (GPA), in bytes.
struct GuestAddress {
  std::uint64_t value = 0;

  // The address `bytes` further on; wraps at 2^64 as unsigned arithmetic does.
  constexpr GuestAddress offset_by(std::uint64_t bytes) const {
    return GuestAddress{value + bytes};
  }

  friend constexpr auto operator<=>(GuestAddress, GuestAddress) = default;
};

// A run of addresses of some space, as lists have them. Unlike a GuestRange it may go past
// 2^64, where nothing is.
struct AddressRun {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;

  friend constexpr bool operator==(const AddressRun&, const AddressRun&) = default;
};

// The granularity of the map and of dirty tracking.
inline constexpr std::uint64_t kGuestPageBytes = 4096;

// Half-open range [begin, begin + bytes). Never wraps past 2^64: make() refuses
// ranges that would. The last byte of the address space, 2^64 - 1, is therefore
// in no range.
class GuestRange {
 public:
  constexpr GuestRange() = default;

  // Units:   `bytes` is a byte count; it may be 0.
  // Errors:  nullopt when begin + bytes exceeds 2^64 - 1.
  static constexpr std::optional<GuestRange> make(GuestAddress begin, std::uint64_t bytes) {
    if (bytes > UINT64_MAX - begin.value) return std::nullopt;
    return GuestRange(begin, bytes);
  }

  constexpr GuestAddress begin() const { return begin_; }
  constexpr GuestAddress end() const { return begin_.offset_by(bytes_); }
  constexpr std::uint64_t bytes() const { return bytes_; }
  constexpr bool empty() const { return bytes_ == 0; }

  constexpr bool contains(GuestAddress address) const {
    return address.value - begin_.value < bytes_;
  }
  // True where every byte of `other` lies in this range; an empty range lies
  // nowhere.
  constexpr bool contains(GuestRange other) const {
    return !other.empty() && other.begin_ >= begin_ && other.end() <= end();
  }
  constexpr bool overlaps(GuestRange other) const {
    return !empty() && !other.empty() && begin_ < other.end() && other.begin_ < end();
  }

  friend constexpr bool operator==(GuestRange, GuestRange) = default;

 private:
  constexpr GuestRange(GuestAddress begin, std::uint64_t bytes) : begin_(begin), bytes_(bytes) {}

  GuestAddress begin_;
  std::uint64_t bytes_ = 0;
};

}  // namespace vm_mem

#endif  // VM_MEM_GUEST_ADDRESS_H_
