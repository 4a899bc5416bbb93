// getsockopt and setsockopt: names, ranges and errors as in Linux's sock.c, tcp.c, ip_sockglue.c.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/packetdrill/socket.h"

namespace usher::packetdrill {
namespace {

constexpr int kLeastMss = 88;
constexpr int kMostMss = 32767;
constexpr int kMostKeepSeconds = 32767;
constexpr int kMostRetries = 127;
constexpr int kMostLinger2Seconds = 120;
constexpr int kLeastSendBuffer = 4608;
constexpr int kLeastReceiveBuffer = 2304;
constexpr int kMemInfoWords = 9;
constexpr int kSoMemInfo = 55;

int IntFrom(const void* value) {
  int v = 0;
  std::memcpy(&v, value, sizeof v);
  return v;
}

void Put(std::vector<uint8_t>* out, const void* value, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(value);
  out->assign(bytes, bytes + size);
}
void PutInt(std::vector<uint8_t>* out, int value) { Put(out, &value, sizeof value); }

bool InRange(int value, int least, int most) { return value >= least && value <= most; }

// A buffer of the size asked for twice over: half of it is for what keeping bytes costs.
uint32_t BufferSize(int asked, int most, int least) {
  const int64_t wanted = 2 * static_cast<int64_t>(std::min<uint32_t>(static_cast<uint32_t>(asked),
                                                                     static_cast<uint32_t>(most)));
  return static_cast<uint32_t>(std::max<int64_t>(wanted, least));
}

}  // namespace

// ---- set ----

int Socket::SetOption(int level, int name, const void* value, socklen_t length) {
  if (static_cast<int>(length) < 0) return -EINVAL;
  if (level == SOL_SOCKET) return SetSocketLevel(name, value, length);
  if (level == IPPROTO_TCP) {
    if (name == TCP_CONGESTION) {
      const std::string_view text(static_cast<const char*>(value),
                                  strnlen(static_cast<const char*>(value), length));
      const auto algorithm = ParseCongestionAlgorithm(text);
      if (!algorithm) return -ENOENT;
      options_.congestion = *algorithm;
      Apply();
      return 0;
    }
    if (length < sizeof(int)) return -EINVAL;
    return SetTcpLevel(name, IntFrom(value), value, length);
  }
  if (level == IPPROTO_IP || (level == IPPROTO_IPV6 && domain_ == AF_INET6))
    return SetIpLevel(level, name, value, length);
  return -ENOPROTOOPT;
}

int Socket::SetSocketLevel(int name, const void* value, socklen_t length) {
  if (length < sizeof(int)) return -EINVAL;
  const int v = IntFrom(value);
  const int most = world_.shard().sysctls().rmem_max;
  switch (name) {
    case SO_REUSEADDR:
      reuse_address_ = v != 0;
      break;
    case SO_REUSEPORT:
      options_listen_.reuseport = v != 0;
      break;
    case SO_KEEPALIVE:
      options_.keepalive = v != 0;
      break;
    case SO_SNDBUF:
      options_.send_buffer_bytes = BufferSize(v, most, kLeastSendBuffer);
      break;
    case SO_RCVBUF:
      options_.receive_buffer_bytes = BufferSize(v, most, kLeastReceiveBuffer);
      break;
    case SO_RCVLOWAT:
      receive_low_water_ = v < 0 ? INT32_MAX : std::max(v, 1);
      return 0;
    case SO_OOBINLINE:
      options_.oob_inline = v != 0;
      break;
    case SO_MAX_PACING_RATE:  // -1 of an int, or of the wider type, is no limit
      options_.max_pacing_rate = static_cast<uint32_t>(v);
      break;
    case SO_ZEROCOPY:
      if (!InRange(v, 0, 1)) return -EINVAL;
      zerocopy_ = v != 0;
      world_.Unwatch(this);
      if (zerocopy_) world_.Watch(this);
      return 0;
    case SO_LINGER: {
      linger l{};
      if (length < sizeof l) return -EINVAL;
      std::memcpy(&l, value, sizeof l);
      options_.linger = l.l_onoff != 0;
      linger_seconds_ = l.l_onoff != 0 ? static_cast<uint32_t>(l.l_linger) : 0;
      options_.linger_s = static_cast<uint16_t>(std::min<uint32_t>(linger_seconds_, UINT16_MAX));
      break;
    }
    case SO_RCVTIMEO:
    case SO_SNDTIMEO: {
      timeval t{};
      if (length < sizeof t) return -EINVAL;
      std::memcpy(&t, value, sizeof t);
      if (t.tv_usec < 0 || t.tv_usec >= 1'000'000) return -EDOM;
      (name == SO_RCVTIMEO ? receive_timeout_ : send_timeout_) = t;
      return 0;
    }
    case SO_TYPE:
    case SO_PROTOCOL:
    case SO_DOMAIN:
    case SO_ERROR:
    case SO_ACCEPTCONN:
      return -ENOPROTOOPT;
    default:
      remembered_[{SOL_SOCKET, name}] = v;
      return 0;
  }
  Apply();
  return 0;
}

int Socket::SetTcpLevel(int name, int v, const void* raw, socklen_t length) {
  PassiveOpen& passive = world_.shard().passive_open();
  const bool closed = state_ == State::kFresh;
  switch (name) {
    case TCP_NODELAY:
      options_.no_delay = v != 0;
      break;
    case TCP_CORK:
      options_.cork = v != 0;
      break;
    case TCP_MAXSEG:
      if (v != 0 && !InRange(v, kLeastMss, kMostMss)) return -EINVAL;
      options_.user_mss = static_cast<uint16_t>(v);
      break;
    case TCP_KEEPIDLE:
      if (!InRange(v, 1, kMostKeepSeconds)) return -EINVAL;
      options_.keepalive_time_s = static_cast<uint16_t>(v);
      break;
    case TCP_KEEPINTVL:
      if (!InRange(v, 1, kMostKeepSeconds)) return -EINVAL;
      options_.keepalive_intvl_s = static_cast<uint16_t>(v);
      break;
    case TCP_KEEPCNT:
      if (!InRange(v, 1, kMostRetries)) return -EINVAL;
      options_.keepalive_probes = static_cast<uint8_t>(v);
      break;
    case TCP_SYNCNT:
      if (!InRange(v, 1, kMostRetries)) return -EINVAL;
      options_listen_.syncnt = options_.syn_retries = static_cast<uint8_t>(v);
      if (listening()) passive.SetSynCount(handle_, v);
      break;
    case TCP_LINGER2:
      options_.linger2_s = static_cast<int16_t>(std::clamp(v, -1, kMostLinger2Seconds));
      break;
    case TCP_DEFER_ACCEPT:
      options_listen_.defer_accept_s = static_cast<uint32_t>(std::max(v, 0));
      if (listening()) passive.SetDeferAccept(handle_, options_listen_.defer_accept_s);
      return 0;
    case TCP_USER_TIMEOUT:
      if (v < 0) return -EINVAL;
      options_.user_timeout_ms = static_cast<uint32_t>(v);
      break;
    case TCP_FASTOPEN:
      if (v < 0 || (!closed && !listening())) return -EINVAL;
      options_listen_.fastopen_qlen =
          static_cast<uint32_t>(std::min(v, world_.shard().sysctls().somaxconn));
      if (listening()) passive.SetFastOpen(handle_, v);
      return 0;
    case TCP_SAVE_SYN:
      if (!InRange(v, 0, 2)) return -EINVAL;
      save_syn_ = static_cast<uint8_t>(v);  // 2: with the link's header, and this link has none
      options_listen_.save_syn = v != 0;
      if (listening()) passive.SetSaveSyn(handle_, v != 0);
      return 0;
    default:
      return SetRareTcpLevel(name, v, raw, length);
  }
  Apply();
  return 0;
}

// TCP_MD5SIG. What Linux allows and this does not: another key for a connection that is there.
int Socket::SetMd5(int name, const void* raw, socklen_t length) {
  tcp_md5sig signing;
  if (length < sizeof signing) return -EINVAL;
  std::memcpy(&signing, raw, sizeof signing);
  if (signing.tcpm_keylen > TCP_MD5SIG_MAXKEYLEN) return -EINVAL;
  Endpoint peer;
  if (ReadSockaddr(domain_, reinterpret_cast<const sockaddr*>(&signing.tcpm_addr),
                   sizeof signing.tcpm_addr, &peer) != 0)
    return -EINVAL;
  const uint8_t most = peer.address.is_v4() ? 32 : 128;
  Md5Rule rule{peer.address, most,
               Md5Key::From({signing.tcpm_key, static_cast<size_t>(signing.tcpm_keylen)})};
  if (name == TCP_MD5SIG_EXT && (signing.tcpm_flags & TCP_MD5SIG_FLAG_PREFIX) != 0) {
    if (signing.tcpm_prefixlen > most) return -EINVAL;
    rule.prefix_length = signing.tcpm_prefixlen;
  }
  if (state_ == State::kConnection) return -EISCONN;
  if (!SetMd5Rule(options_listen_.md5, rule)) return -ENOENT;
  if (listening()) world_.shard().passive_open().SetMd5Rule(handle_, rule);
  return 0;
}

int Socket::SetRareTcpLevel(int name, int v, const void* raw, socklen_t length) {
  const bool closed = state_ == State::kFresh;
  switch (name) {
    case TCP_WINDOW_CLAMP:
      if (v == 0 && state_ != State::kFresh) return -EINVAL;
      remembered_[{IPPROTO_TCP, name}] = v == 0 ? 0 : std::max(v, kLeastReceiveBuffer / 2);
      return 0;
    case TCP_NOTSENT_LOWAT:
      options_.notsent_lowat_bytes = static_cast<uint32_t>(v);
      Apply();
      Edge();
      return 0;
    case TCP_INQ:
      if (!InRange(v, 0, 1)) return -EINVAL;
      inq_ = v != 0;
      return 0;
    case TCP_QUICKACK:
      world_.shard().SetQuickAck(handle_, v != 0);
      world_.Pump();
      // Bit 0 not set: once only.
      if (v != 0 && (v & 1) == 0) world_.shard().SetQuickAck(handle_, false);
      return 0;
    case TCP_FASTOPEN_NO_COOKIE:
      if (!InRange(v, 0, 1) || (!closed && !listening())) return -EINVAL;
      fast_open_no_cookie_ = v != 0;
      remembered_[{IPPROTO_TCP, name}] = v;
      return 0;
    case TCP_THIN_LINEAR_TIMEOUTS:
    case TCP_THIN_DUPACK:  // Linux does nothing with it any more
      if (!InRange(v, 0, 1)) return -EINVAL;
      remembered_[{IPPROTO_TCP, name}] = name == TCP_THIN_DUPACK ? 0 : v;
      return 0;
    case TCP_FASTOPEN_CONNECT:
      if (!InRange(v, 0, 1)) return -EINVAL;
      if ((world_.shard().sysctls().tcp_fastopen & 1) == 0) return -EOPNOTSUPP;
      if (!closed) return -EINVAL;
      fast_open_connect_ = v != 0;
      remembered_[{IPPROTO_TCP, name}] = v;
      return 0;
    case TCP_MD5SIG:
    case TCP_MD5SIG_EXT:
      return SetMd5(name, raw, length);
    case TCP_REPAIR:
      return -EPERM;
    default:
      return -ENOPROTOOPT;
  }
}

int Socket::SetIpLevel(int level, int name, const void* value, socklen_t length) {
  int v = 0;
  if (length >= sizeof v)
    v = IntFrom(value);
  else if (length >= 1)
    v = *static_cast<const uint8_t*>(value);
  else
    return -EINVAL;
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
    if (bound_ || length < sizeof v) return -EINVAL;
    options_listen_.v6_only = v != 0;
    return 0;
  }
  if (level == IPPROTO_IP && name == IP_TTL && v != -1 && !InRange(v, 1, 255)) return -EINVAL;
  if (level == IPPROTO_IPV6 && name == IPV6_UNICAST_HOPS && !InRange(v, -1, 255)) return -EINVAL;
  if (level == IPPROTO_IPV6 && name == IPV6_TCLASS && !InRange(v, -1, 255)) return -EINVAL;
  remembered_[{level, name}] = v;
  constexpr int kNotEcn = 0xfc;
  if ((level == IPPROTO_IP && name == IP_TOS) || (level == IPPROTO_IPV6 && name == IPV6_TCLASS))
    options_.tos = static_cast<uint8_t>(std::max(v, 0) & kNotEcn);
  if ((level == IPPROTO_IP && name == IP_TTL) ||
      (level == IPPROTO_IPV6 && name == IPV6_UNICAST_HOPS))
    options_.hop_limit = static_cast<uint8_t>(std::max(v, 0));
  Apply();
  return 0;
}

