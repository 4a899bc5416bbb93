// A capture of a simulated run, in a file.
#pragma once

#include <fstream>
#include <initializer_list>
#include <span>
#include <string>

#include "stack/base/time.h"
#include "stack/wire/pcapng.h"

namespace usher::test {

class PcapngFile {
 public:
  // One interface per name. Errors show as !good().
  PcapngFile(const std::string& path, std::initializer_list<std::string> interfaces)
      : out_(path, std::ios::binary), writer_(&bytes_) {
    for (const std::string& name : interfaces) writer_.Interface(name);
  }
  ~PcapngFile() { Flush(); }
  PcapngFile(const PcapngFile&) = delete;
  PcapngFile& operator=(const PcapngFile&) = delete;

  void Write(uint32_t interface, Instant at, std::span<const uint8_t> frame) {
    writer_.Packet(interface, static_cast<uint64_t>(at.ns()), frame, frame.size());
    Flush();
  }
  bool good() const { return out_.good(); }

 private:
  void Flush() {
    out_.write(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
    bytes_.clear();
  }

  std::ofstream out_;
  std::string bytes_;
  PcapngWriter writer_;
};

}  // namespace usher::test
