// Waits that only what they wait for, time, or a signal to end ends.
#ifndef VMRUN_WAIT_H_
#define VMRUN_WAIT_H_

#include <poll.h>

#include <chrono>
#include <span>

namespace vmrun {

// Whether any of them is ready. Signals that are for somebody else, a profiler's above all,
// do not shorten the wait; one that command_line::noted_signal() gives does.
bool wait_for(std::span<pollfd> descriptors, std::chrono::milliseconds limit);

}  // namespace vmrun

#endif  // VMRUN_WAIT_H_
