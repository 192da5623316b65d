// One tile: pixels to tensor, tensor through the model, tensor to pixels. The server has said where
// tiles lie and what a byte is as a tensor's value; rounding is `edgesr/runtime/pixels.py`'s.

import { luma } from "./colour.js";
import { TYPES } from "./runtimes.js";

// Index into a side of `length`, reflected at the last pixel: a fixed input may be larger than the
// picture.
function mirrored(index, length) {
  if (length === 1) return 0;
  const folded = index % (2 * length - 2);
  return folded < length ? folded : 2 * length - 2 - folded;
}

// Rows and columns as `read` in the server's plan: from, to.
export function toTensor(picture, [top, bottom], [left, right], facts) {
  const rows = bottom - top, columns = right - left, plane = rows * columns;
  const channels = facts.luma ? 1 : 3;
  const values = new TYPES[facts.dtype](plane * channels);
  const table = new TYPES[facts.dtype](facts.encoding);
  const [pixel, channel] = facts.layout === "NHWC" ? [channels, 1] : [1, plane];
  for (let y = 0, i = 0; y < rows; y++) {
    const line = mirrored(top + y, picture.height) * picture.width;
    for (let x = 0; x < columns; x++, i++) {
      const from = (line + mirrored(left + x, picture.width)) * 4;
      if (facts.luma) values[i] = table[luma(picture.data, from, facts.luma)];
      else for (let c = 0; c < 3; c++) values[i * pixel + c * channel] = table[picture.data[from + c]];
    }
  }
  const { layout } = facts;
  const shape = layout === "NHWC" ? [1, rows, columns, channels] : [1, channels, rows, columns];
  return { values, shape };
}

// Half to even, as numpy's rint.
function rint(value) {
  const down = Math.floor(value), over = value - down;
  return over < 0.5 || (over === 0.5 && down % 2 === 0) ? down : down + 1;
}

function decoder({ decoding, value_range }) {
  if (decoding) return (code) => decoding[code & 255]; // of a negative code: its bits
  const gain = Math.fround(255 / value_range);
  return (real) => Math.min(255, Math.max(0, rint(Math.fround(real * gain))));
}

// The kept rows and columns (in pixels of the tile's own result, `width` x `height`) as ImageData;
// luma is in its red channel.
export function toPixels(values, height, width, [top, bottom], [left, right], facts) {
  const plane = height * width, decode = decoder(facts), channels = facts.luma ? 1 : 3;
  const [pixel, channel] = facts.layout === "NHWC" ? [channels, 1] : [1, plane];
  const out = new ImageData(right - left, bottom - top);
  for (let y = top, at = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, at += 4) {
      for (let c = 0; c < channels; c++) {
        out.data[at + c] = decode(values[(y * width + x) * pixel + c * channel]);
      }
      out.data[at + 3] = 255;
    }
  }
  return out;
}
