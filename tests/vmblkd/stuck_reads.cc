// For LD_PRELOAD: storage that never answers where the sector at kStuck is read. Then there is a
// file of the name "stuck".

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr off_t kStuck = 7 * 512;

ssize_t read_or_hang(int descriptor, void* to, size_t bytes, off_t offset) {
  if (offset == kStuck) ::close(::open("stuck", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  while (offset == kStuck) ::pause();
  return ::syscall(SYS_pread64, descriptor, to, bytes, offset);
}

}  // namespace

extern "C" {
ssize_t pread(int descriptor, void* to, size_t bytes, off_t offset) {
  return read_or_hang(descriptor, to, bytes, offset);
}
ssize_t pread64(int descriptor, void* to, size_t bytes, off_t offset) {
  return read_or_hang(descriptor, to, bytes, offset);
}
}
