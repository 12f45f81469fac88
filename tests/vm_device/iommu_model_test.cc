// An IOMMU and DMA behind it, held to models: of its table by single pages, and of the memory
// that is reached by single bytes.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "tests/vm_device/iommu_guest.h"

namespace vm_device {
namespace {

using vm_mem::GuestAddress;
using vm_test::noise;

constexpr std::uint64_t kMega2 = std::uint64_t{2} << 20;
constexpr std::uint64_t kGiga = std::uint64_t{1} << 30;

class TableModel {
 public:
  struct Page {
    std::uint64_t to;
    DmaAccess permitted;
  };

  absl::StatusCode map(std::uint64_t iova, std::uint64_t bytes, std::uint64_t to,
                       DmaAccess permitted) {
    if (!within(iova, bytes).empty()) return absl::StatusCode::kAlreadyExists;
    for (std::uint64_t i = 0; i < bytes; i += kPage) pages_[iova + i] = {to + i, permitted};
    return absl::StatusCode::kOk;
  }
  absl::StatusCode unmap(std::uint64_t iova, std::uint64_t bytes) {
    const auto found = within(iova, bytes);
    if (found.size() != bytes / kPage) return absl::StatusCode::kNotFound;
    erase(found);
    return absl::StatusCode::kOk;
  }
  std::uint64_t unmap_within(std::uint64_t iova, std::uint64_t bytes) {
    const auto found = within(iova, bytes);
    erase(found);
    return found.size() * kPage;
  }
  // The bytes that are reached, and where they lie.
  std::vector<GuestSegment> translate(DmaSegment range, DmaAccess access) const {
    std::vector<GuestSegment> out;
    for (std::uint64_t done = 0; done < range.bytes;) {
      const std::uint64_t at = range.address + done;
      const auto it = pages_.find(at / kPage * kPage);
      const auto need = static_cast<int>(access);
      if (it == pages_.end() || (static_cast<int>(it->second.permitted) & need) != need) break;
      const std::uint64_t bytes = std::min(range.bytes - done, kPage - at % kPage);
      const std::uint64_t to = it->second.to + at % kPage;
      if (!out.empty() && out.back().address.value + out.back().bytes == to) {
        out.back().bytes += bytes;
      } else {
        out.push_back({GuestAddress{to}, bytes});
      }
      done += bytes;
    }
    return out;
  }

 private:
  std::vector<std::uint64_t> within(std::uint64_t iova, std::uint64_t bytes) const {
    std::vector<std::uint64_t> found;
    for (auto it = pages_.lower_bound(iova); it != pages_.end() && it->first - iova < bytes; ++it) {
      found.push_back(it->first);
    }
    return found;
  }
  void erase(const std::vector<std::uint64_t>& pages) {
    for (const std::uint64_t page : pages) pages_.erase(page);
  }

  std::map<std::uint64_t, Page> pages_;
};

// Where pages of 2 MiB and 1 GiB may begin, and a few small pages away from there.
std::uint64_t any_page(std::uint64_t top) {
  const auto base = *rc::gen::elementOf(
      std::vector<std::uint64_t>{0, kMega2, 2 * kMega2, kGiga - kMega2, kGiga, top});
  const auto pages = *rc::gen::weightedOneOf<std::uint64_t>(
      {{2, rc::gen::just<std::uint64_t>(0)}, {1, rc::gen::inRange<std::uint64_t>(0, 20)}});
  return base == top ? base - pages * kPage : base + pages * kPage;
}

std::uint64_t any_length() {
  return kPage * *rc::gen::weightedOneOf<std::uint64_t>(
                     {{5, rc::gen::inRange<std::uint64_t>(1, 12)},
                      {2, rc::gen::elementOf(std::vector<std::uint64_t>{511, 512, 513, 1024})}});
}

DmaAccess any_access() {
  return *rc::gen::element(DmaAccess::kRead, DmaAccess::kWrite, DmaAccess::kReadWrite);
}

class TableWorld {
 public:
  TableWorld() : iommu_(std::move(Iommu::create({}).value())), domain_(*iommu_->create_domain()) {
    RC_ASSERT(iommu_->add_device(kDevice).ok());
    RC_ASSERT(iommu_->attach(kDevice, domain_).ok());
  }

  void step() {
    const DmaSegment range{any_page(kTop), any_length()};
    if (range.bytes - 1 > UINT64_MAX - range.address) return;
    switch (*rc::gen::inRange(0, 6)) {
      case 0:
      case 1: return map(range);
      case 2:
        RC_ASSERT(iommu_->unmap(domain_, range).code() == table_.unmap(range.address, range.bytes));
        return;
      case 3:
        RC_ASSERT(iommu_->unmap_within(domain_, range).value() ==
                  table_.unmap_within(range.address, range.bytes));
        return;
      default: return translate(range);
    }
  }

 private:
  static constexpr std::uint64_t kTop = UINT64_MAX - (kPage - 1);

