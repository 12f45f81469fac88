#include "bench/harness/page_buffer.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

namespace vm_bench {
namespace {

constexpr std::size_t kReserved = PageBuffer::kMaxBytes + 2 * kPage;

}  // namespace

PageBuffer::PageBuffer() {
  void* memory = mmap(nullptr, kReserved, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::fprintf(stderr, "no address space for a buffer of %zu bytes\n", kReserved);
    std::exit(1);
  }
  data_ = static_cast<std::byte*>(memory);
}

PageBuffer::~PageBuffer() { munmap(data_, kReserved); }

std::byte* PageBuffer::at_least(std::size_t bytes) {
  // Written, though zero: a page that was only read is the kernel's one page of zeros.
  for (; touched_ < bytes + kPage; touched_ += kPage) {
    *static_cast<volatile std::byte*>(data_ + touched_) = std::byte{0};
  }
  return data_;
}

}  // namespace vm_bench
