// TCP: segments of a peer that knows the sequence numbers, and the calls of a user, in any order,
// on a few connections in all their states. Invariants: nothing crashes, sequence numbers keep
// their order, no buffer is lost, and once everybody has let go nothing is left.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <map>

#include "tests/fuzz/fuzz_stack.h"
#include "tests/support/connection_peek.h"

namespace usher::fuzz {
namespace {

constexpr uint16_t kPort = 80;

// What a peer knows of one connection.
struct Peer {
  uint32_t next = 1000;  // its next sequence number
  uint32_t server = 0;   // what it has seen of ours
  uint32_t last_tsval = 0;
};

class Session : public Application {
 public:
  explicit Session(FuzzedDataProvider& in) : in_(in), stack_({.sysctls = Settings(in)}) {
    ListenSpec spec{.port = kPort, .backlog = in.ConsumeIntegralInRange(-1, 4)};
    spec.model = static_cast<ListenModel>(in.ConsumeIntegralInRange(0, 2));
    spec.save_syn = in.ConsumeBool();
    spec.defer_accept_s = in.ConsumeIntegralInRange(0, 3);
    spec.fastopen_qlen = in.ConsumeIntegralInRange(0, 2);
    spec.cookie_ack_parking = in.ConsumeBool();
    stack_.stack().Listen(spec, *this).IgnoreError();
  }

  void Run() {
    for (int steps = 0; steps < 400 && in_.remaining_bytes() > 0; ++steps) {
      Step();
      stack_.Poll();
      TakeAll();
      CheckAll();
    }
    // Everybody lets go; with that and time nothing may be left.
    stack_.shard().AbortAll();
    for (auto& c : held_) c.Abort();
    for (int i = 0; i < 4; ++i) stack_.Advance(Duration::Seconds(200));
    TakeAll();
    for (auto& slice : slices_) slice = Slice();
    Require(stack_.shard().connection_count() == 0, "no connection is left");
    Require(stack_.shard().time_wait().size() == 0, "no TIME-WAIT record is left");
  }

  void OnAcceptable(Acceptor a) override { acceptor_ = a; }

 private:
  static Sysctls Settings(FuzzedDataProvider& in) {
    Sysctls s;
    s.tcp_syncookies = in.ConsumeIntegralInRange(0, 2);
    s.tcp_max_syn_backlog = in.ConsumeIntegralInRange(1, 8);
    s.tcp_abort_on_overflow = in.ConsumeIntegralInRange(0, 1);
    s.tcp_fastopen = in.ConsumeIntegralInRange(0, 0x7ff);
    s.tcp_ecn = in.ConsumeIntegralInRange(0, 2);
    return s;
  }

