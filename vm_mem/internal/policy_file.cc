#include "vm_mem/internal/policy_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

constexpr std::size_t kMaxFileBytes = 64 << 10;
constexpr std::string_view kNeverWord = "never";

const std::string& header() {
  static const auto* const kept = new std::string(kCopyPolicyHeader);
  return *kept;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::optional<std::size_t> parse_limit(std::string_view value) {
  if (value == kNeverWord) return kNever;
  std::size_t number = 0;
  const char* end = value.data() + value.size();
  const auto [stopped, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc{} || stopped != end) return std::nullopt;
  return number;
}

// Reads one file, line by line, and remembers where it is for messages.
class PolicyParser {
 public:
  PolicyParser(std::string_view name, std::string_view cpu) : name_(name), cpu_(cpu) {}

  absl::StatusOr<PolicyText> parse(std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      ++line_;
      absl::Status status = take_line(trimmed(text.substr(0, end)));
      if (!status.ok()) return status;
      if (end == std::string_view::npos) return refuse("the line has no end: was the file cut?");
      text = text.substr(end + 1);
    }
    if (line_ == 0) return refuse(absl::StrFormat("empty; want \"%s\"", header()));
    return found_;
  }

 private:
  absl::Status refuse(const std::string& reason) const {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s:%d: %s", std::string(name_), line_, reason));
  }

  absl::Status take_line(std::string_view line) {
    if (line_ == 1 && line != kCopyPolicyHeader) {
      return refuse(absl::StrFormat("the first line is not \"%s\"", header()));
    }
    if (line_ == 1 || line.empty() || line.front() == '#') return absl::OkStatus();
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) return refuse("want key = value");
    const std::string_view key = trimmed(line.substr(0, equals));
    const std::string_view value = trimmed(line.substr(equals + 1));
    return key == "cpu" ? take_cpu(value) : take_field(key, value);
  }

  absl::Status take_cpu(std::string_view value) {
    if (seen_cpu_) return refuse("cpu is given twice");
    seen_cpu_ = true;
    if (value.size() < 2 || value.front() != '"' || value.back() != '"') {
      return refuse("cpu: want a name in double quotes");
    }
    const std::string_view cpu = value.substr(1, value.size() - 2);
    if (cpu == cpu_) return absl::OkStatus();
    return refuse(absl::StrFormat("measured on another CPU: \"%s\", and this is \"%s\"",
                                  std::string(cpu), std::string(cpu_)));
  }

  absl::Status take_field(std::string_view key, std::string_view value) {
    for (const CopyPolicyField& field : copy_policy_fields()) {
      if (field.name != key) continue;
      if (found_.value(field.member)) {
        return refuse(absl::StrFormat("%s is given twice", std::string(key)));
      }
      const auto limit = parse_limit(value);
      if (!limit) {
        return refuse(absl::StrFormat("%s = \"%s\" is neither a number nor never", std::string(key),
                                      std::string(value)));
      }
      found_.settings.push_back({&field, *limit, line_});
      return absl::OkStatus();
    }
    return refuse(absl::StrFormat("unknown key \"%s\"", std::string(key)));
  }

  std::string_view name_;
  std::string_view cpu_;
  PolicyText found_;
  bool seen_cpu_ = false;
  int line_ = 0;
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

std::optional<std::size_t> PolicyText::value(std::size_t CopyPolicy::*field) const {
  for (const PolicySetting& setting : settings) {
    if (setting.field->member == field) return setting.value;
  }
  return std::nullopt;
}

int PolicyText::line(std::size_t CopyPolicy::*field) const {
  for (const PolicySetting& setting : settings) {
    if (setting.field->member == field) return setting.line;
  }
  return settings.empty() ? 1 : settings.back().line;
}

CopyPolicy PolicyText::over(CopyPolicy defaults) const {
  for (const PolicySetting& setting : settings) defaults.*setting.field->member = setting.value;
  return defaults;
}

absl::StatusOr<PolicyText> parse_policy(std::string_view text, std::string_view name,
                                        std::string_view cpu) {
  return PolicyParser(name, cpu).parse(text);
}

absl::StatusOr<PolicyText> read_policy_file(const std::string& path, std::string_view cpu) {
  // Nonblocking, so that a FIFO by that name is refused rather than waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return unreadable(path, std::strerror(errno));
  absl::StatusOr<std::string> text = read_all(fd, path);
  close(fd);
  if (!text.ok()) return text.status();
  return parse_policy(*text, path, cpu);
}

std::string format_policy(const CopyPolicy& policy, std::string_view cpu) {
  std::string text = absl::StrFormat("%s\ncpu = \"%s\"\n", header(), std::string(cpu));
  for (const CopyPolicyField& field : copy_policy_fields()) {
    const std::size_t value = policy.*field.member;
    absl::StrAppendFormat(&text, "%s = %s\n", std::string(field.name),
                          value == kNever ? std::string(kNeverWord) : absl::StrFormat("%d", value));
  }
  return text;
}

}  // namespace vm_mem::internal
