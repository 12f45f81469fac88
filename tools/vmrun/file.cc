#include "tools/vmrun/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "absl/strings/str_cat.h"

namespace vmrun {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

absl::Status refused(const std::string& path) {
  return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
}

absl::Status too_large(const std::string& path, std::uint64_t most) {
  return absl::OutOfRangeError(absl::StrCat(path, ": larger than ", most >> 20, " MiB"));
}

}  // namespace

absl::StatusOr<std::string> read_file(const std::string& path, std::uint64_t most) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return refused(path);
  std::string content;
  struct stat about;
  if (fstat(fileno(file.get()), &about) == 0 && S_ISREG(about.st_mode)) {
    const auto bytes = static_cast<std::uint64_t>(about.st_size);
    if (bytes > most) return too_large(path, most);
    content.reserve(bytes);
  }
  char buffer[65536];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, file.get())) {
    content.append(buffer, got);
    if (content.size() > most) return too_large(path, most);
  }
  if (std::ferror(file.get()) != 0) return refused(path);
  return content;
}

void occupy_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest number is given out; read-only, so that output is known to be lost.
    if (fcntl(stream, F_GETFD) < 0) open("/dev/null", O_RDONLY);
  }
}

}  // namespace vmrun
