// Which sanitizer this build has, for tests that measure or exhaust what it needs itself.
#ifndef TESTS_SUPPORT_SANITIZERS_H_
#define TESTS_SUPPORT_SANITIZERS_H_

namespace vm_test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kWithTsan = true;
#elif defined(__has_feature)
inline constexpr bool kWithTsan = __has_feature(thread_sanitizer);
#else
inline constexpr bool kWithTsan = false;
#endif

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kWithAsan = true;
#elif defined(__has_feature)
inline constexpr bool kWithAsan = __has_feature(address_sanitizer);
#else
inline constexpr bool kWithAsan = false;
#endif

}  // namespace vm_test

#endif  // TESTS_SUPPORT_SANITIZERS_H_
