// A guest with one virtio disk behind vhost-user, whose driver has a number of reads under way
// and sleeps until it is interrupted.
#ifndef BENCH_VM_DEVICE_VHOST_DISK_GUEST_H_
#define BENCH_VM_DEVICE_VHOST_DISK_GUEST_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bench/vm_device/vhost/back_end.h"
#include "bench/vm_device/vhost/disk_rings.h"
#include "bench/vm_device/vhost/link.h"
#include "vm_device/internal/owned_fd.h"

namespace vm_bench {

enum class RingForm : std::uint8_t { kSplit, kPacked };
enum class Logging : std::uint8_t { kOff, kOn };

struct DiskLoad {
  std::uint32_t bytes = 4096;  // of each read
  std::uint32_t depth = 32;    // reads under way
  RingForm form = RingForm::kSplit;
  Logging logging = Logging::kOff;
};

// What a run took.
struct DiskRun {
  double wall_ns = 0;  // of a request
  double cpu_ns = 0;   // of a request, of the back end
};

// Whatever the back end does wrong ends the program with one line.
class DiskGuest {
 public:
  DiskGuest(const std::vector<std::string>& back_end, const DiskLoad& load);
  ~DiskGuest();
  DiskGuest(const DiskGuest&) = delete;
  DiskGuest& operator=(const DiskGuest&) = delete;

  // Reads for about so long. Each has to come back once, as a success, and to have written all
  // of its buffer: which the last ones of all buffers have to have set to zeros.
  DiskRun run(std::chrono::nanoseconds time);
  // After the last run: that the log has the pages which were written.
  void check_log();

 private:
  // The memory that is shared, at guest address 0.
  struct Memory {
    explicit Memory(std::size_t wanted);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    std::size_t bytes;
    vm_device::internal::OwnedFd fd;
    std::byte* host;
  };

  void share_memory(std::uint64_t features);
  void start_ring();
  template <typename Ring>
  std::uint64_t read_until(Ring& ring, std::chrono::steady_clock::time_point end);
  template <typename Ring>
  void offer(Ring& ring, std::uint32_t slot);
  void finish(const Used& used);
  void wait_for_call();
  void stain_buffers();
  void check_buffers();
  std::uint64_t data(std::uint32_t slot) const;

  BackEnd back_end_;
  VhostLink link_;
  const DiskLoad load_;
  Memory memory_;
  Memory log_;
  vm_device::internal::OwnedFd kick_;
  vm_device::internal::OwnedFd call_;
  std::variant<std::monostate, DiskSplitRing, DiskPackedRing> ring_;
  std::vector<bool> is_out_;
  std::uint64_t random_ = 1;
};

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_VHOST_DISK_GUEST_H_
