/* Pixels (HxWxC bytes) to tensors and back; `planar` tensors are CxHxW. NEON where there is any. */
#pragma once
#include "platform.h"

typedef struct {
  size_t area; /* pixels in a plane */
  int channels, planar;
  /* Integer tensors: code = pixel ^ flip, or by table where flip < 0. */
  int flip;
  const uint8_t *table;
} Codes;

void pixels_to_codes(const uint8_t *pixels, uint8_t *tensor, const Codes *codes);
void codes_to_pixels(const uint8_t *tensor, uint8_t *pixels, const Codes *codes);
void pixels_to_floats(
    const uint8_t *pixels, float *tensor, size_t area, int channels, int planar, const float *table);
/* round half to even, clipped to 0..255; returns 1 when a value is not a number */
int floats_to_pixels(
    const float *tensor, uint8_t *pixels, size_t area, int channels, int planar, float factor);
