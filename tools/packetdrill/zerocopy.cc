#include "tools/packetdrill/zerocopy.h"

#include <linux/errqueue.h>
#include <netinet/in.h>

#include <cstring>

namespace usher::packetdrill {

bool ZeroCopyLog::OnAcked(uint64_t acked) {
  bool any = false;
  for (; !pending_.empty() && pending_.front().end <= acked; pending_.pop_front()) {
    const uint32_t id = pending_.front().id;
    if (!done_.empty() && done_.back().last + 1 == id)
      done_.back().last = id;
    else
      done_.push_back({id, id});
    any = true;
  }
  return any;
}

void ZeroCopyLog::Take(int domain, msghdr* message) {
  const Range range = done_.front();
  done_.pop_front();
  sock_extended_err error{};
  error.ee_origin = SO_EE_ORIGIN_ZEROCOPY;
  error.ee_code = SO_EE_CODE_ZEROCOPY_COPIED;
  error.ee_info = range.first;
  error.ee_data = range.last;
  if (message == nullptr) return;
  message->msg_flags = MSG_ERRQUEUE;
  message->msg_namelen = 0;
  const bool v6 = domain == AF_INET6;
  const size_t size = sizeof error + (v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
  if (message->msg_control == nullptr || message->msg_controllen < CMSG_SPACE(size)) {
    message->msg_flags |= MSG_CTRUNC;
    message->msg_controllen = 0;
    return;
  }
  cmsghdr* const c = CMSG_FIRSTHDR(message);
  std::memset(c, 0, CMSG_SPACE(size));
  c->cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  c->cmsg_type = v6 ? IPV6_RECVERR : IP_RECVERR;
  c->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(c), &error, sizeof error);
  message->msg_controllen = CMSG_SPACE(size);
}

}  // namespace usher::packetdrill
