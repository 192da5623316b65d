// For networks that see luma alone: Y of a picture, and Y with bicubic chroma back to RGB, as
// `edgesr/data/colour.py`, whose coefficients the server sends.

import { enlarge } from "./bicubic.js";

const weighed = ([red, green, blue], data, at) =>
  red * data[at] + green * data[at + 1] + blue * data[at + 2];

// Y of the pixel at `data[at]`, rounded; in whole numbers.
export function luma(data, at, { from_rgb, denominator, offset }) {
  const [y] = from_rgb;
  return Math.floor((weighed(y, data, at) + denominator / 2) / denominator) + offset[0];
}

// A part of the enlarged picture, its Y given in the red channel of `tile`, to RGB in place.
export function join(tile, picture, size, rows, columns, { from_rgb, denominator, offset, to_rgb }) {
  const read = (data, at, values, to) => {
    for (const c of [1, 2]) {
      values[to + c - 1] = weighed(from_rgb[c], data, at) / denominator + offset[c];
    }
  };
  const chroma = enlarge(picture, size, rows, columns, 2, read, (value) => value);
  for (let at = 0, from = 0; at < tile.data.length; at += 4, from += 2) {
    const y = tile.data[at] - offset[0];
    const cb = Math.fround(chroma[from]) - offset[1], cr = Math.fround(chroma[from + 1]) - offset[2];
    for (let c = 0; c < 3; c++) {
      const [ofY, ofCb, ofCr] = to_rgb[c];
      const value = Math.floor(ofY * y + ofCb * cb + ofCr * cr + 0.5);
      tile.data[at + c] = Math.min(255, Math.max(0, value));
    }
  }
}
