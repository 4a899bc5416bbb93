// errno-table: bad and border calls made to the live kernel and to usher; the same errno must come
// back, and what was stored must read back the same. See README.md.
#pragma once

#include <string>

namespace usher::differential {

class Table {
 public:
  // One call and what it came to: an errno, and what is read back where there is something. Printed
  // if they differ.
  void Row(const std::string& call, int kernel, int usher, const std::string& kernel_value = "",
           const std::string& usher_value = "");
  // How many calls there were since the last group.
  void Group(const std::string& text);
  // A line that counts nothing.
  static void Note(const std::string& text);
  // The exit code: 0 if there was something and nothing differs that is not known to.
  int Finish() const;

 private:
  int same_ = 0, known_ = 0, different_ = 0;
  int grouped_ = 0;
};

// errno of a call's result: 0 if it was no error.
int ErrnoOf(long result);

// The kernel's settings, in the network namespace this process is in. The errno; the first line.
int WriteSysctl(const std::string& name, const std::string& value);
std::string ReadSysctl(const std::string& name);

// listen(), accept() and the options of a listener, made to Shard and PassiveOpen.
void ListenRows(Table& table);
// The calls and options of sockets.
void SocketRows(Table& table);
// Every setting usher has.
void SysctlRows(Table& table);

}  // namespace usher::differential
