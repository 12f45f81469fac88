#include "bench/harness/options.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace vm_bench {
namespace {

constexpr char kUsage[] =
    "usage: {} [--list] [--quick] [--points] [--progress] [--rounds N] [--seed N]\n"
    "          [--only NAME[,NAME...]] [--sizes FILE] [--rows FILE]\n"
    "One program of a suite of tools/bench.\n";

[[noreturn]] void refuse(const std::string& reason) {
  fmt::print(stderr, "{}\n", reason);
  std::exit(2);
}

template <class Number>
Number parse_number(std::string_view option, std::string_view text, Number least) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < least) {
    refuse(fmt::format("{} {}: want a number from {}", option, text, least));
  }
  return value;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool take_flag(Options& options, std::string_view argument) {
  if (argument == "--list") return options.list = true;
  if (argument == "--quick") return options.quick = true;
  if (argument == "--points") return options.points = true;
  if (argument == "--progress") return options.progress = true;
  return false;
}

bool take_value(Options& options, std::string_view argument, const char* value) {
  const bool known = argument == "--rounds" || argument == "--seed" || argument == "--only" ||
                     argument == "--sizes" || argument == "--rows";
  if (!known) return false;
  if (value == nullptr) refuse(fmt::format("{} needs a value", argument));
  if (argument == "--rounds") options.rounds = parse_number<std::size_t>(argument, value, 1);
  if (argument == "--seed") options.seed = parse_number<std::uint64_t>(argument, value, 0);
  if (argument == "--only") options.only = split(value);
  if (argument == "--sizes") options.sizes = value;
  if (argument == "--rows") options.rows = value;
  return true;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      fmt::print(kUsage, argv[0]);
      std::exit(0);
    }
    if (take_flag(options, argv[i])) continue;
    if (!take_value(options, argv[i], argv[i + 1])) {
      refuse(fmt::format("unknown option {} (see --help)", argv[i]));
    }
    ++i;
  }
  return options;
}

}  // namespace vm_bench
