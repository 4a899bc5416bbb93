// Runs scripts and reports in TAP:
//   script-runner [--so FILE | --kernel] [--verbose | --record] [--family NAME] PATH...
// A PATH is a script or a folder of scripts (*.pkt). Each runs once for each family. With --kernel
// (root only) it is the running kernel that is looked at, in real time. With --record what happens
// is printed instead of checked, for a comparison of both.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/script/kernel.h"
#include "tests/script/player.h"

namespace usher::script {
namespace {

namespace fs = std::filesystem;
using Init = void (*)(const char*, packetdrill_interface*);

// A folder in the shape of /proc/sys with what a script sets, and nothing of this machine's.
class SysctlFolder {
 public:
  explicit SysctlFolder(const std::map<std::string, std::string>& values)
      : root_(fs::temp_directory_path() / ("usher-script-" + std::to_string(getpid()))) {
    fs::remove_all(root_);
    fs::create_directories(root_);
    for (const auto& [name, value] : values) {
      std::string path = name;
      std::replace(path.begin(), path.end(), '.', '/');
      fs::create_directories((root_ / path).parent_path());
      std::ofstream(root_ / path) << value << '\n';
    }
  }
  ~SysctlFolder() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  std::string path() const { return root_.string(); }

 private:
  fs::path root_;
};

// With real time and a machine that has other things to do, nothing is exact.
constexpr int64_t kKernelToleranceUs = 70'000;

// In a process of its own, so that its namespace ends with it.
std::string RunOnKernel(Script script, FamilyMode mode, bool verbose, bool record) {
  int fds[2];
  if (pipe(fds) != 0) return "no pipe";
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    packetdrill_interface api{};
    std::string wrong = "cannot be run here";
    script.tolerance_us = std::max(script.tolerance_us, kKernelToleranceUs);
    const bool tso = script.flags.find(",tso=1") != std::string::npos;
    if (OpenKernel(script.sysctls, mode == FamilyMode::kIpv6 ? 1520 : 1500, tso, &api)) {
      Player player(api, mode, verbose);
      if (!tso) player.IgnorePush();
      wrong.clear();
      if (record)
        player.Record(script, /*live=*/true);
      else
        wrong = player.Play(script);
      std::fflush(stdout);
    }
    const ssize_t written = write(fds[1], wrong.data(), wrong.size());
    std::_Exit(written == static_cast<ssize_t>(wrong.size()) ? 0 : 1);
  }
  close(fds[1]);
  std::string wrong;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(fds[0], buffer, sizeof buffer)) > 0;)
    wrong.append(buffer, static_cast<size_t>(n));
  close(fds[0]);
  waitpid(child, nullptr, 0);
  return wrong;
}

std::string Run(Init init, const Script& script, FamilyMode mode, bool verbose, bool record) {
  if (init == nullptr) return RunOnKernel(script, mode, verbose, record);
  const SysctlFolder sysctls(script.sysctls);
  // An IPv6 header is 20 bytes longer: with a larger MTU segments are the same size.
  const bool v6 = mode == FamilyMode::kIpv6;
  const std::string flags = std::string("v=") + ToString(mode) + (v6 ? ",mtu=1520" : ",mtu=1500") +
                            ",seed=1,tso=0,sysctl_root=" + sysctls.path() + script.flags +
                            (record ? ",still=1" : "");
  packetdrill_interface api{};
  init(flags.c_str(), &api);
  std::string wrong;
  {
    Player player(api, mode, verbose);
    if (record)
      player.Record(script, /*live=*/false);
    else
      wrong = player.Play(script);
  }
  api.free(api.userdata);
  return wrong;
}

std::vector<fs::path> Find(const std::vector<std::string>& paths) {
  std::vector<fs::path> found;
  for (const std::string& p : paths) {
    if (!fs::is_directory(p)) {
      found.emplace_back(p);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(p))
      if (entry.path().extension() == ".pkt") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

int RunAll(Init init, const std::vector<std::string>& paths, const std::string& family,
           bool verbose, bool record) {
  int count = 0;
  int failed = 0;
  for (const fs::path& path : Find(paths)) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    Script script;
    std::string error;
    const bool read = file && Parse(text.str(), &script, &error);
    const std::string name = path.parent_path().filename().string() + "/" + path.stem().string();
    for (const FamilyMode mode : {FamilyMode::kIpv4, FamilyMode::kMapped, FamilyMode::kIpv6}) {
      const std::string as = ToString(mode);
      const bool wanted =
          script.families.empty() ||
          std::find(script.families.begin(), script.families.end(), as) != script.families.end();
      if (!wanted || (!family.empty() && family != as)) continue;
      const std::string wrong = read ? Run(init, script, mode, verbose, record)
                                     : (error.empty() ? "cannot be read" : error);
      std::printf("%s %d - %s %s\n", wrong.empty() ? "ok" : "not ok", ++count, name.c_str(),
                  as.c_str());
      if (!wrong.empty()) std::printf("# %s: %s\n", path.c_str(), wrong.c_str());
      if (!wrong.empty()) ++failed;
      std::fflush(stdout);
    }
  }
  std::printf("1..%d\n", count);
  return failed == 0 && count != 0 ? 0 : 1;
}

}  // namespace
}  // namespace usher::script

int main(int argc, char** argv) {
  using namespace usher::script;  // NOLINT(google-build-using-namespace)
  std::string so;
  std::string family;
  bool verbose = false;
  bool kernel = false;
  bool record = false;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--so" && i + 1 < argc)
      so = argv[++i];
    else if (arg == "--family" && i + 1 < argc)
      family = argv[++i];
    else if (arg == "--kernel")
      kernel = true;
    else if (arg == "--record")
      record = true;
    else if (arg == "--verbose")
      verbose = true;
    else
      paths.push_back(arg);
  }
  Init init = nullptr;
  if (kernel) {  // no adapter then
  } else if (!so.empty()) {
    void* const library = dlopen(so.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library != nullptr)
      init = reinterpret_cast<Init>(dlsym(library, "packetdrill_interface_init"));
    if (init == nullptr) {
      std::fprintf(stderr, "%s\n", dlerror());
      return 2;
    }
  } else {
#ifdef SCRIPT_LINKED_ADAPTER
    init = packetdrill_interface_init;
#else
    std::fputs("--so FILE is needed\n", stderr);
    return 2;
#endif
  }
  return RunAll(init, paths, family, verbose, record);
}
