/* Prints what the functions of pixels.c make of the same noise: run where there is NEON and where
 * there is none, the lines must be the same (tests/android/test_neon.py). Not part of the app. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pixels.h"

enum { MOST = 3 * 1100 };

static unsigned hash(const void *memory, size_t count) {
  const uint8_t *bytes = memory;
  unsigned sum = 2166136261u;
  for (size_t i = 0; i < count; i++) sum = (sum ^ bytes[i]) * 16777619u;
  return sum;
}

int main(void) {
  static uint8_t pixels[MOST], codes[MOST], back[MOST], table[256];
  static float floats[MOST], reals[256];
  static const size_t areas[] = {1, 15, 16, 17, 64, 1023, 1100};
  static const int flips[] = {0, 128, -1};
  unsigned state = 1;
  for (int i = 0; i < MOST; i++) pixels[i] = (uint8_t)((state = state * 1103515245u + 12345u) >> 16);
  for (int i = 0; i < 256; i++) {
    table[i] = (uint8_t)(255 - i);
    reals[i] = (float)i / 255.0f;
  }
  for (unsigned a = 0; a < sizeof areas / sizeof *areas; a++) {
    for (int form = 0; form < 4; form++) {
      int channels = form & 1 ? 3 : 1, planar = form >> 1;
      size_t area = areas[a], count = area * channels;
      for (int f = 0; f < 3; f++) {
        Codes how = {area, channels, planar, flips[f], table};
        pixels_to_codes(pixels, codes, &how);
        codes_to_pixels(codes, back, &how);
        printf("%zu %d %d %d: %08x %d\n", area, channels, planar, flips[f], hash(codes, count),
               memcmp(pixels, back, count));
      }
      pixels_to_floats(pixels, floats, area, channels, planar, reals);
      int broken = floats_to_pixels(floats, back, area, channels, planar, 255.0f);
      printf("%zu %d %d floats: %08x %d %d\n", area, channels, planar, hash(floats, 4 * count), broken,
             memcmp(pixels, back, count));
      /* Halves, which round to even, and what lies outside. */
      for (size_t i = 0; i < count; i++) floats[i] = ((float)(i % 600) - 40) / 2;
      broken = floats_to_pixels(floats, back, area, channels, planar, 1.0f);
      printf("%zu %d %d halves: %08x %d\n", area, channels, planar, hash(back, count), broken);
      floats[count / 2] = __builtin_nanf("");
      printf("%zu %d %d NaN: %d\n", area, channels, planar,
             floats_to_pixels(floats, back, area, channels, planar, 1.0f));
    }
  }
  return 0;
}
