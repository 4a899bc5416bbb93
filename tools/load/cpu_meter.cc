#include "tools/load/cpu_meter.h"

#include <sys/resource.h>

namespace usher::load {
namespace {

Duration ToDuration(const timeval& t) {
  return Duration::Seconds(t.tv_sec) + Duration::Micros(t.tv_usec);
}

rusage OfThread() {
  rusage r = {};
  getrusage(RUSAGE_THREAD, &r);
  return r;
}

}  // namespace

void CpuMeter::Start(Instant now) {
  use_ = {};
  const rusage r = OfThread();
  use_.user = ToDuration(r.ru_utime);
  use_.system = ToDuration(r.ru_stime);
  started_ = last_ = now;
}

CpuUse CpuMeter::Stop(Instant now) {
  const rusage r = OfThread();
  use_.user = ToDuration(r.ru_utime) - use_.user;
  use_.system = ToDuration(r.ru_stime) - use_.system;
  use_.wall = now - started_;
  return use_;
}

}  // namespace usher::load
