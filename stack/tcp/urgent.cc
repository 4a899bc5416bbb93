// Urgent data (RFC 9293 section 3.8.5), as Linux and every BSD have it and RFC 6093 describes it:
// one byte of "out-of-band" data, the last one urgent; the pointer stands behind it. Out of the
// way of everything else: a connection without it tests a bit.
#include <algorithm>

#include "stack/tcp/connection.h"
#include "stack/wire/tcp.h"

namespace usher {

// ---- Sending ----

// The last byte of `data` becomes urgent, if all of it is taken.
IoResult TcpConnection::WriteUrgent(TcpContext& ctx, std::span<const uint8_t> data) {
  const IoResult result = Write(ctx, data);
  if (!data.empty() && result.bytes == data.size()) {
    snd_up_ = WriteEnd();
    urgent_.sending = true;
  }
  return result;
}

// Every segment up to the urgent byte says where it is, even where it is far ahead (RFC 6093
// section 3: the peer's application is to know at once).
void TcpConnection::MarkUrgent(Seq seq, TcpHeader* header) {
  if (snd_una_ >= snd_up_) {
    urgent_.sending = false;
    return;
  }
  const int32_t ahead = snd_up_ - seq;
  if (ahead <= 0) return;
  if (ahead <= UINT16_MAX) {
    header->urgent = static_cast<uint16_t>(ahead);
  } else if ((seq + UINT16_MAX) - snd_nxt_ > 0) {
    header->urgent = UINT16_MAX;
  } else {
    return;
  }
  header->flags |= TcpFlags::kUrg;
}

// ---- Receiving ----

// A segment that points at an urgent byte, or may bring it.
void TcpConnection::TakeUrgent(TcpContext& ctx, const Segment& s) {
  if (s.Has(TcpFlags::kUrg)) {
    const uint32_t pointer = Load16(s.packet->l4 + kUrgentPointerAt);
    // RFC 1122 would have it point at the byte itself; hardly anybody does.
    // DEVIATION(Linux): behind what a pointer of 0 stands lies before this segment, and is no news.
    if (ctx.sysctls.tcp_stdurg != 0)
      NoteUrgentMark(ctx, s.seq + pointer);
    else if (pointer != 0)
      NoteUrgentMark(ctx, s.seq + (pointer - 1));
  }
  if (!urgent_.marked || urgent_.arrived) return;
  const int32_t offset = rcv_up_ - s.seq;
  if (offset < 0 || offset >= static_cast<int32_t>(s.payload_length)) return;
  urgent_byte_ = s.payload[offset];
  urgent_.arrived = true;
  Raise(ctx, kEventReadable);
}

void TcpConnection::NoteUrgentMark(TcpContext& ctx, Seq mark) {
  if (mark < copied_seq_ || mark < rcv_nxt_ || (urgent_.marked && mark <= rcv_up_)) return;
  // The byte of the mark before, if the reader stands right in front of it and does not want it.
  PassMark(ctx);
  rcv_up_ = mark;
  urgent_.marked = true;
  urgent_.arrived = urgent_.taken = false;
  Raise(ctx, kEventUrgent);
}

// Where the reader stands at the mark, the urgent byte is no part of the stream, unless it is
// wanted in line (SO_OOBINLINE).
void TcpConnection::PassMark(TcpContext& ctx) {
  if (!urgent_.marked || options_.oob_inline || rcv_up_ != copied_seq_ || receive_buffer_.empty())
    return;
  receive_buffer_.Discard(1);
  copied_seq_ += 1;
  urgent_.marked = false;
  ChargeMemory(ctx);
}

// How much of `most` may be read in one go: not beyond the mark.
size_t TcpConnection::UpToMark(TcpContext& ctx, size_t most) {
  PassMark(ctx);
  const int32_t ahead = rcv_up_ - copied_seq_;
  if (!urgent_.marked || ahead == 0) return most;
  if (ahead < 0) {
    urgent_.marked = false;
    return most;
  }
  return std::min<size_t>(most, static_cast<uint32_t>(ahead));
}

Error TcpConnection::ReadUrgent(uint8_t* byte) {
  if (options_.oob_inline || !urgent_.marked || urgent_.taken) return Error::kInvalid;
  if (!urgent_.arrived) return Error::kAgain;
  *byte = urgent_byte_;
  urgent_.taken = true;
  return Error::kNone;
}

}  // namespace usher
