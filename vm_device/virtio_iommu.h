// The virtio IOMMU device: lets a guest's driver say what other devices may reach.
#ifndef VM_DEVICE_VIRTIO_IOMMU_H_
#define VM_DEVICE_VIRTIO_IOMMU_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_device/iommu.h"
#include "vm_device/queue_turn.h"
#include "vm_device/virtio_device.h"

namespace vm_device {

namespace internal {
enum class IommuStatus : std::uint8_t;
class VirtioIommuDomains;
}  // namespace internal

// IOVAs, both ends inclusive.
struct IovaRange {
  std::uint64_t first = 0;
  std::uint64_t last = UINT64_MAX;
};

// Of an endpoint that is attached to no domain.
enum class UnattachedEndpoint : std::uint8_t {
  kBlocked,
  kBypassed,  // IOVA = guest address, everything permitted
};

struct VirtioIommuOptions {
  IovaRange input = {};
  std::uint32_t first_domain = 0;
  std::uint32_t last_domain = UINT32_MAX;
  // Of all domains together: they cost the host memory beside the tables, whose limit is
  // IommuOptions::max_table_bytes.
  std::uint64_t max_mappings = std::uint64_t{1} << 20;
  // What the driver may not map; the same for every endpoint.
  std::vector<IovaRange> reserved = {};
  // Until a driver says otherwise; a reset of the device does not change it.
  UnattachedEndpoint unattached = UnattachedEndpoint::kBlocked;
};

// Domains that the driver names are domains of the Iommu, for as long as endpoints are
// attached to them. A mapping is removed as a whole or not at all. Faults of the endpoints are
// events for the driver, as soon as it has put buffers into the event queue; until then they
// wait in the Iommu's fault queue, which is this device's.
//
// Every request that has room for a status is answered by one: malformed ones kInvalid (4),
// unreadable ones kIoError (1). Types that there are not, and requests without that room,
// are given back with nothing written. A status that cannot be written stops the queue
// (kUnanswerable). Events go past buffers that are too small, or that DMA cannot reach, and
// give them back empty.
//
// When UNMAP, DETACH or an ATTACH that replaces another is answered, no DMA that starts
// later uses what is gone. The answer does not wait for DMA that began before, nor for what
// devices hold then (a DmaMapping, a request of AsyncDma): those may still move bytes there
// until they end. To wait would let a guest hold up the host's thread for as long as its
// disk takes, and where that thread is the one that ends the device's request, for good.
// A driver asks its device to stop first; who hands the pages to somebody else calls
// Iommu::wait_for_dma() before that.
//
// Source:  virtio 1.2, section 5.13.
class VirtioIommu final : public VirtioDevice, private IommuFaultListener {
 public:
  // Makes the endpoints known to `iommu`, in the state that `unattached` says.
  //
  // Errors:  kInvalidArgument    a range that is none; more than 64 reserved ranges
  //          kAlreadyExists      the Iommu knows an endpoint already, or it is given twice
  //          kResourceExhausted  the host has no memory left
  // Needs:   `iommu` outlives this object; nobody else moves the endpoints.
  static absl::StatusOr<std::unique_ptr<VirtioIommu>> create(
      Iommu& iommu, std::span<const IommuDeviceId> endpoints, VirtioIommuOptions options = {});
  // The Iommu does not know the endpoints any more: their DMA is refused.
  ~VirtioIommu() override;

  std::uint32_t device_id() const override { return 23; }
  std::uint64_t device_features() const override;
  std::uint16_t queue_count() const override { return 2; }  // requests, events
  std::uint16_t max_queue_size(std::uint16_t) const override { return 256; }
  void read_config(std::uint64_t offset, std::span<std::byte> to) const override;
  void write_config(std::uint64_t offset, std::span<const std::byte> from) override;
  void connect(VirtioTransport& transport) override { transport_ = &transport; }
  void activate(VirtioTransport&) override {}
  void reset() override;
  void notify(std::uint16_t queue) override;

 private:
  struct Request;

  VirtioIommu(Iommu& iommu, VirtioIommuOptions options,
              std::unique_ptr<internal::VirtioIommuDomains> domains);
  void fault_recorded() override;

  void serve_requests();
  void serve(QueueTurn& turn);
  bool fetch(Request& request);
  internal::IommuStatus execute(const Request& request, QueueTurn& turn);
  internal::IommuStatus attach(const Request& request);
  internal::IommuStatus detach(const Request& request);
  internal::IommuStatus map(const Request& request, QueueTurn& turn);
  internal::IommuStatus unmap(const Request& request);
  internal::IommuStatus probe(const Request& request);
  std::uint64_t clear_properties(std::uint64_t bytes);
  bool is_accepted(std::uint64_t feature) const;
  std::size_t probe_bytes() const;

  void send_events();
  bool find_fault();
  bool send(const IommuFault& fault);

  Iommu* iommu_;
  const VirtioIommuOptions options_;
  std::unique_ptr<internal::VirtioIommuDomains> domains_;
  VirtioTransport* transport_ = nullptr;
  DescriptorChain chain_;
  UnattachedEndpoint unattached_;
  std::optional<IommuFault> fault_;           // taken from the Iommu, and not told yet
  std::atomic<bool> waits_for_fault_{false};  // there may be buffers for events
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_IOMMU_H_
