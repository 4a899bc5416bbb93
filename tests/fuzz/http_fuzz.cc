// The http service's session: requests in any pieces, answers taken in any pieces.
#include <fuzzer/FuzzedDataProvider.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "app/http/session.h"
#include "app/http/static_site.h"
#include "tests/fuzz/fuzz_stack.h"

namespace usher::fuzz {
namespace {

std::unique_ptr<StaticSite> LoadSite() {
  const std::string folder = std::filesystem::temp_directory_path() / "usher-fuzz-XXXXXX";
  std::string path = folder;
  Require(mkdtemp(path.data()) != nullptr, "a temporary folder");
  std::ofstream(path + "/index.html") << "<p>usher</p>";
  auto site = StaticSite::Load(path, StaticSiteOptions());
  std::filesystem::remove_all(path);
  Require(site.ok(), "a site");
  return *std::move(site);
}

}  // namespace
}  // namespace usher::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace usher;
  using namespace usher::fuzz;
  static const auto* site = LoadSite().release();
  static auto* context = new HttpContext(site, [] { return std::string("{}"); });
  FuzzedDataProvider in(bytes, size);
  Instant now = Instant::FromNanos(1'000'000'000);
  HttpSession session(context, now);
  while (in.remaining_bytes() > 0) {
    std::string piece = in.ConsumeRandomLengthString(3000);
    size_t taken = 0;
    for (int i = 0; i < 20 && taken < piece.size(); ++i) {
      const size_t n = session.Consume(
          {reinterpret_cast<const uint8_t*>(piece.data()) + taken, piece.size() - taken}, now);
      Require(n <= piece.size() - taken, "no more is taken than was given");
      taken += n;
      // /bytes/N may be long: taken in large pieces, and left after some.
      for (int k = 0; k < 4 && session.output_size() != 0; ++k) {
        const OutputPiece out = session.Output();
        if (out.bytes.empty()) break;
        session.ConsumeOutput(out.bytes.size());
      }
    }
    if (in.ConsumeBool()) {
      now = now + Duration::Millis(in.ConsumeIntegralInRange(1, 100'000));
      session.OnTime(now);
    }
    if (in.ConsumeIntegralInRange(0, 15) == 0) session.FinishInput();
  }
  return 0;
}
