// MATLAB's imresize(picture, 'bicubic') to a larger size: `edgesr/data/bicubic.py`, any part of the
// result. Height first, then width.

const TAPS = 6;

function cubic(distance) {
  const d = Math.abs(distance);
  if (d <= 1) return 1.5 * d ** 3 - 2.5 * d ** 2 + 1;
  return d <= 2 ? -0.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2 : 0;
}

// Weights and (mirrored) sources of the output samples from `start` to `stop`, and the reach of
// the sources.
function taps(start, stop, length, longer) {
  const weight = new Float64Array((stop - start) * TAPS), scale = longer / length;
  const index = new Int32Array(weight.length);
  let [lowest, highest] = [length, 0];
  for (let out = start; out < stop; out++) {
    const centre = (out + 0.5) / scale - 0.5, first = Math.floor(centre - 2 + 1e-12);
    const at = (out - start) * TAPS;
    let sum = 0;
    for (let t = 0; t < TAPS; t++) sum += weight[at + t] = cubic(centre - (first + t));
    for (let t = 0; t < TAPS; t++) {
      weight[at + t] /= sum;
      const folded = (((first + t) % (2 * length)) + 2 * length) % (2 * length);
      const source = folded < length ? folded : 2 * length - 1 - folded;
      index[at + t] = source;
      [lowest, highest] = [Math.min(lowest, source), Math.max(highest, source)];
    }
  }
  return { weight, index, lowest, highest, count: stop - start };
}

// Rows top..bottom and columns left..right of `picture` enlarged to `size` (height, width), as
// numbers. `read(data, at, values, to)` gives the `channels` values of the pixel at `data[at]`;
// `finish` ends each of the two passes.
export function enlarge(picture, size, rows, columns, channels, read, finish) {
  const { data, width, height } = picture;
  const down = taps(...rows, height, size.height), across = taps(...columns, width, size.width);
  const wide = (across.highest - across.lowest + 1) * channels;
  const values = new Float32Array(wide * (down.highest - down.lowest + 1));
  for (let y = down.lowest, to = 0; y <= down.highest; y++) {
    for (let x = across.lowest; x <= across.highest; x++, to += channels) {
      read(data, (y * width + x) * 4, values, to);
    }
  }
  const tall = new Float64Array(wide), out = new Float64Array(down.count * across.count * channels);
  for (let y = 0, to = 0; y < down.count; y++) {
    for (let i = 0; i < wide; i++) {
      let sum = 0;
      for (let t = y * TAPS; t < (y + 1) * TAPS; t++) {
        sum += down.weight[t] * values[(down.index[t] - down.lowest) * wide + i];
      }
      tall[i] = finish(sum);
    }
    for (let x = 0; x < across.count; x++) {
      for (let c = 0; c < channels; c++, to++) {
        let sum = 0;
        for (let t = x * TAPS; t < (x + 1) * TAPS; t++) {
          sum += across.weight[t] * tall[(across.index[t] - across.lowest) * channels + c];
        }
        out[to] = finish(sum);
      }
    }
  }
  return out;
}

function rgb(data, at, values, to) {
  for (let c = 0; c < 3; c++) values[to + c] = data[at + c];
}

const toByte = (value) => Math.min(255, Math.max(0, Math.floor(value + 0.5)));

// A part of the enlarged picture as ImageData; rounded between the passes, as MATLAB does.
export function bicubic(picture, size, rows, columns) {
  const values = enlarge(picture, size, rows, columns, 3, rgb, toByte);
  const out = new ImageData(columns[1] - columns[0], rows[1] - rows[0]);
  for (let from = 0, to = 0; from < values.length; from += 3, to += 4) {
    for (let c = 0; c < 3; c++) out.data[to + c] = values[from + c];
    out.data[to + 3] = 255;
  }
  return out;
}
