#include "vm_mem/code_watch.h"

#include <array>

#include "vm_mem/internal/code_book.h"
#include "vm_mem/internal/without_exceptions.h"

namespace vm_mem {

std::string_view write_cause_name(WriteCause cause) {
  constexpr std::array<std::string_view, 8> kNames = {"kStore", "kCopy",  "kDma",     "kHost",
                                                      "kUnmap", "kRemap", "kDiscard", "kRestore"};
  return kNames[static_cast<std::size_t>(cause)];
}

CodeWatch::~CodeWatch() { book_.watchers().remove_all(); }

absl::Status CodeWatch::add_watcher(CodeWatcher* watcher) {
  return internal::without_exceptions([&] { return book_.watchers().add(watcher); });
}

void CodeWatch::remove_watcher(CodeWatcher* watcher) { book_.watchers().remove(watcher); }

absl::StatusOr<CodeStamp> CodeWatch::watch(std::span<const CodeRange> ranges) {
  return book_.watch(ranges);
}

absl::Status CodeWatch::release(std::span<const CodeRange> ranges) { return book_.release(ranges); }

bool CodeWatch::written_since(CodeStamp stamp, std::span<const CodeRange> ranges) const {
  return book_.written_since(stamp, ranges);
}

CodeStamp CodeWatch::now() const { return book_.now(); }

absl::Status CodeWatch::written(RegionId region, std::uint64_t offset, std::uint64_t bytes,
                                WriteCause cause) {
  return book_.written({region, offset, bytes}, cause);
}

bool CodeWatch::is_watched(RegionId region, std::uint64_t offset) const {
  return book_.is_watched(region, offset);
}

}  // namespace vm_mem
