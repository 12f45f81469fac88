// Types the lines of a script at the guest's prompt.
#ifndef VMRUN_SCRIPT_H_
#define VMRUN_SCRIPT_H_

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/vmrun/console_peer.h"

namespace vmrun {

inline constexpr std::string_view kPrompt = "=> ";
inline constexpr std::string_view kAutobootNotice = "Hit any key to stop autoboot";

// The lines to type: those of the text that are neither blank nor begin with '#'.
std::vector<std::string> script_lines(std::string_view text);

// Each line is typed when the guest shows its prompt at the beginning of a line; the
// notice of the automatic boot is answered with a key. Done when the prompt appears
// and no line is left.
class Script final : public ConsolePeer {
 public:
  explicit Script(std::vector<std::string> lines);

  void hear(char byte) override;
  std::optional<char> say() override;
  void wait(std::chrono::milliseconds) override {}
  PeerState state() const override { return done_ ? PeerState::kDone : PeerState::kSilent; }

  std::optional<std::string> unfinished() const override;
  void take_over(const std::string& line, const std::optional<std::string>& unfinished) override;

  std::size_t lines_left() const { return lines_.size(); }

 private:
  void stop_autoboot();
  void type_next();

  std::deque<std::string> lines_;
  std::deque<char> typed_;
  std::string heard_;       // since the last end of line
  bool has_begun_ = false;  // to type what it types
  bool autoboot_stopped_ = false;
  bool done_ = false;
};

}  // namespace vmrun

#endif  // VMRUN_SCRIPT_H_
