// The loops that copies are timed in. Every contestant, libc included, runs in its own
// instance of the same code: what a loop costs, and where the compiler puts it, is then
// on neither side.
#ifndef BENCH_HARNESS_COPY_LOOPS_H_
#define BENCH_HARNESS_COPY_LOOPS_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_bench {

// One copy, by its offsets in two buffers.
struct CopyAt {
  std::uint32_t dst = 0;
  std::uint32_t src = 0;
  std::uint32_t bytes = 0;
};

// The loops of one contestant.
struct CopyLoops {
  void (*once)(std::byte* dst, const std::byte* src, std::size_t n);
  // The same copy `count` times.
  void (*repeat)(std::byte* dst, const std::byte* src, std::size_t n, std::size_t count);
  // One copy per entry, none depending on another.
  void (*walk)(std::byte* dst, const std::byte* src, std::span<const CopyAt> copies);
  // Reads the first byte of each copy back; the addresses of the next depend on it.
  // Needs: a source of zeros.
  void (*chase)(std::byte* dst, const std::byte* src, std::span<const CopyAt> copies);
};

// The optimizer forgets what it knows of `value` and of memory.
template <class T>
[[gnu::always_inline]] inline void forget(T& value) {
  asm volatile("" : "+r"(value) : : "memory");
}

// `Copy` has a static member copy(dst, src, n), which is expanded in place: what is to
// be called has to be a call there.
template <class Copy>
struct LoopsOf {
  [[gnu::always_inline]] static void copy(std::byte* dst, const std::byte* src, std::size_t n) {
    forget(dst);
    forget(src);
    forget(n);
    Copy::copy(dst, src, n);
  }

  [[gnu::noinline, gnu::aligned(64)]] static void once(std::byte* dst, const std::byte* src,
                                                       std::size_t n) {
    copy(dst, src, n);
  }

  [[gnu::noinline, gnu::aligned(64)]] static void repeat(std::byte* dst, const std::byte* src,
                                                         std::size_t n, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) copy(dst, src, n);
  }

  [[gnu::noinline, gnu::aligned(64)]] static void walk(std::byte* dst, const std::byte* src,
                                                       std::span<const CopyAt> copies) {
    for (const CopyAt& at : copies) copy(dst + at.dst, src + at.src, at.bytes);
  }

  [[gnu::noinline, gnu::aligned(64)]] static void chase(std::byte* dst, const std::byte* src,
                                                        std::span<const CopyAt> copies) {
    std::size_t read_back = 0;
    for (const CopyAt& at : copies) {
      std::byte* to = dst + at.dst + read_back;
      copy(to, src + at.src + read_back, at.bytes);
      forget(to);
      read_back = static_cast<std::size_t>(*to);
    }
    forget(read_back);
  }

  static constexpr CopyLoops kLoops = {once, repeat, walk, chase};
};

}  // namespace vm_bench

#endif  // BENCH_HARNESS_COPY_LOOPS_H_
