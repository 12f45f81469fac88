// Memory between two unreadable pages, for tests of code that must stay inside its
// buffer: a byte read or written beyond either edge faults.
#ifndef TESTS_SUPPORT_GUARDED_BUFFER_H_
#define TESTS_SUPPORT_GUARDED_BUFFER_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>

namespace vm_test {

enum class Edge { kFront, kBack };

class GuardedBuffer {
 public:
  // Units:  `capacity` is rounded up to the host page size.
  explicit GuardedBuffer(std::size_t capacity) : page_(host_page_bytes()) {
    capacity_ = (capacity + page_ - 1) / page_ * page_;
    void* mapped =
        mmap(nullptr, capacity_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) fail("mmap");
    begin_ = static_cast<std::byte*>(mapped) + page_;
    if (mprotect(begin_, capacity_, PROT_READ | PROT_WRITE) != 0) fail("mprotect");
  }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  ~GuardedBuffer() { munmap(begin_ - page_, capacity_ + 2 * page_); }

  std::span<std::byte> all() const { return {begin_, capacity_}; }

  // The first, or the last, `bytes` bytes: the guard page touches that edge.
  std::span<std::byte> at(Edge edge, std::size_t bytes) const {
    return edge == Edge::kFront ? all().first(bytes) : all().last(bytes);
  }

 private:
  static std::size_t host_page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
  [[noreturn]] static void fail(const char* call) {
    std::perror(call);
    std::abort();
  }

  std::size_t page_;
  std::size_t capacity_ = 0;
  std::byte* begin_ = nullptr;
};

}  // namespace vm_test

#endif  // TESTS_SUPPORT_GUARDED_BUFFER_H_
