// What each target defines; libFuzzer calls it, and so does the driver that replays the
// corpus where there is no libFuzzer.
#ifndef TESTS_SUPPORT_FUZZ_TARGET_H_
#define TESTS_SUPPORT_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>

// Throws, or is stopped by a sanitizer, where `data` shows a mistake.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes);

#endif  // TESTS_SUPPORT_FUZZ_TARGET_H_
