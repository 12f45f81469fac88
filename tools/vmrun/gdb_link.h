// The connection to one debugger: bytes in, events out, packets back. Never waits.
#ifndef VMRUN_GDB_LINK_H_
#define VMRUN_GDB_LINK_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "tools/vmrun/gdb_protocol.h"

namespace vmrun {

class GdbLink {
 public:
  // A client that does not read what it is told is not listened to beyond this, nor is one
  // that says more than is looked at.
  static constexpr std::size_t kMostPending = 16 * kGdbPacketBytes;
  // Nor is more than this taken in at a time, whatever comes.
  static constexpr std::size_t kMostAtOnce = 4 * kGdbPacketBytes;

  // Takes over a connected socket.
  explicit GdbLink(int socket);
  GdbLink(const GdbLink&) = delete;
  GdbLink& operator=(const GdbLink&) = delete;
  ~GdbLink();

  int socket() const { return socket_; }
  // False: the client has gone. What it said before is still there.
  bool is_open() const { return open_; }
  // What to wait for, as poll() has it.
  short wanted() const;

  // Whether a whole packet ever came.
  bool has_spoken() const { return spoken_; }
  // More has come than is looked at, and it is for the reader to make room.
  bool is_full() const { return queued_ > kMostPending; }

  // Takes in what has come.
  void receive();
  // The next packet, with damaged ones refused and each Ctrl-C before it passed over.
  std::optional<std::string> next_packet();
  // Whether there is a Ctrl-C among what has come; the first one is taken out.
  bool take_interrupt();

  void send(std::string_view payload);
  // As much of what is pending as goes without waiting.
  void flush();
  void stop_acks() { acks_ = false; }

 private:
  bool is_congested() const { return out_.size() > kMostPending || is_full(); }
  void take_in(std::string_view bytes);

  int socket_;
  bool open_ = true;
  bool acks_ = true;
  bool spoken_ = false;
  GdbPacketReader reader_;
  std::deque<GdbEvent> events_;
  std::size_t queued_ = 0;  // bytes of events_
  std::string out_;
  std::string last_;  // sent, for a client that wants it again
};

}  // namespace vmrun

#endif  // VMRUN_GDB_LINK_H_
