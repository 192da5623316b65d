// MATLAB's imresize(picture, scale, 'bicubic') for whole scales: `edgesr/data/bicubic.py`, in
// parts. Height first, then width, each pass rounded to bytes.

const TAPS = 6;

function cubic(distance) {
  const d = Math.abs(distance);
  if (d <= 1) return 1.5 * d ** 3 - 2.5 * d ** 2 + 1;
  return d <= 2 ? -0.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2 : 0;
}

// Weights and (mirrored) sources of the output samples from `start` to `stop`.
function taps(start, stop, length, scale) {
  const weight = new Float64Array((stop - start) * TAPS);
  const index = new Int32Array(weight.length);
  for (let out = start; out < stop; out++) {
    const centre = (out + 0.5) / scale - 0.5, first = Math.floor(centre - 2 + 1e-12);
    const at = (out - start) * TAPS;
    let sum = 0;
    for (let t = 0; t < TAPS; t++) sum += weight[at + t] = cubic(centre - (first + t));
    for (let t = 0; t < TAPS; t++) {
      weight[at + t] /= sum;
      const folded = (((first + t) % (2 * length)) + 2 * length) % (2 * length);
      index[at + t] = folded < length ? folded : 2 * length - 1 - folded;
    }
  }
  return { weight, index };
}

// The part of the enlarged picture in rows top..bottom and columns left..right, as ImageData.
export function bicubic(picture, scale, [top, bottom], [left, right]) {
  const { data, width, height } = picture;
  const down = taps(top, bottom, height, scale), across = taps(left, right, width, scale);
  const lowest = across.index.reduce((a, b) => Math.min(a, b), width);
  const highest = across.index.reduce((a, b) => Math.max(a, b), 0);
  const tall = new Uint8ClampedArray((highest - lowest + 1) * 4);
  const out = new ImageData(right - left, bottom - top);
  for (let y = 0; y < bottom - top; y++) {
    for (let x = lowest; x <= highest; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let t = y * TAPS; t < (y + 1) * TAPS; t++) {
          sum += down.weight[t] * data[(down.index[t] * width + x) * 4 + c];
        }
        tall[(x - lowest) * 4 + c] = Math.floor(sum + 0.5);
      }
    }
    for (let x = 0; x < right - left; x++) {
      const at = (y * (right - left) + x) * 4;
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let t = x * TAPS; t < (x + 1) * TAPS; t++) {
          sum += across.weight[t] * tall[(across.index[t] - lowest) * 4 + c];
        }
        out.data[at + c] = Math.floor(sum + 0.5);
      }
      out.data[at + 3] = 255;
    }
  }
  return out;
}
