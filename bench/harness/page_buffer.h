// Page-aligned memory to copy to and from.
#ifndef BENCH_HARNESS_PAGE_BUFFER_H_
#define BENCH_HARNESS_PAGE_BUFFER_H_

#include <cstddef>

namespace vm_bench {

inline constexpr std::size_t kPage = 4096;

// Memory that grows in place and is touched once: the first touch of a page costs far
// more than what is measured here. Pages are as large as the system gives anonymous
// memory by default.
class PageBuffer {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{4} << 30;

  PageBuffer();  // ends the program where there is no address space
  ~PageBuffer();
  PageBuffer(const PageBuffer&) = delete;
  PageBuffer& operator=(const PageBuffer&) = delete;

  // The memory, at least `bytes` and a page of it touched; zeros where never written.
  // Needs: bytes <= kMaxBytes.
  std::byte* at_least(std::size_t bytes);

 private:
  std::byte* data_;
  std::size_t touched_ = 0;
};

}  // namespace vm_bench

#endif  // BENCH_HARNESS_PAGE_BUFFER_H_
