// Reads bytes as calls of an Iommu and DMA behind it: domains, devices, pages of every size
// come and go, and every result, fault and byte is compared with a model.
#include <array>
#include <cstring>
#include <span>

#include "tests/support/fuzz_target.h"
#include "tests/vm_device/fuzz/iommu_model.h"
#include "tests/vm_mem/fuzz/byte_source.h"
#include "vm_device/dma.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {
namespace {

using vm_mem::ByteSource;
using vm_mem::GuestAddress;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kRam = std::uint64_t{4} << 30;  // aligned for pages of 1 GiB
constexpr std::uint64_t kRamPages = 24;
constexpr std::uint64_t kRamBytes = kRamPages * kPage;
constexpr std::uint32_t kDevices = 3;
constexpr std::uint32_t kDomains = 4;
constexpr int kMostSteps = 200;

// Where IOVAs lie: at the start, around a boundary of large pages, at the end of all, and
// where a device that is bypassed finds RAM.
constexpr std::array<std::uint64_t, 5> kWindows{0, kRam, (std::uint64_t{2} << 20) - 8 * kPage,
                                                (std::uint64_t{1} << 39) - 8 * kPage,
                                                ~std::uint64_t{0} - 16 * kPage + 1};

class IommuWorld {
 public:
  IommuWorld() {
    const auto range = vm_mem::GuestRange::make(GuestAddress{kRam}, kRamBytes);
    require(memory_->add_ram(*range).ok(), "RAM");
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      bytes_[i] = static_cast<std::byte>(i * 7 + i / kPage);
    }
    require(memory_->write(GuestAddress{kRam}, bytes_).ok(), "the content of RAM");
    model_.devices.resize(kDevices);
    ids_.resize(kDomains);
  }

  void step(ByteSource& in) {
    switch (in.below(16)) {
      case 0: return create_domain(in);
      case 1: return remove_domain(in);
      case 2: return know_device(in);
      case 3: return retarget(in);
      case 4:
      case 5: return attach(in);
      case 6:
      case 7:
      case 8: return map(in);
      case 9: return unmap(in);
      case 10: return unmap_within(in);
      case 11: return invalidate(in);
      case 12: return translate(in);
      case 13: return word(in);
      case 14: return poll();
      default: return move(in);
    }
  }
  void finish() {
    poll();
    std::vector<std::byte> now(kRamBytes);
    require(memory_->read(GuestAddress{kRam}, now).ok() && now == bytes_, "the bytes of RAM");
  }

 private:
  static void same(const absl::Status& status, absl::StatusCode wanted, const char* what) {
    require(status.code() == wanted, what);
  }
  using Code = absl::StatusCode;

  // A domain of the model's, or 0, which is none.
  std::uint32_t pick_domain(ByteSource& in) { return ids_[in.below(kDomains)]; }
  bool exists(std::uint32_t domain) const { return model_.domains.count(domain) != 0; }
  std::uint32_t pick_device(ByteSource& in) const {
    return static_cast<std::uint32_t>(in.below(kDevices));
  }
  bool knows(std::uint32_t device) const {
    return model_.devices[device].target != ModelTarget::kUnknown;
  }
  static std::uint64_t pick_page(ByteSource& in) {
    const std::uint64_t window = kWindows[in.below(kWindows.size())];
    return window + in.below(16) * kPage;
  }
  // Whole pages, few or as many as large pages need; sometimes not whole.
  static DmaSegment pick_pages(ByteSource& in) {
    const std::uint64_t kind = in.below(8);
    DmaSegment range{pick_page(in), (1 + in.below(12)) * kPage};
    if (kind == 0) range.bytes = std::uint64_t{1} << (12 + in.below(31));
    if (kind == 1) range.address += in.below(2);
    if (kind == 2) range.bytes = in.take(2);
    return range;
  }
  static bool is_possible(const DmaSegment& range) {
    return range.bytes != 0 && (range.address | range.bytes) % kPage == 0 &&
           range.bytes - 1 <= UINT64_MAX - range.address;
  }
  static std::uint64_t last_of(const DmaSegment& range) {
    return range.address + (range.bytes - 1);
  }

