// The state of a device as bytes: for a snapshot, or for another process.
//
// Fields lie one after the other without gaps, little-endian, in the order of the calls. One
// function can name them for both directions:
//
//   template <typename Archive, typename Timer>
//   void fields(Archive& archive, Timer& timer) {
//     archive(timer.deadline, timer.is_armed);
//     archive.choice(timer.mode, TimerMode::kPeriodic);
//   }
//
//   StateWriter to;
//   fields(to, timer);           // timer may be const
//   StateReader from(bytes);
//   fields(from, read);          // into another one: it is used if it turns out to be good
//   if (absl::Status bad = from.finish(); !bad.ok()) return bad;
#ifndef VM_DEVICE_STATE_BYTES_H_
#define VM_DEVICE_STATE_BYTES_H_

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace vm_device {

class StateWriter {
 public:
  // Unsigned integers, bool, and arrays of them.
  template <typename... Fields>
  void operator()(const Fields&... fields) {
    (put(fields), ...);
  }
  // An enumerator, none behind `last`.
  template <typename Enum>
  void choice(Enum value, Enum /*last*/) {
    put(static_cast<std::underlying_type_t<Enum>>(value));
  }
  // As many as there are, at most `most`.
  void bytes(std::span<const std::byte> from, std::size_t most);

  // All that was put.
  std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  template <std::unsigned_integral T>
  void put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
  }
  void put(bool value) { bytes_.push_back(std::byte{value}); }
  template <typename T, std::size_t kCount>
  void put(const std::array<T, kCount>& values) {
    for (const T& value : values) put(value);
  }

  std::vector<std::byte> bytes_;
};

// Of bytes that may be anything. What cannot be read is zero, and so is all that follows; why,
// status() says.
class StateReader {
 public:
  // Needs:  `bytes` stay as they are.
  explicit StateReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename... Fields>
  void operator()(Fields&... fields) {
    (get(fields), ...);
  }
  template <typename Enum>
  void choice(Enum& value, Enum last) {
    std::underlying_type_t<Enum> number{};
    get(number);
    if (number > static_cast<std::underlying_type_t<Enum>>(last)) {
      refuse("there is no such choice");
      number = 0;
    }
    value = static_cast<Enum>(number);
  }
  // They lie in what this object was made of.
  std::span<const std::byte> bytes(std::size_t most);
  void bytes(std::vector<std::byte>& to, std::size_t most);

  // Of the embedder's: what was read last cannot be. The first reason is kept.
  void refuse(std::string_view reason);
  // Refuses unless `holds`.
  void check(bool holds, std::string_view reason) {
    if (!holds) refuse(reason);
  }

  bool ok() const { return reason_.empty(); }
  // Errors:  kDataLoss: "byte <where> of <how many>: <reason>"
  absl::Status status() const;
  // The same; refuses bytes that nobody has read.
  absl::Status finish();

 private:
  std::span<const std::byte> take(std::size_t count);
  template <std::unsigned_integral T>
  void get(T& value) {
    value = 0;
    const auto from = take(sizeof(T));
    for (std::size_t i = 0; i < from.size(); ++i) {
      value = static_cast<T>(value | std::to_integer<T>(from[i]) << (8 * i));
    }
  }
  void get(bool& value) {
    std::uint8_t number = 0;
    get(number);
    check(number <= 1, "neither yes nor no");
    value = number == 1;
  }
  template <typename T, std::size_t kCount>
  void get(std::array<T, kCount>& values) {
    for (T& value : values) get(value);
  }

  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  std::size_t refused_at_ = 0;
  std::string reason_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_STATE_BYTES_H_
