#include "vm_device/virtio_iommu.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/config_space.h"
#include "vm_device/internal/virtio_iommu_domains.h"
#include "vm_device/internal/virtio_iommu_layout.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/internal/without_exceptions.h"

namespace vm_device {
namespace {

using namespace internal;  // the layout

constexpr std::uint16_t kIommuRequestQueue = 0;
constexpr std::uint16_t kIommuEventQueue = 1;
constexpr std::size_t kMaxReservedRanges = 64;
constexpr std::uint64_t kIommuPageSize = 4096;
// At faults of devices that are no endpoints, one after the other.
constexpr int kMaxFaultLooks = 4096;

// A request may write or clear tables as large as the Iommu permits: what one turn writes
// is counted, and a guest gets its CPU back after about so much.
constexpr TurnLimits kIommuTurn{.steps = 1024, .bytes = std::uint64_t{16} << 20};

// All sizes from the page on: the tables have pages of every power of 512, and take what
// is aligned to less in smaller ones.
constexpr std::uint64_t kIommuPageSizes = ~(kIommuPageSize - 1);

absl::Status check(const VirtioIommuOptions& options) {
  if (options.input.first > options.input.last || options.first_domain > options.last_domain) {
    return absl::InvalidArgumentError("the range of IOVAs or of domains is empty");
  }
  if (options.reserved.size() > kMaxReservedRanges) {
    return absl::InvalidArgumentError(absl::StrFormat("%u reserved ranges: at most %u are possible",
                                                      options.reserved.size(), kMaxReservedRanges));
  }
  for (const IovaRange& it : options.reserved) {
    if (it.first <= it.last) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("the reserved range [0x%x, 0x%x] is none", it.first, it.last));
  }
  return absl::OkStatus();
}

}  // namespace

// What the guest wrote, copied once.
struct VirtioIommu::Request {
  std::array<std::byte, kIommuProbeBytes> bytes{};
  std::size_t length = 0;
  IommuRequest type{};

  template <typename T>
  T field(std::size_t offset) const {
    return get_little_endian<T>(&bytes[offset]);
  }
};

absl::StatusOr<std::unique_ptr<VirtioIommu>> VirtioIommu::create(
    Iommu& iommu, std::span<const IommuDeviceId> endpoints, VirtioIommuOptions options) {
  return without_exceptions([&]() -> absl::StatusOr<std::unique_ptr<VirtioIommu>> {
    if (absl::Status status = check(options); !status.ok()) return status;
    auto domains = std::make_unique<VirtioIommuDomains>(iommu, options.max_mappings);
    if (options.unattached == UnattachedEndpoint::kBypassed) domains->bypass_unattached();
    for (const IommuDeviceId endpoint : endpoints) {
      if (absl::Status status = domains->add_endpoint(endpoint); !status.ok()) return status;
    }
    return std::unique_ptr<VirtioIommu>(
        new VirtioIommu(iommu, std::move(options), std::move(domains)));
  });
}

VirtioIommu::VirtioIommu(Iommu& iommu, VirtioIommuOptions options,
                         std::unique_ptr<VirtioIommuDomains> domains)
    : iommu_(&iommu),
      options_(std::move(options)),
      domains_(std::move(domains)),
      unattached_(options_.unattached) {
  iommu_->listen_to_faults(this);
}

VirtioIommu::~VirtioIommu() { iommu_->listen_to_faults(nullptr); }

std::uint64_t VirtioIommu::device_features() const {
  return kIommuInputRange | kIommuDomainRange | kIommuMapUnmap | kIommuProbe | kIommuMmio |
         kIommuBypassConfig;
}

bool VirtioIommu::is_accepted(std::uint64_t feature) const {
  return (transport_->accepted_features() & feature) != 0;
}

// Room for one empty property at least: a driver skips probing where there is none.
std::size_t VirtioIommu::probe_bytes() const {
  return std::max<std::size_t>(64, options_.reserved.size() * kIommuReservedBytes);
}

void VirtioIommu::read_config(std::uint64_t offset, std::span<std::byte> to) const {
  std::array<std::byte, kIommuConfigBytes> config{};
  put_little_endian(&config[0], kIommuPageSizes);
  put_little_endian(&config[8], options_.input.first);
  put_little_endian(&config[16], options_.input.last);
  put_little_endian(&config[24], options_.first_domain);
  put_little_endian(&config[28], options_.last_domain);
  put_little_endian(&config[32], static_cast<std::uint32_t>(probe_bytes()));
  config[kIommuConfigBypass] = static_cast<std::byte>(unattached_);
  copy_config(config, offset, to);
}

// The one field that the driver may write is a byte.
void VirtioIommu::write_config(std::uint64_t offset, std::span<const std::byte> from) {
  if (offset != kIommuConfigBypass || from.size() != 1 || !is_accepted(kIommuBypassConfig)) return;
  if (from[0] > std::byte{1}) return;
  unattached_ = static_cast<UnattachedEndpoint>(from[0]);
  if (unattached_ == UnattachedEndpoint::kBypassed) {
    domains_->bypass_unattached();
  } else {
    domains_->block_unattached();
  }
}

