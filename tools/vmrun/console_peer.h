// Who sits at the other end of the guest's serial line.
#ifndef VMRUN_CONSOLE_PEER_H_
#define VMRUN_CONSOLE_PEER_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace vmrun {

enum class PeerState : std::uint8_t {
  kOpen,    // may have more to say
  kSilent,  // has nothing to say until the guest prints something
  kClosed,  // will never say anything more
  kDone,    // has what it wanted: the run may end
  kQuit,    // wants the run to end at once
};

class ConsolePeer {
 public:
  virtual ~ConsolePeer() = default;

  // The guest has printed this.
  virtual void hear(char byte) = 0;
  // Called again and again while the guest runs, whether it reads or not.
  virtual void attend() {}
  // The next byte for the guest, if there is one. Does not wait.
  virtual std::optional<char> say() = 0;
  // Waits, at most this long, until there may be something to say. Only where kOpen.
  virtual void wait(std::chrono::milliseconds limit) = 0;
  virtual PeerState state() const = 0;

  // For a snapshot: what is left of what it has begun to type; nullopt: what the guest has
  // printed last has no answer yet.
  virtual std::optional<std::string> unfinished() const { return std::nullopt; }
  // Takes over from one who had heard this line so far, and left that.
  virtual void take_over(const std::string& line,
                         const std::optional<std::string>& /*unfinished*/) {
    for (const char byte : line) hear(byte);
  }
};

}  // namespace vmrun

#endif  // VMRUN_CONSOLE_PEER_H_
