#include "pixels.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#define NEON 1
#else
#define NEON 0
#endif

/* Codes of a run of bytes; 16 at a time where the map is an exclusive or. */
static void map(const uint8_t *from, uint8_t *to, size_t count, const Codes *codes) {
  size_t i = 0;
  if (codes->flip < 0) {
    for (; i < count; i++) to[i] = codes->table[from[i]];
    return;
  }
  if (codes->flip == 0) {
    memcpy(to, from, count);
    return;
  }
  uint8_t flip = (uint8_t)codes->flip;
#if NEON
  uint8x16_t flips = vdupq_n_u8(flip);
  for (; i + 16 <= count; i += 16) vst1q_u8(to + i, veorq_u8(vld1q_u8(from + i), flips));
#endif
  for (; i < count; i++) to[i] = from[i] ^ flip;
}

static uint8_t one(uint8_t value, const Codes *codes) {
  return codes->flip < 0 ? codes->table[value] : value ^ (uint8_t)codes->flip;
}

void pixels_to_codes(const uint8_t *pixels, uint8_t *tensor, const Codes *codes) {
  size_t area = codes->area, i = 0;
  if (!codes->planar || codes->channels != 3) {
    map(pixels, tensor, area * codes->channels, codes);
    return;
  }
#if NEON
  if (codes->flip >= 0) {
    uint8x16_t flips = vdupq_n_u8((uint8_t)codes->flip);
    for (; i + 16 <= area; i += 16) {
      uint8x16x3_t rgb = vld3q_u8(pixels + 3 * i);
      for (int c = 0; c < 3; c++) vst1q_u8(tensor + c * area + i, veorq_u8(rgb.val[c], flips));
    }
  }
#endif
  for (; i < area; i++)
    for (int c = 0; c < 3; c++) tensor[c * area + i] = one(pixels[3 * i + c], codes);
}

void codes_to_pixels(const uint8_t *tensor, uint8_t *pixels, const Codes *codes) {
  size_t area = codes->area, i = 0;
  if (!codes->planar || codes->channels != 3) {
    map(tensor, pixels, area * codes->channels, codes);
    return;
  }
#if NEON
  if (codes->flip >= 0) {
    uint8x16_t flips = vdupq_n_u8((uint8_t)codes->flip);
    for (; i + 16 <= area; i += 16) {
      uint8x16x3_t rgb;
      for (int c = 0; c < 3; c++) rgb.val[c] = veorq_u8(vld1q_u8(tensor + c * area + i), flips);
      vst3q_u8(pixels + 3 * i, rgb);
    }
  }
#endif
  for (; i < area; i++)
    for (int c = 0; c < 3; c++) pixels[3 * i + c] = one(tensor[c * area + i], codes);
}

/* A table of floats cannot be looked up in vectors; 256 entries stay in the first cache. */
void pixels_to_floats(
    const uint8_t *pixels, float *tensor, size_t area, int channels, int planar, const float *table) {
  if (!planar || channels == 1) {
    for (size_t i = 0; i < area * channels; i++) tensor[i] = table[pixels[i]];
    return;
  }
  for (size_t i = 0; i < area; i++)
    for (int c = 0; c < channels; c++) tensor[c * area + i] = table[pixels[channels * i + c]];
}

static uint8_t rounded(float value, int *broken) {
  if (value != value) *broken = 1;
  if (!(value > 0)) return 0;
  if (value >= 255) return 255;
  /* Adding 2^23 leaves no place for a fraction: the hardware rounds half to even. */
  volatile float whole = value + 8388608.0f;
  return (uint8_t)(whole - 8388608.0f);
}

/* A run of floats to bytes. */
static void round_all(const float *from, uint8_t *to, size_t count, float factor, int *broken) {
  size_t i = 0;
#if NEON
  uint32x4_t numbers = vdupq_n_u32(~0u);
  for (; i + 16 <= count; i += 16) {
    uint16x4_t parts[4];
    for (int k = 0; k < 4; k++) {
      float32x4_t value = vmulq_n_f32(vld1q_f32(from + i + 4 * k), factor);
      numbers = vandq_u32(numbers, vceqq_f32(value, value));
      parts[k] = vqmovn_u32(vcvtnq_u32_f32(value)); /* negatives become 0 */
    }
    uint8x8_t low = vqmovn_u16(vcombine_u16(parts[0], parts[1]));
    uint8x8_t high = vqmovn_u16(vcombine_u16(parts[2], parts[3]));
    vst1q_u8(to + i, vcombine_u8(low, high));
  }
  if (vminvq_u32(numbers) == 0) *broken = 1;
#endif
  for (; i < count; i++) to[i] = rounded(from[i] * factor, broken);
}

enum { STRIP = 1024 };

int floats_to_pixels(
    const float *tensor, uint8_t *pixels, size_t area, int channels, int planar, float factor) {
  int broken = 0;
  if (!planar || channels == 1) {
    round_all(tensor, pixels, area * channels, factor, &broken);
    return broken;
  }
  uint8_t strip[STRIP];
  for (int c = 0; c < channels; c++) {
    for (size_t start = 0; start < area; start += STRIP) {
      size_t count = area - start < STRIP ? area - start : STRIP;
      round_all(tensor + c * area + start, strip, count, factor, &broken);
      for (size_t i = 0; i < count; i++) pixels[(start + i) * channels + c] = strip[i];
    }
  }
  return broken;
}