// ---- get ----

int Socket::GetOption(int level, int name, void* value, socklen_t* length) {
  const bool ipv6 = level == IPPROTO_IPV6 && domain_ == AF_INET6;
  if (level != SOL_SOCKET && level != IPPROTO_TCP && level != IPPROTO_IP && !ipv6)
    return domain_ == AF_INET ? -EOPNOTSUPP : -ENOPROTOOPT;
  if (static_cast<int>(*length) < 0 && !ipv6) return -EINVAL;
  std::vector<uint8_t> bytes;
  int result = 0;
  if (level == SOL_SOCKET)
    result = GetSocketLevel(name, &bytes);
  else if (level == IPPROTO_TCP)
    result = GetTcpLevel(name, &bytes, length);
  else
    result = GetIpLevel(level, name, &bytes);
  if (result != 0) return result;
  *length = std::min(*length, static_cast<socklen_t>(bytes.size()));
  if (*length != 0) std::memcpy(value, bytes.data(), *length);
  return 0;
}

int Socket::GetSocketLevel(int name, std::vector<uint8_t>* out) {
  const Sysctls& sysctls = world_.shard().sysctls();
  switch (name) {
    case SO_ERROR: {
      int error = TakeError();
      TcpConnection* c = connection();
      if (error == 0 && c != nullptr) error = ToErrno(c->TakeSoftError());
      PutInt(out, error);
      return 0;
    }
    case SO_TYPE:
      PutInt(out, SOCK_STREAM);
      return 0;
    case SO_PROTOCOL:
      PutInt(out, IPPROTO_TCP);
      return 0;
    case SO_DOMAIN:
      PutInt(out, domain_);
      return 0;
    case SO_ZEROCOPY:
      PutInt(out, zerocopy_ ? 1 : 0);
      return 0;
    case SO_ACCEPTCONN:
      PutInt(out, listening() ? 1 : 0);
      return 0;
    case SO_REUSEADDR:
      PutInt(out, reuse_address_ ? 1 : 0);
      return 0;
    case SO_REUSEPORT:
      PutInt(out, options_listen_.reuseport ? 1 : 0);
      return 0;
    case SO_KEEPALIVE:
      PutInt(out, options_.keepalive ? 1 : 0);
      return 0;
    case SO_SNDBUF:
      PutInt(out, static_cast<int>(SendLimit()));
      return 0;
    case SO_RCVBUF:
      PutInt(out, options_.receive_buffer_bytes != 0
                      ? static_cast<int>(options_.receive_buffer_bytes)
                      : sysctls.tcp_rmem[1]);
      return 0;
    case SO_RCVLOWAT:
      PutInt(out, receive_low_water_);
      return 0;
    case SO_SNDLOWAT:
      PutInt(out, 1);
      return 0;
    case SO_OOBINLINE:
      PutInt(out, options_.oob_inline ? 1 : 0);
      return 0;
    case SO_MAX_PACING_RATE:
      PutInt(out, static_cast<int>(options_.max_pacing_rate));
      return 0;
    case SO_LINGER: {
      const linger l{options_.linger ? 1 : 0, static_cast<int>(linger_seconds_)};
      Put(out, &l, sizeof l);
      return 0;
    }
    case SO_RCVTIMEO:
      Put(out, &receive_timeout_, sizeof receive_timeout_);
      return 0;
    case SO_SNDTIMEO:
      Put(out, &send_timeout_, sizeof send_timeout_);
      return 0;
    case kSoMemInfo:
      out->assign(kMemInfoWords * sizeof(uint32_t), 0);
      return 0;
    default:
      return Remembered(SOL_SOCKET, name, out);
  }
}

