#include "vm_device/internal/vhost_user_iotlb.h"

#include <array>
#include <iterator>
#include <utility>

#include "absl/strings/str_format.h"

namespace vm_device::internal {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kHalf = std::uint64_t{1} << 63;

constexpr DmaAccess both(DmaAccess a, DmaAccess b) {
  return static_cast<DmaAccess>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool covers(DmaAccess a, DmaAccess b) { return both(a, b) == a; }

}  // namespace

// Nobody reads what was refused: what DMA meets is an error of its request.
absl::Status VhostUserIotlb::open() {
  if (iommu_ != nullptr) return absl::OkStatus();
  auto iommu = Iommu::create({.fault_queue = 1, .max_table_bytes = kMaxTableBytes});
  if (!iommu.ok()) return iommu.status();
  const auto domain = (*iommu)->create_domain();
  if (!domain.ok()) return domain.status();
  absl::Status ready = (*iommu)->add_device(kDevice);
  if (ready.ok()) ready = (*iommu)->attach(kDevice, *domain);
  if (!ready.ok()) return ready;
  iommu_ = *std::move(iommu);
  domain_ = *domain;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<VhostUserIotlb::Piece>> VhostUserIotlb::pieces_of(
    DmaSegment iova, std::uint64_t user) const {
  if (iova.bytes == 0 || iova.bytes - 1 > UINT64_MAX - iova.address ||
      iova.bytes - 1 > UINT64_MAX - user) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "0x%x bytes at 0x%x, 0x%x of the front end, wrap", iova.bytes, iova.address, user));
  }
  std::vector<Piece> pieces;
  for (std::uint64_t done = 0; done < iova.bytes;) {
    const GuestSegment run = memory_.guest_run(user + done, iova.bytes - done);
    if (run.bytes == 0) {
      return absl::NotFoundError(
          absl::StrFormat("no memory is at 0x%x of the front end", user + done));
    }
    pieces.push_back({{iova.address + done, run.bytes}, run.address});
    done += run.bytes;
  }
  return pieces;
}

// All or none: what was mapped before the one that cannot be is taken back.
absl::Status VhostUserIotlb::map(const std::vector<Piece>& pieces, DmaAccess permitted) {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const absl::Status mapped = iommu_->map(domain_, pieces[i].iova, pieces[i].to, permitted);
    if (mapped.ok()) continue;
    for (std::size_t j = 0; j < i; ++j) iommu_->unmap(domain_, pieces[j].iova).IgnoreError();
    return mapped;
  }
  return absl::OkStatus();
}

bool VhostUserIotlb::permits(DmaSegment range, DmaAccess access) {
  std::array<GuestSegment, 1> run;
  return iommu_->translate(kDevice, range, access, run).ok();
}

// One that permits more is another; of several pages only the first is looked at for that.
bool VhostUserIotlb::is_there(const Piece& piece, DmaAccess permitted) {
  std::array<GuestSegment, 1> run;
  const IommuTranslation found = iommu_->translate(kDevice, piece.iova, permitted, run);
  if (!found.ok() || found.done != piece.iova.bytes || run[0].address != piece.to) return false;
  if (permitted == DmaAccess::kReadWrite) return true;
  return piece.iova.bytes == kPage && !permits(piece.iova, DmaAccess::kReadWrite);
}

absl::Status VhostUserIotlb::add(DmaSegment iova, std::uint64_t user, DmaAccess permitted) {
  const auto pieces = pieces_of(iova, user);
  if (!pieces.ok()) return pieces.status();
  const absl::Status mapped = map(*pieces, permitted);
  const bool is_known =
      absl::IsAlreadyExists(mapped) && pieces->size() == 1 && is_there(pieces->front(), permitted);
  if (!mapped.ok() && !is_known) return mapped;
  answer(iova);
  return absl::OkStatus();
}

absl::Status VhostUserIotlb::put(DmaSegment iova, std::uint64_t user, DmaAccess permitted) {
  const auto pieces = pieces_of(iova, user);
  if (!pieces.ok()) return pieces.status();
  absl::Status mapped = iommu_->unmap_within(domain_, iova).status();
  if (mapped.ok()) mapped = map(*pieces, permitted);
  if (absl::IsResourceExhausted(mapped)) {
    clear();
    mapped = map(*pieces, permitted);
  }
  if (mapped.ok()) answer(iova);
  return mapped;
}

