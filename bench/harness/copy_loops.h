// The loops that copies are timed in. Every contestant, libc included, runs in instances
// of the same code, so that what a loop costs is on neither side.
//
// There are several instances of each, at addresses of their own, that share the work of a
// sample: on a copy of 2 ns the luck of an address decides over a cycle or two, which is
// more than what is to be measured.
#ifndef BENCH_HARNESS_COPY_LOOPS_H_
#define BENCH_HARNESS_COPY_LOOPS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

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

// One instance. `Copy` has a static member copy(dst, src, n), which is expanded in place:
// what is to be called has to be a call there.
template <class Copy, std::size_t kPlace>
struct PlacedLoops {
  [[gnu::always_inline]] static void copy(std::byte* dst, const std::byte* src, std::size_t n) {
    forget(dst);
    forget(src);
    forget(n);
    Copy::copy(dst, src, n);
  }

  // Makes instances differ: the compiler merges functions that do not.
  [[gnu::always_inline]] static void differ() { asm volatile("" : : "i"(kPlace)); }

  [[gnu::noinline, gnu::aligned(64)]] static void repeat(std::byte* dst, const std::byte* src,
                                                         std::size_t n, std::size_t count) {
    differ();
    for (std::size_t i = 0; i < count; ++i) copy(dst, src, n);
  }

  [[gnu::noinline, gnu::aligned(64)]] static void walk(std::byte* dst, const std::byte* src,
                                                       std::span<const CopyAt> copies) {
    differ();
    for (const CopyAt& at : copies) copy(dst + at.dst, src + at.src, at.bytes);
  }

  [[gnu::noinline, gnu::aligned(64)]] static void chase(std::byte* dst, const std::byte* src,
                                                        std::span<const CopyAt> copies) {
    differ();
    std::size_t read_back = 0;
    for (const CopyAt& at : copies) {
      std::byte* to = dst + at.dst + read_back;
      copy(to, src + at.src + read_back, at.bytes);
      forget(to);
      read_back = static_cast<std::size_t>(*to);
    }
    forget(read_back);
  }
};

inline constexpr std::size_t kPlaces = 8;

// The loops of one contestant, each the sum of its instances.
template <class Copy, class Places = std::make_index_sequence<kPlaces>>
struct LoopsOf;

template <class Copy, std::size_t... kPlace>
struct LoopsOf<Copy, std::index_sequence<kPlace...>> {
  static void once(std::byte* dst, const std::byte* src, std::size_t n) {
    PlacedLoops<Copy, 0>::repeat(dst, src, n, 1);
  }

  static void repeat(std::byte* dst, const std::byte* src, std::size_t n, std::size_t count) {
    (PlacedLoops<Copy, kPlace>::repeat(dst, src, n, share(count, kPlace)), ...);
  }

  static void walk(std::byte* dst, const std::byte* src, std::span<const CopyAt> copies) {
    (PlacedLoops<Copy, kPlace>::walk(dst, src, part(copies, kPlace)), ...);
  }

  static void chase(std::byte* dst, const std::byte* src, std::span<const CopyAt> copies) {
    (PlacedLoops<Copy, kPlace>::chase(dst, src, part(copies, kPlace)), ...);
  }

  static constexpr CopyLoops kLoops = {once, repeat, walk, chase};

 private:
  static std::size_t begin_of(std::size_t count, std::size_t place) {
    return count * place / kPlaces;
  }
  static std::size_t share(std::size_t count, std::size_t place) {
    return begin_of(count, place + 1) - begin_of(count, place);
  }
  static std::span<const CopyAt> part(std::span<const CopyAt> copies, std::size_t place) {
    return copies.subspan(begin_of(copies.size(), place), share(copies.size(), place));
  }
};

}  // namespace vm_bench

#endif  // BENCH_HARNESS_COPY_LOOPS_H_