// What is set without effect can be read back; what was not set is 0.
int Socket::Remembered(int level, int name, std::vector<uint8_t>* out) const {
  const auto it = remembered_.find({level, name});
  PutInt(out, it != remembered_.end() ? it->second : 0);
  return 0;
}

int Socket::GetTcpLevel(int name, std::vector<uint8_t>* out, socklen_t* length) {
  const Sysctls& sysctls = world_.shard().sysctls();
  const TcpConnection* c = connection();
  switch (name) {
    case TCP_NODELAY:
      PutInt(out, options_.no_delay ? 1 : 0);
      return 0;
    case TCP_CORK:
      PutInt(out, options_.cork ? 1 : 0);
      return 0;
    case TCP_MAXSEG:
      if (c != nullptr && c->state() != TcpState::kClosed)
        PutInt(out, static_cast<int>(c->Info(world_.shard().context()).mss));
      else
        PutInt(out, options_.user_mss != 0 ? options_.user_mss : TCP_MSS_DEFAULT);
      return 0;
    case TCP_KEEPIDLE:
      PutInt(out, options_.keepalive_time_s != 0 ? options_.keepalive_time_s
                                                 : sysctls.tcp_keepalive_time);
      return 0;
    case TCP_KEEPINTVL:
      PutInt(out, options_.keepalive_intvl_s != 0 ? options_.keepalive_intvl_s
                                                  : sysctls.tcp_keepalive_intvl);
      return 0;
    case TCP_KEEPCNT:
      PutInt(out, options_.keepalive_probes != 0 ? options_.keepalive_probes
                                                 : sysctls.tcp_keepalive_probes);
      return 0;
    case TCP_SYNCNT:
      PutInt(out, options_listen_.syncnt != 0 ? options_listen_.syncnt : sysctls.tcp_syn_retries);
      return 0;
    case TCP_LINGER2:
      PutInt(out, options_.linger2_s != 0 ? options_.linger2_s : sysctls.tcp_fin_timeout);
      return 0;
    case TCP_DEFER_ACCEPT:
      PutInt(out, DeferAcceptInForce());
      return 0;
    case TCP_USER_TIMEOUT:
      PutInt(out, static_cast<int>(options_.user_timeout_ms));
      return 0;
    case TCP_FASTOPEN:
      PutInt(out, static_cast<int>(options_listen_.fastopen_qlen));
      return 0;
    case TCP_SAVE_SYN:
      PutInt(out, save_syn_);
      return 0;
    case TCP_NOTSENT_LOWAT:
      PutInt(out, static_cast<int>(options_.notsent_lowat_bytes));
      return 0;
    case TCP_INQ:
      PutInt(out, inq_ ? 1 : 0);
      return 0;
    default:
      return GetRareTcpLevel(name, out, length);
  }
}

