#include "vm_mem/internal/policy_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

constexpr std::string_view kHeader = "vm_mem copy policy 1";
constexpr std::size_t kMaxFileBytes = 64 << 10;

struct Field {
  std::string_view name;
  std::size_t CopyPolicy::*member;
};

constexpr std::array kFields = {
    Field{"inline_max", &CopyPolicy::inline_max},
    Field{"vector_width", &CopyPolicy::vector_width},
    Field{"stream_min", &CopyPolicy::stream_min},
    Field{"rep_movsb_min", &CopyPolicy::rep_movsb_min},
    Field{"rep_movsb_max", &CopyPolicy::rep_movsb_max},
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

// Reads one file, line by line, and remembers where it is for messages.
class PolicyParser {
 public:
  PolicyParser(std::string_view name, CopyPolicy defaults) : name_(name), policy_(defaults) {}

  absl::StatusOr<CopyPolicy> parse(std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      ++line_;
      absl::Status status = take_line(trimmed(text.substr(0, end)));
      if (!status.ok()) return status;
      text = end == std::string_view::npos ? "" : text.substr(end + 1);
    }
    if (line_ == 0) return refuse(absl::StrFormat("empty; want \"%s\"", std::string(kHeader)));
    return policy_;
  }

 private:
  absl::Status refuse(const std::string& reason) const {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s:%d: %s", std::string(name_), line_, reason));
  }

  absl::Status take_line(std::string_view line) {
    if (line_ == 1 && line != kHeader) {
      return refuse(absl::StrFormat("the first line is not \"%s\"", std::string(kHeader)));
    }
    if (line_ == 1 || line.empty() || line.front() == '#') return absl::OkStatus();
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) return refuse("want key = value");
    return take_field(trimmed(line.substr(0, equals)), trimmed(line.substr(equals + 1)));
  }

  absl::Status take_field(std::string_view key, std::string_view value) {
    for (std::size_t i = 0; i < kFields.size(); ++i) {
      if (kFields[i].name != key) continue;
      if (seen_[i]) return refuse(absl::StrFormat("%s is given twice", std::string(key)));
      seen_[i] = true;
      return take_value(kFields[i], value);
    }
    return refuse(absl::StrFormat("unknown key \"%s\"", std::string(key)));
  }

  absl::Status take_value(const Field& field, std::string_view value) {
    std::size_t number = 0;
    const char* end = value.data() + value.size();
    const auto [stopped, error] = std::from_chars(value.data(), end, number);
    if (error != std::errc{} || stopped != end) {
      return refuse(absl::StrFormat("%s = \"%s\" is not a number of bytes", std::string(field.name),
                                    std::string(value)));
    }
    policy_.*field.member = number;
    return absl::OkStatus();
  }

  std::string_view name_;
  CopyPolicy policy_;
  int line_ = 0;
  std::array<bool, kFields.size()> seen_{};
};

absl::Status unreadable(const std::string& path, const char* reason) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s", path, reason));
}

absl::StatusOr<std::string> read_all(int fd, const std::string& path) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return unreadable(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return unreadable(path, "not a regular file");
  std::string text(kMaxFileBytes + 1, '\0');
  std::size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = read(fd, text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unreadable(path, std::strerror(errno));
    if (got == 0) break;
    length += static_cast<std::size_t>(got);
  }
  if (length > kMaxFileBytes) return unreadable(path, "longer than 64 KiB");
  text.resize(length);
  return text;
}

}  // namespace

absl::StatusOr<CopyPolicy> parse_policy(std::string_view text, std::string_view name,
                                        CopyPolicy defaults) {
  return PolicyParser(name, defaults).parse(text);
}

absl::StatusOr<CopyPolicy> read_policy_file(const std::string& path, CopyPolicy defaults) {
  // Nonblocking, so that a FIFO by that name is refused rather than waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return unreadable(path, std::strerror(errno));
  absl::StatusOr<std::string> text = read_all(fd, path);
  close(fd);
  if (!text.ok()) return text.status();
  return parse_policy(*text, path, defaults);
}

}  // namespace vm_mem::internal
