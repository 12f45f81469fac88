#include "bench/harness/size_distribution.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "absl/strings/str_format.h"

namespace vm_bench {
namespace {

// How far from 1 the shares may sum to: files round them.
constexpr double kSumTolerance = 0.01;
constexpr std::size_t kShownBytes = 24;

absl::Status refuse(std::string_view name, const std::string& reason) {
  return absl::InvalidArgumentError(absl::StrFormat("%s:1: %s", std::string(name), reason));
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<SizeShare> parse_pair(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto bytes = number<std::size_t>(text.substr(0, colon));
  const auto share = number<double>(text.substr(colon + 1));
  if (!bytes || !share || *bytes > kLargestSize) return std::nullopt;
  if (!(*share >= 0 && *share <= 1)) return std::nullopt;
  return SizeShare{*bytes, *share};
}

absl::Status check_sum(const std::vector<SizeShare>& sizes, std::string_view name) {
  double sum = 0;
  for (const SizeShare& size : sizes) sum += size.share;
  if (std::abs(sum - 1) <= kSumTolerance) return absl::OkStatus();
  return refuse(name, absl::StrFormat("read shares that sum to %g; want 1, give or take %g", sum,
                                      kSumTolerance));
}

}  // namespace

absl::StatusOr<std::vector<SizeShare>> parse_sizes(std::string_view text, std::string_view name) {
  std::string_view line = text.substr(0, text.find('\n'));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (line.empty()) {
    return refuse(name, "read an empty line; want BYTES:SHARE pairs with commas between");
  }
  std::vector<SizeShare> sizes;
  for (std::size_t begin = 0; begin <= line.size();) {
    const std::size_t end = std::min(line.find(',', begin), line.size());
    const std::string_view pair = line.substr(begin, end - begin);
    const auto size = parse_pair(pair);
    if (!size) {
      return refuse(
          name, absl::StrFormat("read \"%s\" at column %d; want BYTES:SHARE with at most "
                                "%d bytes and a share from 0 to 1",
                                std::string(pair.substr(0, kShownBytes)), begin + 1, kLargestSize));
    }
    sizes.push_back(*size);
    begin = end + 1;
  }
  absl::Status status = check_sum(sizes, name);
  if (!status.ok()) return status;
  return sizes;
}

absl::StatusOr<std::vector<SizeShare>> read_sizes(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  const bool empty = file && file.peek() == EOF && !file.bad();
  if (!empty && !(text << file.rdbuf())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: cannot be read: %s", path, std::strerror(errno)));
  }
  return parse_sizes(text.str(), path);
}

}  // namespace vm_bench
