// Standard normal numbers by counters: what a chain gets at a step depends on the seed, the chain and the step alone.
//
// Philox 4x32 of ten rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11, 2011),
// and two numbers of each pair of words by Box and Muller.

#pragma once

#include "tile.h"

namespace bayescg {

// sine and cosine of a quarter turn times t, |t| <= 1/2
template <class T> INLINE void quarter(T t, T &sine, T &cosine) {
  const T x = t * T(1.57079632679489661923), z = x * x;
  sine = cosine = 1;
  for (int k = Bits<T>::sine_terms; k > 0; --k) {
    sine = 1 - sine * (z * (1 / T(2 * k * (2 * k + 1))));
    cosine = 1 - cosine * (z * (1 / T(2 * k * (2 * k - 1))));
  }
  sine *= x;
}

struct Counter {
  uint64_t seed, step;

  // Four rows of normal numbers for the frames of a tile: number `block` of those of this step.
  template <class T> void normal(const uint32_t *chain, uint32_t block, T *rows) const {
    alignas(64) uint32_t words[4 * W];
    FRAMES {
      uint32_t a = chain[b], c = uint32_t(step), d = uint32_t(step >> 32), e = block;
      uint32_t k = uint32_t(seed), l = uint32_t(seed >> 32);
      for (int round = 0; round < 10; ++round, k += 0x9e3779b9u, l += 0xbb67ae85u) {
        const uint64_t p = uint64_t(0xd2511f53u) * a, q = uint64_t(0xcd9e8d57u) * d;
        a = uint32_t(q >> 32) ^ c ^ k, d = uint32_t(p >> 32) ^ e ^ l;
        c = uint32_t(q), e = uint32_t(p);
      }
      words[b] = a, words[W + b] = c, words[2 * W + b] = d, words[3 * W + b] = e;
    }
    for (int half = 0; half < 2; ++half) {
      const uint32_t *even = words + 2 * half * W, *odd = even + W;
      T *first = rows + 2 * half * W, *second = first + W;
      FRAMES {
        const T u = (T(int32_t(even[b] >> 1)) + T(0.5)) * T(1.0 / 2147483648.0);
        const T length = std::sqrt(-2 * ln(u));
        const int32_t turns = int32_t(odd[b] >> 30);  // the angle: quarter turns, and the rest of one
        T sine, cosine;
        quarter(T(int32_t(odd[b] << 2)) * T(1.0 / 4294967296.0), sine, cosine);
        const T x = turns & 1 ? sine : cosine, y = turns & 1 ? cosine : sine;
        first[b] = (turns + 1) & 2 ? -length * x : length * x;
        second[b] = turns & 2 ? -length * y : length * y;
      }
    }
  }
};

}  // namespace bayescg