  void create_domain(ByteSource& in) {
    std::uint32_t& id = ids_[in.below(kDomains)];
    if (exists(id)) return;
    const auto made = iommu_->create_domain();
    require(made.ok() && made->value > last_id_, "create_domain");
    last_id_ = id = made->value;
    model_.domains[id];
  }

  void remove_domain(ByteSource& in) {
    const std::uint32_t id = pick_domain(in);
    const bool used =
        std::any_of(model_.devices.begin(), model_.devices.end(), [&](const ModelDevice& it) {
          return it.target == ModelTarget::kDomain && it.domain == id;
        });
    const Code wanted = !exists(id) ? Code::kNotFound
                        : used      ? Code::kFailedPrecondition
                                    : Code::kOk;
    same(iommu_->remove_domain({id}), wanted, "remove_domain");
    if (wanted == Code::kOk) model_.domains.erase(id);
  }

  void know_device(ByteSource& in) {
    const std::uint32_t device = pick_device(in);
    if (in.below(4) == 0) {
      same(iommu_->remove_device({device}), knows(device) ? Code::kOk : Code::kNotFound,
           "remove_device");
      model_.devices[device] = {};
      return;
    }
    same(iommu_->add_device({device}), knows(device) ? Code::kAlreadyExists : Code::kOk,
         "add_device");
    if (!knows(device)) model_.devices[device].target = ModelTarget::kBlocked;
  }

  void retarget(ByteSource& in) {
    const std::uint32_t device = pick_device(in);
    const bool bypass = in.below(2) == 0;
    const absl::Status status = bypass ? iommu_->bypass({device}) : iommu_->detach({device});
    same(status, knows(device) ? Code::kOk : Code::kNotFound, "bypass or detach");
    if (!knows(device)) return;
    model_.devices[device] = {bypass ? ModelTarget::kBypassed : ModelTarget::kBlocked, 0};
  }

  void attach(ByteSource& in) {
    const std::uint32_t device = pick_device(in);
    const std::uint32_t id = pick_domain(in);
    const bool possible = knows(device) && exists(id);
    same(iommu_->attach({device}, {id}), possible ? Code::kOk : Code::kNotFound, "attach");
    if (possible) model_.devices[device] = {ModelTarget::kDomain, id};
  }

  void map(ByteSource& in) {
    const std::uint32_t id = pick_domain(in);
    const DmaSegment iova = pick_pages(in);
    const auto access = static_cast<DmaAccess>(1 + in.below(3));
    // Into RAM, across its end, or with the alignment that large pages need.
    const std::uint64_t place = in.below(64);
    const std::uint64_t to = place < 32   ? kRam + place * kPage
                             : place < 62 ? kRam + (iova.address & ((std::uint64_t{1} << 39) - 1))
                                          : ~std::uint64_t{0} << (place - 51);
    Code wanted = Code::kOk;
    if (!is_possible(iova) || !is_possible({to, iova.bytes})) {
      wanted = Code::kInvalidArgument;
    } else if (!exists(id)) {
      wanted = Code::kNotFound;
    } else if (model_.domains[id].overlaps(iova.address, last_of(iova))) {
      wanted = Code::kAlreadyExists;
    }
    const absl::Status status = iommu_->map({id}, iova, GuestAddress{to}, access);
    // How much the tables take is not the model's affair.
    if (wanted == Code::kOk && status.code() == Code::kResourceExhausted) return;
    same(status, wanted, "map");
    if (wanted != Code::kOk) return;
    model_.domains[id].add({iova.address, last_of(iova), to, static_cast<std::uint8_t>(access)});
  }

  void unmap(ByteSource& in) {
    const std::uint32_t id = pick_domain(in);
    const DmaSegment iova = pick_pages(in);
    Code wanted = Code::kOk;
    if (!is_possible(iova)) {
      wanted = Code::kInvalidArgument;
    } else if (!exists(id) ||
               model_.domains[id].mapped_in(iova.address, last_of(iova)) != iova.bytes) {
      wanted = Code::kNotFound;
    }
    const absl::Status status = iommu_->unmap({id}, iova);
    if (wanted == Code::kOk && status.code() == Code::kResourceExhausted) return;
    same(status, wanted, "unmap");
    if (wanted == Code::kOk) model_.domains[id].cut(iova.address, last_of(iova));
  }

