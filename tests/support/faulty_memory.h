// Memory of which some pages fail in the host, each kind in its own way.
#ifndef TESTS_SUPPORT_FAULTY_MEMORY_H_
#define TESTS_SUPPORT_FAULTY_MEMORY_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

namespace vm_test {

enum class HostFailure { kTruncatedFile, kTruncatedMemfd, kHugePageHole, kNoAccess, kReadOnly };

inline constexpr std::array kHostFailures = {
    HostFailure::kTruncatedFile, HostFailure::kTruncatedMemfd, HostFailure::kHugePageHole,
    HostFailure::kNoAccess, HostFailure::kReadOnly};

inline std::string_view name_of(HostFailure failure) {
  switch (failure) {
    case HostFailure::kTruncatedFile: return "TruncatedFile";
    case HostFailure::kTruncatedMemfd: return "TruncatedMemfd";
    case HostFailure::kHugePageHole: return "HugePageHole";
    case HostFailure::kNoAccess: return "NoAccess";
    case HostFailure::kReadOnly: break;
  }
  return "ReadOnly";
}

// Two good pages, pages that fail, two good pages again: one piece of addresses.
class FaultyMemory {
 public:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kGood = 2 * kPage;  // on either side
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  explicit FaultyMemory(HostFailure failure)
      : failure_(failure), bad_bytes_(failure == HostFailure::kHugePageHole ? kHugePage : kPage) {
    const std::size_t reserved = kHugePage + kGood + bad_bytes_ + kGood;
    void* mapped =
        mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) fail("mmap");
    reserved_ = {static_cast<std::byte*>(mapped), reserved};
    bad_ = aligned(reserved_.data() + kGood);
    make_bad();
  }
  FaultyMemory(const FaultyMemory&) = delete;
  FaultyMemory& operator=(const FaultyMemory&) = delete;
  ~FaultyMemory() { munmap(reserved_.data(), reserved_.size()); }

  // False where the host cannot make this kind, or has huge pages left.
  bool fails() const { return usable_; }
  HostFailure failure() const { return failure_; }
  bool allows_reads() const { return failure_ == HostFailure::kReadOnly; }

  std::byte* begin() const { return bad_ - kGood; }
  std::byte* bad() const { return bad_; }
  std::byte* bad_end() const { return bad_ + bad_bytes_; }
  std::byte* end() const { return bad_end() + kGood; }
  std::size_t bytes() const { return static_cast<std::size_t>(end() - begin()); }
  std::span<std::byte> below() const { return {begin(), kGood}; }
  std::span<std::byte> above() const { return {bad_end(), kGood}; }

 private:
  [[noreturn]] static void fail(const char* call) {
    std::perror(call);
    std::abort();
  }
  std::byte* aligned(std::byte* from) const {
    const std::size_t unit = bad_bytes_ == kPage ? kPage : kHugePage;
    const auto address = reinterpret_cast<std::uintptr_t>(from);
    return from + ((unit - address % unit) % unit);
  }
  void make_bad() {
    switch (failure_) {
      case HostFailure::kTruncatedFile: return map_truncated(temporary_file());
      case HostFailure::kTruncatedMemfd: return map_truncated(memfd_create("bad", MFD_CLOEXEC));
      case HostFailure::kHugePageHole: return map_huge_hole();
      case HostFailure::kNoAccess: return protect(PROT_NONE);
      case HostFailure::kReadOnly: return protect(PROT_READ);
    }
  }
  static int temporary_file() {
    char name[] = "/tmp/faulty_memory_XXXXXX";
    const int fd = mkstemp(name);
    if (fd >= 0) unlink(name);
    return fd;
  }
  void map_truncated(int fd) {
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(kPage)) != 0) fail("a file of one page");
    map_over(fd);
    if (!usable_ || ftruncate(fd, 0) != 0) fail("truncation");
    close(fd);
  }
  void map_huge_hole() {
    const int fd = memfd_create("bad", MFD_CLOEXEC | MFD_HUGETLB);
    if (fd < 0) return;
    if (ftruncate(fd, static_cast<off_t>(kHugePage)) == 0) map_over(fd);
    close(fd);
    usable_ = usable_ && free_huge_pages() == 0;
  }
  static long free_huge_pages() {
    std::FILE* file = std::fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
    long count = 1;
    if (file == nullptr) return count;
    if (std::fscanf(file, "%ld", &count) != 1) count = 1;
    std::fclose(file);
    return count;
  }
  void map_over(int fd) {
    usable_ = mmap(bad_, bad_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
                   fd, 0) != MAP_FAILED;
  }
  void protect(int protection) {
    if (mprotect(bad_, bad_bytes_, protection) != 0) fail("mprotect");
    usable_ = true;
  }

  HostFailure failure_;
  std::size_t bad_bytes_;
  std::span<std::byte> reserved_;
  std::byte* bad_ = nullptr;
  bool usable_ = false;
};

}  // namespace vm_test

#endif  // TESTS_SUPPORT_FAULTY_MEMORY_H_
