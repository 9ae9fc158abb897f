// Pictures in another size, number for number as Python makes them. No browser draws small pictures so.

// Pillow's kernels, by the distance from the middle, and how far they reach.
const KERNELS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const a = -0.5, d = Math.abs(x);
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
  }],
};
const BITS = 22; // of Pillow's weights behind the point

// For each output: where its inputs begin, and their weights, as whole numbers. A smaller picture has wider kernels.
function pillowTaps(source, target, method) {
  const [reach, kernel] = KERNELS[method];
  const scale = source / target, wide = Math.max(scale, 1), support = reach * wide;
  return Array.from({ length: target }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const from = Math.max(Math.trunc(centre - support + 0.5), 0);
    const to = Math.min(Math.trunc(centre + support + 0.5), source);
    const weights = Array.from({ length: to - from }, (_, j) => kernel((from + j - centre + 0.5) / wide));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return [from, weights.map((weight) => {
      const whole = (weight / sum) * (1 << BITS);
      return Math.trunc(whole < 0 ? whole - 0.5 : whole + 0.5);
    })];
  });
}

const clip = (sum) => { const value = sum >> BITS; return value < 0 ? 0 : value > 255 ? 255 : value; };

// RGB bytes (height, width, 3) -> (newHeight, newWidth, 3) bytes: rows first, then columns, rounded after each.
function resizePillow(pixels, [height, width], [newHeight, newWidth], method) {
  const half = 1 << (BITS - 1);
  const across = new Uint8Array(height * newWidth * 3), columns = pillowTaps(width, newWidth, method);
  for (let x = 0; x < newWidth; x++) {
    const [from, weights] = columns[x];
    for (let y = 0; y < height; y++) {
      let red = half, green = half, blue = half, at = (y * width + from) * 3;
      for (const weight of weights) {
        red += pixels[at++] * weight; green += pixels[at++] * weight; blue += pixels[at++] * weight;
      }
      across.set([clip(red), clip(green), clip(blue)], (y * newWidth + x) * 3);
    }
  }
  const made = new Uint8Array(newHeight * newWidth * 3), row = newWidth * 3;
  pillowTaps(height, newHeight, method).forEach(([from, weights], y) => {
    for (let x = 0; x < row; x++) {
      let sum = half;
      for (let j = 0; j < weights.length; j++) sum += across[(from + j) * row + x] * weights[j];
      made[y * row + x] = clip(sum);
    }
  });
  return made;
}

// TensorFlow 1's bicubic, as the official evaluation has it: four inputs for each output, positions in steps of 1/1024.
function tensorflowTaps(source, target) {
  const scale = Math.fround(source / target), a = -0.75;
  return Array.from({ length: target }, (_, i) => {
    const at = Math.fround(i * scale), low = Math.floor(at), step = (at - low) * 1024;
    let offset = Math.round(step);
    if (offset - step === 0.5 && offset % 2) offset--; // NumPy rounds halves to even
    return [-1, 0, 1, 2].map((tap) => {
      const x = Math.abs(offset / 1024 - tap);
      const inner = ((a + 2) * x - (a + 3)) * x * x + 1, outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
      return [Math.min(Math.max(low + tap, 0), source - 1), Math.fround(x <= 1 ? inner : outer)];
    });
  });
}

// RGB bytes (height, width, 3) -> (newHeight, newWidth, 3) float32, which may be below 0 and above 255.
function resizeTensorflow(pixels, [height, width], [newHeight, newWidth]) {
  const columns = tensorflowTaps(width, newWidth), rows = tensorflowTaps(height, newHeight);
  const made = new Float32Array(newHeight * newWidth * 3);
  rows.forEach((vertical, y) => columns.forEach((horizontal, x) => {
    for (let colour = 0; colour < 3; colour++) {
      let sum = 0;
      for (const [top, weight] of vertical) {
        for (const [left, share] of horizontal) sum += weight * share * pixels[(top * width + left) * 3 + colour];
      }
      made[(y * newWidth + x) * 3 + colour] = sum;
    }
  }));
  return made;
}

function resize(pixels, size, newSize, method) {
  return method === "bicubic-tf1" ? resizeTensorflow(pixels, size, newSize) : resizePillow(pixels, size, newSize, method);
}
