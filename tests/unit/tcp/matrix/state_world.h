// A stack that a scripted peer brings into any state, again and again: connections are made anew
// for each case, the stack is not.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "tests/support/connection_fixture.h"
#include "tests/unit/tcp/matrix/oracle.h"

namespace usher::test {

class StateWorld : public ConnectionTestBase {
 public:
  // Both sides have sent and acknowledged some bytes in each synchronized state, and of ours some
  // are in flight where the state allows it.
  static constexpr uint32_t kReceived = 10, kAcked = 50, kInFlight = 100;

  explicit StateWorld(Family family) : ConnectionTestBase(family) { Make(); }
  ~StateWorld() override {
    ExpectNothingLeft();
    TearDown();
  }
  void TestBody() override {}

  // Brings a new connection to `place`.
  void Enter(Place place) {
    place_ = place;
    c_ = Connection();
    app_ = RecordingApplication();
    remote_port_ = remote_port_ == 65535 ? 1024 : remote_port_ + 1;
    tuple_ = {local_, remote_, place == Place::kClosed ? uint16_t{81} : kPort, remote_port_};
    Walk(place);
    Poll();
    TakeSent();
    right_edge_ = last_edge_;
    app_.readable = app_.connected = app_.closed = 0;
    app_.accepted.clear();
  }

  Station station() const {
    Station st;
    st.place = place_;
    st.irs = P(-1);
    st.rcv_nxt = peer_nxt_;
    st.right_edge = right_edge_;
    st.iss = O(-1);
    st.snd_una = una_;
    st.snd_nxt = our_nxt_;
    st.max_window = window_;
    // In CLOSING_closed the FIN came when nobody was left to read it.
    st.unread = place_ == Place::kEstablishedUnread || place_ == Place::kClosingClosed;
    return st;
  }

  // Gives the segment; what came of it.
  Outcome Arrive(const Arrival& a) {
    const Seq peer_nxt = peer_nxt_;
    Give(From(tuple_).FlagBits(a.flags).SeqNo(a.seq).AckNo(a.ack).Data(std::string(a.text, 'x')));
    peer_nxt_ = peer_nxt;
    return Look(TakeSent());
  }

  // Ends what is there. `rcv_nxt`: where a record or request would believe a reset.
  void Leave(Seq rcv_nxt) {
    const TcpState state = State();
    if (state == TcpState::kSynReceived || state == TcpState::kTimeWait ||
        state == TcpState::kFinWait2)
      Give(From(tuple_).Rst(rcv_nxt));
    shard().AbortAll();
    Poll();
    TakeSent();
    app_.accepted.clear();
  }
  // Nothing of any case is left.
  bool Empty() {
    return shard().connection_count() == 0 && shard().time_wait().size() == 0 && HalfOpen() == 0;
  }

  // What a user has of the connection; dead where there is none.
  Connection user() const { return c_; }
  const RecordingApplication& application() const { return app_; }
  std::vector<SentTcp> TakeSentAfterPoll() { return TakeAfterPoll(); }
  // A second open of the same pair.
  Error OpenAgain() {
    Handle handle;
    return shard().Connect(remote_, tuple_.remote_port, {}, &handle, &app_, local_,
                           tuple_.local_port);
  }
  // The user turns keepalive on; the peer has acknowledged all.
  void KeepAlive() {
    Give(Ack());
    TcpOptionsSet options;
    options.keepalive = true;
    c_.SetOptions(options);
  }
  // The peer sends a byte more.
  void GiveByte() { Give(Ack().AckNo(una_).Data("b")); }
  // The peer acknowledges all and closes its window.
  void CloseWindow() { Give(Ack().Window(0)); }
  using ConnectionTestBase::AdvanceBy;
  using ConnectionTestBase::last_error_;
  using ConnectionTestBase::now_;
  using ConnectionTestBase::Read;
  using ConnectionTestBase::UntilSent;
  const TcpContext& context() { return shard().context(); }

  TcpConnection* Find() {
    TcpConnection* found = nullptr;
    shard().ForEachConnection([&](TcpConnection& c) {
      if (c.tuple() == tuple_) found = &c;
    });
    return found;
  }
  TcpState State() {
    const TcpConnection* c = Find();
    if (c != nullptr && c->state() != TcpState::kClosed) return c->state();
    TcpState record = TcpState::kClosed;
    shard().time_wait().ForEach([&](uint32_t i, const auto&...) {
      if (shard().time_wait().TupleOf(i) == tuple_)
        record = shard().time_wait().fin_wait2(i) ? TcpState::kFinWait2 : TcpState::kTimeWait;
    });
    if (record != TcpState::kClosed) return record;
    return HalfOpen() != 0 ? TcpState::kSynReceived : TcpState::kClosed;
  }
  uint32_t HalfOpen() {
    uint32_t n = 0;
    shard().passive_open().ForEachListener(
        [&](const auto&, const Listener& l) { n += l.half_open; });
    return n;
  }

 private:
  // Notes the right edge that the stack offered last.
  void Note() {
    for (const SentTcp& s : TakeSent())
      if ((s.flags & TcpFlags::kAck) != 0) last_edge_ = s.ack + s.window;
  }
  void Turn() {
    Poll();
    Note();
  }
  void Say(const SegmentBuilder& b) {
    Give(b);
    Note();
  }

