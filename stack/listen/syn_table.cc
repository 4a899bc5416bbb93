#include "stack/listen/syn_table.h"

namespace usher {

SynTable::SynTable(uint32_t capacity)
    : capacity_(capacity), v4_(capacity), v6_(capacity), timers_(2 * capacity) {}

uint32_t SynTable::Allocate(const FourTuple& tuple) {
  uint32_t index;
  if (tuple.remote.is_v4()) {
    index = v4_.Allocate();
    if (index == kNone) return kNone;
    v4_[index].local = tuple.local.v4();
    v4_[index].remote = tuple.remote.v4();
  } else {
    index = v6_.Allocate();
    if (index == kNone) return kNone;
    v6_[index].local = tuple.local;
    v6_[index].remote = tuple.remote;
    index += capacity_;
  }
  Request& r = (*this)[index];
  r.local_port = tuple.local_port;
  r.remote_port = tuple.remote_port;
  return index;
}

void SynTable::Free(uint32_t index) {
  timers_.Cancel(index);
  if (IsV4(index))
    v4_.Free(index);
  else
    v6_.Free(index - capacity_);
}

FourTuple SynTable::TupleOf(uint32_t index) const {
  const Request& r = (*this)[index];
  FourTuple t;
  if (IsV4(index)) {
    t.local = IpAddress::V4(v4_[index].local);
    t.remote = IpAddress::V4(v4_[index].remote);
  } else {
    t.local = v6_[index - capacity_].local;
    t.remote = v6_[index - capacity_].remote;
  }
  t.local_port = r.local_port;
  t.remote_port = r.remote_port;
  return t;
}

void SynTable::Prefetch(uint32_t index) const {
  if (IsV4(index))
    v4_.Prefetch(index);
  else
    v6_.Prefetch(index - capacity_, sizeof(RecordV6));
}

}  // namespace usher
