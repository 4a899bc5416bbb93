// The files of a web site, read once into memory as ready-made responses.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "app/http/reply.h"

namespace usher {

// One thing that a path leads to. Immutable once the site is loaded.
struct StaticFile {
  PrebuiltReply reply;         // 200 with the file, or 301 to the folder's path with its slash
  PrebuiltReply not_modified;  // 304 for the same file
  std::string etag;            // with its quotes; empty for a redirect
};

// A file from elsewhere that is served under `path` of the site.
struct StaticMount {
  std::string path;  // e.g. "/chart.min.js"
  std::string file;
  bool required = true;  // otherwise a missing file is left out
};

struct StaticSiteOptions {
  uint64_t max_bytes = uint64_t{256} << 20;
  size_t max_files = 65536;
  std::vector<StaticMount> mounts;
};

// What usherd mounts beside every root: the chart library where Debian's libjs-chart.js puts it.
std::vector<StaticMount> DefaultMounts();

// The Content-Type for a file name, by its extension.
std::string_view MimeType(std::string_view file_name);

// A loaded site; immutable, so any number of shards may read it at once.
class StaticSite {
 public:
  // Reads everything under the folder `root`. Names beginning with '.' are left out (except
  // ".well-known"). Fails, with the name of the file in the message, on what cannot be read, on a
  // symbolic link that leads to a folder or out of `root`, on anything that is no regular file, and
  // when a bound of `options` is exceeded.
  static absl::StatusOr<std::unique_ptr<StaticSite>> Load(const std::string& root,
                                                          const StaticSiteOptions& options);

  // The file behind a decoded path such as "/" or "/style.css"; null if there is none.
  const StaticFile* Find(std::string_view path) const;

  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string path;
    const StaticFile* file;
  };
  struct Loader;

  std::vector<std::unique_ptr<StaticFile>> files_;
  std::vector<Entry> entries_;  // sorted by path
};

}  // namespace usher