  void Walk(Place place) {
    peer_nxt_ = P(0);
    iss_ = 0x12345678;
    our_nxt_ = O(kInFlight);
    una_ = O(0);
    last_edge_ = P(0) + 64240;
    switch (place) {
      case Place::kClosed:
      case Place::kListen:
        return;
      case Place::kSynSent:
      case Place::kSynReceivedActive:
        Connect();
        una_ = O(-1);
        if (place == Place::kSynReceivedActive) Say(SynOf(Seq(peer_isn_)));
        our_nxt_ = O(0);
        return;
      default:
        break;
    }
    SaySyn(SynOf(Seq(peer_isn_)));
    if (place == Place::kSynReceived) {
      una_ = O(-1);
      return;
    }
    Say(Ack());
    c_ = app_.accepted.back();
    Say(Ack().Flags("PA").Data(std::string(kReceived, 'p')));
    if (place != Place::kEstablishedUnread) Read(c_);
    c_.Write(std::string(kAcked, 'u'));
    Turn();
    Say(Ack());
    una_ = O(kAcked);
    WalkOn(place);
  }
  // The SYN: our numbers begin with its answer.
  void SaySyn(const SegmentBuilder& syn) {
    Give(syn);
    const SentTcp syn_ack = TakeOne();
    iss_ = syn_ack.seq.value();
    our_nxt_ = O(0);
    last_edge_ = syn_ack.ack + syn_ack.window;
  }

  SegmentBuilder Fin() { return Ack().Flags("FA").AckNo(una_); }

  // From ESTABLISHED, with nothing in flight.
  void WalkOn(Place place) {
    if (place == Place::kCloseWait || place == Place::kLastAck || place == Place::kLastAckClosed) {
      Say(Fin());
      AdvanceBy(Duration::Millis(50));  // its acknowledgment may have waited
      Note();
      Read(c_);
    }
    c_.Write(std::string(kInFlight, 'v'));
    switch (place) {
      case Place::kFinWait1:
      case Place::kFinWait2:
      case Place::kClosing:
      case Place::kLastAck:
        c_.Shutdown(ShutdownHow::kWrite);
        break;
      case Place::kFinWait1Closed:
      case Place::kFinWait2Closed:
      case Place::kClosingClosed:
      case Place::kLastAckClosed:
      case Place::kTimeWait:
        c_.Close();
        break;
      default:
        break;
    }
    Turn();
    if (place == Place::kClosing || place == Place::kClosingClosed) Say(Fin());
    if (place == Place::kClosing) Read(c_);
    if (place == Place::kFinWait2 || place == Place::kFinWait2Closed || place == Place::kTimeWait) {
      una_ = our_nxt_;
      Say(Ack());
    }
    if (place == Place::kTimeWait) Say(Fin());
  }

  Outcome Look(const std::vector<SentTcp>& sent) {
    Outcome o;
    o.next = State();
    TcpConnection* c = Find();
    o.has_numbers = c != nullptr && c->state() >= TcpState::kSynReceived;
    if (sent.size() == 1) {
      Classify(sent[0], o);
      // A new ISS has nothing to do with what was before (isn_test.cc).
      if (place_ == Place::kListen && o.reply == Reply::kSynAck) o.seq = O(-1);
    } else if (!sent.empty()) {
      o.reply = Reply::kOther;
      o.other = ::testing::PrintToString(sent);
    } else if (c != nullptr && ConnectionPeek{*c}.ack_pending()) {
      o.reply = Reply::kAckSoon;
    }
    o.opened = app_.connected != 0 || !app_.accepted.empty();
    if (app_.closed != 0) o.closed = app_.closed_why;
    if (!app_.accepted.empty()) c_ = app_.accepted.back();
    if (c_.valid()) {
      o.delivered = static_cast<uint32_t>(Read(c_).size());
      if (o.delivered != 0) Read(c_);
      if (place_ == Place::kEstablishedUnread) o.delivered -= kReceived;
      o.end_of_stream = last_error_ == Error::kNone;
    }
    if (c != nullptr) {
      o.snd_una = ConnectionPeek{*c}.snd_una();
      o.rcv_nxt = ConnectionPeek{*c}.rcv_nxt();
    }
    return o;
  }
  static void Classify(const SentTcp& s, Outcome& o) {
    o.seq = s.seq;
    if ((s.flags & TcpFlags::kAck) != 0) o.ack = s.ack;
    if (s.flags == TcpFlags::kAck && s.payload.empty()) {
      o.reply = Reply::kAck;
    } else if ((s.flags & TcpFlags::kRst) != 0) {
      o.reply = Reply::kReset;
    } else if (s.flags == (TcpFlags::kSyn | TcpFlags::kAck)) {
      o.reply = Reply::kSynAck;
    } else {
      o.reply = Reply::kOther;
      o.other = ::testing::PrintToString(s);
    }
  }

  Place place_ = Place::kClosed;
  uint16_t remote_port_ = 1024;
  Seq una_, last_edge_, right_edge_;
};

}  // namespace usher::test
