#include "stack/api/stack.h"

#include "absl/strings/str_cat.h"

namespace usher {

// A shard, and whom to tell about what happens in it.
class Stack::Worker final : public ShardEvents {
 public:
  explicit Worker(std::unique_ptr<Shard> shard) : shard_(std::move(shard)) {
    shard_->set_events(this);
  }

  Shard& shard() { return *shard_; }

  void OnAcceptable(Handle listener, void* owner) override {
    static_cast<Application*>(owner)->OnAcceptable(Acceptor(shard_.get(), listener));
  }

  void OnConnectionEvents(Handle handle, uint8_t events, void* owner) override {
    Application& application = *static_cast<Application*>(owner);
    Connection c(shard_.get(), handle);
    if (events == kEventReadable) [[likely]]
      return application.OnReadable(c);
    if ((events & kEventConnected) != 0) application.OnConnected(c);
    if ((events & kEventUrgent) != 0 && c.valid()) [[unlikely]]
      application.OnUrgent(c);
    if ((events & kEventReadable) != 0 && c.valid()) application.OnReadable(c);
    if ((events & kEventWritable) != 0 && c.valid()) application.OnWritable(c);
    if ((events & kEventClosed) != 0 && c.valid())
      application.OnClosed(c, shard_->Find(handle)->error());
  }

  void OnConnectionTimer(Handle handle, void* owner) override {
    static_cast<Application*>(owner)->OnTimer(Connection(shard_.get(), handle));
  }

 private:
  std::unique_ptr<Shard> shard_;
};

namespace {

// What bounds memory is divided among the shards; 0 stays "not set", and below 0 is no number.
Sysctls ShareOf(Sysctls sysctls, uint32_t count) {
  const auto share = [count](int32_t whole) {
    return whole < 0 ? whole : static_cast<int32_t>((int64_t{whole} + count - 1) / count);
  };
  for (uint64_t& pages : sysctls.tcp_mem) pages = (pages + count - 1) / count;
  sysctls.tcp_max_tw_buckets = share(sysctls.tcp_max_tw_buckets);
  sysctls.tcp_max_orphans = share(sysctls.tcp_max_orphans);
  return sysctls;
}

}  // namespace

Stack::Stack() = default;
Stack::~Stack() = default;

Shard& Stack::shard(uint32_t i) { return workers_[i]->shard(); }

absl::StatusOr<std::unique_ptr<Stack>> Stack::Create(
    const StackOptions& options, std::span<const std::vector<ShardInterface>> ports,
    RandomSource& random) {
  if (ports.empty()) return absl::InvalidArgumentError("a stack needs at least one shard");
  const auto count = static_cast<uint32_t>(ports.size());
  std::unique_ptr<Stack> stack(new Stack());
  for (uint32_t i = 0; i < count; ++i) {
    ShardOptions o;
    o.index = i;
    o.max_connections = (options.max_connections + count - 1) / count;
    o.sysctls = ShareOf(options.sysctls, count);
    ResolveSysctls(o.sysctls, o.max_connections);
    o.passive_open = options.passive_open;
    o.passive_open.max_requests = (options.passive_open.max_requests + count - 1) / count;
    o.passive_open.shard_index = i;
    o.passive_open.shard_count = count;
    o.network = options.network;
    o.network_events = options.network_events;
    auto shard = Shard::Create(o, ports[i], random);
    if (!shard.ok()) return shard.status();
    stack->workers_.push_back(std::make_unique<Worker>(*std::move(shard)));
  }
  std::vector<Shard*> shards;
  for (uint32_t i = 0; i < count; ++i) shards.push_back(&stack->shard(i));
  for (Shard* shard : shards) {
    shard->SetSiblings(shards);
    shard->passive_open().ShareFastOpenKeys(shards[0]->passive_open());
  }
  return stack;
}

absl::Status Stack::Listen(const ListenSpec& spec,
                           absl::AnyInvocable<Application&(uint32_t)> application_of,
                           uint16_t* port) {
  ListenSpec each = spec;
  std::vector<Handle> opened;
  ++listeners_opened_;
  for (uint32_t i = 0; i < shard_count(); ++i) {
    Handle listener;
    Shard& s = shard(i);
    const Error e = s.Listen(each, &listener, &application_of(i));
    if (e != Error::kNone) {
      // All shards or none: half a listener would be found by some of the flows only.
      for (uint32_t k = 0; k < i; ++k) shard(k).CloseListener(opened[k]);
      return absl::Status(
          absl::StatusCode::kFailedPrecondition,
          absl::StrCat("cannot listen on ", ToString(spec.address, each.port), ": ", ToString(e)));
    }
    opened.push_back(listener);
    if (shard_count() > 1) s.passive_open().ShareBacklog(listener, listeners_opened_);
    if (each.port == 0) each.port = s.passive_open().Get(listener)->spec.port;
  }
  if (port != nullptr) *port = each.port;
  return absl::OkStatus();
}

void Stack::RotateCookieKeys(RandomSource& random) {
  for (uint32_t i = 0; i < shard_count(); ++i)
    Post(i, [keys = SynCookies::Keys::From(random)](Shard& s) {
      s.passive_open().RotateCookieKey(keys);
    });
}

Error Stack::Connect(uint32_t i, const IpAddress& remote, uint16_t port, Application& application,
                     Connection* connection, const TcpOptionsSet& options, const Md5Key* md5) {
  Handle handle;
  Shard& s = shard(i);
  const Error e =
      s.Connect(remote, port, options, &handle, &application, std::nullopt, 0, nullptr, md5);
  if (e == Error::kNone) *connection = Connection(&s, handle);
  return e;
}

}  // namespace usher
