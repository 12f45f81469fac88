// One bulk access to guest virtual memory, cut at page borders.
//
// 1. A transfer advances in steps. A step is the longest run of whole elements that
//    stays within one page of every guest operand; where an element straddles, it is
//    a step of its own.
// 2. A step resolves all its pages before it moves a byte.
//    A transfer that need not stop in between, and whose operands are each one piece of
//    the host's memory, is one step.
// 3. A step between plain pages is one copy, or one call of the memory below. A step that
//    straddles, meets a device or is ordered goes element by element, through eight bytes
//    here; so does one that descends where the memory may stop in the middle of a page.
// 4. An overlapping MEMMOVE whose data order is not its order of progress first
//    walks its steps without moving anything, and then moves what can be reached.
#ifndef VM_ENGINE_INTERNAL_TRANSFER_H_
#define VM_ENGINE_INTERNAL_TRANSFER_H_

#include <cstddef>
#include <cstdint>

#include "vm_engine/internal/cpu.h"

namespace vm_engine::internal {

enum class TransferKind : std::uint8_t { kCopy, kFill, kRead, kWrite };

struct TransferRequest {
  TransferKind kind = TransferKind::kCopy;
  std::uint64_t bytes = 0;
  std::uint32_t flags = 0;
  std::uint64_t source_gva = 0;                 // kCopy, kRead
  std::uint64_t destination_gva = 0;            // kCopy, kFill, kWrite
  std::uint64_t pattern = 0;                    // kFill
  std::byte* host_to = nullptr;                 // kRead
  const std::byte* host_from = nullptr;         // kWrite
  std::uint32_t read_access = VME_ACCESS_READ;  // what reading the source takes
};

class Transfer {
 public:
  Transfer(Cpu& cpu, const TransferRequest& request);

  // The bytes not done; the vCPU's fault record is filled where that is not 0.
  std::uint64_t run();

 private:
  enum class Order : std::uint8_t { kAscending, kDescending };
  struct Step {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  struct Operand {
    std::uint64_t gva = 0;
    std::uint32_t access = VME_ACCESS_READ;
    std::uint8_t side = VME_SIDE_SOURCE;
    unsigned mode = 0;
  };
  // A step's bytes of one operand: in one page, or in two where it straddles.
  struct Extent {
    std::uint64_t gpa[2] = {};
    std::uint64_t first = 0;  // bytes in the first page
    std::uint64_t bytes = 0;
    bool device = false;
  };
  struct Stage {
    Extent source;
    Extent destination;
  };
  // Where a step's bytes of one operand are in the host.
  struct Bytes {
    std::byte* host = nullptr;
    vm_mem::DirtyLog* dirty_log = nullptr;
    std::uint64_t region_offset = 0;
  };
  using Action = std::uint64_t (Transfer::*)(const Step&);

  std::uint64_t run_relaxed();
  bool valid() const;
  bool reads_guest() const;
  bool writes_guest() const;
  std::uint32_t overlap() const;
  bool against_its_order() const;
  Subject subject(const Operand& operand, std::uint64_t offset) const;

  std::uint64_t walk(Step range, Order order, bool poll, Action action);
  Step cut(const Step& range, std::uint64_t done, Order order) const;
  std::uint64_t lead(const Step& step) const;
  bool begins_page(const Step& step) const;
  bool place(const Operand& operand, const Step& step, Extent& extent);
  bool resolve(const Step& step, Stage& stage);
  std::uint64_t look(const Step& step);
  std::uint64_t move(const Step& step);
  std::uint64_t finish(std::uint64_t done);

  std::uint64_t whole_elements(std::uint64_t bytes) const { return bytes - bytes % element_; }
  bool is_long() const;
  bool move_direct(const Step& step);
  bool find_bytes(const Operand& operand, const Step& step, Bytes& bytes);
  bool moves(const Bytes& destination, const Bytes& source, std::uint64_t bytes) const;
  void fill_direct(std::byte* to, std::uint64_t bytes);
  std::uint64_t move_run(const Step& step, const Stage& stage);
  Outcome read_run(const Step& step, const Stage& stage);
  Outcome copy_run(const Stage& stage);
  Outcome fill_run(const Stage& stage);
  Outcome replicate_up(const Stage& stage, std::uint64_t distance);
  Outcome replicate_down(const Stage& stage, std::uint64_t distance);

  std::uint64_t move_elements(const Step& step, const Stage& stage);
  bool move_element(const Step& step, const Stage& stage, std::uint64_t at);
  bool read_element(const Operand& operand, const Step& step, const Extent& extent,
                    std::uint64_t at, std::byte* to);
  bool write_element(const Operand& operand, const Step& step, const Extent& extent,
                     std::uint64_t at, const std::byte* from);
  bool report(const Outcome& outcome, const Operand& operand, std::uint64_t element,
              std::uint64_t offset);

  Cpu& cpu_;
  const TransferRequest& request_;
  std::uint64_t element_;
  Order progress_;
  Order data_order_;  // the opposite where overlap forces it
  Operand source_;
  Operand destination_;
  bool ordered_;
  bool devices_allowed_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_TRANSFER_H_
