#include "tests/sim/short_cuts_play.h"

#include <algorithm>
#include <sstream>

#include "tests/support/connection_fixture.h"

namespace usher::sim {
namespace {

// What a seed's connection does most of the time; the rest of the time it does anything.
enum class Habit : uint8_t { kDialogue, kSends, kReceives, kAnything };

class Player : public test::ConnectionTestBase {
 public:
  explicit Player(uint64_t seed)
      : ConnectionTestBase(seed % 4 == 0 ? Family::kIpv6 : Family::kIpv4),
        chance_(seed * 0x9e3779b97f4a7c15u + 1),
        habit_(static_cast<Habit>(Uniform(4))) {
    Configure();
  }

  std::vector<std::string> Run() {
    if (Chance(300)) {
      ConnectFully(listen_options_);
    } else {
      Open();
    }
    if (!c_.valid()) return {"no connection"};
    app_.on_readable = [this](Connection c) { OnReadable(c); };
    rcv_end_ = peer_nxt_;
    Note("open");
    const uint64_t steps = 40 + Uniform(120);
    for (uint64_t i = 0; i < steps; ++i) Step();
    return std::move(steps_);
  }

 private:
  using SegmentBuilder = test::SegmentBuilder;

  void TestBody() override {}
  void TearDown() override {}

  uint64_t Uniform(uint64_t n) { return chance_.Uniform(n); }
  bool Chance(uint32_t per_mille) { return Uniform(1000) < per_mille; }
  uint32_t Pick(std::initializer_list<uint32_t> values) {
    return values.begin()[Uniform(values.size())];
  }

