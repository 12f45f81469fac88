// The command line.
#ifndef VMBLKD_OPTIONS_H_
#define VMBLKD_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "tools/command_line/command_line.h"

namespace vmblkd {

// One disk, and where its front end comes.
struct Export {
  std::string socket;  // a path; empty: `fd`
  int fd = -1;         // a socket that listens or is connected
  std::string image;   // a path; empty: no storage, but zeros
  std::string name;    // of the socket, for messages
};

struct Options {
  std::vector<Export> exports;
  std::uint64_t null_bytes = 0;  // the size of disks without storage
  bool read_only = false;
  std::uint16_t queues = 1;
  std::uint16_t queue_size = 256;
  bool packed = true;         // rings, too
  bool locks_in_use = false;  // only while rings run
  bool in_turn = false;       // requests one at a time, by the thread that took them
  std::chrono::microseconds poll{0};
  bool iommu = false;  // offered
  bool stats_as_json = false;
};

using command_line::Exit;

std::variant<Options, Exit> parse_options(int argc, const char* const* argv);

}  // namespace vmblkd

#endif  // VMBLKD_OPTIONS_H_