  void map(const DmaSegment& range) {
    const std::uint64_t to = any_page(std::uint64_t{1} << 40);
    const DmaAccess permitted = any_access();
    RC_ASSERT(iommu_->map(domain_, range, GuestAddress{to}, permitted).code() ==
              table_.map(range.address, range.bytes, to, permitted));
  }
  void translate(DmaSegment range) {
    const auto skip = *rc::gen::inRange<std::uint64_t>(0, kPage);
    const DmaSegment part{range.address + skip, range.bytes - skip};
    const DmaAccess access = any_access();
    const auto wanted = table_.translate(part, access);
    std::vector<GuestSegment> found(wanted.size() + 1);
    const auto result = iommu_->translate(kDevice, part, access, found);
    found.resize(result.segments);
    RC_ASSERT(found == wanted);
    std::uint64_t bytes = 0;
    for (const GuestSegment& it : wanted) bytes += it.bytes;
    RC_ASSERT(result.done == bytes);
    RC_ASSERT(result.ok() == (bytes == part.bytes));
    if (!result.ok()) RC_ASSERT(result.at == part.address + bytes);
  }

  std::unique_ptr<Iommu> iommu_;
  IommuDomainId domain_;
  TableModel table_;
};

RC_GTEST_PROP(IommuProperty, EveryChangeAndTranslationIsTheModels, ()) {
  TableWorld world;
  const int steps = *rc::gen::inRange(1, 400);
  for (int i = 0; i < steps; ++i) world.step();
}

class MemoryModel {
 public:
  struct Page {
    std::uint64_t guest;  // index of the guest's page
    DmaAccess permitted;
  };

  MemoryModel() : bytes(noise(kGuestPages * kPage, 5)) {}

  std::byte* find(std::uint64_t address, DmaAccess access) {
    const auto it = pages.find(address / kPage);
    const auto need = static_cast<int>(access);
    if (it == pages.end() || (static_cast<int>(it->second.permitted) & need) != need)
      return nullptr;
    return &bytes[it->second.guest * kPage + address % kPage];
  }
  // Calls step(byte of the guest, i) for each byte of the list, up to `total`.
  template <typename Step>
  DmaResult walk(const std::vector<DmaSegment>& list, std::uint64_t total, DmaAccess access,
                 Step step) {
    std::uint64_t done = 0;
    for (const DmaSegment& it : list) {
      for (std::uint64_t i = 0; i < it.bytes && done < total; ++i, ++done) {
        std::byte* const byte = find(it.address + i, access);
        if (byte == nullptr) return {DmaFault::kTranslation, done, it.address + i};
        step(*byte, done);
      }
    }
    return {.done = done};
  }
  // As if all of the source were read first.
  DmaResult copy(std::uint64_t to, std::uint64_t from, std::uint64_t count) {
    std::vector<std::byte*> targets;
    std::vector<std::byte> values;
    DmaResult result{.done = count};
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::byte* const source = find(from + i, DmaAccess::kRead);
      std::byte* const target = find(to + i, DmaAccess::kWrite);
      if (source == nullptr || target == nullptr) {
        result = {DmaFault::kTranslation, i, (source == nullptr ? from : to) + i};
        break;
      }
      targets.push_back(target);
      values.push_back(*source);
    }
    for (std::size_t i = 0; i < targets.size(); ++i) *targets[i] = values[i];
    return result;
  }

  std::map<std::uint64_t, Page> pages;
  std::vector<std::byte> bytes;
};

class MemoryWorld : public IommuGuest {
 public:
  void step() {
    switch (*rc::gen::inRange(0, 8)) {
      case 0: return map_pages();
      case 1: return unmap_pages();
      case 2: return read_list();
      case 3: return write_list();
      case 4: return fill_list();
      case 5: return copy_range();
      case 6: return read_and_write_range();
      default: return load_word();
    }
  }
  void check_memory() { RC_ASSERT(guest.bytes(kRamBase, model.bytes.size()) == model.bytes); }

 private:
  static constexpr std::uint64_t kPages = 24;

  DmaSpace& space() { return *rc::gen::arbitrary<bool>() ? dma : on_reader; }

