// From the file of a picture to what the network takes, as `maxvit.preprocess` does it.

async function decode(file, mostPixels) {
  let picture;
  try { // turned as its camera said; colours as they are stored
    picture = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(`${file.name || "What was given"} is not a picture that this browser can read.`);
  }
  const { width, height } = picture;
  if (width * height > mostPixels) {
    throw new Error(`The picture has ${width} x ${height} pixels, and at most ${mostPixels} are read: make it smaller.`);
  }
  return picture;
}

// The height and width that the network takes for a picture of this size.
function targetSize({ fit, image_size: [height, width] }, size) {
  if (fit !== "aspect") return [height, width];
  const sizes = [], ratio = size[0] / size[1];
  for (let side = 32; side <= Math.max(height, width) * 4; side += 32) {
    sizes.push([side, Math.max(32, roundEven((height * width) / side / 32) * 32)]);
  }
  const away = ([h, w]) => Math.abs(Math.log(h / w / ratio));
  return [...sizes, ...sizes.map(([h, w]) => [w, h])].reduce((best, one) => (away(one) < away(best) ? one : best));
}

function roundEven(value) { // as Python rounds
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

// [top, left, height, width] of the centred piece with the shape of `shape`, `share` of the largest one.
function centre([height, width], shape, share) {
  const scale = Math.min(height / shape[0], width / shape[1]) * share;
  const [h, w] = shape.map((side) => Math.max(1, Math.trunc(side * scale + 1e-6)));
  return [Math.floor((height - h + 1) / 2), Math.floor((width - w + 1) / 2), h, w];
}

// RGBA bytes of a piece of a picture that is opaque; of another one colours are rounded.
function piece(picture, [top, left, height, width]) {
  const made = new Uint8ClampedArray(height * width * 4);
  const rows = Math.max(1, Math.min(height, Math.floor(4e6 / width))); // small devices have no large canvas
  const drawing = new OffscreenCanvas(width, rows).getContext("2d", { willReadFrequently: true });
  for (let y = 0; y < height; y += rows) {
    const some = Math.min(rows, height - y);
    drawing.clearRect(0, 0, width, rows);
    drawing.drawImage(picture, left, top + y, width, some, 0, 0, width, some);
    made.set(drawing.getImageData(0, 0, width, some).data, y * width * 4);
  }
  return made;
}

// RGBA bytes of a whole picture, colours as stored also where it is transparent; null: there is no WebGL to do it.
function exact(picture) {
  const { width, height } = picture, gl = new OffscreenCanvas(1, 1).getContext("webgl");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  const made = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, made);
  return made;
}

const opaque = (pixels) => { for (let i = 3; i < pixels.length; i += 4) if (pixels[i] !== 255) return false; return true; };

// A colour over white, as Pillow rounds it.
function overWhite(colour, alpha) {
  const sum = 128 * (colour * alpha + 255 * (255 - alpha)) + 16384;
  return (((sum >> 8) + sum) >> 8) >> 7;
}

// RGB bytes of a piece, what is transparent over white; an alpha channel of nothing but 0 is one that nobody filled.
function rgb(picture, box) {
  let [top, left, height, width] = box, pixels = piece(picture, box), across = width, plain = opaque(pixels);
  if (!plain) {
    const whole = exact(picture);
    if (whole) [pixels, across] = [whole, picture.width];
    else [top, left] = [0, 0];
    plain = !pixels.some((value, i) => i % 4 === 3 && value);
  } else [top, left] = [0, 0];
  const made = new Uint8Array(height * width * 3);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0, at = ((top + y) * across + left) * 4; x < width; x++, at += 4) {
      for (let c = 0; c < 3; c++) made[to++] = plain ? pixels[at + c] : overWhite(pixels[at + c], pixels[at + 3]);
    }
  }
  return made;
}

// (height, width, 3) values of 0 to 255 -> (channels, height, width) float32, rounded as Python's float32.
function normalise({ mean, std }, pixels) {
  const number = pixels.length / 3, made = new Float32Array(mean.length * number);
  for (let c = 0; c < mean.length; c++) {
    const shift = Math.fround(mean[c]), scale = Math.fround(std[c]);
    for (let i = 0; i < number; i++) {
      const share = (k) => Math.fround(pixels[3 * i + k] / 255);
      const value = mean.length === 3 ? share(c) : Math.fround((share(0) + share(1) + share(2)) / 3);
      made[c * number + i] = Math.fround(value - shift) / scale;
    }
  }
  return made;
}

// What the network takes: its values and their shape.
function prepare(preprocessing, picture) {
  const size = [picture.height, picture.width], wanted = targetSize(preprocessing, size);
  const box = centre(size, preprocessing.fit === "squash" ? size : wanted, preprocessing.crop_pct);
  const small = resize(rgb(picture, box), box.slice(2), wanted, preprocessing.interpolation);
  return { values: normalise(preprocessing, small), shape: [1, preprocessing.mean.length, ...wanted] };
}