// Faults of the driver before are none of the next one's.
void VirtioIommu::reset() {
  waits_for_fault_ = false;
  domains_->reset();
  fault_.reset();
  std::array<IommuFault, 64> faults;
  for (int i = 0; i < 1024 && iommu_->poll_faults(faults) == faults.size(); ++i) continue;
}

void VirtioIommu::notify(std::uint16_t queue) {
  if (queue == kIommuRequestQueue) return serve_requests();
  send_events();
}

void VirtioIommu::serve_requests() {
  QueueTurn turn(*transport_, kIommuRequestQueue, kIommuTurn);
  while (turn.next(chain_)) serve(turn);
}

// The status stands behind the properties of a probe, else first. Where the room for
// properties is too short it stands at the end of what there is. A probe that is refused
// has an end of the list (zeros) for properties.
void VirtioIommu::serve(QueueTurn& turn) {
  Request request;
  const bool fetched = fetch(request);
  const std::uint64_t room = chain_.writable_bytes();
  const bool is_known = request.length >= kIommuHeadBytes &&
                        request.type >= IommuRequest::kAttach &&
                        request.type <= IommuRequest::kProbe;
  if (room < kIommuTailBytes || (fetched && !is_known)) return turn.complete(chain_, 0);
  IommuStatus status = fetched ? execute(request, turn) : IommuStatus::kIoError;
  SegmentCursor to(chain_.writable());
  std::uint64_t written = kIommuTailBytes;
  if (fetched && request.type == IommuRequest::kProbe) {
    const std::uint64_t before = std::min<std::uint64_t>(probe_bytes(), room - kIommuTailBytes);
    to.skip(before);
    const std::uint64_t cleared = status == IommuStatus::kOk ? before : clear_properties(before);
    written = cleared == before ? before + kIommuTailBytes : cleared;
  }
  const std::array<std::byte, kIommuTailBytes> tail{static_cast<std::byte>(status)};
  if (!transport_->dma().write(to, tail).ok()) return turn.fail(VirtqueueError::kUnanswerable);
  turn.complete(chain_, static_cast<std::uint32_t>(written));
}

// Whatever was to be told: the driver is not shown bytes as written that were not. Returns
// how many were.
std::uint64_t VirtioIommu::clear_properties(std::uint64_t bytes) {
  constexpr std::array<std::byte, kMaxReservedRanges * kIommuReservedBytes> kZeros{};
  SegmentCursor to(chain_.writable());
  return transport_->dma().write(to, std::span(kZeros).first(bytes)).done;
}

bool VirtioIommu::fetch(Request& request) {
  const DmaResult fetched = transport_->dma().read(chain_.readable(), request.bytes);
  request.length = fetched.done;
  request.type = static_cast<IommuRequest>(request.bytes[0]);
  return fetched.ok();
}

IommuStatus VirtioIommu::execute(const Request& request, QueueTurn& turn) {
  switch (request.type) {
    case IommuRequest::kAttach: return attach(request);
    case IommuRequest::kDetach: return detach(request);
    case IommuRequest::kMap: return map(request, turn);
    case IommuRequest::kUnmap: return unmap(request);
    case IommuRequest::kProbe: return probe(request);
  }
  return IommuStatus::kUnsupported;
}

IommuStatus VirtioIommu::attach(const Request& request) {
  if (request.length < kIommuAttachBytes) return IommuStatus::kInvalid;
  const auto domain = request.field<std::uint32_t>(4);
  const auto flags = request.field<std::uint32_t>(12);
  const std::uint32_t known = is_accepted(kIommuBypassConfig) ? kIommuAttachBypass : 0;
  if ((flags & ~known) != 0 || request.field<std::uint32_t>(16) != 0) return IommuStatus::kInvalid;
  const auto endpoint = request.field<std::uint32_t>(8);
  if (!domains_->has_endpoint(endpoint)) return IommuStatus::kNoEntry;
  if (domain < options_.first_domain || domain > options_.last_domain) return IommuStatus::kRange;
  const bool bypass = (flags & kIommuAttachBypass) != 0;
  return domains_->attach(
      domain, endpoint,
      bypass ? VirtioIommuDomains::DomainKind::kBypass : VirtioIommuDomains::DomainKind::kMapped);
}

IommuStatus VirtioIommu::detach(const Request& request) {
  if (request.length < kIommuDetachBytes) return IommuStatus::kInvalid;
  return domains_->detach(request.field<std::uint32_t>(4), request.field<std::uint32_t>(8));
}

