#include "bench/harness/counted_works.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace vm_bench {
namespace {

int refuse(std::string_view path) {
  const std::string_view program = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
  fmt::print(stderr, "usage: {} --list | <work> <count>\n", program);
  return 2;
}

}  // namespace

int run_counted_works(std::span<const CountedWork> works, int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (argc == 2 && first == "--list") {
    for (const CountedWork& work : works) fmt::print("{}\n", work.name);
    return 0;
  }
  if (argc != 3) return refuse(argv[0]);
  const std::string_view text = argv[2];
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc{} || end != text.data() + text.size()) return refuse(argv[0]);
  const auto work = std::find_if(works.begin(), works.end(),
                                 [&](const CountedWork& it) { return it.name == first; });
  if (work == works.end()) return refuse(argv[0]);
  work->run(count);
  return 0;
}

}  // namespace vm_bench
