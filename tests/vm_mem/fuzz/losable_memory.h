// Memory of which the host stops providing pages: a file that is made shorter, or pages
// that nobody may touch.
#ifndef VM_TESTS_VM_MEM_FUZZ_LOSABLE_MEMORY_H_
#define VM_TESTS_VM_MEM_FUZZ_LOSABLE_MEMORY_H_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "tests/vm_mem/model.h"
#include "vm_mem/ram_options.h"

namespace vm_mem {

enum class Loss : std::uint8_t { kTruncation, kProtection };

class LosableMemory {
 public:
  // Holds `content`, whole pages.
  LosableMemory(Loss loss, const std::vector<std::uint8_t>& content)
      : loss_(loss), fd_(memfd_create("losable", MFD_CLOEXEC)), bytes_(content.size()) {
    require(fd_ >= 0 && ftruncate(fd_, static_cast<off_t>(bytes_)) == 0);
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    require(memory_ != MAP_FAILED);
    std::memcpy(memory_, content.data(), bytes_);
  }
  LosableMemory(const LosableMemory&) = delete;
  LosableMemory& operator=(const LosableMemory&) = delete;
  ~LosableMemory() {
    munmap(memory_, bytes_);
    close(fd_);
  }

  void describe(RamOptions& options) const {
    options.backing = loss_ == Loss::kTruncation ? Backing::kFile : Backing::kCallerOwned;
    if (loss_ == Loss::kTruncation) options.fd = fd_;
    if (loss_ == Loss::kProtection) options.memory = {static_cast<std::byte*>(memory_), bytes_};
  }

  // That page, and of a file all from there on, whose bytes are gone for good.
  void lose(std::uint64_t page, ModelBacking& model) {
    if (loss_ == Loss::kProtection) {
      require(mprotect(page_at(page), kPage, PROT_NONE) == 0);
      model.lost_pages.insert(page);
      return;
    }
    if (!model.lost_pages.empty()) page = std::min(page, *model.lost_pages.begin());
    require(ftruncate(fd_, static_cast<off_t>(page * kPage)) == 0);
    for (std::uint64_t lost = page; lost < bytes_ / kPage; ++lost) model.lost_pages.insert(lost);
    std::fill(model.bytes.begin() + static_cast<std::ptrdiff_t>(page * kPage), model.bytes.end(),
              std::uint8_t{0});
  }
  void bring_back(ModelBacking& model) {
    if (loss_ == Loss::kProtection) require(mprotect(memory_, bytes_, PROT_READ | PROT_WRITE) == 0);
    if (loss_ == Loss::kTruncation) require(ftruncate(fd_, static_cast<off_t>(bytes_)) == 0);
    model.lost_pages.clear();
  }

  Loss loss() const { return loss_; }

 private:
  static constexpr std::uint64_t kPage = 4096;

  static void require(bool holds) {
    if (!holds) throw std::runtime_error("the host refuses memory to lose");
  }
  void* page_at(std::uint64_t page) const {
    return static_cast<std::byte*>(memory_) + page * kPage;
  }

  Loss loss_;
  int fd_;
  std::uint64_t bytes_;
  void* memory_ = nullptr;
};

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_FUZZ_LOSABLE_MEMORY_H_