absl::Status VhostUserIotlb::drop(const BusRange& range) {
  const auto [first, last] = range.pages();
  if (first != 0 || last != UINT64_MAX) {
    return iommu_->unmap_within(domain_, {first, last - first + 1}).status();
  }
  const absl::Status low = iommu_->unmap_within(domain_, {0, kHalf}).status();
  const absl::Status high = iommu_->unmap_within(domain_, {kHalf, kHalf}).status();
  return low.ok() ? high : low;
}

// No page crosses the middle, so that nothing has to be split for it.
void VhostUserIotlb::clear() {
  wishes_.clear();
  open_wishes_ = 0;
  open_of_.clear();
  if (iommu_ != nullptr) drop({0, UINT64_MAX}).IgnoreError();
}

bool VhostUserIotlb::ask_again(const BusRange& range) {
  const auto begin = wishes_.lower_bound(range.pages().first);
  const auto end = wishes_.upper_bound(range.last);
  const bool found = begin != end;
  for (auto it = begin; it != end; ++it) close(it->second);
  wishes_.erase(begin, end);
  return found;
}

bool VhostUserIotlb::forget_wishes(std::size_t ring) {
  const std::size_t before = wishes_.size();
  std::erase_if(wishes_, [&](const auto& wish) {
    const bool is_its = !wish.second.is_answered && wish.second.asker.ring == ring;
    if (is_its) close(wish.second);
    return is_its;
  });
  return wishes_.size() != before;
}

void VhostUserIotlb::close(const Wish& wish) {
  if (wish.is_answered) return;
  --open_wishes_;
  --open_of_[wish.asker];
}

void VhostUserIotlb::answer(const DmaSegment& iova) {
  const std::uint64_t last = iova.address + (iova.bytes - 1);
  for (auto it = wishes_.lower_bound(iova.address); it != wishes_.end() && it->first <= last;) {
    const bool is_granted = permits({it->first, kPage}, it->second.access);
    close(it->second);
    it->second.is_answered = true;
    it = is_granted ? wishes_.erase(it) : std::next(it);
  }
  // Then refusals are asked for once more.
  if (wishes_.size() - open_wishes_ <= kMaxRefusals) return;
  std::erase_if(wishes_, [](const auto& wish) { return wish.second.is_answered; });
}

// What wraps is for DMA to refuse.
bool VhostUserIotlb::settled(DmaSegment range, DmaAccess access, Asker asker) {
  if (range.bytes == 0 || range.bytes - 1 > UINT64_MAX - range.address) return true;
  bool all = true;
  std::array<GuestSegment, 16> runs;
  while (range.bytes != 0) {
    const IommuTranslation found = iommu_->translate(kDevice, range, access, runs);
    std::uint64_t done = found.done;
    if (!found.ok()) {
      const Answer answer = answer_for(found.at & ~(kPage - 1), access, asker);
      if (answer == Answer::kUnasked) return false;  // nor can those behind it be asked for
      all = all && answer == Answer::kGiven;
      done += kPage - found.at % kPage;
    }
    if (done >= range.bytes) break;
    range = {range.address + done, range.bytes - done};
  }
  return all;
}

VhostUserIotlb::Answer VhostUserIotlb::answer_for(std::uint64_t page, DmaAccess access,
                                                  Asker asker) {
  const auto known = wishes_.find(page);
  const bool is_known = known != wishes_.end();
  if (is_known && covers(known->second.access, access)) {
    return known->second.is_answered ? Answer::kGiven : Answer::kAwaited;
  }
  const DmaAccess wanted = is_known ? both(known->second.access, access) : access;
  if (open_of_[asker] >= kMaxWishes || !ask_(page, wanted)) return Answer::kUnasked;
  if (is_known) close(known->second);
  ++open_wishes_;
  ++open_of_[asker];
  wishes_.insert_or_assign(page, Wish{.access = wanted, .asker = asker});
  return Answer::kAwaited;
}

}  // namespace vm_device::internal
