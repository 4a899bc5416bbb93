// The stack, its one link and its clock, as both of packetdrill's threads see them.
//
// Time is virtual: it moves only while the driver (the thread that plays packets) sleeps or waits
// for a packet, from one timer to the next. A call that blocks comes on a second thread; it sleeps
// on a condition until an event or a timeout makes it ready, and the driver then holds time still
// until that thread has asked what time it is, so that it reads the instant of the event.
#pragma once

#include <sys/time.h>

#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "stack/shard/shard.h"
#include "tools/packetdrill/flags.h"
#include "tools/packetdrill/ip_port.h"

namespace usher::packetdrill {

class World final : public ShardEvents {
 public:
  using Lock = std::unique_lock<std::mutex>;
  // Who is told of events: of a listener, of a connection (the owner, as given to Listen or kept in
  // the connection's user_data).
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnEvent(uint8_t events) = 0;
    // The stack has worked; only for those who watch.
    virtual void OnPass() {}
  };

  explicit World(const Flags& flags);
  ~World() override;

  Lock Enter() { return Lock(mutex_); }

  // ---- With the lock held ----
  Shard& shard() { return *shard_; }
  Instant now() const { return now_; }
  const Flags& flags() const { return flags_; }
  const FlowLedger& flows() const { return port_.flows(); }
  // Whether there is a connection of that name, or what is left of one.
  bool Has(const FourTuple& connection);
  // Makes `address` ours.
  void AddAddress(const IpAddress& address);
  // The address to speak from to `remote`, where the script has bound none.
  IpAddress SourceFor(const IpAddress& remote);
  // What peers' SYN-ACKs said of Fast Open (tcp_metrics): null, or a cookie and the MSS.
  const FastOpenSyn* FastOpenOf(const IpAddress& peer) const {
    const auto it = fast_open_.find(peer);
    return it != fast_open_.end() ? &it->second : nullptr;
  }
  void Watch(Owner* owner) { watchers_.push_back(owner); }
  void Unwatch(Owner* owner) { std::erase(watchers_, owner); }
  // Lets the stack do all that is due now, then wakes the calls that became ready.
  void Pump();
  // Waits until ready() or `deadline`; what it came to. False at once if nothing could ever make it
  // ready (the driver itself waits, and no timer runs).
  bool Block(Lock& lock, const std::function<bool()>& ready, Instant deadline);
  // Gives woken threads the time to return from their calls, if this is the driver.
  void LetWokenReturn(Lock& lock);

  // ---- packetdrill's side of the link, and the clock. Each makes its thread the driver. ----
  bool Send(Lock& lock, std::span<const uint8_t> packet);
  // 0: none yet.
  size_t Receive(Lock& lock, std::span<uint8_t> packet, long long* time_us);
  void Sleep(Lock& lock, Duration time);
  int64_t TimeOfDayUs();

  // ShardEvents.
  void OnAcceptable(Handle listener, void* owner) override;
  void OnConnectionEvents(Handle connection, uint8_t events, void* owner) override;
  void OnConnectionTimer(Handle, void*) override {}

 private:
  struct Waiter {
    const std::function<bool()>* ready;
    Instant deadline;
    std::thread::id thread;
    std::condition_variable condition;
    bool woken = false;
  };

  void NoteFastOpen(const IpAddress& from, std::span<const uint8_t> tcp);
  void BecomeDriver() { driver_ = std::this_thread::get_id(); }
  Instant NextEvent() const;
  void AdvanceTo(Instant when);
  void WakeReady();
  void Forget(std::thread::id thread);
  void AdvanceIfStalled();

  const Flags flags_;
  std::mutex mutex_;
  HeapPool pool_;
  IpPort port_;
  SeededRandom random_;
  std::unique_ptr<Shard> shard_;
  Instant now_;
  std::vector<IpAddress> addresses_;  // that packets or the script named, in that order

  std::thread::id driver_;
  uint64_t driver_calls_ = 0;
  std::map<IpAddress, FastOpenSyn> fast_open_;
  std::vector<Owner*> watchers_;
  std::list<Waiter*> waiters_;
  std::vector<std::thread::id> woken_;  // have not asked for the time yet
  std::condition_variable returned_;    // woken_ became shorter
};

}  // namespace usher::packetdrill
