// Elementary functions in arithmetic that any compiler turns into vector instructions.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))

namespace bayescg {

template <class T> struct Bits;
template <> struct Bits<float> {
  using Int = int32_t;
  static constexpr int mantissa = 23, bias = 127, log_terms = 5, exp_terms = 7, atan_terms = 5, sine_terms = 4;
  static constexpr Int sqrt_half = 0x3f3504f3;
  static constexpr float largest = 80.0f;
};
template <> struct Bits<double> {
  using Int = int64_t;
  static constexpr int mantissa = 52, bias = 1023, log_terms = 11, exp_terms = 13, atan_terms = 12, sine_terms = 8;
  static constexpr Int sqrt_half = 0x3fe6a09e667f3bcd;
  static constexpr double largest = 700.0;
};

template <class To, class From> INLINE To as(From from) {
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// ln x of a positive normal number, zero of any other: x = 2^e m with m around one, and the series of
// ln m = 2 artanh((m - 1) / (m + 1))
template <class T> INLINE T ln(T x) {
  using B = Bits<T>;
  const typename B::Int bits = as<typename B::Int>(x > 0 ? x : T(1)), e = (bits - B::sqrt_half) >> B::mantissa;
  const T m = as<T>(bits - e * (typename B::Int(1) << B::mantissa)), s = (m - 1) / (m + 1), z = s * s;
  T sum = 0;
  for (int k = B::log_terms - 1; k >= 0; --k) sum = sum * z + T(1) / (2 * k + 1);
  return T(e) * T(0.693147180559945309417) + 2 * s * sum;
}

// e^x = 2^n e^r with |r| <= ln 2 / 2
template <class T> INLINE T expo(T x) {
  using B = Bits<T>;
  x = x > -B::largest ? x : -B::largest;  // what is not a number too: an integer is made of it
  x = x < B::largest ? x : B::largest;
  const T n = std::rint(x * T(1.44269504088896340736));
  const T r = (x - n * T(0.693145751953125)) - n * T(1.42860682030941723212e-6);
  T sum = 1;
  for (int k = B::exp_terms; k > 0; --k) sum = sum * (r * (1 / T(k))) + 1;  // of a constant: a division takes long
  return sum * as<T>((typename B::Int(n) + B::bias) << B::mantissa);
}

// Angle of the vector (x, y) with y >= 0, in [0, pi]; two halvings leave a short series
template <class T> INLINE T arc(T y, T x) {
  const T ax = x < 0 ? -x : x;
  const T small = y < ax ? y : ax, large = y < ax ? ax : y, t = small / large;
  const T h = t / (1 + std::sqrt(1 + t * t)), q = h / (1 + std::sqrt(1 + h * h)), z = -q * q;
  T sum = 0;
  for (int k = Bits<T>::atan_terms - 1; k >= 0; --k) sum = sum * z + T(1) / (2 * k + 1);
  T angle = 4 * q * sum;
  angle = y < ax ? angle : T(1.57079632679489661923) - angle;
  return x < 0 ? T(3.14159265358979323846) - angle : angle;
}

template <class T> INLINE T larger(T a, T b) { return a < b ? b : a; }  // NaN stays NaN where it is a

}  // namespace bayescg
