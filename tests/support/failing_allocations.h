// Allocations that fail when a test says so. It replaces the binary's operator new: for one
// source file of a test.
#ifndef TESTS_SUPPORT_FAILING_ALLOCATIONS_H_
#define TESTS_SUPPORT_FAILING_ALLOCATIONS_H_

#include <atomic>
#include <cstdlib>
#include <new>

namespace vm_test {

// How many allocations of this thread succeed before the next one fails; below 0: all do.
inline thread_local int allocations_left = -1;

// Whether those after it fail, too.
enum class Failing { kOne, kAllFurther };
inline thread_local Failing failing = Failing::kOne;
// How many have failed.
inline thread_local int failed_allocations = 0;

inline bool allocation_fails_now() {
  if (allocations_left != 0) {
    if (allocations_left > 0) --allocations_left;
    return false;
  }
  if (failing == Failing::kOne) allocations_left = -1;
  ++failed_allocations;
  return true;
}

// Of all threads: allocated and not freed.
inline std::atomic<int> living_allocations{0};

inline void* living(void* memory) {
  if (memory != nullptr) ++living_allocations;
  return memory;
}
inline void* allocated(std::size_t bytes) {
  return living(allocation_fails_now() ? nullptr : std::malloc(bytes));
}
inline void* allocated(std::size_t bytes, std::align_val_t alignment) {
  void* memory = nullptr;
  const bool fails = allocation_fails_now() ||
                     ::posix_memalign(&memory, static_cast<std::size_t>(alignment), bytes) != 0;
  return living(fails ? nullptr : memory);
}
inline void release(void* memory) {
  if (memory != nullptr) --living_allocations;
  std::free(memory);
}
inline void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// The first allocation of `call` but `successes` fails; returns what it returns.
template <typename Call>
auto with_failing_allocation(int successes, Call call) {
  allocations_left = successes;
  auto result = call();
  allocations_left = -1;
  return result;
}

}  // namespace vm_test

// Out of line: in line g++ takes a delete for one of what another function allocated.
// Each form that there is: a sanitizer has its own of those that are left out.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  return vm_test::or_throw(vm_test::allocated(bytes));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return vm_test::or_throw(vm_test::allocated(bytes, alignment));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return vm_test::allocated(bytes);
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  return vm_test::allocated(bytes, alignment);
}
[[gnu::noinline]] void* operator new[](std::size_t bytes) {
  return vm_test::or_throw(vm_test::allocated(bytes));
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return vm_test::or_throw(vm_test::allocated(bytes, alignment));
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return vm_test::allocated(bytes);
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, std::align_val_t alignment,
                                       const std::nothrow_t&) noexcept {
  return vm_test::allocated(bytes, alignment);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { vm_test::release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  vm_test::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  vm_test::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  vm_test::release(memory);
}
// Where a constructor throws.
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept {
  vm_test::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t,
                                       const std::nothrow_t&) noexcept {
  vm_test::release(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  vm_test::release(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t,
                                         const std::nothrow_t&) noexcept {
  vm_test::release(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept { vm_test::release(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept {
  vm_test::release(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept {
  vm_test::release(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  vm_test::release(memory);
}

#endif  // TESTS_SUPPORT_FAILING_ALLOCATIONS_H_
