// A whole echo server. As root: echo --no-huge -m 256 --vdev=net_tap0,iface=usher0
#include <usher/usher.h>

#include <cstdio>

class Echo : public usher::Application {
  void OnAcceptable(usher::Acceptor acceptor) override {
    for (usher::Connection c; acceptor.Accept(&c) == usher::Error::kNone;) continue;
  }
  void OnReadable(usher::Connection c) override {
    std::span<const uint8_t> bytes;
    while (c.Peek(&bytes).error == usher::Error::kNone) {  // else no more yet, or OnClosed comes
      if (bytes.empty()) return void(c.Close());  // the peer has ended; our answer still goes out
      const size_t taken = c.Write(bytes).bytes;
      if (taken == 0) return;  // no room: OnWritable will come
      c.Discard(taken);
    }
  }
  void OnWritable(usher::Connection c) override { OnReadable(c); }
};

int main(int argc, char** argv) {
  Echo echo;
  usher::RuntimeOptions options;
  options.eal_args.assign(argv + 1, argv + argc);
  options.shards = 1;
  options.interfaces = {{.port = "0", .addresses = {"198.18.0.2/15", "2001:2::2/48"}}};
  auto runtime = usher::Runtime::Create(options);
  absl::Status status = runtime.status();
  if (status.ok()) status = (*runtime)->Listen({.port = 7}, echo);
  if (status.ok()) (*runtime)->StopOnSignals();
  if (status.ok()) status = (*runtime)->Run([] { std::fputs("serving\n", stderr); });
  if (!status.ok()) std::fprintf(stderr, "echo: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
