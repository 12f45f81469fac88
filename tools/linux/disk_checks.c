// The disk, as sectors and as a file system, one process at a time and several at once. What
// was read is told as CRC-32s, for those who have the image.

#include "guest.h"

enum {
  kRawBytes = 1 << 20,  // at the disk's second half, which its file system does not reach
  kWriters = 4,
};

static const char kDisk[] = "/dev/vda";

// What the kernel has cached of the disk would hide a write that went nowhere.
static void forget_cached(void) {
  const int control = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (control < 0) return;
  write(control, "3", 1);
  close(control);
}

static int write_at(off_t place, const unsigned char* bytes) {
  const int disk = open(kDisk, O_WRONLY);
  if (disk < 0) return 0;
  lseek(disk, place, SEEK_SET);
  const int done = write(disk, bytes, kRawBytes) == kRawBytes && fsync(disk) == 0;
  close(disk);
  return done;
}

static int read_at(off_t place, unsigned char* bytes) {
  const int disk = open(kDisk, O_RDONLY);
  if (disk < 0) return 0;
  lseek(disk, place, SEEK_SET);
  const int done = read(disk, bytes, kRawBytes) == kRawBytes;
  close(disk);
  return done;
}

static off_t second_half(void) {
  const int disk = open(kDisk, O_RDONLY);
  const off_t bytes = lseek(disk, 0, SEEK_END);
  close(disk);
  return bytes / 2;
}

static int sectors(void) {
  unsigned char* bytes = new_memory(kRawBytes, kReadWrite);
  if (!bytes) return 0;
  fill(bytes, kRawBytes, 1234);
  int good = write_at(second_half(), bytes);
  forget_cached();
  memset(bytes, 0, kRawBytes);
  good = good && read_at(second_half(), bytes) && holds(bytes, kRawBytes, 1234);
  printf("raw crc32 %x\n", crc32_of(0, bytes, kRawBytes));
  munmap(bytes, kRawBytes);
  return good;
}

static int write_and_read(unsigned number) {
  unsigned char* bytes = new_memory(kRawBytes, kReadWrite);
  const off_t place = second_half() + (off_t)(1 + number) * kRawBytes;
  if (!bytes) return 1;
  fill(bytes, kRawBytes, number);
  if (!write_at(place, bytes)) return 2;
  forget_cached();
  memset(bytes, 0, kRawBytes);
  return read_at(place, bytes) && holds(bytes, kRawBytes, number) ? 0 : 3;
}

static int writers(void) {
  for (unsigned number = 0; number < kWriters; ++number) {
    const pid_t child = fork();
    if (child < 0) return 0;
    if (child == 0) exit(write_and_read(number));
  }
  return all_ended_well(kWriters);
}

// Copies a file; its CRC-32 on the way, or 0.
static unsigned copy_file(const char* from, const char* to) {
  static unsigned char block[8 * kPage];
  const int in = open(from, O_RDONLY);
  const int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  unsigned crc = 0;
  ssize_t bytes = 0;
  while (in >= 0 && out >= 0 && (bytes = read(in, block, sizeof block)) > 0) {
    crc = crc32_of(crc, block, (size_t)bytes);
    if (write(out, block, (size_t)bytes) != bytes) return 0;
  }
  if (out >= 0) fsync(out);
  close(in);
  close(out);
  return bytes == 0 ? crc : 0;
}

static int file_system(void) {
  if (mount(kDisk, "/mnt", "ext2", 0, 0) != 0) return 0;
  const unsigned first = copy_file("/mnt/data.bin", "/mnt/copy.bin");
  forget_cached();
  const unsigned second = copy_file("/mnt/copy.bin", "/tmp/copy.bin");
  printf("file crc32 %x\n", first);
  return my_syscall2(__NR_umount2, "/mnt", 0) == 0 && first != 0 && first == second;
}

const struct check kDiskChecks[] = {{"disk sectors", sectors},
                                    {"disk sectors of several processes", writers},
                                    {"file system", file_system},
                                    {0, 0}};
