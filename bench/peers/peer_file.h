// Files as the peers use them. What fails ends the program with a line.
#ifndef BENCH_PEERS_PEER_FILE_H_
#define BENCH_PEERS_PEER_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace vm_bench {

// Whether files of `folder` can be opened with O_DIRECT.
bool takes_direct(const std::string& folder);

class PeerFile {
 public:
  PeerFile(std::string path, int flags);
  ~PeerFile();
  PeerFile(const PeerFile&) = delete;
  PeerFile& operator=(const PeerFile&) = delete;

  int descriptor() const { return descriptor_; }
  std::uint64_t bytes() const;

  void resize(std::uint64_t bytes);
  // At its position, in as few calls as the host takes; the position then is behind it.
  void write(std::span<const std::byte> bytes);
  void skip(std::uint64_t bytes);
  void write_at(std::span<const std::byte> bytes, std::uint64_t offset);
  void read_at(std::span<std::byte> bytes, std::uint64_t offset) const;
  // fsync(2).
  void sync();

  // Calls `found(begin, end)` for each run of data, as SEEK_DATA sees it.
  template <typename Found>
  void each_extent(Found found) const {
    for (std::uint64_t begin = 0, end = 0; next_extent(begin, end);) found(begin, end);
  }

 private:
  // The next after `end`.
  bool next_extent(std::uint64_t& begin, std::uint64_t& end) const;
  [[noreturn]] void give_up_on(const char* what) const;

  std::string path_;
  int descriptor_;
};

}  // namespace vm_bench

#endif  // BENCH_PEERS_PEER_FILE_H_