  void Step() {
    const auto i = in_.ConsumeIntegralInRange<uint32_t>(0, 7);
    switch (in_.ConsumeIntegralInRange(0, 14)) {
      case 0:
        return stack_.Advance(Duration::Micros(in_.ConsumeIntegralInRange(1, 100'000)));
      case 1:
        return stack_.Advance(Duration::Millis(in_.ConsumeIntegralInRange(1, 30'000)));
      case 2:
        return Accept();
      case 3:
      case 4:
        return Use(i);
      case 5:
        return Connect();
      default:
        return Segment(i);
    }
  }

  static FourTuple TupleOf(uint32_t i) {
    const bool v4 = (i & 1) == 0;
    return {v4 ? kOurs : kOurs6, v4 ? kPeer : kPeer6, kPort, static_cast<uint16_t>(40000 + i)};
  }

  void Segment(uint32_t i) {
    // Of the listener, or of what we opened ourselves.
    FourTuple t = TupleOf(i);
    if (!opened_.empty() && in_.ConsumeBool()) t = opened_[i % opened_.size()];
    Peer& peer = peers_[t];
    constexpr uint16_t kUsual[] = {TcpFlags::kSyn,
                                   TcpFlags::kAck,
                                   TcpFlags::kAck | TcpFlags::kPsh,
                                   TcpFlags::kAck | TcpFlags::kFin,
                                   TcpFlags::kRst,
                                   TcpFlags::kSyn | TcpFlags::kAck};
    TcpHeader h;
    h.flags = in_.ConsumeBool() ? kUsual[in_.ConsumeIntegralInRange(0, 5)]
                                : in_.ConsumeIntegralInRange<uint16_t>(0, TcpFlags::kAll);
    h.src_port = t.remote_port;
    h.dst_port = t.local_port;
    h.seq = Seq(peer.next + Delta());
    h.ack = Seq(peer.server + Delta());
    h.window = in_.ConsumeIntegral<uint16_t>();
    h.urgent = in_.ConsumeIntegralInRange<uint16_t>(0, 20);
    std::array<uint8_t, 40> options;
    const size_t options_size = Options(options.data(), peer, (h.flags & TcpFlags::kSyn) != 0);
    const auto length = in_.ConsumeBool() ? 0u : in_.ConsumeIntegralInRange<uint32_t>(0, 1460);
    std::vector<uint8_t> segment(20 + options_size + length, 'x');
    h.Emit(segment.data(), options_size);
    std::copy_n(options.begin(), options_size, segment.begin() + 20);
    FillTcpChecksum(segment.data(), segment.size(), t.remote, t.local);
    if (h.seq == Seq(peer.next))
      peer.next += length + ((h.flags & TcpFlags::kSyn) != 0) + ((h.flags & TcpFlags::kFin) != 0);
    stack_.Give(FrameOf(t.remote.is_v4(), IpProtocol::kTcp, segment,
                        in_.ConsumeIntegralInRange<uint8_t>(0, 3)));
  }

  // Mostly right; else a little or far off.
  uint32_t Delta() {
    switch (in_.ConsumeIntegralInRange(0, 7)) {
      case 0:
        return static_cast<uint32_t>(in_.ConsumeIntegralInRange(-3000, 3000));
      case 1:
        return in_.ConsumeIntegral<uint32_t>();
      default:
        return 0;
    }
  }

  size_t Options(uint8_t* out, const Peer& peer, bool syn) {
    if (in_.ConsumeIntegralInRange(0, 3) == 0) {
      const size_t size = in_.ConsumeIntegralInRange<size_t>(0, 10) * 4;
      std::fill_n(out, size, uint8_t{1});
      in_.ConsumeData(out, size);
      return size;
    }
    TcpOptions o;
    if (syn) {
      if (in_.ConsumeBool()) o.mss = in_.ConsumeIntegralInRange<uint16_t>(1, 9000);
      if (in_.ConsumeBool()) o.window_scale = in_.ConsumeIntegralInRange<uint8_t>(0, 14);
      o.sack_permitted = in_.ConsumeBool();
    }
    if (in_.ConsumeBool())
      o.timestamps = TcpTimestamps{static_cast<uint32_t>(stack_.now().ms()), peer.last_tsval};
    if (!syn && in_.ConsumeBool()) {
      o.sack_count = 1;
      o.sack[0] = {Seq(peer.server + Delta()), Seq(peer.server + Delta() + 1448)};
    }
    return o.Emit(out);
  }

  void Accept() {
    Connection c;
    if (acceptor_ && held_.size() < 8 && acceptor_->Accept(&c) == Error::kNone) held_.push_back(c);
  }

  void Connect() {
    Connection c;
    const bool v4 = in_.ConsumeBool();
    if (held_.size() >= 8 ||
        stack_.stack().Connect(0, v4 ? kPeer : kPeer6, 7, *this, &c) != Error::kNone)
      return;
    held_.push_back(c);
    if (opened_.size() < 4) opened_.push_back(c.tuple());
  }

  void Use(uint32_t i) {
    if (held_.empty()) return;
    Connection& c = held_[i % held_.size()];
    switch (in_.ConsumeIntegralInRange(0, 9)) {
      case 0: {
        uint8_t buffer[5000];
        c.Read(std::span(buffer, in_.ConsumeIntegralInRange<size_t>(0, sizeof(buffer))));
        break;
      }
      case 1:
        c.ReadSlice(&slices_[i % slices_.size()], in_.ConsumeIntegralInRange(1u, 3000u));
        break;
      case 2:
      case 3:
        c.Write(std::string(in_.ConsumeIntegralInRange<size_t>(0, 20'000), 'y'));
        break;
      case 4:
        c.WriteExternal(
            kStatic, [](void*) {}, nullptr);
        break;
      case 5:
        c.Shutdown(in_.ConsumeBool() ? ShutdownHow::kWrite : ShutdownHow::kRead);
        break;
      case 6: {
        TcpOptionsSet o = c.options();
        o.no_delay = in_.ConsumeBool();
        o.cork = in_.ConsumeBool();
        o.keepalive = in_.ConsumeBool();
        c.SetOptions(o);
        break;
      }
      case 7:
        c.Abort();
        held_.erase(held_.begin() + (i % held_.size()));
        break;
      default:
        c.Close();
        held_.erase(held_.begin() + (i % held_.size()));
    }
  }

  // Learns what the stack sent.
  void TakeAll() {
    for (auto f = stack_.TakeSent(); !f.empty(); f = stack_.TakeSent()) {
      const auto ethernet = EthernetView::Parse(f);
      Require(ethernet.has_value(), "what is sent is Ethernet");
      FourTuple t;
      ByteSpan l4;
      if (const auto ip = Ipv4View::Parse(ethernet->payload());
          ethernet->type() == EtherType::kIpv4 && ip && ip->protocol() == IpProtocol::kTcp) {
        t = {ip->src(), ip->dst(), 0, 0};
        l4 = ip->payload();
      } else if (const auto ip6 = Ipv6View::Parse(ethernet->payload());
                 ethernet->type() == EtherType::kIpv6 && ip6 &&
                 ip6->next_header() == IpProtocol::kTcp) {
        t = {ip6->src(), ip6->dst(), 0, 0};
        l4 = ip6->payload();
      } else {
        continue;
      }
      const auto tcp = TcpView::Parse(l4);
      Require(tcp && tcp->VerifyChecksum(t.local, t.remote), "what is sent has a right checksum");
      t.local_port = tcp->src_port();
      t.remote_port = tcp->dst_port();
      if (tcp->has(TcpFlags::kRst)) continue;
      Peer& peer = peers_[t];
      peer.server = (tcp->seq() + static_cast<uint32_t>(tcp->payload().size()) +
                     tcp->has(TcpFlags::kSyn) + tcp->has(TcpFlags::kFin))
                        .value();
      if (const auto o = tcp->options(); o.timestamps) peer.last_tsval = o.timestamps->value;
    }
  }

  void CheckAll() {
    stack_.shard().ForEachConnection([this](const TcpConnection& c) {
      test::ConnectionPeek{c}.CheckInvariants(stack_.shard().context());
    });
  }

  static constexpr std::array<uint8_t, 3000> kStatic = {};

  FuzzedDataProvider& in_;
  FuzzStack stack_;
  std::map<FourTuple, Peer> peers_;
  std::vector<FourTuple> opened_;
  std::vector<Connection> held_;
  std::array<Slice, 4> slices_;
  std::optional<Acceptor> acceptor_;
};

}  // namespace
}  // namespace usher::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  GTEST_FLAG_SET(break_on_failure, true);  // an EXPECT that fails ends the run as a crash does
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider in(bytes, size);
  usher::fuzz::Session(in).Run();
  return 0;
}