int Socket::GetRareTcpLevel(int name, std::vector<uint8_t>* out, socklen_t* length) {
  constexpr size_t kNameLength = 16;  // TCP_CA_NAME_MAX
  switch (name) {
    case TCP_INFO:
      *out = TcpInfoBytes();
      return 0;
    case TCP_CC_INFO:  // neither Reno nor CUBIC tells more
      return 0;
    case TCP_CONGESTION: {
      const std::string_view text =
          CongestionAlgorithmName(CongestionOf(world_.shard().context(), options_));
      out->assign(text.begin(), text.end());
      out->resize(kNameLength);
      return 0;
    }
    case TCP_SAVED_SYN:
      return SavedSyn(out, length);
    case TCP_WINDOW_CLAMP:
    case TCP_THIN_LINEAR_TIMEOUTS:
    case TCP_THIN_DUPACK:
    case TCP_FASTOPEN_CONNECT:
    case TCP_FASTOPEN_NO_COOKIE:
      return Remembered(IPPROTO_TCP, name, out);
    case TCP_QUICKACK:
      PutInt(out, connection() == nullptr || connection()->quick_ack() ? 1 : 0);
      return 0;
    default:
      return -ENOPROTOOPT;
  }
}

int Socket::DeferAcceptInForce() const {
  return static_cast<int>(DeferAcceptSeconds(DeferAcceptRetries(options_listen_.defer_accept_s)));
}

