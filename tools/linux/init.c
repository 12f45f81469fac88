// The first program of the Linux guest that tools/boot_linux boots: it makes each check, says
// on one line how it went, and switches off. Built with nolibc, which comes with the kernel.

#include "guest.h"

static int done;
static int passed;

static void make(const struct check* checks) {
  for (; checks->name != 0; ++checks) {
    const int result = checks->passes();
    if (result < 0) continue;
    ++done;
    passed += result;
    printf("check %s: %s\n", checks->name, result ? "ok" : "FAILED");
  }
}

// Lines of /proc/cpuinfo that begin with "hart".
static int harts(void) {
  static char text[1 << 14];
  const int file = open("/proc/cpuinfo", O_RDONLY);
  ssize_t bytes = 0;
  ssize_t all = 0;
  while ((bytes = read(file, text + all, sizeof text - 1 - (size_t)all)) > 0) all += bytes;
  close(file);
  int count = 0;
  for (ssize_t at = 0; at < all; ++at) {
    if ((at == 0 || text[at - 1] == '\n') && memcmp(text + at, "hart\t", 5) == 0) ++count;
  }
  return count;
}

// A line that is typed at a prompt, by interrupts of the UART, whose FIFO it may be longer
// than. What is typed before the kernel opens the UART is lost, so that who types ahead
// begins with empty lines.
static void echo_line(void) {
  char line[128];
  printf("=> ");
  for (;;) {
    const ssize_t bytes = read(0, line, sizeof line - 1);
    if (bytes == 1) continue;
    line[bytes < 0 ? 0 : bytes] = 0;
    printf("init: typed %s", line);
    return;
  }
}

static void prepare(void) {
  mkdir("/proc", 0755);
  mkdir("/mnt", 0755);
  mkdir("/tmp", 0755);
  mount("proc", "/proc", "proc", 0, 0);
  mount("dev", "/dev", "devtmpfs", 0, 0);
  mount("tmp", "/tmp", "tmpfs", 0, 0);
  // A fault that a check wants is not worth the kernel's picture of all registers.
  const int pictures = open("/proc/sys/debug/exception-trace", O_WRONLY);
  write(pictures, "0", 1);
  close(pictures);
}

int main(int count, char** arguments) {
  if (count > 1) return arguments[1][0] - 'a' + 1;  // the check of programs
  prepare();
  printf("init: %d harts\n", harts());
  make(kMemoryChecks);
  make(kProcessChecks);
  make(kDiskChecks);
  make(kDeviceChecks);
  echo_line();
  printf("init: %d of %d checks passed\n", passed, done);
  my_syscall0(__NR_sync);
  reboot(LINUX_REBOOT_CMD_POWER_OFF);
  return 1;
}