  // No page of the guest is shown twice: overlap is judged on bus addresses.
  void map_pages() {
    const auto first = *rc::gen::inRange<std::uint64_t>(0, kPages);
    const auto guest_first = *rc::gen::inRange<std::uint64_t>(0, kGuestPages);
    const auto count = *rc::gen::inRange<std::uint64_t>(1, 5);
    const auto permitted = *rc::gen::weightedElement<DmaAccess>(
        {{6, DmaAccess::kReadWrite}, {1, DmaAccess::kRead}, {1, DmaAccess::kWrite}});
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t page = guest_first + i;
      const bool shown = std::any_of(model.pages.begin(), model.pages.end(),
                                     [&](const auto& it) { return it.second.guest == page; });
      if (page >= kGuestPages || shown || model.pages.contains(first + i)) return;
      map((first + i) * kPage, kRamBase + page * kPage, kPage, permitted);
      model.pages[first + i] = {page, permitted};
    }
  }
  void unmap_pages() {
    const auto first = *rc::gen::inRange<std::uint64_t>(0, kPages);
    const auto count = *rc::gen::inRange<std::uint64_t>(1, 4);
    RC_ASSERT(iommu->unmap_within(domain, {first * kPage, count * kPage}).ok());
    for (std::uint64_t i = 0; i < count; ++i) model.pages.erase(first + i);
  }
  static std::uint64_t any_address() {
    return *rc::gen::inRange<std::uint64_t>(0, kPages) * kPage +
           *rc::gen::weightedOneOf<std::uint64_t>(
               {{1, rc::gen::inRange<std::uint64_t>(0, kPage)},
                {1, rc::gen::inRange<std::uint64_t>(kPage - 16, kPage)}});
  }
  static std::vector<DmaSegment> any_list() {
    std::vector<DmaSegment> list(*rc::gen::inRange<std::size_t>(0, 5));
    for (DmaSegment& it : list) {
      it = {any_address(), *rc::gen::weightedOneOf<std::uint64_t>(
                               {{3, rc::gen::inRange<std::uint64_t>(0, 64)},
                                {2, rc::gen::inRange<std::uint64_t>(0, 3 * kPage)}})};
    }
    return list;
  }
  void read_list() {
    const auto list = any_list();
    std::vector<std::byte> expected(*rc::gen::inRange<std::size_t>(0, 9000), std::byte{0xee});
    std::vector<std::byte> found = expected;
    const DmaResult wanted =
        model.walk(list, expected.size(), DmaAccess::kRead,
                   [&](std::byte& byte, std::uint64_t i) { expected[i] = byte; });
    RC_ASSERT(space().read(list, found) == wanted);
    RC_ASSERT(found == expected);
  }
  void write_list() {
    const auto list = any_list();
    const auto from = noise(*rc::gen::inRange<std::size_t>(0, 9000), 200);
    const DmaResult wanted = model.walk(list, from.size(), DmaAccess::kWrite,
                                        [&](std::byte& byte, std::uint64_t i) { byte = from[i]; });
    RC_ASSERT(space().write(list, from) == wanted);
  }
  void fill_list() {
    const auto list = any_list();
    const auto value = static_cast<std::byte>(*rc::gen::arbitrary<std::uint8_t>());
    const DmaResult wanted = model.walk(list, UINT64_MAX, DmaAccess::kWrite,
                                        [&](std::byte& byte, std::uint64_t) { byte = value; });
    RC_ASSERT(space().fill(list, value) == wanted);
  }
  void copy_range() {
    const std::uint64_t from = any_address();
    const std::uint64_t to = *rc::gen::inRange(0, 2) == 0
                                 ? any_address()
                                 : from + *rc::gen::inRange<std::uint64_t>(0, 6000);
    const auto bytes = *rc::gen::inRange<std::uint64_t>(0, 5 * kPage);
    const DmaResult wanted = model.copy(to, from, bytes);
    RC_ASSERT(space().copy(to, from, bytes) == wanted);
  }
  void read_and_write_range() {
    const std::vector<DmaSegment> one{{any_address(), *rc::gen::inRange<std::uint64_t>(0, 9000)}};
    std::vector<std::byte> expected(one[0].bytes);
    std::vector<std::byte> found(one[0].bytes);
    const DmaResult wanted =
        model.walk(one, expected.size(), DmaAccess::kRead,
                   [&](std::byte& byte, std::uint64_t i) { expected[i] = byte; });
    RC_ASSERT(space().read(one[0].address, found) == wanted);
    RC_ASSERT(found == expected);
    const auto from = noise(one[0].bytes, 31);
    const DmaResult written = model.walk(one, from.size(), DmaAccess::kWrite,
                                         [&](std::byte& byte, std::uint64_t i) { byte = from[i]; });
    RC_ASSERT(space().write(one[0].address, from) == written);
  }
  void load_word() {
    const std::uint64_t at = any_address();
    std::uint32_t expected = 0;
    std::uint32_t found = 0;
    DmaResult wanted =
        model.walk({{at, 4}}, 4, DmaAccess::kRead, [&](std::byte& byte, std::uint64_t i) {
          expected |= std::to_integer<std::uint32_t>(byte) << (8 * i);
        });
    if (!wanted.ok()) wanted.done = 0;
    RC_ASSERT(space().load(at, found) == wanted);
    if (wanted.ok()) RC_ASSERT(found == expected);
  }

  MemoryModel model;
};

RC_GTEST_PROP(DmaIommuProperty, EveryByteIsTheModels, ()) {
  MemoryWorld world;
  const int steps = *rc::gen::inRange(1, 200);
  for (int i = 0; i < steps; ++i) world.step();
  world.check_memory();
}

}  // namespace
}  // namespace vm_device