// The SYN that began this connection, once.
int Socket::SavedSyn(std::vector<uint8_t>* out, socklen_t* length) {
  const TcpConnection* c = connection();
  if (c == nullptr) return 0;
  PassiveOpen& passive = world_.shard().passive_open();
  const auto syn = passive.SavedSyn(*c);
  if (*length < syn.size()) {
    *length = static_cast<socklen_t>(syn.size());
    return -EINVAL;
  }
  out->assign(syn.begin(), syn.end());
  passive.ForgetSavedSyn(*c);
  return 0;
}

int Socket::GetIpLevel(int level, int name, std::vector<uint8_t>* out) {
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
    PutInt(out, options_listen_.v6_only ? 1 : 0);
    return 0;
  }
  const TcpConnection* c = connection();
  if ((level == IPPROTO_IP && name == IP_MTU) || (level == IPPROTO_IPV6 && name == IPV6_MTU)) {
    if (c == nullptr) return -ENOTCONN;
    PutInt(out, static_cast<int>(c->Info(world_.shard().context()).pmtu));
    return 0;
  }
  if (level == IPPROTO_IP && name == IP_TTL && remembered_.count({level, name}) == 0) {
    PutInt(out, world_.shard().sysctls().ip_default_ttl);
    return 0;
  }
  return Remembered(level, name, out);
}

}  // namespace usher::packetdrill
