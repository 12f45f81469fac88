#include "bench/peers/snapshot_saves.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "bench/peers/peer_file.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {
namespace {

constexpr std::size_t kLongestRun = std::size_t{4} << 20;

bool is_zero_page(const std::byte* page) {
  std::uint64_t words[3];
  std::memcpy(&words[0], page, 8);
  std::memcpy(&words[1], page + kGuestPage / 2, 8);
  std::memcpy(&words[2], page + kGuestPage - 8, 8);
  return (words[0] | words[1] | words[2]) == 0 && vm_mem::is_zero({page, kGuestPage});
}

// O_DIRECT takes memory that is aligned.
class Bitmap {
 public:
  explicit Bitmap(std::size_t pages)
      : words_(pages / 64 / kWordsAPage * kWordsAPage + kWordsAPage + kWordsAPage) {}

  void set(std::size_t page) { words()[page / 64] |= std::uint64_t{1} << page % 64; }
  std::span<const std::byte> bytes() {
    return std::as_bytes(std::span(words(), words_.size() - kWordsAPage));
  }

 private:
  static constexpr std::size_t kWordsAPage = kGuestPage / sizeof(std::uint64_t);

  std::uint64_t* words() {
    const auto at = reinterpret_cast<std::uintptr_t>(words_.data());
    return words_.data() + (kGuestPage - at % kGuestPage) / sizeof(std::uint64_t);
  }

  std::vector<std::uint64_t> words_;
};

// Calls `found(offset, bytes)` for each run of pages that are not zero.
template <typename Found>
void each_run(std::span<const std::byte> memory, Found found) {
  std::size_t begin = 0;
  std::size_t end = 0;
  for (std::size_t at = 0; at < memory.size(); at += kGuestPage) {
    if (is_zero_page(memory.data() + at)) continue;
    if (at != end || at - begin == kLongestRun) {
      if (end > begin) found(begin, end - begin);
      begin = at;
    }
    end = at + kGuestPage;
  }
  if (end > begin) found(begin, end - begin);
}

}  // namespace

void save_whole(std::span<const std::byte> memory, const std::string& path) {
  PeerFile file(path, O_WRONLY | O_CREAT);
  file.write(memory);
  file.sync();
}

void save_dirty_runs(std::span<const std::byte> memory, std::span<const std::uint64_t> dirty,
                     const std::string& path) {
  PeerFile file(path, O_WRONLY | O_CREAT);
  file.resize(memory.size());
  std::size_t begin = 0;
  std::size_t written = 0;
  std::size_t skipped = 0;
  const auto flush = [&] {
    if (written > 0) file.write(memory.subspan(begin, written));
    written = 0;
  };
  for (std::size_t at = 0, page = 0; at < memory.size(); at += kGuestPage, ++page) {
    if ((dirty[page / 64] >> page % 64 & 1) == 0) {
      flush();
      skipped += kGuestPage;
      continue;
    }
    if (skipped > 0) {
      file.skip(skipped);
      begin = at;
      skipped = 0;
    }
    written += kGuestPage;
  }
  flush();
  file.sync();
}

void save_mapped_ram(std::span<const std::byte> memory, const std::string& path,
                     MappedRamWrites writes) {
  const bool direct = writes == MappedRamWrites::kRunsDirect;
  PeerFile file(path, O_WRONLY | O_CREAT | (direct ? O_DIRECT : 0));
  file.resize(kMappedRamOffset + memory.size());
  Bitmap bitmap(memory.size() / kGuestPage);
  each_run(memory, [&](std::size_t offset, std::size_t bytes) {
    const std::size_t step = writes == MappedRamWrites::kPages ? kGuestPage : bytes;
    for (std::size_t at = offset; at < offset + bytes; at += step) {
      file.write_at(memory.subspan(at, step), kMappedRamOffset + at);
    }
    for (std::size_t at = offset; at < offset + bytes; at += kGuestPage) {
      bitmap.set(at / kGuestPage);
    }
  });
  file.write_at(bitmap.bytes(), kGuestPage);
  file.sync();
}

void save_sparse(std::span<const std::byte> memory, const std::string& path) {
  PeerFile file(path, O_WRONLY | O_CREAT);
  file.resize(memory.size());
  each_run(memory, [&](std::size_t offset, std::size_t bytes) {
    file.write_at(memory.subspan(offset, bytes), offset);
  });
  file.sync();
}

}  // namespace vm_bench
