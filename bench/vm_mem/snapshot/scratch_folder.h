// A folder on the disk that saves and restores are measured on.
#ifndef BENCH_VM_MEM_SNAPSHOT_SCRATCH_FOLDER_H_
#define BENCH_VM_MEM_SNAPSHOT_SCRATCH_FOLDER_H_

#include <cstdint>
#include <string>

namespace vm_bench {

// In TMPDIR, or /tmp. Gone with this object and with the program; after a kill, with the next one.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string path_of(const std::string& name) const { return path_ + "/" + name; }
  void remove(const std::string& name) const;
  // The disk has nothing to do any more.
  void settle() const;

 private:
  std::string path_;
  int lock_ = -1;  // says that it is in use
};

// Where the folders are.
std::string scratch_place();
// What that lacks for files of `bytes` in all; empty where nothing.
std::string room_missing(std::uint64_t bytes);
// Whether its files are in memory alone.
bool is_on_tmpfs();
// Its file system and its room, as an object for Session::report_setting().
std::string folder_setting();

// Takes a file out of the page cache, and looks that none of it is there. Ends the program with a
// line where the host keeps it.
void make_cold(const std::string& path);
// Reads what is no hole.
void make_hot(const std::string& path);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_SCRATCH_FOLDER_H_
