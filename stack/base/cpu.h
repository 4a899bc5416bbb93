// Which vector registers this machine has, for code that is there once for each kind.
#pragma once

namespace usher {

inline bool CpuHasAvx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") != 0;
#else
  return false;
#endif
}

// Registers of 512 bits. They slow a core's clock down on the first machines that had them; those
// that have VBMI2 too (Ice Lake and Zen 4, and later) keep theirs.
inline bool CpuHasAvx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512vbmi2") != 0;
#else
  return false;
#endif
}

}  // namespace usher