  void unmap_within(ByteSource& in) {
    const std::uint32_t id = pick_domain(in);
    const DmaSegment iova = pick_pages(in);
    const auto erased = iommu_->unmap_within({id}, iova);
    if (!is_possible(iova)) return same(erased.status(), Code::kInvalidArgument, "unmap_within");
    if (!exists(id)) return same(erased.status(), Code::kNotFound, "unmap_within");
    if (erased.status().code() == Code::kResourceExhausted) return;
    require(erased.ok() && *erased == model_.domains[id].mapped_in(iova.address, last_of(iova)),
            "what unmap_within removes");
    model_.domains[id].cut(iova.address, last_of(iova));
  }

  void invalidate(ByteSource& in) {
    const std::uint32_t id = pick_domain(in);
    const Code wanted = exists(id) ? Code::kOk : Code::kNotFound;
    if (in.below(2) == 0) return same(iommu_->invalidate({id}), wanted, "invalidate");
    const DmaSegment iova = pick_pages(in);
    same(iommu_->invalidate({id}, iova), is_possible(iova) ? wanted : Code::kInvalidArgument,
         "invalidate a range");
  }

  void poll() {
    std::array<IommuFault, IommuModel::kFaultQueue + 1> faults;
    const std::size_t count = iommu_->poll_faults(faults);
    require(count == model_.faults.size(), "how many faults there are");
    require(std::equal(model_.faults.begin(), model_.faults.end(), faults.begin()), "the faults");
    require(iommu_->lost_faults() == model_.lost, "how many faults are lost");
    model_.faults.clear();
  }

  // What DMA of `range` finds; the bytes that it gets to are given to visit(index into RAM,
  // index into the range, count), page by page: nothing changes within one.
  template <typename Visit>
  DmaResult walk(std::uint32_t device, DmaSegment range, DmaAccess access, Visit visit) {
    for (std::uint64_t done = 0; done < range.bytes;) {
      const std::uint64_t iova = range.address + done;
      const std::uint64_t count = std::min(range.bytes - done, kPage - iova % kPage);
      IommuFaultReason reason = IommuFaultReason::kUnmapped;
      std::optional<std::uint64_t> to;
      if (iova >= range.address) to = model_.locate(device, iova, access, reason);
      if (!to.has_value()) {
        model_.record(device, iova, access, reason);
        return {DmaFault::kTranslation, done, iova};
      }
      if (*to < kRam || *to - kRam >= kRamBytes) return {DmaFault::kUnmapped, done, iova};
      visit(*to - kRam, done, count);
      done += count;
    }
    return {.done = range.bytes};
  }

  static DmaSegment pick_bytes(ByteSource& in) {
    return {pick_page(in) + in.take(2) % kPage, in.take(2) % (3 * kPage)};
  }

  void move(ByteSource& in) {
    const std::uint32_t device = pick_device(in);
    std::uint64_t kind = in.below(4);
    const DmaSegment range = pick_bytes(in);
    // The second segment of a list would not wrap, but begin at 0.
    if (kind == 3 && range.bytes > UINT64_MAX - range.address) kind = 1;
    const auto value = static_cast<std::byte>(in.take(1));
    std::vector<std::byte> host(range.bytes, value);
    std::vector<std::byte> expected(range.bytes, value);
    DmaResult result, wanted;
    if (kind == 0) {
      wanted = walk(device, range, DmaAccess::kRead,
                    [&](std::uint64_t at, std::uint64_t i, std::uint64_t count) {
                      std::memcpy(&expected[i], &bytes_[at], count);
                    });
      result = space(device).read(range.address, host);
    } else {
      for (std::size_t i = 0; i < host.size() && kind == 1; ++i) {
        host[i] = expected[i] = static_cast<std::byte>(i * 5) ^ value;
      }
      wanted = walk(device, range, DmaAccess::kWrite,
                    [&](std::uint64_t at, std::uint64_t i, std::uint64_t count) {
                      std::memcpy(&bytes_[at], &expected[i], count);
                    });
      const std::array<DmaSegment, 2> list{
          {{range.address, range.bytes / 3},
           {range.address + range.bytes / 3, range.bytes - range.bytes / 3}}};
      result = kind == 1   ? space(device).write(range.address, host)
               : kind == 2 ? space(device).fill(range.address, value, range.bytes)
                           : space(device).write(list, host);
    }
    require(result == wanted, "the result of DMA");
    require(host == expected, "what DMA reads");
  }

