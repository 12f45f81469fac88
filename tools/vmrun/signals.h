// The signals that ask vmrun to end. They are noted, so that the run ends in good
// order: terminal restored, report written.
#ifndef VMRUN_SIGNALS_H_
#define VMRUN_SIGNALS_H_

namespace vmrun {

// SIGINT, SIGTERM, SIGHUP and SIGQUIT are noted from then on, SIGPIPE and
// SIGXFSZ are ignored: a disk image that may not grow is an I/O error of the guest's.
void note_signals();

// The signal that came, or 0.
int noted_signal();

}  // namespace vmrun

#endif  // VMRUN_SIGNALS_H_
