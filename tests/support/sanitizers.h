// Which sanitizer this build has, for tests that measure or exhaust what it needs itself.
#ifndef TESTS_SUPPORT_SANITIZERS_H_
#define TESTS_SUPPORT_SANITIZERS_H_

#include <string_view>

namespace vm_test {

// VM_SANITIZE of the build, by vm_add_test().
inline constexpr std::string_view kSanitizers = VM_TEST_SANITIZERS;

inline constexpr bool kWithTsan = kSanitizers.find("thread") != std::string_view::npos;
inline constexpr bool kWithAsan = kSanitizers.find("address") != std::string_view::npos;

}  // namespace vm_test

#endif  // TESTS_SUPPORT_SANITIZERS_H_