  void word(ByteSource& in) {
    const std::uint32_t device = pick_device(in);
    const std::uint64_t iova = pick_page(in) + in.take(2) % kPage / 8 * 8;
    const std::uint64_t kind = in.below(3);
    const std::uint64_t value = in.take(8);
    const DmaAccess access = static_cast<DmaAccess>(kind + 1);  // load, store, add
    std::uint64_t at_ram = 0;
    const DmaResult wanted =
        walk(device, {iova, 8}, access,
             [&](std::uint64_t at, std::uint64_t, std::uint64_t) { at_ram = at; });
    std::uint64_t before = 0;
    if (wanted.ok()) std::memcpy(&before, &bytes_[at_ram], 8);
    std::uint64_t found = 0;
    const DmaResult result = kind == 0   ? space(device).load(iova, found)
                             : kind == 1 ? space(device).store(iova, value)
                                         : space(device).fetch_add(iova, value, found);
    require(result.fault == wanted.fault, "the fault of a word");
    if (!wanted.ok()) return require(result.at == wanted.at, "where a word was refused");
    if (kind != 1) require(found == before, "the word that was there");
    const std::uint64_t after = kind == 0 ? before : kind == 1 ? value : before + value;
    std::memcpy(&bytes_[at_ram], &after, 8);
  }

  void translate(ByteSource& in) {
    const std::uint32_t device = pick_device(in);
    const DmaSegment range = pick_bytes(in);
    const auto access = static_cast<DmaAccess>(1 + in.below(3));
    std::array<GuestSegment, 3> out;
    const IommuTranslation result = iommu_->translate({device}, range, access, out);
    std::uint64_t done = 0;
    for (std::size_t i = 0; i < result.segments; ++i) {
      for (std::uint64_t n = 0; n < out[i].bytes;) {
        IommuFaultReason reason{};
        const auto to = model_.locate(device, range.address + done, access, reason);
        require(to == out[i].address.value + n, "where a page goes");
        const std::uint64_t count =
            std::min(out[i].bytes - n, kPage - (range.address + done) % kPage);
        n += count;
        done += count;
      }
    }
    require(done == result.done, "the length of a translation");
    if (result.ok()) return require(done == range.bytes || result.segments == 3, "an early end");
    const DmaSegment rest{range.address + done, 1};
    IommuFaultReason reason = IommuFaultReason::kUnmapped;
    const bool wraps = rest.address < range.address;
    require(wraps || !model_.locate(device, rest.address, access, reason), "a refusal");
    if (wraps) reason = IommuFaultReason::kUnmapped;
    model_.record(device, rest.address, access, reason);
    require(result.at == rest.address, "where a translation was refused");
  }

  DmaSpace& space(std::uint32_t device) { return spaces_[device]; }

  std::unique_ptr<vm_mem::MemoryManager> memory_ =
      std::move(vm_mem::MemoryManager::create({}).value());
  vm_mem::MemoryReader reader_{*memory_};
  std::unique_ptr<Iommu> iommu_ =
      std::move(Iommu::create({.fault_queue = IommuModel::kFaultQueue}).value());
  // The last on a reader, whose way is another one.
  std::array<DmaSpace, kDevices> spaces_{DmaSpace(*memory_, *iommu_, {0}),
                                         DmaSpace(*memory_, *iommu_, {1}),
                                         DmaSpace(reader_, *iommu_, {2})};
  IommuModel model_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kRamBytes);
  std::vector<std::uint32_t> ids_;
  std::uint32_t last_id_ = 0;
};

}  // namespace
}  // namespace vm_device

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  vm_mem::ByteSource source({data, bytes});
  vm_device::IommuWorld world;
  for (int i = 0; i < vm_device::kMostSteps && !source.empty(); ++i) world.step(source);
  world.finish();
  return 0;
}
