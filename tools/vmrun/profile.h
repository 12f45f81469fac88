// Where a run's time goes, by looking every millisecond at what the thread is at.
#ifndef VMRUN_PROFILE_H_
#define VMRUN_PROFILE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace vmrun {

// What somebody who looks may find. The first four are no route.
enum class Activity : std::uint8_t {
  kTranslated,   // code that the translator made, what it does with memory in line included
  kMachine,      // the interpreter and vmrun's own devices
  kTranslation,  // making translated code
  kWaiting,      // for input
  kCpu,          // vm_mem, called by vmrun
  kDma,          // vm_device, its files and vm_mem beneath it
  kEngine,       // vm_engine and vm_mem beneath it
  kOther,
};
inline constexpr std::size_t kActivities = 8;

const char* activity_name(Activity activity);  // "translated"

struct Profile {
  std::array<std::uint64_t, kActivities> samples{};
  std::uint64_t copies = 0;  // of those of the routes: within copies, fills, reads and writes

  std::uint64_t total() const;
  double share(Activity activity) const;
  double copies_share() const;
  // One standard deviation of copies_share(), as chance has it.
  double copies_error() const;
};

// Where code belongs.
enum class Place : std::uint8_t {
  kElsewhere,  // libraries: whoever calls them is asked
  kTranslated,
  kMachine,
  kTranslation,
  kWaiting,
  kDevices,
  kEngine,
  kBulkEngine,  // where vm_engine begins a copy
  kMemory,
  kScalarMemory,  // loads, stores, and the way to devices
};

// `function`: demangled.
Place place_of(std::string_view function);

struct Finding {
  Activity activity = Activity::kOther;
  bool is_copy = false;
};
// `stack`: the innermost first.
Finding judge(std::span<const Place> stack);

// While it lives, the thread that made it is looked at. One at a time.
class Profiler {
 public:
  // Errors:  kUnimplemented  the program is stripped of its symbols
  //          kUnavailable    no timer, or the program cannot be read; errno in the text
  static absl::StatusOr<std::unique_ptr<Profiler>> start();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;
  ~Profiler();

  // Looks no more.
  Profile stop();

 private:
  struct State;
  explicit Profiler(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace vmrun

#endif  // VMRUN_PROFILE_H_
