#include "app/http/static_site.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/app/http_client.h"

namespace usher {
namespace {

using ::testing::HasSubstr;

std::string Text(std::string_view s) { return std::string(s); }

absl::StatusOr<std::unique_ptr<StaticSite>> Load(const TempFolder& folder,
                                                 const StaticSiteOptions& options = {}) {
  return StaticSite::Load(folder.path().string(), options);
}

TEST(StaticSiteTest, FindsFilesAndIndexes) {
  TempFolder folder;
  folder.Write("index.html", "front");
  folder.Write("style.css", "css");
  folder.Write("a/b/index.html", "deep");
  folder.Write("a/odd name.txt", "odd");
  auto site = Load(folder);
  ASSERT_TRUE(site.ok()) << site.status();
  EXPECT_EQ((*site)->Find("/"), (*site)->Find("/index.html"));
  EXPECT_THAT(Text((*site)->Find("/")->reply.whole()), HasSubstr("\r\n\r\nfront"));
  EXPECT_THAT(Text((*site)->Find("/style.css")->reply.head()), HasSubstr("text/css"));
  EXPECT_EQ((*site)->Find("/a/b/"), (*site)->Find("/a/b/index.html"));
  EXPECT_EQ((*site)->Find("/a/b")->reply.status(), 301);
  EXPECT_NE((*site)->Find("/a/odd name.txt"), nullptr);
  EXPECT_EQ((*site)->Find("/a"), nullptr);
  EXPECT_EQ((*site)->Find("/a/"), nullptr);
  EXPECT_EQ((*site)->Find(""), nullptr);
}

TEST(StaticSiteTest, HiddenFilesAreLeftOut) {
  TempFolder folder;
  folder.Write(".git/config", "secret");
  folder.Write(".well-known/security.txt", "public");
  auto site = Load(folder);
  ASSERT_TRUE(site.ok());
  EXPECT_EQ((*site)->Find("/.git/config"), nullptr);
  EXPECT_NE((*site)->Find("/.well-known/security.txt"), nullptr);
}

TEST(StaticSiteTest, TagsTellContentsApart) {
  TempFolder folder;
  folder.Write("a", "one");
  folder.Write("b", "two");
  folder.Write("c", "one");
  auto site = Load(folder);
  ASSERT_TRUE(site.ok());
  EXPECT_NE((*site)->Find("/a")->etag, (*site)->Find("/b")->etag);
  EXPECT_EQ((*site)->Find("/a")->etag, (*site)->Find("/c")->etag);
}

TEST(StaticSiteTest, LinksInsideAreFollowedOthersRefused) {
  TempFolder outside;
  outside.Write("secret", "s");
  TempFolder folder;
  folder.Write("real.txt", "r");
  std::filesystem::create_symlink("real.txt", folder / "link.txt");
  auto site = Load(folder);
  ASSERT_TRUE(site.ok()) << site.status();
  EXPECT_THAT(Text((*site)->Find("/link.txt")->reply.whole()), HasSubstr("\r\n\r\nr"));

  std::filesystem::create_symlink(outside / "secret", folder / "escape");
  EXPECT_THAT(Load(folder).status().ToString(), HasSubstr("escape: leads out of the site"));
  std::filesystem::remove(folder / "escape");
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  EXPECT_THAT(Load(folder).status().ToString(), HasSubstr("dangling: leads nowhere"));
  std::filesystem::remove(folder / "dangling");
  std::filesystem::create_directory(folder / "sub");
  std::filesystem::create_directory_symlink("..", folder / "sub/up");
  EXPECT_THAT(Load(folder).status().ToString(), HasSubstr("up: is not a regular file"));
}

TEST(StaticSiteTest, RefusesWhatIsNoFile) {
  TempFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(Load(folder).status().ToString(), HasSubstr("pipe: is not a regular file"));
  EXPECT_THAT(StaticSite::Load(folder / "none", {}).status().ToString(), HasSubstr("none"));
}

TEST(StaticSiteTest, KeepsItsBounds) {
  TempFolder folder;
  folder.Write("a", std::string(600, 'a'));
  folder.Write("b", std::string(600, 'b'));
  StaticSiteOptions options;
  options.max_bytes = 1200;
  EXPECT_TRUE(Load(folder, options).ok());
  options.max_bytes = 1199;
  EXPECT_EQ(Load(folder, options).status().code(), absl::StatusCode::kResourceExhausted);
  options.max_bytes = 1200;
  options.max_files = 1;
  EXPECT_EQ(Load(folder, options).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(StaticSiteTest, MountsServeFilesFromElsewhere) {
  TempFolder elsewhere;
  elsewhere.Write("lib.js", "lib");
  TempFolder folder;
  folder.Write("own.js", "own");
  StaticSiteOptions options;
  options.mounts = {{"/lib.js", elsewhere / "lib.js"},
                    {"/own.js", elsewhere / "lib.js"},
                    {"/gone.js", elsewhere / "gone.js", false}};
  auto site = Load(folder, options);
  ASSERT_TRUE(site.ok()) << site.status();
  EXPECT_THAT(Text((*site)->Find("/lib.js")->reply.whole()), HasSubstr("\r\n\r\nlib"));
  EXPECT_THAT(Text((*site)->Find("/own.js")->reply.whole()), HasSubstr("\r\n\r\nown"));
  EXPECT_EQ((*site)->Find("/gone.js"), nullptr);
  options.mounts[2].required = true;
  EXPECT_THAT(Load(folder, options).status().ToString(), HasSubstr("gone.js"));
}

// Whatever the front page asks this server for is there (the chart library comes with a package).
TEST(StaticSiteTest, FrontPageIsComplete) {
  auto site = StaticSite::Load(USHER_WWW, StaticSiteOptions());
  ASSERT_TRUE(site.ok()) << site.status();
  const StaticFile* front = (*site)->Find("/");
  ASSERT_NE(front, nullptr);
  const std::string page = Text(front->reply.whole());
  int links = 0;
  for (const std::string attribute :
       {"src=\"", "link rel=\"icon\" href=\"", "stylesheet\" href=\""}) {
    for (size_t at = 0; (at = page.find(attribute, at)) != page.npos; ++links) {
      at += attribute.size();
      const std::string target = page.substr(at, page.find('"', at) - at);
      EXPECT_TRUE((*site)->Find(target) != nullptr || target == DefaultMounts()[0].path) << target;
    }
  }
  EXPECT_EQ(links, 4);
  // Nothing may be fetched from elsewhere.
  EXPECT_EQ(page.find("http://"), page.npos);
  EXPECT_EQ(page.find("https://"), page.npos);
}

TEST(StaticSiteTest, KnowsTheUsualTypes) {
  EXPECT_EQ(MimeType("a.b.html"), "text/html; charset=utf-8");
  EXPECT_EQ(MimeType("x.svg"), "image/svg+xml");
  EXPECT_EQ(MimeType("README"), "application/octet-stream");
}

}  // namespace
}  // namespace usher
