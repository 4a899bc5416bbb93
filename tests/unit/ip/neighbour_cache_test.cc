#include "stack/ip/neighbour_cache.h"

#include <gtest/gtest.h>

#include <vector>

namespace usher {
namespace {

IpAddress Host(uint32_t n) { return IpAddress::V4(0xc6120000 + n); }
MacAddress MacOf(uint8_t n) { return {{2, 0, 0, 0, 0, n}}; }

class NeighbourCacheTest : public ::testing::Test, public NeighbourHost {
 protected:
  struct Asked {
    IpAddress target;
    bool unicast;
  };

  void Make() { cache_ = std::make_unique<NeighbourCache>(limits_, SipKey{1, 2}, 3, *this); }

  // Packets are named by their length; they have no buffers.
  void Queue(const IpAddress& address, uint16_t name) {
    cache_->Queue(now_, cache_->FindOrCreate(now_, address), TxPacket{.length = name});
  }
  const MacAddress* Use(const IpAddress& address) {
    return cache_->Use(now_, cache_->Find(address));
  }
  NeighbourState State(const IpAddress& address) { return cache_->StateOf(now_, address); }
  void Answer(const IpAddress& address, uint8_t mac) {
    const MacAddress m = MacOf(mac);
    cache_->OnAdvert(now_, address, {.mac = &m, .solicited = true, .override_flag = true});
  }
  void Resolve(const IpAddress& address, uint8_t mac) {
    Queue(address, 1);
    Answer(address, mac);
    ASSERT_EQ(State(address), NeighbourState::kReachable);
  }
  void Pass(Duration d) {
    const Instant end = now_ + d;
    while (cache_->NextDeadline() <= end) {
      now_ = cache_->NextDeadline();
      cache_->Advance(now_);
    }
    now_ = end;
  }

  void SolicitNeighbour(const IpAddress& target, const MacAddress* link_address) override {
    asked_.push_back({target, link_address != nullptr});
  }
  void SendPending(const TxPacket& packet, const MacAddress& mac) override {
    sent_.push_back(packet.length);
    sent_to_ = mac;
  }
  void DropPending(const TxPacket& packet, const IpAddress&) override {
    dropped_.push_back(packet.length);
  }
  void NeighbourUnreachable(const IpAddress& target) override { unreachable_.push_back(target); }

