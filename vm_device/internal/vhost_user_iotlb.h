// The translations of bus addresses that a vhost-user front end has given, and who asks it for
// those that it has not.
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_IOTLB_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_IOTLB_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_device/internal/bus_range.h"
#include "vm_device/internal/vhost_user_memory.h"
#include "vm_device/iommu.h"

namespace vm_device::internal {

// A page is asked for once, until it is answered or taken away. An answer that does not permit
// what was asked for is the last word on it: DMA finds that it is not permitted.
//
// Memory:   the tables have a bound. What does not fit is to be put() while no DMA is under way,
//           and may cost all others: they are asked for again.
// Threads:  one; DMA on any, as the Iommu has it.
class VhostUserIotlb {
 public:
  static constexpr IommuDeviceId kDevice{0};
  static constexpr std::uint64_t kMaxTableBytes = std::uint64_t{64} << 20;
  static constexpr std::size_t kMaxWishes = 256;  // of one asker's, that have no answer
  static constexpr std::size_t kMaxRefusals = 4096;

  // A ring asks for what it lies in apart from its requests' buffers: one whose buffers nobody
  // answers for hinders neither itself nor others.
  struct Asker {
    std::size_t ring = 0;
    bool is_request = false;
    friend auto operator<=>(const Asker&, const Asker&) = default;
  };

  // False: the front end does not hear it now.
  using Ask = std::function<bool(std::uint64_t iova, DmaAccess access)>;

  // Needs:  `memory` outlives this object.
  VhostUserIotlb(const VhostUserMemory& memory, Ask ask) : memory_(memory), ask_(std::move(ask)) {}

  // Before all else; again it does nothing.
  // Errors:  those of Iommu.
  absl::Status open();
  bool is_open() const { return iommu_ != nullptr; }
  Iommu& iommu() { return *iommu_; }

  // Gives a range that has no translation the one to the front end's `user`.
  //
  // Errors:  nothing has changed then.
  //          kInvalidArgument    not in whole pages on both sides, wrapping, permitting nothing
  //          kNotFound           no such memory
  //          kAlreadyExists      there is another translation
  //          kResourceExhausted  the tables are full
  absl::Status add(DmaSegment iova, std::uint64_t user, DmaAccess permitted);
  // The same in place of what is there.
  //
  // Needs:   no DMA under way.
  // Errors:  the first two of add(), and kResourceExhausted for a range that is too much alone.
  absl::Status put(DmaSegment iova, std::uint64_t user, DmaAccess permitted);

  // Takes away what is there.
  // Errors:  kResourceExhausted: nothing has changed, or, of the whole, a half of it.
  absl::Status drop(const BusRange& range);
  // Everything. Needs:  no DMA under way.
  void clear();
  // What was asked for and is not answered is asked for again. Whether there is something.
  bool ask_again(const BusRange& range);
  bool ask_again() { return ask_again({0, UINT64_MAX}); }
  // The ring waits no longer. Whether something of its was not answered: others that need it, too,
  // have to ask for it.
  bool forget_wishes(std::size_t ring);

  // As BusTranslations; the first page that cannot be asked for now is the last that is tried.
  //
  // Needs:  open().
  bool settled(DmaSegment range, DmaAccess access, Asker asker);

 private:
  struct Piece {
    DmaSegment iova;
    vm_mem::GuestAddress to;
  };
  enum class Answer : std::uint8_t { kGiven, kAwaited, kUnasked };
  struct Wish {
    DmaAccess access{};
    Asker asker;
    bool is_answered = false;
  };

  absl::StatusOr<std::vector<Piece>> pieces_of(DmaSegment iova, std::uint64_t user) const;
  absl::Status map(const std::vector<Piece>& pieces, DmaAccess permitted);
  bool is_there(const Piece& piece, DmaAccess permitted);
  bool permits(DmaSegment range, DmaAccess access);
  void answer(const DmaSegment& iova);
  Answer answer_for(std::uint64_t page, DmaAccess access, Asker asker);
  // Before the wish changes.
  void close(const Wish& wish);

  const VhostUserMemory& memory_;
  const Ask ask_;
  std::unique_ptr<Iommu> iommu_;
  IommuDomainId domain_;
  std::map<std::uint64_t, Wish> wishes_;  // by page
  // Of them that have no answer.
  std::size_t open_wishes_ = 0;
  std::map<Asker, std::size_t> open_of_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_IOTLB_H_
