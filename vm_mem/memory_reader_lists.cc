// Lists of runs: short ones that follow each other are copied in line, in one loop.
#include <algorithm>
#include <bit>

#include "vm_mem/internal/guest_words.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

using internal::FewWords;
using internal::kGuestWord;

constexpr int kWordSize = std::countr_zero(kGuestWord);
constexpr std::uint64_t kPageWords = kGuestPageBytes / kGuestWord;

// From where on it pays to fetch the next run ahead.
constexpr std::uint64_t kPrefetchMin = 1024;

// Between two looks whether the map has changed.
constexpr std::size_t kRunsAtOnce = 64;

// At how many words of a section `words` of them may begin.
std::uint64_t room_for(std::uint64_t words, const MapSlot::Limits& limits) {
  const std::uint64_t limit = limits[kWordSize];
  return limit < words ? 0 : limit - words + 1;
}

}  // namespace

// A CPU guesses what comes next within a page, and not in which page it goes on.
void MemoryReader::prefetch(const AddressRun& from) const {
  constexpr std::uint64_t kLine = 64;
  const MapSlot& slot = recent_slot_at(GuestAddress{from.address});
  const std::uint64_t offset = from.address - slot.begin;
  if (offset >= slot.loadable[0] || !is_recent()) return;
  const std::uint64_t ahead = std::min({from.bytes, kGuestPageBytes, slot.loadable[0] - offset});
  for (std::uint64_t i = 0; i < ahead; i += kLine) __builtin_prefetch(slot.host + offset + i);
}

template <typename Byte, typename Move>
[[gnu::always_inline]] inline std::size_t MemoryReader::few_words(std::span<const AddressRun> list,
                                                                  MapSlot::Limits MapSlot::*limits,
                                                                  std::span<Byte>& buffer,
                                                                  Move move) {
  const std::uint64_t bytes = list.front().bytes;
  if (!FewWords::fits(bytes) || !is_recent()) return 0;
  const FewWords words(bytes);
  const std::array<std::uint64_t, 2> room{room_for(words.count(), recent_[0].*limits),
                                          room_for(words.count(), recent_[1].*limits)};
  Byte* at = buffer.data();
  Byte* const end = at + buffer.size();
  const AddressRun* run = list.data();
  const AddressRun* const last = run + std::min(list.size(), kRunsAtOnce);
  for (; run != last && run->bytes == bytes && static_cast<std::size_t>(end - at) >= bytes;
       ++run, at += bytes) {
    const std::size_t recent = recent_number(run->address);
    const MapSlot& slot = recent_[recent];
    // One that is not aligned is beyond all room.
    const std::uint64_t word = std::rotr(run->address - slot.begin, kWordSize);
    if (word >= room[recent]) [[unlikely]]
      break;
    move(words, slot, word, at);
  }
  buffer = std::span<Byte>(at, end);
  return static_cast<std::size_t>(run - list.data());
}

std::size_t MemoryReader::try_read(std::span<const AddressRun> from, std::span<std::byte>& to) {
  const auto move = [](const FewWords& words, const MapSlot& slot, std::uint64_t word,
                       std::byte* at) { words.copy(at, slot.host + word * kGuestWord); };
  std::size_t i = 0;
  while (i < from.size() && !to.empty()) {
    const std::size_t few = few_words(from.subspan(i), &MapSlot::loadable, to, move);
    i += few;
    if (few != 0) continue;
    const std::uint64_t bytes = std::min<std::uint64_t>(from[i].bytes, to.size());
    if (bytes >= kPrefetchMin) {
      if (i + 1 < from.size()) prefetch(from[i + 1]);
      if (i + 2 < from.size()) prefetch({from[i + 2].address, 1});  // for its translation
    }
    if (bytes != 0 && !try_read(GuestAddress{from[i].address}, to.first(bytes))) break;
    to = to.subspan(bytes);
    ++i;
  }
  return i;
}

std::size_t MemoryReader::try_write(std::span<const AddressRun> to,
                                    std::span<const std::byte>& from) {
  const auto move = [this](const FewWords& words, const MapSlot& slot, std::uint64_t word,
                           const std::byte* at) {
    words.copy(slot.host + word * kGuestWord, at);
    const std::uint64_t last = word + words.count() - 1;
    if (!slot.is_marked(word / kPageWords) || !slot.is_marked(last / kPageWords)) [[unlikely]]
      mark_block(slot, word * kGuestWord, words.count() * kGuestWord);
  };
  std::size_t i = 0;
  while (i < to.size() && !from.empty()) {
    const std::size_t few = few_words(to.subspan(i), &MapSlot::storable, from, move);
    i += few;
    if (few != 0) continue;
    const std::uint64_t bytes = std::min<std::uint64_t>(to[i].bytes, from.size());
    if (bytes != 0 && !try_write(GuestAddress{to[i].address}, from.first(bytes))) break;
    from = from.subspan(bytes);
    ++i;
  }
  return i;
}

}  // namespace vm_mem