  NetworkLimits limits_;
  Instant now_ = Instant::FromNanos(1'000'000'000);
  std::unique_ptr<NeighbourCache> cache_;
  std::vector<Asked> asked_;
  std::vector<uint16_t> sent_, dropped_;
  std::vector<IpAddress> unreachable_;
  MacAddress sent_to_;
};

TEST_F(NeighbourCacheTest, ResolvesAndSendsWhatWaitedInOrder) {
  Make();
  Queue(Host(1), 10);
  Queue(Host(1), 11);
  EXPECT_EQ(State(Host(1)), NeighbourState::kIncomplete);
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_FALSE(asked_[0].unicast);
  Answer(Host(1), 9);
  EXPECT_EQ(sent_, (std::vector<uint16_t>{10, 11}));
  EXPECT_EQ(sent_to_, MacOf(9));
  EXPECT_EQ(State(Host(1)), NeighbourState::kReachable);
  EXPECT_EQ(cache_->pending(), 0u);
}

TEST_F(NeighbourCacheTest, UnansweredResolutionFailsAfterThreeRequests) {
  Make();
  Queue(Host(1), 10);
  Pass(Duration::Millis(2999));
  EXPECT_EQ(asked_.size(), 3u);
  EXPECT_EQ(State(Host(1)), NeighbourState::kIncomplete);
  Pass(Duration::Millis(1));
  EXPECT_EQ(State(Host(1)), NeighbourState::kFailed);
  EXPECT_EQ(dropped_, std::vector<uint16_t>{10});
  EXPECT_EQ(unreachable_, std::vector<IpAddress>{Host(1)});
  EXPECT_EQ(cache_->NextDeadline(), Instant::Never());
  Queue(Host(1), 11);  // tried anew when wanted anew
  EXPECT_EQ(State(Host(1)), NeighbourState::kIncomplete);
  EXPECT_EQ(asked_.size(), 4u);
}

TEST_F(NeighbourCacheTest, GoesStaleThenDelayThenProbeThenFailed) {
  Make();
  Resolve(Host(1), 9);
  asked_.clear();
  Pass(Duration::Seconds(46));  // longer than 30 s times 1.5
  EXPECT_EQ(State(Host(1)), NeighbourState::kStale);
  EXPECT_TRUE(asked_.empty()) << "an unused entry is not probed";
  ASSERT_NE(Use(Host(1)), nullptr);
  EXPECT_EQ(State(Host(1)), NeighbourState::kDelay);
  Pass(Duration::Millis(4999));
  EXPECT_TRUE(asked_.empty());
  Pass(Duration::Millis(1));
  EXPECT_EQ(State(Host(1)), NeighbourState::kProbe);
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_TRUE(asked_[0].unicast);
  EXPECT_NE(Use(Host(1)), nullptr) << "still used while being probed";
  Pass(Duration::Seconds(3));
  EXPECT_EQ(asked_.size(), 3u);
  EXPECT_EQ(State(Host(1)), NeighbourState::kFailed);
  EXPECT_EQ(Use(Host(1)), nullptr);
}

TEST_F(NeighbourCacheTest, ReachableTimeIsRandomWithinTheFactors) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    cache_ = std::make_unique<NeighbourCache>(limits_, SipKey{1, 2}, seed, *this);
    Resolve(Host(1), 9);
    Pass(Duration::Millis(14'999));
    EXPECT_EQ(State(Host(1)), NeighbourState::kReachable) << "seed " << seed;
    Pass(Duration::Millis(30'002));
    EXPECT_EQ(State(Host(1)), NeighbourState::kStale) << "seed " << seed;
  }
}

TEST_F(NeighbourCacheTest, ProgressOfTheTransportConfirms) {
  Make();
  Resolve(Host(1), 9);
  Pass(Duration::Seconds(46));
  Use(Host(1));
  ASSERT_EQ(State(Host(1)), NeighbourState::kDelay);
  cache_->ConfirmReachable(now_, cache_->Find(Host(1)));
  EXPECT_EQ(State(Host(1)), NeighbourState::kReachable);
  EXPECT_EQ(cache_->NextDeadline(), Instant::Never());
}

TEST_F(NeighbourCacheTest, AnswerToAProbeConfirms) {
  Make();
  Resolve(Host(1), 9);
  Pass(Duration::Seconds(46));
  Use(Host(1));
  Pass(Duration::Seconds(5));
  ASSERT_EQ(State(Host(1)), NeighbourState::kProbe);
  Answer(Host(1), 9);
  EXPECT_EQ(State(Host(1)), NeighbourState::kReachable);
}

TEST_F(NeighbourCacheTest, AdvertisementsNeverCreateAndUnaskedOnesNeverConfirm) {
  Make();
  Answer(Host(1), 9);
  EXPECT_EQ(cache_->Find(Host(1)), NeighbourCache::kNoHandle);
  cache_->FindOrCreate(now_, Host(2));
  Answer(Host(2), 9);
  EXPECT_EQ(State(Host(2)), NeighbourState::kNone);
  Resolve(Host(3), 9);
  Answer(Host(3), 8);  // from another link address, unasked for
  EXPECT_EQ(State(Host(3)), NeighbourState::kStale);
}

// RFC 4861 section 7.2.5, the table of appendix C.
TEST_F(NeighbourCacheTest, AdvertisementWithoutOverrideOnlySowsDoubt) {
  Make();
  Resolve(Host(1), 9);
  const MacAddress other = MacOf(8);
  cache_->OnAdvert(now_, Host(1), {.mac = &other, .solicited = true, .override_flag = false});
  EXPECT_EQ(State(Host(1)), NeighbourState::kStale);
  EXPECT_EQ(*cache_->LinkAddressOf(Host(1)), MacOf(9));
  cache_->OnAdvert(now_, Host(1), {.mac = &other, .solicited = false, .override_flag = false});
  EXPECT_EQ(*cache_->LinkAddressOf(Host(1)), MacOf(9));
  cache_->OnAdvert(now_, Host(1), {.mac = &other, .solicited = false, .override_flag = true});
  EXPECT_EQ(*cache_->LinkAddressOf(Host(1)), MacOf(8));
  EXPECT_EQ(State(Host(1)), NeighbourState::kStale);
}

TEST_F(NeighbourCacheTest, AdvertisementWithoutLinkAddress) {
  Make();
  Queue(Host(1), 1);
  cache_->OnAdvert(now_, Host(1), {.mac = nullptr, .solicited = true, .override_flag = true});
  EXPECT_EQ(State(Host(1)), NeighbourState::kIncomplete);
  Answer(Host(1), 9);
  Pass(Duration::Seconds(46));
  Use(Host(1));
  Pass(Duration::Seconds(5));
  cache_->OnAdvert(now_, Host(1), {.mac = nullptr, .solicited = true, .override_flag = false});
  EXPECT_EQ(State(Host(1)), NeighbourState::kReachable);
}

TEST_F(NeighbourCacheTest, OfferCreatesStaleAndCompletesAResolution) {
  Make();
  cache_->OnOffer(now_, Host(1), MacOf(9));
  EXPECT_EQ(State(Host(1)), NeighbourState::kStale);
  Queue(Host(2), 7);
  cache_->OnOffer(now_, Host(2), MacOf(8));
  EXPECT_EQ(sent_, std::vector<uint16_t>{7});
  EXPECT_EQ(State(Host(2)), NeighbourState::kDelay);
  Resolve(Host(3), 7);
  cache_->OnOffer(now_, Host(3), MacOf(7));
  EXPECT_EQ(State(Host(3)), NeighbourState::kReachable) << "no news";
  cache_->OnOffer(now_, Host(3), MacOf(6));
  EXPECT_EQ(State(Host(3)), NeighbourState::kStale);
}

TEST_F(NeighbourCacheTest, HintIsVerifiedBeforeItIsBelieved) {
  Make();
  Resolve(Host(1), 9);
  asked_.clear();
  cache_->OnHint(now_, Host(1), MacOf(8));
  EXPECT_EQ(*cache_->LinkAddressOf(Host(1)), MacOf(9));
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_FALSE(asked_[0].unicast) << "the old link address is what is in doubt";
  cache_->OnHint(now_, Host(1), MacOf(8));
  EXPECT_EQ(asked_.size(), 1u);
  // The transport's progress may be what goes to the wrong place.
  cache_->ConfirmReachable(now_, cache_->Find(Host(1)));
  EXPECT_EQ(State(Host(1)), NeighbourState::kProbe);
  Answer(Host(1), 8);
  EXPECT_EQ(*cache_->LinkAddressOf(Host(1)), MacOf(8));
  EXPECT_EQ(State(Host(1)), NeighbourState::kReachable);
  cache_->OnHint(now_, Host(5), MacOf(8));
  EXPECT_EQ(cache_->Find(Host(5)), NeighbourCache::kNoHandle);
}

TEST_F(NeighbourCacheTest, PendingIsBoundedPerNeighbourOldestGoes) {
  Make();
  for (uint16_t i = 0; i < 5; ++i) Queue(Host(1), i);
  EXPECT_EQ(dropped_, (std::vector<uint16_t>{0, 1}));
  Answer(Host(1), 9);
  EXPECT_EQ(sent_, (std::vector<uint16_t>{2, 3, 4}));
}

TEST_F(NeighbourCacheTest, PendingIsBoundedInAllNewestGoes) {
  limits_.pending_packets = 4;
  Make();
  for (uint16_t i = 0; i < 6; ++i) Queue(Host(i), i);
  EXPECT_EQ(cache_->pending(), 4u);
  EXPECT_EQ(dropped_, (std::vector<uint16_t>{4, 5}));
  cache_->Clear();
  EXPECT_EQ(dropped_.size(), 6u);
  EXPECT_EQ(cache_->pending(), 0u);
}

TEST_F(NeighbourCacheTest, FloodOfResolutionsDoesNotEvictWhoAnswered) {
  Make();
  Resolve(Host(1), 9);
  cache_->OnOffer(now_, Host(2), MacOf(8));
  for (uint32_t i = 100; i < 20'000; ++i) Queue(Host(i), 1);
  EXPECT_EQ(State(Host(1)), NeighbourState::kReachable);
  EXPECT_EQ(State(Host(2)), NeighbourState::kStale);
  EXPECT_LE(cache_->size(), limits_.neighbours_resolving + 2);
  EXPECT_LE(cache_->pending(), limits_.pending_packets);
  EXPECT_EQ(State(Host(19'999)), NeighbourState::kIncomplete) << "the newest has its chance";
}

TEST_F(NeighbourCacheTest, FloodOfOffersDoesNotEvictWhoAnswered) {
  Make();
  Resolve(Host(1), 9);
  Queue(Host(2), 1);
  for (uint32_t i = 100; i < 20'000; ++i) cache_->OnOffer(now_, Host(i), MacOf(7));
  EXPECT_EQ(State(Host(1)), NeighbourState::kReachable);
  EXPECT_EQ(State(Host(2)), NeighbourState::kIncomplete);
  EXPECT_LE(cache_->size(), limits_.neighbours_offered + 2);
}

TEST_F(NeighbourCacheTest, LeastRecentlyUsedOfTheConfirmedGoesFirst) {
  limits_.neighbours_confirmed = 3;
  Make();
  for (uint32_t i = 1; i <= 3; ++i) {
    Resolve(Host(i), 9);
    Pass(Duration::Seconds(2));
  }
  Use(Host(1));
  Resolve(Host(4), 9);
  EXPECT_NE(cache_->Find(Host(1)), NeighbourCache::kNoHandle);
  EXPECT_EQ(cache_->Find(Host(2)), NeighbourCache::kNoHandle);
}

TEST_F(NeighbourCacheTest, PinnedEntriesStay) {
  limits_.neighbours_confirmed = 1;
  limits_.neighbours_resolving = 1;
  limits_.neighbours_pinned = 1;
  Make();
  ASSERT_TRUE(cache_->Pin(now_, Host(1)));
  EXPECT_FALSE(cache_->Pin(now_, Host(2)));
  Resolve(Host(1), 9);
  for (uint32_t i = 10; i < 20; ++i) Resolve(Host(i), 9);
  EXPECT_EQ(State(Host(1)), NeighbourState::kReachable);
  cache_->Unpin(now_, Host(1));
  Resolve(Host(30), 9);
  EXPECT_EQ(cache_->Find(Host(1)), NeighbourCache::kNoHandle);
}

TEST_F(NeighbourCacheTest, HandleOfAnEvictedEntryIsStale) {
  limits_.neighbours_resolving = 1;
  Make();
  const auto old = cache_->FindOrCreate(now_, Host(1));
  EXPECT_TRUE(cache_->IsCurrent(old));
  cache_->FindOrCreate(now_, Host(2));
  EXPECT_FALSE(cache_->IsCurrent(old));
  EXPECT_EQ(cache_->Use(now_, old), nullptr);
  cache_->ConfirmReachable(now_, old);
  EXPECT_EQ(State(Host(2)), NeighbourState::kNone);
}

TEST_F(NeighbourCacheTest, PermanentEntryHeedsNobody) {
  Make();
  ASSERT_TRUE(cache_->SetPermanent(now_, Host(1), MacOf(9)));
  cache_->OnOffer(now_, Host(1), MacOf(8));
  Answer(Host(1), 8);
  cache_->OnHint(now_, Host(1), MacOf(8));
  Pass(Duration::Seconds(1000));
  ASSERT_NE(Use(Host(1)), nullptr);
  EXPECT_EQ(*Use(Host(1)), MacOf(9));
  EXPECT_TRUE(asked_.empty());
}

TEST_F(NeighbourCacheTest, SolicitationsHaveARate) {
  limits_.solicits_per_sec = 10;
  limits_.solicits_burst = 20;
  Make();
  for (uint32_t i = 0; i < 100; ++i) Queue(Host(i), 1);
  EXPECT_EQ(asked_.size(), 20u);
  Pass(Duration::Seconds(1));
  EXPECT_LE(asked_.size(), 31u);
  ASSERT_TRUE(cache_->Pin(now_, Host(200)));
  asked_.clear();
  Queue(Host(200), 1);
  EXPECT_EQ(asked_.size(), 1u) << "gateways are not held back";
}

// After a long stop all timers are due at once: each entry moves one step, and none asks twice.
TEST_F(NeighbourCacheTest, NoBurstAfterAStop) {
  Make();
  Queue(Host(1), 1);
  now_ = now_ + Duration::Seconds(120);
  cache_->Advance(now_);
  EXPECT_EQ(asked_.size(), 2u);
  EXPECT_EQ(State(Host(1)), NeighbourState::kIncomplete);
}

TEST_F(NeighbourCacheTest, RandomOperationsKeepTheBoundsAndTheTimerOrder) {
  limits_.neighbours_confirmed = 8;
  limits_.neighbours_offered = 4;
  limits_.neighbours_resolving = 4;
  limits_.neighbours_pinned = 2;
  limits_.pending_packets = 6;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Make();
    SeededRandom random(seed);
    sent_.clear();
    dropped_.clear();
    size_t queued = 0;
    for (int step = 0; step < 2000; ++step) {
      const IpAddress host = Host(static_cast<uint32_t>(random.Uniform(40)));
      const auto mac = static_cast<uint8_t>(random.Uniform(4));
      switch (random.Uniform(8)) {
        case 0:
          Queue(host, 1);
          ++queued;
          break;
        case 1:
          Answer(host, mac);
          break;
        case 2:
          cache_->OnOffer(now_, host, MacOf(mac));
          break;
        case 3:
          cache_->OnHint(now_, host, MacOf(mac));
          break;
        case 4:
          Use(host);
          break;
        case 5:
          cache_->ConfirmReachable(now_, cache_->Find(host));
          break;
        case 6:
          random.Uniform(2) == 0 ? static_cast<void>(cache_->Pin(now_, host))
                                 : cache_->Unpin(now_, host);
          break;
        case 7:
          Pass(Duration::Millis(static_cast<int64_t>(random.Uniform(4000))));
          break;
      }
      ASSERT_LE(cache_->size(), cache_->capacity());
      ASSERT_LE(cache_->pending(), 6u);
      ASSERT_EQ(queued, sent_.size() + dropped_.size() + cache_->pending());
      ASSERT_GT(cache_->NextDeadline(), now_);
    }
    cache_->Clear();
    EXPECT_EQ(cache_->size(), 0u);
    EXPECT_EQ(queued, sent_.size() + dropped_.size());
  }
}

// A solicitation that we hear while our own is unanswered: an address, but no proof of the way
// back.
TEST_F(NeighbourCacheTest, UnaskedAdvertisementCompletesAResolutionInDoubt) {
  Make();
  Queue(Host(1), 10);
  const MacAddress mac = MacOf(9);
  cache_->OnAdvert(now_, Host(1), {.mac = &mac, .solicited = false, .override_flag = false});
  EXPECT_EQ(sent_, (std::vector<uint16_t>{10}));
  EXPECT_EQ(sent_to_, mac);
  EXPECT_EQ(State(Host(1)), NeighbourState::kDelay) << "used, so it will be probed";
  cache_->FindOrCreate(now_, Host(2));
  EXPECT_EQ(Use(Host(2)), nullptr);
  const MacAddress other = MacOf(8);
  cache_->OnAdvert(now_, Host(2), {.mac = &other, .solicited = false, .override_flag = false});
  Pass(Duration::Seconds(1));
  EXPECT_NE(State(Host(2)), NeighbourState::kReachable);
}

TEST_F(NeighbourCacheTest, NothingWaitsWhereNothingMay) {
  limits_.pending_per_neighbour = 0;
  Make();
  Queue(Host(1), 10);
  EXPECT_EQ(dropped_, (std::vector<uint16_t>{10}));
  EXPECT_EQ(cache_->pending(), 0u);
}

TEST_F(NeighbourCacheTest, PacketForAnEvictedEntryIsDropped) {
  limits_.neighbours_resolving = 1;
  Make();
  const auto handle = cache_->FindOrCreate(now_, Host(1));
  cache_->FindOrCreate(now_, Host(2));
  cache_->Queue(now_, handle, TxPacket{.length = 10});
  EXPECT_EQ(dropped_, (std::vector<uint16_t>{10}));
  EXPECT_EQ(cache_->pending(), 0u);
}

TEST_F(NeighbourCacheTest, NoPlaceForMorePinnedEntries) {
  limits_.neighbours_pinned = 1;
  Make();
  EXPECT_TRUE(cache_->SetPermanent(now_, Host(1), MacOf(1)));
  EXPECT_FALSE(cache_->SetPermanent(now_, Host(2), MacOf(2)));
  EXPECT_EQ(State(Host(1)), NeighbourState::kPermanent);
  EXPECT_EQ(cache_->LinkAddressOf(Host(2)), nullptr);
}

// RFC 4861 section 6.3.2: drawn anew, so that hosts do not fall into step.
TEST_F(NeighbourCacheTest, ReachableTimeIsDrawnAnewFromTimeToTime) {
  Make();
  Resolve(Host(1), 9);
  const auto lasts = [&] {
    cache_->ConfirmReachable(now_, cache_->Find(Host(1)));
    Duration d;
    while (cache_->StateOf(now_ + d, Host(1)) == NeighbourState::kReachable)
      d = d + Duration::Millis(10);
    return d;
  };
  const Duration first = lasts();
  EXPECT_EQ(lasts(), first);
  limits_.neighbours_confirmed = 1;
  for (int i = 0; i < 1024; ++i) {
    const MacAddress mac = MacOf(9), moved = MacOf(static_cast<uint8_t>(i % 2 + 1));
    cache_->OnAdvert(now_, Host(1), {.mac = &moved, .solicited = false, .override_flag = true});
    ASSERT_EQ(State(Host(1)), NeighbourState::kStale);
    cache_->ConfirmReachable(now_, cache_->Find(Host(1)));
    ASSERT_EQ(State(Host(1)), NeighbourState::kReachable);
    (void)mac;
  }
  EXPECT_NE(lasts(), first);
}

}  // namespace
}  // namespace usher
