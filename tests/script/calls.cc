// A script's calls, made through the interface.
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "tests/script/player.h"

namespace usher::script {
namespace {

constexpr char kLocal4[] = "192.168.0.5", kRemote4[] = "192.0.2.1";
constexpr char kLocal6[] = "fd3d:a0b:17d6::5", kRemote6[] = "2001:db8::1";
constexpr uint16_t kPort = 8080;

std::string Differs(const char* what, int64_t expected, int64_t actual) {
  if (expected == actual) return {};
  return std::string(what) + " is " + std::to_string(actual) + ", not " + std::to_string(expected) +
         "; ";
}

const Value kNothing;

const Value& ArgOf(const Call& call, size_t i) {
  return i < call.arguments.size() ? call.arguments[i] : kNothing;
}

// The lengths of {msg_iov(n)=[{..., 10}, ...]} or of an iovec list.
std::vector<size_t> Lengths(const Value& list) {
  std::vector<size_t> lengths;
  for (const Value& v : list.list)
    if (!v.fields.empty()) lengths.push_back(static_cast<size_t>(v.fields.back().value.number));
  return lengths;
}

struct Buffers {
  explicit Buffers(const std::vector<size_t>& lengths) {
    for (const size_t n : lengths) storage.emplace_back(n + 1);
    for (size_t i = 0; i < lengths.size(); ++i) iov.push_back({storage[i].data(), lengths[i]});
  }
  std::vector<std::vector<uint8_t>> storage;
  std::vector<iovec> iov;
};

}  // namespace

IpAddress Calls::local() const {
  return *IpAddress::Parse(mode_ == FamilyMode::kIpv6 ? kLocal6 : kLocal4);
}
IpAddress Calls::remote() const {
  return *IpAddress::Parse(mode_ == FamilyMode::kIpv6 ? kRemote6 : kRemote4);
}

int Calls::Live(const Value& v) const {
  const auto it = live_.find(static_cast<int>(v.NumberOr(-1)));
  return it != live_.end() ? it->second : static_cast<int>(v.NumberOr(-1));
}
int Calls::LiveArg(const Call& call, size_t i) const { return Live(ArgOf(call, i)); }
int64_t Calls::Arg(const Call& call, size_t i, int64_t otherwise) const {
  return ArgOf(call, i).NumberOr(otherwise);
}

Calls::Outcome Calls::Done(int64_t result) const { return {result, result < 0 ? errno : 0, {}}; }

socklen_t Calls::Address(const IpAddress& address, uint16_t port, sockaddr_storage* out) const {
  if (mode_ == FamilyMode::kIpv4) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(address.v4());
    std::memcpy(out, &in, sizeof in);
    return sizeof in;
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(port);
  StoreIpv6(in.sin6_addr.s6_addr, address);
  std::memcpy(out, &in, sizeof in);
  return sizeof in;
}

std::string Calls::Make(const Call& call) {
  errno = 0;
  auto outcome = MakeSocketCall(call);
  if (!outcome) outcome = MakeIoCall(call);
  if (!outcome) outcome = MakeOtherCall(call);
  if (!outcome) return "no such call: " + call.name;
  std::string wrong = outcome->wrong;
  const bool opens = call.name == "socket" || call.name == "accept" || call.name == "epoll_create";
  if (opens && outcome->result >= 0 && call.result.NumberOr(0) >= 0) {
    live_[static_cast<int>(call.result.NumberOr(outcome->result))] =
        static_cast<int>(outcome->result);
    if (call.name != "epoll_create") last_socket_ = static_cast<int>(outcome->result);
  } else if (call.result.kind == Value::Kind::kNumber) {
    wrong += Differs(call.name.c_str(), call.result.number, outcome->result);
  }
  if (outcome->error != call.error && (call.error != 0 || outcome->result < 0))
    wrong += std::string("errno is ") + std::strerror(outcome->error) + ", not " +
             std::strerror(call.error) + "; ";
  return wrong;
}

std::optional<Calls::Outcome> Calls::MakeSocketCall(const Call& call) {
  void* const u = api_.userdata;
  sockaddr_storage address{};
  const auto* const to = reinterpret_cast<const sockaddr*>(&address);
  if (call.name == "socket") {
    const int domain =
        static_cast<int>(Arg(call, 0, mode_ == FamilyMode::kIpv4 ? AF_INET : AF_INET6));
    return Done(
        api_.socket(u, domain, static_cast<int>(Arg(call, 1)), static_cast<int>(Arg(call, 2))));
  }
  if (call.name == "bind") {
    // bind(3, ..., ...), or with a port: bind(3, 81, ...).
    bound_port_ = static_cast<uint16_t>(Arg(call, 1, kPort));
    return Done(api_.bind(u, LiveArg(call, 0), to, Address(local(), bound_port_, &address)));
  }
  if (call.name == "listen")
    return Done(api_.listen(u, LiveArg(call, 0), static_cast<int>(Arg(call, 1))));
  if (call.name == "accept") {
    socklen_t length = sizeof address;
    return Done(api_.accept(u, LiveArg(call, 0), reinterpret_cast<sockaddr*>(&address), &length));
  }
  if (call.name == "connect") {
    const socklen_t length = Address(remote(), kPort, &address);
    connecting_ = true;
    last_socket_ = LiveArg(call, 0);
    return Done(api_.connect(u, LiveArg(call, 0), to, length));
  }
  if (call.name == "close") return Done(api_.close(u, LiveArg(call, 0)));
  if (call.name == "shutdown")
    return Done(api_.shutdown(u, LiveArg(call, 0), static_cast<int>(Arg(call, 1))));
  if (call.name == "getsockopt") return GetSockOpt(call);
  if (call.name == "setsockopt") return SetSockOpt(call);
  return std::nullopt;
}

std::optional<Calls::Outcome> Calls::MakeIoCall(const Call& call) {
  void* const u = api_.userdata;
  const int fd = LiveArg(call, 0);
  std::vector<uint8_t> buffer(static_cast<size_t>(std::max<int64_t>(Arg(call, 2), 0)) + 1);
  const auto size = static_cast<size_t>(std::max<int64_t>(Arg(call, 2), 0));
  const auto flags = static_cast<int>(Arg(call, 3));
  if (call.name == "read") return Done(api_.read(u, fd, buffer.data(), size));
  if (call.name == "recv") return Done(api_.recv(u, fd, buffer.data(), size, flags));
  if (call.name == "recvfrom")
    return Done(api_.recvfrom(u, fd, buffer.data(), size, flags, nullptr, nullptr));
  if (call.name == "write") return Done(api_.write(u, fd, buffer.data(), size));
  if (call.name == "send") return Done(api_.send(u, fd, buffer.data(), size, flags));
  if (call.name == "sendto") {
    sockaddr_storage address{};
    const bool named = (flags & MSG_FASTOPEN) != 0;
    const socklen_t length = named ? Address(remote(), kPort, &address) : 0;
    if (named) connecting_ = true;
    if (named) last_socket_ = fd;
    return Done(api_.sendto(u, fd, buffer.data(), size, flags,
                            named ? reinterpret_cast<sockaddr*>(&address) : nullptr, length));
  }
  if (call.name == "readv" || call.name == "writev") {
    Buffers b(Lengths(ArgOf(call, 1)));
    const int count = static_cast<int>(b.iov.size());
    return Done(call.name == "readv" ? api_.readv(u, fd, b.iov.data(), count)
                                     : api_.writev(u, fd, b.iov.data(), count));
  }
  if (call.name == "recvmsg" || call.name == "sendmsg") return Message(call, call.name[0] == 's');
  return std::nullopt;
}

Calls::Outcome Calls::Message(const Call& call, bool sends) {
  const Value& spec = ArgOf(call, 1);
  const Value* iov = spec.Field("msg_iov");
  Buffers b(iov != nullptr ? Lengths(*iov) : std::vector<size_t>());
  msghdr m{};
  m.msg_iov = b.iov.data();
  m.msg_iovlen = b.iov.size();
  alignas(cmsghdr) std::array<uint8_t, 256> control{};
  if (!sends) {
    m.msg_control = control.data();
    m.msg_controllen = control.size();
  }
  const int fd = LiveArg(call, 0);
  const auto flags = static_cast<int>(Arg(call, 2));
  Outcome out = Done(sends ? api_.sendmsg(api_.userdata, fd, &m, flags)
                           : api_.recvmsg(api_.userdata, fd, &m, flags));
  const Value* inq = spec.Field("inq");
  if (inq != nullptr && out.result >= 0) {
    const cmsghdr* c = CMSG_FIRSTHDR(&m);
    int value = -1;
    if (c != nullptr && c->cmsg_type == TCP_CM_INQ) std::memcpy(&value, CMSG_DATA(c), sizeof value);
    out.wrong = Differs("inq", inq->number, value);
  }
  return out;
}

std::optional<Calls::Outcome> Calls::MakeOtherCall(const Call& call) {
  void* const u = api_.userdata;
  const int fd = LiveArg(call, 0);
  if (call.name == "fcntl")
    return Done(api_.fcntl(u, fd, static_cast<int>(Arg(call, 1)), static_cast<long>(Arg(call, 2))));
  if (call.name == "ioctl") {
    const Value& argument = ArgOf(call, 2);
    int value = argument.list.empty() ? 0 : static_cast<int>(argument.list[0].number);
    Outcome out = Done(api_.ioctl(u, fd, static_cast<unsigned long>(Arg(call, 1)), &value));
    if (!argument.list.empty() && out.result == 0)
      out.wrong = Differs("ioctl's value", argument.list[0].number, value);
    return out;
  }
  if (call.name == "poll") return Poll(call);
  if (call.name == "epoll_create")
    return Done(api_.epoll_create(u, static_cast<int>(Arg(call, 0))));
  if (call.name == "epoll_ctl") return EpollCtl(call);
  if (call.name == "epoll_wait") return EpollWait(call);
  if (call.name == "pipe") {
    int fds[2] = {-1, -1};
    Outcome out = Done(api_.pipe(u, fds));
    const Value& names = ArgOf(call, 0);
    for (size_t i = 0; i < 2 && i < names.list.size(); ++i)
      live_[static_cast<int>(names.list[i].number)] = fds[i];
    return out;
  }
  if (call.name == "splice")
    return Done(api_.splice(u, fd, nullptr, LiveArg(call, 2), nullptr,
                            static_cast<size_t>(Arg(call, 4)),
                            static_cast<unsigned>(Arg(call, 5))));
  return std::nullopt;
}

Calls::Outcome Calls::Poll(const Call& call) {
  std::vector<pollfd> fds;
  for (const Value& v : ArgOf(call, 0).list) {
    const Value* events = v.Field("events");
    const Value* fd = v.Field("fd");
    fds.push_back({fd != nullptr ? Live(*fd) : -1,
                   static_cast<short>(events != nullptr ? events->number : 0), 0});
  }
  Outcome out =
      Done(api_.poll(api_.userdata, fds.data(), fds.size(), static_cast<int>(Arg(call, 2))));
  for (size_t i = 0; i < fds.size(); ++i) {
    const Value* revents = ArgOf(call, 0).list[i].Field("revents");
    if (revents != nullptr)
      out.wrong += Differs("revents", revents->number, static_cast<uint16_t>(fds[i].revents));
  }
  return out;
}

// The name under which an event is waited for is the script's descriptor.
Calls::Outcome Calls::EpollCtl(const Call& call) {
  epoll_event event{};
  const Value& spec = ArgOf(call, 3);
  if (const Value* events = spec.Field("events"))
    event.events = static_cast<uint32_t>(events->number);
  const Value* data = spec.Field("fd");
  event.data.u64 = static_cast<uint64_t>(data != nullptr ? data->number : Arg(call, 2));
  return Done(api_.epoll_ctl(api_.userdata, LiveArg(call, 0), static_cast<int>(Arg(call, 1)),
                             LiveArg(call, 2), &event));
}

Calls::Outcome Calls::EpollWait(const Call& call) {
  const Value& spec = ArgOf(call, 1);
  std::vector<Value> expected = spec.list;
  if (spec.kind == Value::Kind::kStruct) expected = {spec};
  const auto most = static_cast<int>(Arg(call, 2, 1));
  std::vector<epoll_event> events(static_cast<size_t>(std::max(most, 1)));
  Outcome out = Done(api_.epoll_wait(api_.userdata, LiveArg(call, 0), events.data(), most,
                                     static_cast<int>(Arg(call, 3))));
  for (size_t i = 0; i < expected.size() && static_cast<int64_t>(i) < out.result; ++i) {
    if (const Value* bits = expected[i].Field("events"))
      out.wrong += Differs("events", bits->number, events[i].events);
    if (const Value* fd = expected[i].Field("fd"))
      out.wrong += Differs("fd", fd->number, static_cast<int64_t>(events[i].data.u64));
  }
  return out;
}

Calls::Outcome Calls::SetSockOpt(const Call& call) {
  const Value& v = ArgOf(call, 3);
  const auto set = [&](const void* value, size_t size) {
    const auto length = static_cast<socklen_t>(Arg(call, 4, static_cast<int64_t>(size)));
    return Done(api_.setsockopt(api_.userdata, LiveArg(call, 0), static_cast<int>(Arg(call, 1)),
                                static_cast<int>(Arg(call, 2)), value, length));
  };
  if (v.kind == Value::Kind::kText) return set(v.text.data(), v.text.size());
  if (const Value* onoff = v.Field("onoff")) {
    const linger l{static_cast<int>(onoff->number), static_cast<int>(v.Field("linger")->number)};
    return set(&l, sizeof l);
  }
  if (const Value* key = v.Field("md5")) {  // for the peer; {md5="..", prefix=N}: for its network
    tcp_md5sig signing{};
    sockaddr_storage address{};
    const socklen_t size = Address(remote(), 0, &address);
    std::memcpy(&signing.tcpm_addr, &address, size);
    signing.tcpm_keylen = static_cast<uint16_t>(key->text.size());
    std::copy_n(key->text.begin(), std::min<size_t>(key->text.size(), TCP_MD5SIG_MAXKEYLEN),
                signing.tcpm_key);
    if (const Value* prefix = v.Field("prefix")) {
      signing.tcpm_flags = TCP_MD5SIG_FLAG_PREFIX;
      signing.tcpm_prefixlen = static_cast<uint8_t>(prefix->number);
    }
    return set(&signing, sizeof signing);
  }
  if (const Value* seconds = v.Field("tv_sec")) {
    const Value* us = v.Field("tv_usec");
    const timeval t{seconds->number, us != nullptr ? us->number : 0};
    return set(&t, sizeof t);
  }
  const int number = v.list.empty() ? 0 : static_cast<int>(v.list[0].number);
  return set(&number, sizeof number);
}

Calls::Outcome Calls::GetSockOpt(const Call& call) {
  const Value& v = ArgOf(call, 3);
  std::array<uint8_t, 512> bytes{};
  socklen_t length = bytes.size();
  if (const Value& l = ArgOf(call, 4); !l.list.empty())
    length = static_cast<socklen_t>(l.list[0].number);
  Outcome out =
      Done(api_.getsockopt(api_.userdata, LiveArg(call, 0), static_cast<int>(Arg(call, 1)),
                           static_cast<int>(Arg(call, 2)), bytes.data(), &length));
  if (out.result != 0) return out;
  if (v.kind == Value::Kind::kText) {
    if (v.text != reinterpret_cast<const char*>(bytes.data())) out.wrong = "another text; ";
  } else if (const Value* onoff = v.Field("onoff")) {
    linger l{};
    std::memcpy(&l, bytes.data(), sizeof l);
    out.wrong = Differs("onoff", onoff->number, l.l_onoff) +
                Differs("linger", v.Field("linger")->number, l.l_linger);
  } else if (!v.list.empty()) {
    int number = 0;
    std::memcpy(&number, bytes.data(), sizeof number);
    out.wrong = Differs("the option", v.list[0].number, number);
  }
  return out;
}

std::map<std::string, int64_t> Calls::TcpInfo() {
  tcp_info info{};
  socklen_t length = sizeof info;
  api_.getsockopt(api_.userdata, last_socket_, IPPROTO_TCP, TCP_INFO, &info, &length);
  std::map<std::string, int64_t> names;
#define FIELD(name) names[#name] = static_cast<int64_t>(info.name)
  FIELD(tcpi_state), FIELD(tcpi_ca_state), FIELD(tcpi_retransmits), FIELD(tcpi_probes);
  FIELD(tcpi_backoff), FIELD(tcpi_options), FIELD(tcpi_snd_wscale), FIELD(tcpi_rcv_wscale);
  FIELD(tcpi_rto), FIELD(tcpi_ato), FIELD(tcpi_snd_mss), FIELD(tcpi_rcv_mss);
  FIELD(tcpi_unacked), FIELD(tcpi_sacked), FIELD(tcpi_lost), FIELD(tcpi_retrans);
  FIELD(tcpi_last_data_sent), FIELD(tcpi_last_data_recv), FIELD(tcpi_last_ack_recv);
  FIELD(tcpi_pmtu), FIELD(tcpi_rcv_ssthresh), FIELD(tcpi_rtt), FIELD(tcpi_rttvar);
  FIELD(tcpi_snd_ssthresh), FIELD(tcpi_snd_cwnd), FIELD(tcpi_advmss), FIELD(tcpi_reordering);
  FIELD(tcpi_rcv_rtt), FIELD(tcpi_rcv_space), FIELD(tcpi_total_retrans);
  FIELD(tcpi_pacing_rate), FIELD(tcpi_bytes_acked), FIELD(tcpi_bytes_received);
  FIELD(tcpi_segs_out), FIELD(tcpi_segs_in), FIELD(tcpi_notsent_bytes), FIELD(tcpi_min_rtt);
  FIELD(tcpi_data_segs_in), FIELD(tcpi_data_segs_out), FIELD(tcpi_delivered);
  FIELD(tcpi_delivered_ce), FIELD(tcpi_bytes_sent), FIELD(tcpi_bytes_retrans);
  FIELD(tcpi_dsack_dups), FIELD(tcpi_reord_seen), FIELD(tcpi_rcv_ooopack), FIELD(tcpi_snd_wnd);
#undef FIELD
  return names;
}

}  // namespace usher::script
