#include "app/http/static_site.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace usher {
namespace {

namespace fs = std::filesystem;

struct Mime {
  std::string_view extension;
  std::string_view type;
};

constexpr Mime kMimeTypes[] = {
    {"html", "text/html; charset=utf-8"},
    {"htm", "text/html; charset=utf-8"},
    {"css", "text/css; charset=utf-8"},
    {"js", "text/javascript; charset=utf-8"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"json", "application/json"},
    {"txt", "text/plain; charset=utf-8"},
    {"md", "text/markdown; charset=utf-8"},
    {"xml", "application/xml"},
    {"svg", "image/svg+xml"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"gif", "image/gif"},
    {"webp", "image/webp"},
    {"ico", "image/x-icon"},
    {"pdf", "application/pdf"},
    {"wasm", "application/wasm"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
};

// FNV-1a: an entity tag must tell versions of a file apart, not withstand an enemy.
std::string MakeEtag(std::string_view content) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char text[32];
  std::snprintf(text, sizeof(text), "\"%016llx\"", static_cast<unsigned long long>(hash));
  return text;
}

// `path` as it may stand in a Location field.
std::string EncodePath(std::string_view path) {
  constexpr std::string_view kPlain = "/-._~!$&'()*+,;=:@";
  std::string out;
  for (const char c : path) {
    const bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (alnum || kPlain.find(c) != std::string_view::npos) {
      out.push_back(c);
    } else {
      char text[4];
      std::snprintf(text, sizeof(text), "%%%02X", static_cast<unsigned char>(c));
      out.append(text);
    }
  }
  return out;
}

absl::StatusOr<std::string> ReadFile(const std::string& file, uint64_t room) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return absl::NotFoundError(absl::StrCat(file, ": cannot be opened"));
  const std::streamoff length = in.tellg();
  if (length < 0) return absl::DataLossError(absl::StrCat(file, ": cannot be read"));
  if (static_cast<uint64_t>(length) > room) {
    return absl::ResourceExhaustedError(absl::StrCat(file, ": the site is larger than its bound; ",
                                                     length, " bytes in this file, ", room,
                                                     " left"));
  }
  std::string content(static_cast<size_t>(length), '\0');
  in.seekg(0);
  in.read(content.data(), length);
  if (in.gcount() != length) return absl::DataLossError(absl::StrCat(file, ": cannot be read"));
  return content;
}

// True if `path` lies under `folder`; both are canonical.
bool IsUnder(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first ==
         folder.end();
}

}  // namespace

std::vector<StaticMount> DefaultMounts() {
  return {{"/chart.min.js", "/usr/share/javascript/chart.js/chart.min.js", false}};
}

std::string_view MimeType(std::string_view file_name) {
  const size_t dot = file_name.rfind('.');
  if (dot != std::string_view::npos) {
    for (const Mime& mime : kMimeTypes) {
      if (file_name.substr(dot + 1) == mime.extension) return mime.type;
    }
  }
  return "application/octet-stream";
}

// What Load carries from file to file.
struct StaticSite::Loader {
  StaticSite& site;
  const StaticSiteOptions& options;
  fs::path root;  // canonical
  uint64_t bytes = 0;

  absl::Status Tree();
  absl::Status Item(const fs::directory_entry& item, bool* descend);
  absl::Status File(const std::string& file, const std::string& path, std::string_view caching);
  void Alias(std::string path, const StaticFile* file) {
    site.entries_.push_back(Entry{std::move(path), file});
  }
};

