// Lets a debugger in, one at a time, from this machine only.
#ifndef VMRUN_GDB_SERVER_H_
#define VMRUN_GDB_SERVER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "tools/vmrun/gdb_link.h"
#include "tools/vmrun/gdb_stub.h"

namespace vmrun {

enum class GdbTurn : std::uint8_t {
  kRun,   // the machine may go on
  kHold,  // it stands still
  kEnd,   // the debugger wants the run to end
};

// The machine stands still from the start until a debugger lets it go on. When that one
// detaches or its connection ends, breakpoints go and the machine runs; the next one that
// comes stops it again. Who has not said a whole packet is none: a connection that comes and
// goes changes nothing.
class GdbServer {
 public:
  // Port 0: any that is free.
  // Needs:   `machine` outlives the server.
  // Errors:  kUnavailable: the port cannot be had; the message says which, and errno.
  static absl::StatusOr<std::unique_ptr<GdbServer>> listen(std::uint16_t port, Machine& machine);
  // With a client that has connected, and no others.
  GdbServer(Machine& machine, int client);
  GdbServer(const GdbServer&) = delete;
  GdbServer& operator=(const GdbServer&) = delete;
  ~GdbServer();

  std::uint16_t port() const { return port_; }

  // Does what the client asks. Waits for something to do, at most `limit`, where the machine
  // stands still, else not at all.
  GdbTurn attend(std::chrono::milliseconds limit);
  // The machine's run() ended so. False: nobody wants to know.
  bool note_stop(StopReason reason);
  // Nothing can come any more that the machine waits for. False: as above.
  bool note_stuck();
  // The run ends.
  void note_end(int status);

 private:
  explicit GdbServer(Machine& machine) : stub_(machine) {}
  bool is_running() const { return stub_.state() == GdbState::kRunning; }
  bool is_held() const;
  bool has_debugger() const { return link_ != nullptr && greeted_; }
  void wait(std::chrono::milliseconds limit) const;
  void accept_client();
  void serve();
  bool serve_next();
  bool leaves() const;
  void lose_client();

  GdbStub stub_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::unique_ptr<GdbLink> link_;
  bool greeted_ = false;  // the client is a debugger
};

}  // namespace vmrun

#endif  // VMRUN_GDB_SERVER_H_