  void Configure() {
    Sysctls& s = options_.sysctls;
    s.tcp_congestion_control = std::vector<const char*>{
        "cubic", "cubic", "cubic", "cubic", "reno", "reno", "bbr", "bbr", "dctcp"}[Uniform(9)];
    s.tcp_ecn = Chance(250);
    s.tcp_dsack = Chance(800);
    s.tcp_early_retrans = Chance(800) ? 3 : 0;
    s.tcp_frto = Chance(800) ? 2 : 0;
    s.tcp_slow_start_after_idle = Chance(700);
    s.tcp_moderate_rcvbuf = Chance(700);
    s.tcp_mtu_probing = Chance(100) ? 2 : 0;
    sack_ = Chance(800);
    timestamps_ = Chance(700);
    ecn_ = Chance(250);
    if (Chance(700)) window_scale_ = static_cast<uint8_t>(Pick({0, 2, 7}));
    mss_ = static_cast<uint16_t>(Pick({1460, 1460, 536, 100}));
    window_ = static_cast<uint16_t>(Pick({65535, 65535, 2000, 300}));
    rtt_ = Duration::Micros(Pick({0, 50, 1000, 20'000, 300'000}));
    peer_isn_ = Chance(300) ? 0xffffff00 : static_cast<uint32_t>(Uniform(uint64_t{1} << 32));
    TcpOptionsSet& o = listen_options_;
    o.no_delay = Chance(500);
    o.keepalive = Chance(150);
    o.keepalive_time_s = 2;
    if (Chance(150)) o.user_timeout_ms = 4'000;
    if (Chance(150)) o.receive_buffer_bytes = Pick({4096, 20'000});
    if (Chance(150)) o.send_buffer_bytes = Pick({5000, 100'000});
    if (Chance(100)) o.max_pacing_rate = Pick({20'000, 1'000'000});
    reads_at_once_ = Chance(700);
    steady_window_ = Chance(600);
  }

  void OnReadable(Connection c) {
    if (reads_at_once_) Read(c);
    if (answer_ != 0) Write(std::exchange(answer_, 0));
  }
  void Write(size_t n) {
    written_ += n;
    c_.Write(std::string(n, static_cast<char>('a' + written_ % 26)));
  }

  // ---- What happens ----
  void Step() {
    done_.clear();
    const bool habit = habit_ != Habit::kAnything && Chance(800);
    if (habit)
      Usual();
    else
      Anything();
    if (!c_.valid()) {
      Note("gone;" + done_);
      return;
    }
    Note(done_);
  }

  // Runs that the short cuts are made for, with now and then a step aside.
  void Usual() {
    Wait(Pick({0, 20, 300, 2000, 30'000}));
    switch (habit_) {
      case Habit::kDialogue:  // a request that acknowledges the answer before, answered at once
        answer_ = Chance(800) ? 1 + Uniform(3000) : 0;
        GiveText(1 + Uniform(mss_), our_nxt_);
        if (Chance(300)) AckAll();
        break;
      case Habit::kSends:
        if (Chance(500)) Write(1 + Uniform(4 * mss_));
        Look();
        if (Chance(700))
          AckAll();
        else
          GiveAck(Between(snd_una(), our_nxt_));
        break;
      default:
        for (uint64_t n = 1 + Uniform(4); n > 0; --n) InjectText(1 + Uniform(mss_), our_nxt_);
        Look();
        break;
    }
  }

  void Anything() {
    if (Chance(30)) return Rare();
    switch (Uniform(9)) {
      case 0:
        Write(1 + Uniform(3 * mss_));
        return Look();
      case 1:
        Say(" reads");
        Read(c_, Pick({1, 500, 100'000}));
        return Look();
      case 2:
        return Wait(Pick({1, 900, 5'000, 45'000, 210'000, 1'100'000, 3'500'000}));
      case 3:
        return GiveAck(SomeAck());
      case 4:
        return GiveSack();
      case 5:  // beyond a hole, old, overlapping, or as it should be
        for (uint64_t n = 1 + Uniform(3); n > 0; --n) {
          InjectAt(rcv_end_ + static_cast<uint32_t>(Uniform(4 * mss_)) - 2 * mss_,
                   1 + Uniform(mss_), SomeAck());
        }
        return Look();
      case 6:
        window_ = static_cast<uint16_t>(Pick({0, 1, 100, 2000, 65535}));
        return GiveAck(our_nxt_);
      case 7:
        window_ = 65535;
        return GiveText(Uniform(mss_ + 1), SomeAck());
      default:
        return SetOptions();
    }
  }

  void SetOptions() {
    Say(" sets options");
    TcpOptionsSet o = c_.options();
    o.no_delay = Chance(500);
    o.cork = Chance(100);
    c_.SetOptions(o);
    if (Chance(300)) shard().SetQuickAck(c_.handle(), Chance(500));
    Look();
  }

  // What ends or shakes a connection.
  void Rare() {
    switch (Uniform(12)) {
      case 0:
        Say(" peer's FIN");
        Inject(Mark(Flags("FA").SeqNo(rcv_end_).AckNo(our_nxt_)));
        rcv_end_ += 1;
        return Look();
      case 1:
        Say(" shutdown");
        c_.Shutdown(Chance(500) ? ShutdownHow::kWrite : ShutdownHow::kRead);
        return Look();
      case 2:
        Say(" close");
        c_.Close();
        return Look();
      case 3:
        Say(" RST");
        Inject(Flags("R").SeqNo(rcv_end_ + static_cast<uint32_t>(Uniform(3))));
        return Look();
      case 4:
        Say(" SYN");
        Inject(Flags("S").SeqNo(rcv_end_ + static_cast<uint32_t>(Uniform(3))));
        return Look();
      case 5:
        Say(" urgent");
        Inject(Flags("AU").SeqNo(rcv_end_).AckNo(our_nxt_).Urgent(3).Data("urgent"));
        rcv_end_ += 6;
        return Look();
      case 6:
        Say(" writes urgent");
        c_.WriteUrgent(std::vector<uint8_t>(5, 'u'));
        return Look();
      case 7:
        Say(" no ACK flag");
        Inject(Flags("P").SeqNo(rcv_end_).Data("x"));
        return Look();
      case 8:
        return Wait(70'000'000);
      case 9:
        Say(" FIN beyond a hole");
        Inject(Flags("FA").SeqNo(rcv_end_ + 7).AckNo(our_nxt_).Data("end"));
        Look();
        return GiveText(7, our_nxt_);
      case 10:
        Say(" urgent, in what follows");
        Inject(Flags("AU").SeqNo(rcv_end_).AckNo(our_nxt_).Urgent(30).Data("soon"));
        rcv_end_ += 4;
        return Look();
      default:
        Say(" no timestamps");
        Inject(Flags("A").SeqNo(rcv_end_).AckNo(our_nxt_).NoTimestamps().Data("plain"));
        rcv_end_ += 5;
        return Look();
    }
  }

  // ---- The peer ----
  Seq snd_una() { return c_.valid() ? Peek(c_).snd_una() : our_nxt_; }
  Seq Between(Seq first, Seq last) {
    return first + static_cast<uint32_t>(Uniform(static_cast<uint32_t>(last - first) + 1));
  }
  Seq SomeAck() {
    switch (Uniform(8)) {
      case 0:
        return snd_una();
      case 1:
        return snd_una() - static_cast<uint32_t>(Uniform(3000));
      case 2:
        return our_nxt_ + static_cast<uint32_t>(Uniform(2));
      case 3:
      case 4:
        return Between(snd_una(), our_nxt_);
      default:
        return our_nxt_;
    }
  }

  // Timestamps, marks and the window as this peer has them now.
  SegmentBuilder Mark(SegmentBuilder b) {
    if (!steady_window_ && Chance(300)) b.Window(static_cast<uint16_t>(Uniform(65536)));
    if (timestamps_ && Chance(100))
      b.Timestamps(Tsval() - static_cast<uint32_t>(Uniform(400)),
                   last_tsval_ - static_cast<uint32_t>(Uniform(400)));
    if (Chance(ecn_ ? 100 : 10)) b.Ecn(Ecn::kCe);
    return b;
  }
  std::string TextFlags() {
    std::string flags = Chance(500) ? "PA" : "A";
    if (ecn_ && Chance(100)) flags += 'E';
    if (ecn_ && Chance(100)) flags += 'W';
    return flags;
  }

  void InjectAt(Seq seq, size_t length, Seq ack) {
    Say(" text " + std::to_string(seq.value()) + "+" + std::to_string(length) + " ack " +
        std::to_string(ack.value()));
    Inject(Mark(Flags(TextFlags()).SeqNo(seq).AckNo(ack).Data(std::string(length, 'p'))));
    rcv_end_ = std::max(rcv_end_, seq + static_cast<uint32_t>(length));
  }
  void InjectText(size_t length, Seq ack) { InjectAt(rcv_end_, length, ack); }
  void GiveText(size_t length, Seq ack) {
    InjectText(length, ack);
    Look();
  }
  void GiveAck(Seq ack) {
    Say(" ack " + std::to_string(ack.value()));
    Inject(Mark(Flags(TextFlags()).SeqNo(rcv_end_).AckNo(ack)));
    Look();
  }
  void AckAll() { GiveAck(our_nxt_); }
  void GiveSack() {
    const Seq ack = SomeAck();
    SegmentBuilder b = Flags("A").SeqNo(rcv_end_).AckNo(ack);
    for (uint64_t n = 1 + Uniform(3); n > 0; --n) {
      const Seq begin = Between(ack - 200, std::max(ack, our_nxt_));
      b.Sack({{begin, begin + static_cast<uint32_t>(1 + Uniform(2 * mss_))}});
    }
    Say(" SACK, ack " + std::to_string(ack.value()));
    Inject(Mark(b));
    Look();
  }

  // ---- The clock ----
  void Wait(uint64_t us) {
    if (us == 0) return;
    Say(" waits " + std::to_string(us));
    AdvanceBy(Duration::Micros(static_cast<int64_t>(1 + Uniform(us))));
    Collect();
  }
  void Look() {
    Poll();
    Collect();
  }

  // ---- The record ----
  void Say(const std::string& what) { done_ += what; }
  void Collect() {
    while (port_->sent_count() > 0) {
      const test::Bytes frame = port_->TakeSent();
      const auto sent = test::ParseSent(frame);
      if (!sent) continue;
      if (sent->options.timestamps) last_tsval_ = sent->tsval();
      if (sent->EndSeq() > our_nxt_ && (sent->flags & TcpFlags::kRst) == 0)
        our_nxt_ = sent->EndSeq();
      std::ostringstream out;
      out << " => " << *sent << " sum " << checksum::Sum(frame);
      done_ += out.str();
    }
  }
  void Note(const std::string& what) {
    std::ostringstream out;
    out << now_.us() << what << '\n';
    TcpConnection* c = c_.valid() ? tcp(c_) : nullptr;
    if (c != nullptr) out << "   " << test::ConnectionPeek{*c}.Describe(shard().context()) << '\n';
    out << "    events " << app_.readable << ' ' << app_.writable << ' ' << app_.urgent << ' '
        << app_.closed << " counters";
    for (size_t i = 0; i < kCounterCount; ++i) {
      const auto counter = static_cast<Counter>(i);
      if (Count(counter) != 0) out << ' ' << CounterName(counter) << ' ' << Count(counter);
    }
    steps_.push_back(out.str());
  }

  SeededRandom chance_;
  const Habit habit_;
  bool reads_at_once_ = true;
  bool steady_window_ = true;
  size_t answer_ = 0;  // to the next data that comes
  size_t written_ = 0;
  Seq rcv_end_;  // behind all that the peer sent
  std::string done_;
  std::vector<std::string> steps_;
};

}  // namespace

std::vector<std::string> Play(uint64_t seed) { return Player(seed).Run(); }

uint64_t Digest(const std::vector<std::string>& steps) {
  uint64_t digest = 0xcbf29ce484222325u;
  for (const std::string& step : steps)
    for (const char c : step) digest = (digest ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return digest;
}

}  // namespace usher::sim