IommuStatus VirtioIommu::map(const Request& request, QueueTurn& turn) {
  if (!is_accepted(kIommuMapUnmap)) return IommuStatus::kUnsupported;
  if (request.length < kIommuMapBytes) return IommuStatus::kInvalid;
  const auto first = request.field<std::uint64_t>(8);
  const auto last = request.field<std::uint64_t>(16);
  const auto flags = request.field<std::uint32_t>(32);
  const std::uint32_t mmio = is_accepted(kIommuMmio) ? kIommuMapMmio : 0;
  if ((flags & ~(kIommuMapRead | kIommuMapWrite | mmio)) != 0) return IommuStatus::kInvalid;
  if (last < first) return IommuStatus::kInvalid;
  if (first < options_.input.first || last > options_.input.last) return IommuStatus::kRange;
  for (const IovaRange& it : options_.reserved) {
    if (first <= it.last && it.first <= last) return IommuStatus::kInvalid;
  }
  const auto bits = static_cast<std::uint8_t>(flags & (kIommuMapRead | kIommuMapWrite));
  static_assert(kIommuMapRead == static_cast<std::uint32_t>(DmaAccess::kRead) &&
                kIommuMapWrite == static_cast<std::uint32_t>(DmaAccess::kWrite));
  const auto permitted = bits == 0 ? std::nullopt : std::optional(static_cast<DmaAccess>(bits));
  const std::uint64_t before = iommu_->table_bytes();
  const IommuStatus status = domains_->map(request.field<std::uint32_t>(4), first, last,
                                           request.field<std::uint64_t>(24), permitted);
  // One that found no memory may have written as much as there was of it.
  const std::uint64_t after = iommu_->table_bytes();
  turn.spend(status == IommuStatus::kNoMemory ? kIommuTurn.bytes : after - std::min(before, after));
  return status;
}

IommuStatus VirtioIommu::unmap(const Request& request) {
  if (!is_accepted(kIommuMapUnmap)) return IommuStatus::kUnsupported;
  if (request.length < kIommuUnmapBytes) return IommuStatus::kInvalid;
  const auto first = request.field<std::uint64_t>(8);
  const auto last = request.field<std::uint64_t>(16);
  if (last < first || request.field<std::uint32_t>(24) != 0) return IommuStatus::kInvalid;
  return domains_->unmap(request.field<std::uint32_t>(4), first, last);
}

IommuStatus VirtioIommu::probe(const Request& request) {
  if (request.length < kIommuProbeBytes) return IommuStatus::kInvalid;
  if (chain_.writable_bytes() < probe_bytes() + kIommuTailBytes) return IommuStatus::kInvalid;
  if (!domains_->has_endpoint(request.field<std::uint32_t>(4))) return IommuStatus::kNoEntry;
  std::array<std::byte, kMaxReservedRanges * kIommuReservedBytes> properties{};
  std::byte* at = properties.data();
  for (const IovaRange& it : options_.reserved) {
    put_little_endian(at, kIommuReservedProperty);
    put_little_endian(at + 2, static_cast<std::uint16_t>(kIommuReservedBytes - 4));
    put_little_endian(at + 8, it.first);
    put_little_endian(at + 16, it.last);
    at += kIommuReservedBytes;
  }
  SegmentCursor to(chain_.writable());
  const bool written = transport_->dma().write(to, std::span(properties).first(probe_bytes())).ok();
  return written ? IommuStatus::kOk : IommuStatus::kIoError;
}

// On the thread of the DMA that was refused.
void VirtioIommu::fault_recorded() {
  if (waits_for_fault_.exchange(false)) transport_->wake(kIommuEventQueue);
}

// A fault that comes when the queue was just found empty sees that it is waited for, or is
// found by the second look.
void VirtioIommu::send_events() {
  waits_for_fault_ = false;
  QueueTurn turn(*transport_, kIommuEventQueue, kIommuTurn);
  while (find_fault()) {
    if (!turn.next(chain_)) return;
    const bool sent = send(*fault_);
    if (sent) fault_.reset();
    turn.complete(chain_, sent ? kIommuFaultBytes : 0);
  }
}

// The oldest that is told to nobody yet, of an endpoint. None: the next one wakes the queue.
bool VirtioIommu::find_fault() {
  bool waits = false;
  for (int looks = 0; looks < kMaxFaultLooks && !fault_.has_value(); ++looks) {
    IommuFault fault;
    if (iommu_->poll_faults(std::span(&fault, 1)) == 1) {
      if (domains_->has_endpoint(fault.device.value)) fault_ = fault;
    } else if (waits) {
      return false;
    } else {
      waits_for_fault_ = waits = true;
    }
  }
  waits_for_fault_ = !fault_.has_value();
  return fault_.has_value();
}

bool VirtioIommu::send(const IommuFault& fault) {
  if (chain_.writable_bytes() < kIommuFaultBytes) return false;
  const bool unattached = fault.reason == IommuFaultReason::kNoDomain;
  const auto access = static_cast<std::uint32_t>(fault.access);
  static_assert(kIommuFaultRead == static_cast<std::uint32_t>(DmaAccess::kRead) &&
                kIommuFaultWrite == static_cast<std::uint32_t>(DmaAccess::kWrite));
  std::array<std::byte, kIommuFaultBytes> event{};
  event[0] = std::byte{unattached ? kIommuFaultDomain : kIommuFaultMapping};
  put_little_endian(&event[4], access | kIommuFaultAddress);
  put_little_endian(&event[8], fault.device.value);
  put_little_endian(&event[16], fault.address);
  SegmentCursor to(chain_.writable());
  return transport_->dma().write(to, event).ok();
}

}  // namespace vm_device