absl::Status StaticSite::Loader::File(const std::string& file, const std::string& path,
                                      std::string_view caching) {
  if (site.files_.size() >= options.max_files) {
    return absl::ResourceExhaustedError(
        absl::StrCat(file, ": more than ", options.max_files, " files in the site"));
  }
  absl::StatusOr<std::string> content = ReadFile(file, options.max_bytes - bytes);
  if (!content.ok()) return content.status();
  bytes += content->size();

  auto entry = std::make_unique<StaticFile>();
  entry->etag = MakeEtag(*content);
  std::string validators = "Cache-Control: ";
  validators.append(caching).append("\r\nETag: ").append(entry->etag).append("\r\n");
  std::string fields = "Content-Type: ";
  fields.append(MimeType(path)).append("\r\nX-Content-Type-Options: nosniff\r\n");
  entry->reply = PrebuiltReply(200, fields + validators, *content);
  entry->not_modified = PrebuiltReply(304, validators, "");
  Alias(path, entry.get());

  constexpr std::string_view kIndex = "/index.html";
  if (std::string_view(path).ends_with(kIndex)) {
    const std::string folder = path.substr(0, path.size() - kIndex.size() + 1);
    Alias(folder, entry.get());
    if (folder != "/") {
      auto redirect = std::make_unique<StaticFile>();
      const std::string location = "Location: " + EncodePath(folder) + "\r\n";
      redirect->reply = PrebuiltReply(301, "Content-Type: text/plain\r\n" + location, "");
      Alias(folder.substr(0, folder.size() - 1), redirect.get());
      site.files_.push_back(std::move(redirect));
    }
  }
  site.files_.push_back(std::move(entry));
  return absl::OkStatus();
}

absl::Status StaticSite::Loader::Item(const fs::directory_entry& item, bool* descend) {
  const std::string file = item.path().string();
  const std::string name = item.path().filename().string();
  std::error_code error;
  *descend = false;
  if (name[0] == '.' && name != ".well-known") return absl::OkStatus();
  if (item.is_symlink(error)) {
    const fs::path target = fs::canonical(item.path(), error);
    if (error) return absl::NotFoundError(absl::StrCat(file, ": leads nowhere"));
    if (!IsUnder(target, root)) {
      return absl::PermissionDeniedError(absl::StrCat(file, ": leads out of the site"));
    }
  } else if (item.is_directory(error)) {
    *descend = true;
    return absl::OkStatus();
  }
  if (!item.is_regular_file(error)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is not a regular file"));
  }
  const std::string path = absl::StrCat("/", item.path().lexically_relative(root).generic_string());
  // An unchanged file is asked about again but not sent again.
  return File(file, path, "no-cache");
}

absl::Status StaticSite::Loader::Tree() {
  std::error_code error;
  fs::recursive_directory_iterator at(root, error);
  const fs::recursive_directory_iterator end;
  while (!error && at != end) {
    bool descend = false;
    if (absl::Status status = Item(*at, &descend); !status.ok()) return status;
    if (!descend) at.disable_recursion_pending();
    at.increment(error);
  }
  if (error) {
    return absl::NotFoundError(absl::StrCat(root.string(), ": ", error.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<StaticSite>> StaticSite::Load(const std::string& root,
                                                             const StaticSiteOptions& options) {
  std::error_code error;
  const fs::path canonical = fs::canonical(root, error);
  if (error || !fs::is_directory(canonical, error)) {
    return absl::NotFoundError(absl::StrCat(root, ": is not a folder that can be read"));
  }
  auto site = std::make_unique<StaticSite>();
  Loader loader{*site, options, canonical};
  if (absl::Status status = loader.Tree(); !status.ok()) return status;
  for (const StaticMount& mount : options.mounts) {
    if (!fs::is_regular_file(mount.file, error) && !mount.required) continue;
    const absl::Status status = loader.File(mount.file, mount.path, "public, max-age=86400");
    if (!status.ok()) return status;
  }
  // Stable, so that a file of the root goes before a mount of the same path.
  std::stable_sort(site->entries_.begin(), site->entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.path < b.path; });
  return site;
}

const StaticFile* StaticSite::Find(std::string_view path) const {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), path,
                                   [](const Entry& e, std::string_view p) { return e.path < p; });
  return it != entries_.end() && it->path == path ? it->file : nullptr;
}

}  // namespace usher
