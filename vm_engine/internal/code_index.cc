#include "vm_engine/internal/code_index.h"

#include <algorithm>
#include <utility>

vme_code::vme_code(vme_engine& engine_of, std::uintptr_t base, std::uint64_t bytes,
                   std::span<const vme_site> sites_of)
    : engine(engine_of),
      begin(base),
      end(base + bytes),
      sites(sites_of.begin(), sites_of.end()),
      heat(std::make_unique<Heat[]>(sites_of.size())) {}

const vme_site* vme_code::site_at(std::uintptr_t address) const {
  const auto offset = static_cast<std::uint32_t>(address - begin);
  const auto found =
      std::lower_bound(sites.begin(), sites.end(), offset,
                       [](const vme_site& site, std::uint32_t at) { return site.pc_off < at; });
  return found != sites.end() && found->pc_off == offset ? &*found : nullptr;
}

namespace vm_engine::internal {

std::size_t CodeIndex::chunk_of(std::uintptr_t address) const {
  const auto after = std::upper_bound(
      chunks_.begin(), chunks_.end(), address,
      [](std::uintptr_t at, const Chunk& chunk) { return at < chunk->front()->begin; });
  return after == chunks_.begin() ? 0 : static_cast<std::size_t>(after - chunks_.begin()) - 1;
}

vme_code* CodeIndex::find(std::uintptr_t address) const {
  if (chunks_.empty()) return nullptr;
  const Codes& codes = *chunks_[chunk_of(address)];
  const auto after =
      std::upper_bound(codes.begin(), codes.end(), address,
                       [](std::uintptr_t at, const vme_code* code) { return at < code->begin; });
  if (after == codes.begin()) return nullptr;
  vme_code* const code = *(after - 1);
  return address < code->end ? code : nullptr;
}

bool CodeIndex::overlaps(std::uintptr_t begin, std::uintptr_t end) const {
  if (chunks_.empty()) return false;
  if (find(begin) != nullptr) return true;
  // Else the first that begins after `begin` decides.
  for (std::size_t chunk = chunk_of(begin); chunk < chunks_.size(); ++chunk) {
    for (const vme_code* code : *chunks_[chunk]) {
      if (code->begin >= begin) return code->begin < end;
    }
  }
  return false;
}

CodeIndex CodeIndex::with(vme_code& code) const {
  CodeIndex changed = *this;
  if (chunks_.empty()) {
    changed.chunks_.push_back(std::make_shared<const Codes>(Codes{&code}));
    return changed;
  }
  const std::size_t chunk = chunk_of(code.begin);
  Codes codes = *chunks_[chunk];
  const auto after = std::find_if(codes.begin(), codes.end(),
                                  [&](const vme_code* other) { return other->begin > code.begin; });
  codes.insert(after, &code);
  changed.replace(chunk, std::move(codes));
  return changed;
}

CodeIndex CodeIndex::without(const vme_code& code) const {
  CodeIndex changed = *this;
  const std::size_t chunk = chunk_of(code.begin);
  Codes codes = *chunks_[chunk];
  std::erase(codes, &code);
  changed.replace(chunk, std::move(codes));
  return changed;
}

void CodeIndex::replace(std::size_t chunk, Codes codes) {
  const auto at = chunks_.begin() + static_cast<std::ptrdiff_t>(chunk);
  if (codes.empty()) {
    chunks_.erase(at);
  } else if (codes.size() <= kMostInChunk) {
    *at = std::make_shared<const Codes>(std::move(codes));
  } else {
    const auto half = codes.begin() + static_cast<std::ptrdiff_t>(codes.size() / 2);
    *at = std::make_shared<const Codes>(codes.begin(), half);
    chunks_.insert(at + 1, std::make_shared<const Codes>(half, codes.end()));
  }
}

}  // namespace vm_engine::internal
